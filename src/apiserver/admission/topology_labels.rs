//! `PodTopologyLabels`: a pod says in which zone and region its node is, so that its containers can be told.
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::Value;

/// What is taken over from nodes, whatever a pod says itself.
const LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

#[derive(Debug)]
pub(super) struct PodTopologyLabels;

#[async_trait]
impl Admission for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is_for("", "pods") {
            return Ok(());
        }
        let node = match request.subresource {
            "" => object.str_at(&["spec", "nodeName"]),
            // The labels of a binding become those of its pod.
            "binding" if object.str_at(&["target", "kind"]) == "Node" => {
                object.str_at(&["target", "name"])
            }
            _ => "",
        };
        if node.is_empty() {
            return Ok(());
        }
        // Each binding comes here, so the node is not decoded.
        let found = request.view.find("", "v1", "nodes", "", node).await?;
        let Some((_, node)) = found else {
            return Ok(());
        };
        for key in LABELS {
            if let Some(value) = node.label(key) {
                object.set_at(&["metadata", "labels", key], value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Ask, World};
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn zones_and_regions_are_taken_over() {
        let labels = json!({
            "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "topology.kubernetes.io/rack": "k",
        });
        let node = |name: &str, labels: &Value| {
            (
                "nodes",
                json!({"metadata": {"name": name, "labels": labels}}),
            )
        };
        let world = World::new(&[node("n", &labels), node("bare", &json!({}))]);
        let both =
            json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
        let pod = |node: &str| json!({"metadata": {"name": "p"}, "spec": {"nodeName": node}});
        let own = json!({"metadata": {"name": "p", "labels": {"a": "b", "topology.kubernetes.io/zone": "x"}}, "spec": {"nodeName": "n"}});
        let mut overwritten = both.clone();
        overwritten["a"] = "b".into();
        let binding =
            |kind: &str| json!({"metadata": {"name": "p"}, "target": {"kind": kind, "name": "n"}});
        for (subresource, object, expected) in [
            ("", pod("n"), &both),
            ("", own, &overwritten),
            ("", pod("bare"), &Value::Null),
            ("", pod("gone"), &Value::Null),
            ("", pod(""), &Value::Null),
            ("binding", binding("Node"), &both),
            ("binding", binding("Other"), &Value::Null),
            ("eviction", binding("Node"), &Value::Null),
        ] {
            let mut ask = Ask::create("", "pods", "live", object);
            ask.subresource = subresource.to_owned();
            let admitted = world.mutate(&PodTopologyLabels, &ask).await.unwrap();
            assert_eq!(
                &admitted["metadata"]["labels"], expected,
                "{subresource} {:?}",
                ask.object
            );
        }
    }
}
