//! THE list of in-tree plugins, with the weights of the default profile.

mod balanced;
mod basic;
mod binder;
mod fit;
mod node_affinity;
mod node_ports;
mod taints;

pub use self::balanced::BalancedAllocation;
pub use self::basic::{NodeName, NodeUnschedulable, PrioritySort, SchedulingGates};
pub use self::binder::DefaultBinder;
pub use self::fit::Fit;
pub use self::node_affinity::NodeAffinity;
pub use self::node_ports::NodePorts;
pub use self::taints::TaintToleration;
use super::framework::Profile;

/// The default plugins under the scheduler name `name`.
pub(super) fn default_profile(name: &str) -> Profile {
    Profile::empty(name, PrioritySort)
        .pre_enqueue(SchedulingGates)
        .filter(NodeUnschedulable)
        .filter(NodeName)
        .filter(TaintToleration)
        .filter(NodeAffinity)
        .filter(NodePorts)
        .filter(Fit)
        .score(TaintToleration, 3)
        .score(NodeAffinity, 2)
        .score(Fit, 1)
        .score(BalancedAllocation, 1)
        .bind(DefaultBinder)
}

#[cfg(test)]
mod tests;
