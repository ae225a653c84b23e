//! `DefaultTolerationSeconds`: pods stay for five minutes on a node that is not ready or unreachable, unless they say otherwise.
use super::{Admission, AdmissionRequest};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::{Value, json};

const SECONDS: i64 = 300;

#[derive(Debug)]
pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if !request.writes("", "pods") {
            return Ok(());
        }
        let mut tolerations = object.list_at(&["spec", "tolerations"]).to_vec();
        let before = tolerations.len();
        for key in [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ] {
            let tolerates = |toleration: &Value| {
                (toleration.str_at(&["key"]).is_empty() || toleration.str_at(&["key"]) == key)
                    && matches!(toleration.str_at(&["effect"]), "" | "NoExecute")
            };
            if !tolerations.iter().any(tolerates) {
                tolerations.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS }));
            }
        }
        if tolerations.len() > before {
            object.set_at(&["spec", "tolerations"], tolerations);
        }
        Ok(())
    }
}
