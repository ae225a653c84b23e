//! `PersistentVolumeClaimResize`: a claim grows only when it is bound and its storage class lets it.
use super::default_storage_class::CLASS_ANNOTATION;
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, Quantity, Status};
use async_trait::async_trait;
use serde_json::Value;

#[derive(Debug)]
pub(super) struct PersistentVolumeClaimResize;

#[async_trait]
impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let (Some(claim), Some(old)) = (object, request.old) else {
            return Ok(());
        };
        if request.operation != Operation::Update || !request.writes("", "persistentvolumeclaims") {
            return Ok(());
        }
        let size = |claim: &Value| {
            Quantity::parse(claim.str_at(&["spec", "resources", "requests", "storage"]))
                .unwrap_or_default()
        };
        if size(claim) <= size(old) {
            return Ok(());
        }
        if old.str_at(&["status", "phase"]) != "Bound" {
            let why = "Only bound persistent volume claims can be expanded";
            return Err(request.forbidden(object, why));
        }
        let class = class(claim);
        let expands = class == self::class(old) && !class.is_empty() && {
            let found = request
                .view
                .get("storage.k8s.io", "v1", "storageclasses", "", class)
                .await?;
            found.is_some_and(|class| class.bool_at(&["allowVolumeExpansion"]) == Some(true))
        };
        if expands {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(request.forbidden(object, why))
    }
}

fn class(claim: &Value) -> &str {
    claim
        .annotation(CLASS_ANNOTATION)
        .unwrap_or_else(|| claim.str_at(&["spec", "storageClassName"]))
}
