//! NodePorts: two pods cannot have one port of a node.

use crate::scheduler::framework::{
    ClusterEvent, CycleState, Filter, NodeInfo, Plugin, PodInfo, Status,
};

/// Filters by host ports.
#[derive(Clone, Copy, Debug)]
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn wakes(&self, event: ClusterEvent, _pod: &PodInfo) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodDeleted)
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
            .any(|wanted| taken().any(|taken| conflict(wanted, taken)));
        if conflicts {
            return Status::unschedulable(
                "node(s) didn't have free ports for the requested pod ports",
            );
        }
        Status::success()
    }
}

/// Ports conflict on the same address, or when either wants all addresses.
fn conflict(a: &(String, String, i32), b: &(String, String, i32)) -> bool {
    a.0 == b.0 && a.2 == b.2 && (a.1 == b.1 || a.1 == "0.0.0.0" || b.1 == "0.0.0.0")
}
