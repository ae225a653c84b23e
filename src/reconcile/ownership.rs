//! Owner references: making and reading them, adoption and release.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// The reference of an object's controller.
pub fn controller_of<K: kube::Resource>(object: &K) -> Option<&OwnerReference> {
    object
        .meta()
        .owner_references
        .as_deref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// A controller reference to `owner` (`controller` and `blockOwnerDeletion` are true).
pub fn controller_reference<K: kube::Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
