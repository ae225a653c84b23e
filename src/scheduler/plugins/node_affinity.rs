//! NodeAffinity: `nodeSelector`, and required and preferred node affinity.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeAffinity as Affinity, NodeSelectorTerm};
use serde_json::Value;

use super::args::Args;
use super::taints::normalize;
use crate::scheduler::framework::{
    Actions, ArgsError, ClusterEvent, CycleState, EventPattern, Filter, Handle, Hint, Hooks,
    NodeInfo, NodeTerm, Plugin, PodInfo, PreFilter, PreFiltered, PreScore, Resource, Scope, Score,
    Snapshot, Status,
};

/// Filters by required affinity and selector; scores by the weights of the preferred terms that hold.
#[derive(Clone, Debug, Default)]
pub struct NodeAffinity {
    /// What is required of nodes for all pods of the profile.
    required: Option<Vec<NodeTerm>>,
    /// What is preferred for all of them.
    preferred: Vec<(i64, NodeTerm)>,
}

impl NodeAffinity {
    pub(super) fn make(args: &Value, _handle: &Handle) -> Result<Hooks, ArgsError> {
        let plugin = Arc::new(Self::of(args)?);
        Ok(Hooks::new(&plugin)
            .pre_filter(&plugin)
            .filter(&plugin)
            .pre_score(&plugin)
            .score(&plugin))
    }

    pub(super) fn of(args: &Value) -> Result<Self, ArgsError> {
        let args = Args::of(args, "NodeAffinityArgs", &["addedAffinity"])?;
        let added: Option<Affinity> = args.typed("addedAffinity")?;
        let Some(added) = added else {
            return Ok(Self::default());
        };
        let required = added.required_during_scheduling_ignored_during_execution;
        let preferred = added.preferred_during_scheduling_ignored_during_execution;
        let term = |term: &NodeSelectorTerm| NodeTerm::new(term);
        Ok(Self {
            required: required.map(|all| all.node_selector_terms.iter().map(term).collect()),
            preferred: preferred
                .iter()
                .flatten()
                .map(|weighted| (i64::from(weighted.weight), term(&weighted.preference)))
                .collect(),
        })
    }

    /// Whether a node is one for the profile's pods.
    fn allows(&self, node: &NodeInfo) -> bool {
        let terms = self.required.as_deref();
        terms.is_none_or(|terms| any(terms, node))
    }

    fn suits(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        self.allows(node) && matches(pod, node)
    }
}

fn any(terms: &[NodeTerm], node: &NodeInfo) -> bool {
    let mut terms = terms.iter();
    terms.any(|term| term.matches(&node.name, node.labels()))
}

/// Whether a node has what the pod's selector and required affinity ask for.
pub(super) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let mut selector = pod.node_selector().into_iter().flatten();
    let selected = selector.all(|(key, value)| node.label(key) == Some(value));
    let terms = pod.required.as_deref();
    selected && terms.is_none_or(|terms| any(terms, node))
}

/// The nodes that a pod names, when each of its terms names some.
fn named(pod: &PodInfo) -> Option<BTreeSet<Arc<str>>> {
    let affinity = pod.spec()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let mut all = BTreeSet::new();
    for term in &required.node_selector_terms {
        let fields = term.match_fields.iter().flatten();
        let names = fields
            .filter(|field| field.key == "metadata.name" && field.operator == "In")
            .map(|field| field.values.iter().flatten().collect::<BTreeSet<_>>())
            .reduce(|some, others| &some & &others)?;
        all.extend(names.into_iter().map(|name| Arc::from(name.as_str())));
    }
    (!required.node_selector_terms.is_empty()).then_some(all)
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![EventPattern::new(
            Resource::Node,
            Actions::ADD | Actions::UPDATE_NODE_LABEL,
        )]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let suits = |node: &Node| {
            let mut info = NodeInfo::new(node.metadata.name.as_deref().unwrap_or_default());
            info.set_node(Some(Arc::new(node.clone())));
            self.suits(pod, &info)
        };
        let helps = event
            .new_object::<Node>()
            .is_none_or(|node| suits(node) && !event.old::<Node>().is_some_and(suits));
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

impl PreFilter for NodeAffinity {
    fn pre_filter(
        &self,
        _state: &mut CycleState,
        pod: &PodInfo,
        _snapshot: &Snapshot,
    ) -> PreFiltered {
        if self.required.is_none() && pod.required.is_none() && pod.node_selector().is_none() {
            return Status::skip().into();
        }
        match named(pod) {
            None => Status::success().into(),
            Some(nodes) if nodes.is_empty() => {
                Status::unresolvable("pod affinity terms conflict").into()
            }
            Some(nodes) => PreFiltered::only(nodes),
        }
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if !self.allows(node) {
            return Status::unresolvable("node(s) didn't match scheduler-enforced node affinity");
        }
        if matches(pod, node) {
            return Status::success();
        }
        Status::unresolvable("node(s) didn't match Pod's node affinity/selector")
    }

    fn fits(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<bool> {
        Some(self.suits(pod, node))
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}

impl PreScore for NodeAffinity {
    fn pre_score(
        &self,
        _state: &mut CycleState,
        pod: &PodInfo,
        _nodes: &[&NodeInfo],
        _snapshot: &Snapshot,
    ) -> Status {
        if self.preferred.is_empty() && pod.preferred.is_empty() {
            Status::skip()
        } else {
            Status::success()
        }
    }
}

impl Score for NodeAffinity {
    fn score(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let terms = self.preferred.iter().chain(&pod.preferred);
        terms
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
