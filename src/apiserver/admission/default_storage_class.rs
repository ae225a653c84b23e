//! `DefaultStorageClass`: a claim that names no storage class gets the default one.
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, LabelSelector, Status};
use async_trait::async_trait;
use serde_json::Value;

/// By which a claim named its class once.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

#[derive(Debug)]
pub(super) struct DefaultStorageClass;

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.writes("", "persistentvolumeclaims") {
            return Ok(());
        }
        let named = object
            .at(&["spec", "storageClassName"])
            .is_some_and(|class| !class.is_null());
        if named || object.annotation(CLASS_ANNOTATION).is_some() {
            return Ok(());
        }
        let annotations = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        let default = default(request, "storage.k8s.io", "storageclasses", &annotations).await?;
        if let Some(class) = default {
            object.set_at(&["spec", "storageClassName"], class);
        }
        Ok(())
    }
}

/// The class that an annotation makes the default; of several the newest, of those the first by name.
pub(super) async fn default(
    request: &AdmissionRequest<'_>,
    group: &str,
    plural: &str,
    annotations: &[&str],
) -> Result<Option<String>, Status> {
    let classes = request
        .view
        .list(group, "v1", plural, "", &LabelSelector::default())
        .await?;
    let is_default = |class: &&Value| {
        annotations
            .iter()
            .any(|annotation| class.annotation(annotation) == Some("true"))
    };
    let age = |class: &Value| class.str_at(&["metadata", "creationTimestamp"]).to_owned();
    let mut defaults: Vec<&Value> = classes.iter().filter(is_default).collect();
    defaults.sort_by(|one, other| {
        age(other)
            .cmp(&age(one))
            .then_with(|| one.name().cmp(other.name()))
    });
    Ok(defaults.first().map(|class| class.name().to_owned()))
}
