//! Plugins of one rule each.

use std::cmp::Ordering;

use crate::object::taint::tolerates;
use crate::scheduler::framework::{
    ClusterEvent, CycleState, Filter, NodeInfo, Plugin, PodInfo, PreEnqueue, QueueSort, Status,
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

    fn wakes(&self, event: ClusterEvent, pod: &PodInfo) -> bool {
        event == ClusterEvent::PodUpdated && gates(pod).is_empty()
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

    fn wakes(&self, event: ClusterEvent, _pod: &PodInfo) -> bool {
        event == ClusterEvent::NodeAdded
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
}

/// Cordoned nodes take no new pods, but those that tolerate it.
#[derive(Clone, Copy, Debug)]
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn wakes(&self, event: ClusterEvent, _pod: &PodInfo) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodUpdated
        )
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
}
