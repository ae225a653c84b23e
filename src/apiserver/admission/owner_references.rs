//! `OwnerReferencesPermissionEnforcement`: who sets owners must be allowed to delete the object, and who blocks the deletion of
//! an owner must be allowed to change the owner's finalizers.
use super::{Admission, AdmissionRequest, Operation, authorizer};
use crate::object::{Document, GroupVersion, Status};
use async_trait::async_trait;
use serde_json::Value;

#[derive(Debug)]
pub(super) struct OwnerReferencesPermissionEnforcement;

#[async_trait]
impl Admission for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        // Pods are bound by the scheduler, which needs no right to delete them.
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let nothing = &[][..];
        let old = request.old.map_or(nothing, Document::owner_references);
        let new = object.owner_references();
        if !writes || request.subresource == "status" || new == old {
            return Ok(());
        }
        // Owners that are set on a new object take nothing away from anybody.
        if request.operation == Operation::Update {
            let mut asked = authorizer::about(
                "delete",
                &request.resource.group,
                &request.resource.resource,
            );
            request.namespace.clone_into(&mut asked.namespace);
            request.name.clone_into(&mut asked.name);
            if !authorizer::allows(request, &asked).await? {
                let why = "cannot set an ownerRef on a resource you can't delete: ";
                return Err(request.forbidden(Some(object), why));
            }
        }
        for owner in newly_blocking(new, old) {
            check_blocking(request, object, owner).await?;
        }
        Ok(())
    }
}

/// The owners whose deletion is blocked from now on.
fn newly_blocking<'a>(new: &'a [Value], old: &'a [Value]) -> impl Iterator<Item = &'a Value> {
    let blocks = |owner: &Value| owner.bool_at(&["blockOwnerDeletion"]) == Some(true);
    new.iter().filter(move |owner| {
        let before = old
            .iter()
            .find(|before| before.get("uid") == owner.get("uid"));
        blocks(owner) && !before.is_some_and(blocks)
    })
}

async fn check_blocking(
    request: &AdmissionRequest<'_>,
    object: &Value,
    owner: &Value,
) -> Result<(), Status> {
    let version = GroupVersion::parse(owner.api_version()).unwrap_or_default();
    let Some(resource) = request.view.resource_of(&version, owner.kind()) else {
        let why = format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: no matches for kind {:?} in version {:?}",
            owner.api_version(),
            owner.kind(),
            owner.kind(),
            owner.api_version()
        );
        return Err(request.forbidden(Some(object), &why));
    };
    let mut asked = authorizer::about("update", &version.group, &resource.plural);
    "finalizers".clone_into(&mut asked.subresource);
    owner.str_at(&["name"]).clone_into(&mut asked.name);
    if resource.namespaced {
        request.namespace.clone_into(&mut asked.namespace);
    }
    if authorizer::allows(request, &asked).await? {
        return Ok(());
    }
    let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: ";
    Err(request.forbidden(Some(object), why))
}
