//! NodePorts: two pods cannot have one port of a node.

use crate::scheduler::framework::{
    Actions, CycleState, EventPattern, Filter, NodeInfo, Plugin, PodInfo, Resource, Scope, Status,
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
            EventPattern::new(Resource::Node, Actions::ADD),
            EventPattern::new(Resource::AssignedPod, Actions::DELETE),
        ]
    }
}

impl Filter for NodePorts {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if pod.host_ports.is_empty() {
            return Status::success();
        }
        let taken = || node.pods.values().flat_map(|other| &other.host_ports);
        let conflicts = pod
            .host_ports
            .iter()
            .any(|wanted| taken().any(|taken| wanted.conflicts(taken)));
        if conflicts {
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
