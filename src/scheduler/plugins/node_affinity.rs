//! NodeAffinity: `nodeSelector`, and required and preferred node affinity.

use super::taints::normalize;
use crate::scheduler::framework::{
    Actions, CycleState, EventPattern, Filter, NodeInfo, Plugin, PodInfo, Resource, Scope, Score,
    Status,
};

/// Filters by required affinity and selector; scores by the weights of the preferred terms that hold.
#[derive(Clone, Copy, Debug)]
pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::Node, Actions::ADD),
            EventPattern::new(Resource::Node, Actions::UPDATE_NODE_LABEL),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE),
        ]
    }
}

/// Whether a node has what the pod's selector and required affinity ask for.
pub(super) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let mut selector = pod.node_selector().into_iter().flatten();
    let selected = selector.all(|(key, value)| node.label(key) == Some(value));
    let wanted = pod.required.as_ref().is_none_or(|terms| {
        terms
            .iter()
            .any(|term| term.matches(&node.name, node.labels()))
    });
    selected && wanted
}

impl Filter for NodeAffinity {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if matches(pod, node) {
            return Status::success();
        }
        Status::unresolvable("node(s) didn't match Pod's node affinity/selector")
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}

impl Score for NodeAffinity {
    fn score(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        pod.preferred
            .iter()
            .filter(|(_, term)| term.matches(&node.name, node.labels()))
            .map(|(weight, _)| weight)
            .sum()
    }

    fn normalize(&self, _state: &CycleState, _pod: &PodInfo, scores: &mut [i64]) {
        normalize(scores, false);
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
