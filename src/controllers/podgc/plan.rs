//! Which pods nobody else will ever remove.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::controllers::podutil;

/// The taint by which an administrator says that a node is shut down for good.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Why a pod is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Garbage {
    /// Its node is gone (to be confirmed after a quarantine).
    Orphaned,
    /// It is being deleted and was never bound to a node.
    Unscheduled,
    /// It is being deleted, and its node is out of service.
    OutOfService,
}

/// Judges one pod; `node` is the node it is bound to, if that exists.
pub(super) fn judge(pod: &Pod, node: Option<&Node>) -> Option<Garbage> {
    if podutil::node_name(pod).is_empty() {
        return podutil::is_terminating(pod).then_some(Garbage::Unscheduled);
    }
    let Some(node) = node else {
        return Some(Garbage::Orphaned);
    };
    let out_of_service = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
        .any(|taint| taint.key == OUT_OF_SERVICE);
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .filter(|condition| condition.type_ == "Ready")
        .any(|ready| ready.status == "True");
    (podutil::is_terminating(pod) && out_of_service && !ready).then_some(Garbage::OutOfService)
}

/// How many finished pods are beyond `threshold`, and which: the oldest, evicted ones first.
pub(super) fn surplus<P: AsRef<Pod>>(
    pods: impl IntoIterator<Item = P>,
    threshold: usize,
) -> Vec<P> {
    let mut finished: Vec<P> = pods
        .into_iter()
        .filter(|pod| podutil::is_finished(pod.as_ref()))
        .collect();
    let surplus = finished.len().saturating_sub(threshold);
    finished.sort_by_key(|pod| {
        let pod = pod.as_ref();
        let evicted = pod
            .status
            .as_ref()
            .and_then(|status| status.reason.as_deref())
            == Some("Evicted");
        let created = pod
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::MIN, |time| time.0);
        (!evicted, created, pod.metadata.name.clone())
    });
    finished.truncate(surplus);
    finished
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(name: &str, node: &str, terminating: bool, phase: &str) -> Arc<Pod> {
        let deleted = terminating.then_some("2026-01-01T00:00:00Z");
        Arc::new(serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "deletionTimestamp": deleted}, "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase},
        })).unwrap())
    }

    #[test]
    fn judges() {
        let node: Node = serde_json::from_value(
            serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
        )
        .unwrap();
        let mut dead = node.clone();
        dead.spec = serde_json::from_value(
            serde_json::json!({"taints": [{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]}),
        )
        .unwrap();
        for (pod, node, garbage) in [
            (pod("a", "", false, ""), None, None),
            (pod("a", "", true, ""), None, Some(Garbage::Unscheduled)),
            (pod("a", "n", false, ""), None, Some(Garbage::Orphaned)),
            (pod("a", "n", true, ""), Some(&node), None),
            (
                pod("a", "n", true, ""),
                Some(&dead),
                Some(Garbage::OutOfService),
            ),
            (pod("a", "n", false, ""), Some(&dead), None),
        ] {
            assert_eq!(judge(&pod, node), garbage);
        }
    }

    #[test]
    fn finished_pods_beyond_the_threshold_go() {
        let pods = [
            pod("b", "n", false, "Failed"),
            pod("a", "n", false, "Succeeded"),
            pod("c", "n", false, "Running"),
        ];
        let names = |pods: Vec<Arc<Pod>>| {
            pods.iter()
                .map(|pod| pod.metadata.name.clone().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(surplus(pods.clone(), 1)), ["a"]);
        assert!(surplus(pods, 2).is_empty());
    }
}
