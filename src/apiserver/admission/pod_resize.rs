//! `PodResizeValidator`: a running pod asks for no more than its node could ever give, and not on a node that cannot change pods in
//! place. The kubelet would find that out as well, after the request was granted.
use super::pod_resources::{self, Side};
use super::{Admission, AdmissionRequest, Operation};
use crate::object::status::Cause;
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::Value;

#[derive(Debug)]
pub(super) struct PodResizeValidator;

#[async_trait]
impl Admission for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let (Some(pod), Some(old)) = (object, request.old) else {
            return Ok(());
        };
        let is_resize = request.operation == Operation::Update
            && request.is_for("", "pods")
            && request.subresource == "resize";
        let name = pod.str_at(&["spec", "nodeName"]);
        if !is_resize || name.is_empty() || pod.get("spec") == old.get("spec") {
            return Ok(());
        }
        let Some(node) = request.view.get("", "v1", "nodes", "", name).await? else {
            return Err(request.forbidden(object, &format!("node {name:?} not found")));
        };
        let Some((reason, why)) = obstacle(pod, &node) else {
            return Ok(());
        };
        let mut status = request.forbidden(object, &why);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: reason.to_owned(),
                ..Cause::default()
            });
        }
        Err(status)
    }
}

/// Why the node can never run the pod like this: for machines and in words.
fn obstacle(pod: &Value, node: &Value) -> Option<(&'static str, String)> {
    let system = node.at(&["metadata", "labels", "kubernetes.io/os"]);
    if let Some(system) = system.and_then(Value::as_str)
        && system != "linux"
    {
        let name = node.name();
        let why =
            format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        return Some(("UnsupportedPlatform", why));
    }
    let asked = pod_resources::of_pod(pod, Side::Requests, true);
    let given = pod_resources::amounts(node.at(&["status", "allocatable"]));
    let of =
        |amounts: &pod_resources::Amounts, name| amounts.get(name).copied().unwrap_or_default();
    let mut lacking = Vec::new();
    let (cpu, most) = (of(&asked, "cpu"), of(&given, "cpu"));
    if cpu > most {
        let (cpu, most) = (cpu.milli_value(), most.milli_value());
        lacking.push(format!("cpu, requested: {cpu}, allocatable: {most}"));
    }
    let (memory, most) = (of(&asked, "memory"), of(&given, "memory"));
    if memory > most {
        let (memory, most) = (memory.value(), most.value());
        lacking.push(format!("memory, requested: {memory}, allocatable: {most}"));
    }
    let lacking = (!lacking.is_empty()).then(|| lacking.join("; "))?;
    let why = format!("node didn't have enough allocatable resources: {lacking}");
    Some(("NodeCapacity", why))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Ask, World};
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn nodes_give_no_more_than_they_have() {
        let node = |name: &str, system: &str| {
            let allocatable = json!({"cpu": "2", "memory": "1Gi"});
            let labels = json!({"kubernetes.io/os": system});
            let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}});
            ("nodes", node)
        };
        let world = World::new(&[node("n", "linux"), node("w", "windows")]);
        let pod = |node: &str, cpu: &str, memory: &str| {
            let container =
                json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}});
            json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": [container]}})
        };
        for (subresource, object, expected) in [
            ("resize", pod("n", "2", "1Gi"), None),
            (
                "resize",
                pod("n", "2001m", "1Gi"),
                Some(("NodeCapacity", "cpu, requested: 2001, allocatable: 2000")),
            ),
            (
                "resize",
                pod("n", "3", "2Gi"),
                Some((
                    "NodeCapacity",
                    "cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824",
                )),
            ),
            ("", pod("n", "3", "2Gi"), None),
            ("resize", pod("", "3", "2Gi"), None),
            ("resize", pod("n", "1", "1"), None),
            (
                "resize",
                pod("gone", "2", "1"),
                Some(("", "node \"gone\" not found")),
            ),
            (
                "resize",
                pod("w", "1", "2"),
                Some((
                    "UnsupportedPlatform",
                    "pod resize is only supported on linux nodes, node \"w\" is \"windows\"",
                )),
            ),
        ] {
            let old = pod(object.str_at(&["spec", "nodeName"]), "1", "1");
            let mut ask = Ask::update("", "pods", "live", object, old);
            ask.subresource = subresource.to_owned();
            let outcome = world.validate(&PodResizeValidator, &ask).await;
            let Some((reason, why)) = expected else {
                assert_eq!(outcome, Ok(()), "{:?}", ask.object);
                continue;
            };
            let status = outcome.unwrap_err();
            assert!(status.message.ends_with(why), "{}", status.message);
            assert_eq!(status.code, 403);
            let causes = status.details.unwrap().causes;
            let reasons: Vec<&str> = causes.iter().map(|cause| &*cause.reason).collect();
            assert_eq!(reasons.concat(), reason);
        }
        // What was too much already may be shown again.
        let much = pod("n", "9", "1");
        let mut ask = Ask::update("", "pods", "live", much.clone(), much);
        ask.subresource = "resize".to_owned();
        assert_eq!(world.validate(&PodResizeValidator, &ask).await, Ok(()));
    }
}
