//! NodePorts: two pods cannot have one port of a node.

use crate::scheduler::framework::{
    Actions, ClusterEvent, CycleState, EventPattern, Filter, Hint, NodeInfo, Plugin, PodInfo,
    PreFilter, PreFiltered, Resource, Scope, Snapshot, Status,
};

/// Filters by host ports.
#[derive(Clone, Copy, Debug)]
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::AssignedPod, Actions::DELETE),
            EventPattern::new(Resource::Node, Actions::ADD),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        match event.old::<PodInfo>() {
            Some(gone) if !conflicts(pod, gone) => Hint::Skip,
            _ => Hint::Queue,
        }
    }
}

/// Whether two pods want the same port.
fn conflicts(pod: &PodInfo, other: &PodInfo) -> bool {
    let mut wanted = pod.host_ports.iter();
    wanted.any(|wanted| {
        let mut taken = other.host_ports.iter();
        taken.any(|taken| wanted.conflicts(taken))
    })
}

impl PreFilter for NodePorts {
    fn pre_filter(
        &self,
        _state: &mut CycleState,
        pod: &PodInfo,
        _snapshot: &Snapshot,
    ) -> PreFiltered {
        if pod.host_ports.is_empty() {
            Status::skip().into()
        } else {
            Status::success().into()
        }
    }
}

impl Filter for NodePorts {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if !pod.host_ports.is_empty() && node.pods.values().any(|other| conflicts(pod, other)) {
            return Status::unschedulable(
                "node(s) didn't have free ports for the requested pod ports",
            );
        }
        Status::success()
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
