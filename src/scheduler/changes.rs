//! What a change of a node or a pod means to waiting pods.

use k8s_openapi::api::core::v1::Node;

use super::framework::{Actions, PodInfo};

/// What happened to a node.
pub(super) fn of_node(old: Option<&Node>, new: Option<&Node>) -> Actions {
    let (old, new) = match (old, new) {
        (None, _) => return Actions::ADD,
        (_, None) => return Actions::DELETE,
        (Some(old), Some(new)) => (old, new),
    };
    let (was, is) = (old.status.as_ref(), new.status.as_ref());
    let mut actions = Actions::default();
    if was.and_then(|status| status.allocatable.as_ref())
        != is.and_then(|status| status.allocatable.as_ref())
    {
        actions = actions | Actions::UPDATE_NODE_ALLOCATABLE;
    }
    if old.metadata.labels != new.metadata.labels {
        actions = actions | Actions::UPDATE_NODE_LABEL;
    }
    let (old_spec, new_spec) = (old.spec.as_ref(), new.spec.as_ref());
    let cordoned = |spec: Option<&k8s_openapi::api::core::v1::NodeSpec>| {
        spec.and_then(|spec| spec.unschedulable)
    };
    if old_spec.and_then(|spec| spec.taints.as_ref())
        != new_spec.and_then(|spec| spec.taints.as_ref())
        || cordoned(old_spec).unwrap_or(false) != cordoned(new_spec).unwrap_or(false)
    {
        actions = actions | Actions::UPDATE_NODE_TAINT;
    }
    // A heartbeat is no change of a condition.
    let conditions = |node: Option<&k8s_openapi::api::core::v1::NodeStatus>| {
        let all = node.and_then(|status| status.conditions.as_ref());
        let all = all.into_iter().flatten();
        all.map(|condition| (condition.type_.clone(), condition.status.clone()))
            .collect::<Vec<_>>()
    };
    if conditions(was) != conditions(is) {
        actions = actions | Actions::UPDATE_NODE_CONDITION;
    }
    if old.metadata.annotations != new.metadata.annotations {
        actions = actions | Actions::UPDATE_NODE_ANNOTATION;
    }
    if was.and_then(|status| status.declared_features.as_ref())
        != is.and_then(|status| status.declared_features.as_ref())
    {
        actions = actions | Actions::UPDATE_NODE_DECLARED_FEATURE;
    }
    actions
}

/// What changed of a pod that stays; nothing when only what no scheduling reads did.
pub(super) fn of_pod(old: &PodInfo, new: &PodInfo) -> Actions {
    let mut actions = Actions::default();
    if old.labels() != new.labels() {
        actions = actions | Actions::UPDATE_POD_LABEL;
    }
    let less =
        new.requests.milli_cpu < old.requests.milli_cpu
            || new.requests.memory < old.requests.memory
            || new.requests.ephemeral_storage < old.requests.ephemeral_storage
            || old.requests.scalars.iter().any(|(name, before)| {
                new.requests.scalars.get(name).copied().unwrap_or(0) < *before
            });
    // What a pod that is resized in place holds changes with its status, too.
    if less {
        actions = actions | Actions::UPDATE_POD_SCALE_DOWN;
    }
    if !old.is_terminating() && new.is_terminating() {
        actions = actions | Actions::UPDATE_OTHER;
    }
    if old.spec() == new.spec() {
        return actions;
    }
    if old.tolerations() != new.tolerations() {
        actions = actions | Actions::UPDATE_POD_TOLERATION;
    }
    let gates = |pod: &PodInfo| {
        let gates = pod.spec().and_then(|spec| spec.scheduling_gates.as_ref());
        gates.is_some_and(|gates| !gates.is_empty())
    };
    if gates(old) && !gates(new) {
        actions = actions | Actions::UPDATE_POD_GATES_ELIMINATED;
    }
    if actions.is_empty() {
        actions = Actions::UPDATE_OTHER;
    }
    actions
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn nodes() {
        let node = |value: Value| -> Node { serde_json::from_value(value).unwrap() };
        let plain = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}});
        for (after, actions) in [
            (plain.clone(), Actions::default()),
            (
                json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:10Z"}]}}),
                Actions::default(),
            ),
            (
                json!({"metadata": {"labels": {"a": "b"}}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
                Actions::UPDATE_NODE_LABEL | Actions::UPDATE_NODE_CONDITION,
            ),
            (
                json!({"status": {"conditions": plain["status"]["conditions"], "declaredFeatures": ["F"]}}),
                Actions::UPDATE_NODE_DECLARED_FEATURE,
            ),
            (
                json!({"spec": {"unschedulable": true}, "status": plain["status"]}),
                Actions::UPDATE_NODE_TAINT,
            ),
            (
                json!({"spec": {"unschedulable": false}, "status": plain["status"]}),
                Actions::default(),
            ),
        ] {
            let found = of_node(Some(&node(plain.clone())), Some(&node(after.clone())));
            assert_eq!(found, actions, "{after} {found}");
        }
        assert_eq!(of_node(None, Some(&node(plain.clone()))), Actions::ADD);
        assert_eq!(of_node(Some(&node(plain)), None), Actions::DELETE);
    }

    #[test]
    fn pods() {
        let pod = |value: Value| PodInfo::new(Arc::new(serde_json::from_value(value).unwrap()));
        let asks = |cpu: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        let holds = |cpu: &str| {
            let mut pod = asks("1");
            let has = json!({"requests": {"cpu": cpu}});
            pod["status"] = json!({"containerStatuses": [{"name": "c", "resources": has, "allocatedResources": {"cpu": cpu}}]});
            pod
        };
        for (before, after, actions) in [
            (asks("1"), asks("1"), Actions::default()),
            (asks("2"), asks("1"), Actions::UPDATE_POD_SCALE_DOWN),
            (asks("1"), asks("2"), Actions::UPDATE_OTHER),
            (
                json!({"spec": {"containers": [], "schedulingGates": [{"name": "g"}]}}),
                json!({"spec": {"containers": []}}),
                Actions::UPDATE_POD_GATES_ELIMINATED,
            ),
            (
                json!({"metadata": {"labels": {"a": "b"}}}),
                json!({"metadata": {"labels": {}}, "status": {"phase": "Running"}}),
                Actions::UPDATE_POD_LABEL,
            ),
            // It shrinks in its node's own time.
            (holds("2"), holds("1"), Actions::UPDATE_POD_SCALE_DOWN),
            (
                asks("1"),
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": asks("1")["spec"]}),
                Actions::UPDATE_OTHER,
            ),
        ] {
            let found = of_pod(&pod(before.clone()), &pod(after.clone()));
            assert_eq!(found, actions, "{before} {after}");
        }
    }
}
