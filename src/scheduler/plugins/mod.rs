//! THE list of in-tree plugins, with the weights of the default profile.

mod args;
mod balanced;
mod basic;
mod binder;
mod declared_features;
mod fit;
mod gang;
mod image_locality;
mod node_affinity;
mod node_ports;
mod pod_affinity;
mod preemption;
mod scoring;
mod seen;
mod spread_defaults;
mod taints;
mod topology_spread;
mod volumes;

use std::sync::Arc;

use serde_json::Value;

pub use self::balanced::BalancedAllocation;
pub use self::basic::{NodeName, NodeUnschedulable, PrioritySort, SchedulingGates};
pub use self::binder::DefaultBinder;
pub use self::declared_features::NodeDeclaredFeatures;
pub use self::fit::Fit;
pub use self::gang::GangScheduling;
pub use self::image_locality::ImageLocality;
pub use self::node_affinity::NodeAffinity;
pub use self::node_ports::NodePorts;
pub use self::pod_affinity::InterPodAffinity;
pub use self::preemption::DefaultPreemption;
pub use self::taints::TaintToleration;
pub use self::topology_spread::PodTopologySpread;
pub use self::volumes::{NodeVolumeLimits, VolumeBinding, VolumeRestrictions, VolumeZone};
use super::framework::{ArgsError, Hooks, Plugin, Registry};

/// The plugins of the default profile, in their order, and their weights (0: they do not score).
pub const DEFAULT: &[(&str, i64)] = &[
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
];

/// How each is made from its arguments.
pub(super) fn registry() -> Registry {
    Registry::empty()
        .with("SchedulingGates", |args, _| {
            plain(args, SchedulingGates, Hooks::pre_enqueue)
        })
        .with("PrioritySort", |args, _| {
            plain(args, PrioritySort, Hooks::queue_sort)
        })
        .with("NodeUnschedulable", |args, _| {
            plain(args, NodeUnschedulable, Hooks::filter)
        })
        .with("NodeName", |args, _| plain(args, NodeName, Hooks::filter))
        .with("TaintToleration", |args, _| {
            plain(args, TaintToleration, |hooks, plugin| {
                hooks.filter(plugin).score(plugin)
            })
        })
        .with("NodeAffinity", NodeAffinity::make)
        .with("NodePorts", |args, _| {
            plain(args, NodePorts, |hooks, plugin| {
                hooks.pre_filter(plugin).filter(plugin)
            })
        })
        .with("NodeResourcesFit", Fit::make)
        .with(GangScheduling::NAME, GangScheduling::make)
        .with("VolumeRestrictions", VolumeRestrictions::make)
        .with("NodeVolumeLimits", NodeVolumeLimits::make)
        .with("VolumeBinding", VolumeBinding::make)
        .with("VolumeZone", VolumeZone::make)
        .with("PodTopologySpread", PodTopologySpread::make)
        .with("InterPodAffinity", InterPodAffinity::make)
        .with("DefaultPreemption", DefaultPreemption::make)
        .with("NodeResourcesBalancedAllocation", BalancedAllocation::make)
        .with("ImageLocality", |args, _| {
            plain(args, ImageLocality, |hooks, plugin| {
                hooks.pre_score(plugin).score(plugin)
            })
        })
        .with("DefaultBinder", |args, _| {
            plain(args, DefaultBinder, Hooks::bind)
        })
        .with("NodeDeclaredFeatures", |args, _| {
            plain(args, NodeDeclaredFeatures, |hooks, plugin| {
                hooks.pre_filter(plugin).filter(plugin)
            })
        })
        .ours()
}

/// A plugin that takes no arguments.
fn plain<P: Plugin>(
    args: &Value,
    plugin: P,
    extend: impl Fn(Hooks, &Arc<P>) -> Hooks,
) -> Result<Hooks, ArgsError> {
    if !args.is_null() {
        return Err(ArgsError::new("", "the plugin takes no arguments"));
    }
    let plugin = Arc::new(plugin);
    Ok(extend(Hooks::new(&plugin), &plugin))
}

#[cfg(test)]
mod tests;
