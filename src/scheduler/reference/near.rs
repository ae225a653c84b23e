//! Pod affinity and anti-affinity, by looking at every pod of every node.

use std::sync::Arc;

use crate::scheduler::framework::{NodeInfo, PodInfo, PodTerm, Snapshot};

/// All pods and the nodes they are on.
fn pods(snapshot: &Snapshot) -> impl Iterator<Item = (&Arc<PodInfo>, &NodeInfo)> {
    let nodes = snapshot.nodes().iter();
    nodes.flat_map(|node| node.pods.values().map(move |pod| (pod, node)))
}

/// Whether two nodes are in one place, as the term sees it.
fn together(term: &PodTerm, one: &NodeInfo, other: &NodeInfo) -> bool {
    let place = one.label(&term.topology_key);
    place.is_some() && place == other.label(&term.topology_key)
}

/// Why a pod cannot go to a node: 1, its affinity; 2, its anti-affinity; 3, the anti-affinity of others. 0: it can.
pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> u8 {
    let required = &pod.affinity.required;
    let is_wanted = |other: &PodInfo| required.iter().all(|term| term.matches(other, snapshot));
    let has_labels = required
        .iter()
        .all(|term| node.label(&term.topology_key).is_some());
    let near = required.iter().all(|term| {
        pods(snapshot).any(|(other, there)| is_wanted(other) && together(term, node, there))
    });
    let anyone = pods(snapshot).any(|(other, there)| {
        let placed = required
            .iter()
            .any(|term| there.label(&term.topology_key).is_some());
        is_wanted(other) && placed
    });
    let first = !anyone && is_wanted(pod);
    if !required.is_empty() && (!has_labels || !(near || first)) {
        return 1;
    }
    let unwanted = pod.affinity.required_anti.iter().any(|term| {
        pods(snapshot)
            .any(|(other, there)| term.matches(other, snapshot) && together(term, node, there))
    });
    if unwanted {
        return 2;
    }
    let repelled = pods(snapshot).any(|(other, there)| {
        let mut terms = other.affinity.required_anti.iter();
        terms.any(|term| term.matches(pod, snapshot) && together(term, node, there))
    });
    if repelled { 3 } else { 0 }
}

/// The scores of all nodes: the weights of what is near and preferred, and of those who prefer the pod near, from least to most.
pub(crate) fn scores(pod: &PodInfo, snapshot: &Snapshot) -> Vec<i64> {
    let mut raw = Vec::new();
    for node in snapshot.nodes() {
        let mut sum = 0;
        for (other, there) in pods(snapshot) {
            let mut add = |term: &PodTerm, of: &PodInfo, weight: i64| {
                if term.matches(of, snapshot) && together(term, node, there) {
                    sum += weight;
                }
            };
            for (weight, term) in &pod.affinity.preferred {
                add(term, other, *weight);
            }
            for (weight, term) in &pod.affinity.preferred_anti {
                add(term, other, -weight);
            }
            for term in &other.affinity.required {
                add(term, pod, 1);
            }
            for (weight, term) in &other.affinity.preferred {
                add(term, pod, *weight);
            }
            for (weight, term) in &other.affinity.preferred_anti {
                add(term, pod, -weight);
            }
        }
        raw.push(sum);
    }
    let (least, most) = (*raw.iter().min().unwrap(), *raw.iter().max().unwrap());
    let between = |score: &i64| {
        if most > least {
            100 * (score - least) / (most - least)
        } else {
            0
        }
    };
    raw.iter().map(between).collect()
}
