//! Plugins of one rule each.

use std::cmp::Ordering;

use crate::object::taint::tolerates;
use crate::scheduler::framework::{
    Actions, CycleState, EventPattern, Filter, NodeInfo, Plugin, PodInfo, PreEnqueue, QueueSort,
    Resource, Scope, Status,
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
        vec![EventPattern::new(Resource::TargetPod, Actions::UPDATE)]
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo) -> Status {
        if gates(pod).is_empty() {
            return Status::success();
        }
        Status::unresolvable("Scheduling is blocked due to non-empty scheduling gates")
    }
}

fn gates(pod: &PodInfo) -> Vec<&str> {
    let gates = pod.spec().and_then(|spec| spec.scheduling_gates.as_ref());
    gates
        .into_iter()
        .flatten()
        .map(|gate| gate.name.as_str())
        .collect()
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
            EventPattern::new(Resource::Node, Actions::ADD),
            EventPattern::new(Resource::Node, Actions::UPDATE_NODE_TAINT),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE),
        ]
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if !node.is_unschedulable() {
            return Status::success();
        }
        let tolerated = pod.tolerations().iter().any(|toleration| {
            tolerates(
                toleration,
                "node.kubernetes.io/unschedulable",
                "",
                "NoSchedule",
            )
        });
        if tolerated {
            Status::success()
        } else {
            Status::unresolvable("node(s) were unschedulable")
        }
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
