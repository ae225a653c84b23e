//! `DefaultIngressClass`: an ingress that names no class gets the default one.
use super::{Admission, AdmissionRequest, Operation, default_storage_class};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::Value;

const GROUP: &str = "networking.k8s.io";

#[derive(Debug)]
pub(super) struct DefaultIngressClass;

#[async_trait]
impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.writes(GROUP, "ingresses") {
            return Ok(());
        }
        let named = object
            .at(&["spec", "ingressClassName"])
            .is_some_and(|class| !class.is_null());
        if named || object.annotation("kubernetes.io/ingress.class").is_some() {
            return Ok(());
        }
        let annotation = ["ingressclass.kubernetes.io/is-default-class"];
        let default =
            default_storage_class::default(request, GROUP, "ingressclasses", &annotation).await?;
        if let Some(class) = default {
            object.set_at(&["spec", "ingressClassName"], class);
        }
        Ok(())
    }
}
