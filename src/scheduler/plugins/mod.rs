//! THE list of in-tree plugins, with the weights of the default profile.

mod balanced;
mod basic;
mod binder;
mod fit;
mod image_locality;
mod node_affinity;
mod node_ports;
mod pod_affinity;
mod preemption;
mod taints;
mod topology_spread;

pub use self::balanced::BalancedAllocation;
pub use self::basic::{NodeName, NodeUnschedulable, PrioritySort, SchedulingGates};
pub use self::binder::DefaultBinder;
pub use self::fit::Fit;
pub use self::image_locality::ImageLocality;
pub use self::node_affinity::NodeAffinity;
pub use self::node_ports::NodePorts;
pub use self::pod_affinity::InterPodAffinity;
pub use self::preemption::DefaultPreemption;
pub use self::taints::TaintToleration;
pub use self::topology_spread::PodTopologySpread;
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
        .pre_filter(PodTopologySpread)
        .filter(PodTopologySpread)
        .pre_filter(InterPodAffinity)
        .filter(InterPodAffinity)
        .post_filter(DefaultPreemption)
        .pre_score(PodTopologySpread)
        .pre_score(InterPodAffinity)
        .pre_score(ImageLocality)
        .score(TaintToleration, 3)
        .score(NodeAffinity, 2)
        .score(PodTopologySpread, 2)
        .score(InterPodAffinity, 2)
        .score(Fit, 1)
        .score(ImageLocality, 1)
        .score(BalancedAllocation, 1)
        .bind(DefaultBinder)
}

#[cfg(test)]
mod tests;
