//! Deleting an object that was seen, and no other that has its name by now.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Preconditions};

/// Parameters that delete the object of this metadata; one of the same name that was made after it is a conflict.
///
/// ```
/// use homeostat::client::only;
/// use kube::api::ObjectMeta;
///
/// let meta = ObjectMeta { uid: Some("u".into()), ..ObjectMeta::default() };
/// let at_once = only(&meta).grace_period(0);
/// assert_eq!(at_once.preconditions.unwrap().uid.as_deref(), Some("u"));
/// ```
#[must_use]
pub fn only(meta: &ObjectMeta) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid: meta.uid.clone(),
        resource_version: None,
    })
}
