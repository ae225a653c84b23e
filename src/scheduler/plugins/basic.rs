//! Plugins of one rule each.

use std::cmp::Ordering;

use k8s_openapi::api::core::v1::Node;

use crate::object::taint::tolerates;
use crate::scheduler::framework::{
    Actions, ClusterEvent, CycleState, EventPattern, Filter, Hint, NodeInfo, Plugin, PodInfo,
    PreEnqueue, QueueSort, Resource, Scope, Snapshot, Status,
};

/// Pods of higher priority go first.
#[derive(Clone, Copy, Debug)]
pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }
}

impl QueueSort for PrioritySort {
    fn compare(&self, a: &PodInfo, b: &PodInfo) -> Ordering {
        b.priority.cmp(&a.priority)
    }
}

/// Pods with scheduling gates wait until the gates are taken away.
#[derive(Clone, Copy, Debug)]
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![EventPattern::new(
            Resource::TargetPod,
            Actions::UPDATE_POD_GATES_ELIMINATED,
        )]
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo) -> Status {
        let spec = pod.spec();
        let gates = spec.and_then(|spec| spec.scheduling_gates.as_deref());
        let names: Vec<&str> = gates
            .unwrap_or_default()
            .iter()
            .map(|gate| gate.name.as_str())
            .collect();
        if names.is_empty() {
            return Status::success();
        }
        Status::unresolvable(format!(
            "waiting for scheduling gates: [{}]",
            names.join(" ")
        ))
    }
}

/// A pod that names its node goes there.
#[derive(Clone, Copy, Debug)]
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![EventPattern::new(Resource::Node, Actions::ADD)]
    }
}

impl Filter for NodeName {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let wanted = pod.node_name();
        if wanted.is_empty() || wanted == &*node.name {
            return Status::success();
        }
        Status::unresolvable("node(s) didn't match the requested node name")
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}

/// Cordoned nodes take no new pods, but those that tolerate it.
#[derive(Clone, Copy, Debug)]
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::Node, Actions::ADD | Actions::UPDATE_NODE_TAINT),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE_POD_TOLERATION),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let takes_pods = |node: &Node| {
            node.spec
                .as_ref()
                .is_none_or(|spec| spec.unschedulable != Some(true))
        };
        let helps = match event.new_object::<Node>() {
            Some(node) => takes_pods(node) && !event.old::<Node>().is_some_and(takes_pods),
            None => event.resource != Resource::TargetPod || bears_cordon(pod),
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

/// Whether a pod goes to cordoned nodes, too.
fn bears_cordon(pod: &PodInfo) -> bool {
    let key = "node.kubernetes.io/unschedulable";
    let mut tolerations = pod.tolerations().iter();
    tolerations.any(|toleration| tolerates(toleration, key, "", "NoSchedule"))
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if !node.is_unschedulable() || bears_cordon(pod) {
            return Status::success();
        }
        Status::unresolvable("node(s) were unschedulable")
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
