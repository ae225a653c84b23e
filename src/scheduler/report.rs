//! Tells the world why a pod waits: condition `PodScheduled=False` and event `FailedScheduling`.

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::json;

use crate::client;
use crate::clock::Clock;

/// Puts the condition on the pod, unless it is there already.
pub(super) async fn unscheduled(
    client: kube::Client,
    clock: Clock,
    pod: std::sync::Arc<Pod>,
    reason: &'static str,
    message: String,
    nominated: Option<String>,
) {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut scheduled = conditions.filter(|condition| condition.type_ == "PodScheduled");
    let old = scheduled.next();
    let same = |text: &Option<String>, wanted: &str| text.as_deref() == Some(wanted);
    let had = pod
        .status
        .as_ref()
        .and_then(|status| status.nominated_node_name.clone())
        .filter(|node| !node.is_empty());
    if had == nominated
        && old.is_some_and(|old| {
            old.status == "False" && same(&old.reason, reason) && same(&old.message, &message)
        })
    {
        return;
    }
    let kept = old
        .filter(|old| old.status == "False")
        .and_then(|old| old.last_transition_time.clone());
    let since = kept
        .map_or_else(|| clock.now(), |time| time.0)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastTransitionTime": since,
        "observedGeneration": pod.metadata.generation,
    });
    let status = json!({"conditions": [condition], "nominatedNodeName": nominated});
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let pods = Request::new(Pod::url_path(&(), pod.metadata.namespace.as_deref()));
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let request = pods.patch_subresource("status", name, &params, &patch);
    match client::send(&client, request).await {
        Err(error) if !client::is_not_found(&error) && !client::is_conflict(&error) => {
            tracing::warn!(%error, pod = name, "the pod's condition could not be written");
        }
        _ => {}
    }
}
