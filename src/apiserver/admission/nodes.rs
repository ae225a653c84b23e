//! `TaintNodesByCondition`: a new node takes no pods until the node lifecycle controller has seen it ready.
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

#[derive(Debug)]
pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.writes("", "nodes") {
            return Ok(());
        }
        let mut taints = object.list_at(&["spec", "taints"]).to_vec();
        let tainted = |taint: &Value| {
            taint.str_at(&["key"]) == NOT_READY && taint.str_at(&["effect"]) == "NoSchedule"
        };
        if !taints.iter().any(tainted) {
            taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
            object.set_at(&["spec", "taints"], taints);
        }
        Ok(())
    }
}
