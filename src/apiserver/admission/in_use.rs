//! `StorageObjectInUseProtection`: volumes and claims stay until nobody uses them any more.
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::Value;

/// Group, resource and finalizer.
const PROTECTED: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    (
        "storage.k8s.io",
        "volumeattributesclasses",
        "kubernetes.io/vac-protection",
    ),
];

#[derive(Debug)]
pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation != Operation::Create {
            return Ok(());
        }
        let protected = PROTECTED
            .iter()
            .find(|(group, resource, _)| request.writes(group, resource));
        if let Some((_, _, finalizer)) = protected
            && !object.finalizers().contains(finalizer)
        {
            let mut finalizers = object.list_at(&["metadata", "finalizers"]).to_vec();
            finalizers.push((*finalizer).into());
            object.set_at(&["metadata", "finalizers"], finalizers);
        }
        Ok(())
    }
}
