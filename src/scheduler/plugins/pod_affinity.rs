//! InterPodAffinity: which pods a pod wants near or far, and which pods there want it near or far.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::scheduler::framework::{
    Actions, CycleState, EventPattern, Filter, MAX_SCORE, NodeInfo, Plugin, PodInfo, PodTerm,
    PreFilter, PreFiltered, PreScore, Resource, Score, Snapshot, Status,
};

/// How much a required term of a pod that is there weighs when nodes are scored.
const REQUIRED_WEIGHT: i64 = 1;

/// Filters by required terms, of the pod and of those that are there; scores by preferred ones.
#[derive(Clone, Copy, Debug)]
pub struct InterPodAffinity;

/// Numbers by the label of nodes and its value.
type ByTopology = BTreeMap<(Arc<str>, String), i64>;

/// Pods that matter, counted where they are.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// Pods that do not want this one near.
    repelling: ByTopology,
    /// Pods that this one has to be near.
    wanted: ByTopology,
    /// Pods that this one must not be near.
    unwanted: ByTopology,
    /// Whether the pod itself is of the kind that it has to be near.
    wants_its_kind: bool,
}

/// How good it is to be near.
#[derive(Clone, Debug, Default)]
struct Weights(ByTopology);

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::Node, Actions::ADD),
            EventPattern::new(Resource::Node, Actions::UPDATE_NODE_LABEL),
            EventPattern::new(
                Resource::AssignedPod,
                Actions::ADD | Actions::UPDATE_POD_LABEL,
            ),
            EventPattern::new(Resource::AssignedPod, Actions::DELETE),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE),
        ]
    }
}

/// Changes the number at the place of `node` that `term` speaks of.
fn bump(map: &mut ByTopology, term: &PodTerm, node: &NodeInfo, by: i64) {
    let Some(value) = node.label(&term.topology_key) else {
        return;
    };
    let key = (term.topology_key.clone(), value.to_owned());
    let number = map.entry(key.clone()).or_default();
    *number += by;
    if *number == 0 {
        map.remove(&key);
    }
}

fn at(map: &ByTopology, term: &PodTerm, value: &str) -> i64 {
    // The map is small, or empty.
    let key = (term.topology_key.clone(), value.to_owned());
    map.get(&key).copied().unwrap_or(0)
}

impl Counts {
    /// Counts `other`, which is on `node`, `by` times.
    fn count(
        &mut self,
        pod: &PodInfo,
        other: &PodInfo,
        node: &NodeInfo,
        by: i64,
        snapshot: &Snapshot,
    ) {
        for term in &other.affinity.required_anti {
            if term.matches(pod, snapshot) {
                bump(&mut self.repelling, term, node, by);
            }
        }
        let required = &pod.affinity.required;
        if !required.is_empty() && required.iter().all(|term| term.matches(other, snapshot)) {
            for term in required {
                bump(&mut self.wanted, term, node, by);
            }
        }
        for term in &pod.affinity.required_anti {
            if term.matches(other, snapshot) {
                bump(&mut self.unwanted, term, node, by);
            }
        }
    }
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> PreFiltered {
        let own = &pod.affinity;
        let wants = !own.required.is_empty() || !own.required_anti.is_empty();
        let mut counts = Counts {
            wants_its_kind: own.required.iter().all(|term| term.matches(pod, snapshot)),
            ..Counts::default()
        };
        for node in snapshot.nodes() {
            if node.node.is_none() || !(wants || node.with_anti_affinity > 0) {
                continue;
            }
            for other in node.pods.values() {
                if wants || !other.affinity.required_anti.is_empty() {
                    counts.count(pod, other, node, 1, snapshot);
                }
            }
        }
        if !wants && counts.repelling.is_empty() {
            return Status::skip().into();
        }
        state.write(counts);
        Status::success().into()
    }

    fn add_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        added: &PodInfo,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) {
        if let Some(counts) = state.read_mut::<Counts>() {
            counts.count(pod, added, node, 1, snapshot);
        }
    }

    fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        removed: &PodInfo,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) {
        if let Some(counts) = state.read_mut::<Counts>() {
            counts.count(pod, removed, node, -1, snapshot);
        }
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let Some(counts) = state.read::<Counts>() else {
            return Status::success();
        };
        let required = &pod.affinity.required;
        let places: Option<Vec<&str>> = required
            .iter()
            .map(|term| node.label(&term.topology_key))
            .collect();
        let near = places.is_some_and(|places| {
            let mut terms = required.iter().zip(places);
            // The first of a group that wants its own kind near may start anywhere.
            terms.all(|(term, value)| at(&counts.wanted, term, value) > 0)
                || (counts.wanted.is_empty() && counts.wants_its_kind)
        });
        if !near {
            return Status::unresolvable("node(s) didn't match pod affinity rules");
        }
        let repels = |map: &ByTopology, term: &PodTerm| {
            node.label(&term.topology_key)
                .is_some_and(|value| at(map, term, value) > 0)
        };
        if pod
            .affinity
            .required_anti
            .iter()
            .any(|term| repels(&counts.unwanted, term))
        {
            return Status::unschedulable("node(s) didn't match pod anti-affinity rules");
        }
        let mut labels = node.labels().into_iter().flatten();
        let repelled = !counts.repelling.is_empty()
            && labels.any(|(key, value)| {
                let place = (key.as_str().into(), value.clone());
                counts.repelling.contains_key(&place)
            });
        if repelled {
            return Status::unschedulable(
                "node(s) didn't satisfy existing pods anti-affinity rules",
            );
        }
        Status::success()
    }
}

impl PreScore for InterPodAffinity {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Status {
        let own = &pod.affinity;
        let wants = !own.preferred.is_empty() || !own.preferred_anti.is_empty();
        let mut weights = ByTopology::new();
        for node in snapshot.nodes() {
            if node.node.is_none() || !(wants || node.with_affinity > 0) {
                continue;
            }
            for other in node.pods.values() {
                for (weight, term) in &own.preferred {
                    if term.matches(other, snapshot) {
                        bump(&mut weights, term, node, *weight);
                    }
                }
                for (weight, term) in &own.preferred_anti {
                    if term.matches(other, snapshot) {
                        bump(&mut weights, term, node, -weight);
                    }
                }
                let theirs = &other.affinity;
                for term in &theirs.required {
                    if term.matches(pod, snapshot) {
                        bump(&mut weights, term, node, REQUIRED_WEIGHT);
                    }
                }
                for (weight, term) in &theirs.preferred {
                    if term.matches(pod, snapshot) {
                        bump(&mut weights, term, node, *weight);
                    }
                }
                for (weight, term) in &theirs.preferred_anti {
                    if term.matches(pod, snapshot) {
                        bump(&mut weights, term, node, -weight);
                    }
                }
            }
        }
        if weights.is_empty() {
            return Status::skip();
        }
        state.write(Weights(weights));
        Status::success()
    }
}

impl Score for InterPodAffinity {
    fn score(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Weights(weights)) = state.read() else {
            return 0;
        };
        let labels = node.labels().into_iter().flatten();
        labels
            .filter_map(|(key, value)| weights.get(&(key.as_str().into(), value.clone())))
            .sum()
    }

    fn normalize(&self, _state: &CycleState, _pod: &PodInfo, scores: &mut [i64]) {
        let least = scores.iter().min().copied().unwrap_or(0);
        let most = scores.iter().max().copied().unwrap_or(0);
        for score in scores {
            *score = if most > least {
                MAX_SCORE * (*score - least) / (most - least)
            } else {
                0
            };
        }
    }
}
