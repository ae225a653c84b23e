//! Affinity between pods, by comparing each pair of pods for every node that is asked about.

use k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};

use crate::object::LabelSelector;
use crate::scheduler::framework::{NodeInfo, PodInfo, Snapshot};

/// The terms of a pod: required and preferred, near and far.
#[derive(Default)]
struct Terms {
    near: Vec<PodAffinityTerm>,
    far: Vec<PodAffinityTerm>,
    better_near: Vec<WeightedPodAffinityTerm>,
    better_far: Vec<WeightedPodAffinityTerm>,
}

fn terms(pod: &PodInfo) -> Terms {
    let Some(affinity) = pod.spec().and_then(|spec| spec.affinity.clone()) else {
        return Terms::default();
    };
    let near = affinity.pod_affinity.unwrap_or_default();
    let far = affinity.pod_anti_affinity.unwrap_or_default();
    Terms {
        near: near
            .required_during_scheduling_ignored_during_execution
            .unwrap_or_default(),
        far: far
            .required_during_scheduling_ignored_during_execution
            .unwrap_or_default(),
        better_near: near
            .preferred_during_scheduling_ignored_during_execution
            .unwrap_or_default(),
        better_far: far
            .preferred_during_scheduling_ignored_during_execution
            .unwrap_or_default(),
    }
}

/// Whether a term of `owner` is about `other`.
fn about(term: &PodAffinityTerm, owner: &PodInfo, other: &PodInfo, snapshot: &Snapshot) -> bool {
    let named = term.namespaces.clone().unwrap_or_default();
    let namespace = &*other.key.namespace;
    let in_namespace = if named.is_empty() && term.namespace_selector.is_none() {
        owner.key.namespace == other.key.namespace
    } else {
        named.iter().any(|name| name == namespace)
            || term.namespace_selector.as_ref().is_some_and(|selector| {
                let selector = LabelSelector::from_typed(selector).unwrap();
                selector.matches_optional(snapshot.namespace_labels(namespace))
            })
    };
    let label =
        |pod: &PodInfo, key: &String| pod.labels().and_then(|labels| labels.get(key)).cloned();
    let alike = term
        .match_label_keys
        .iter()
        .flatten()
        .all(|key| label(owner, key).is_none() || label(owner, key) == label(other, key));
    let unlike = term
        .mismatch_label_keys
        .iter()
        .flatten()
        .all(|key| label(owner, key).is_none() || label(owner, key) != label(other, key));
    let selected = term.label_selector.as_ref().is_some_and(|selector| {
        let selector = LabelSelector::from_typed(selector).unwrap();
        selector.matches_optional(other.labels())
    });
    in_namespace && alike && unlike && selected
}

/// All pods with the nodes they are on.
fn pods(snapshot: &Snapshot) -> Vec<(&NodeInfo, &PodInfo)> {
    let nodes = snapshot.nodes().iter().filter(|node| node.node.is_some());
    nodes
        .flat_map(|node| node.pods.values().map(move |pod| (node, &**pod)))
        .collect()
}

fn same_place(key: &str, a: &NodeInfo, b: &NodeInfo) -> bool {
    a.label(key).is_some() && a.label(key) == b.label(key)
}

/// Why a pod cannot go to a node: 1, its affinity; 2, its anti-affinity; 3, the anti-affinity of others. 0: it can.
pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> u8 {
    let own = terms(pod);
    let all = pods(snapshot);
    // Only pods that all of its terms are about count.
    let wanted: Vec<_> = all
        .iter()
        .filter(|(_, other)| {
            own.near
                .iter()
                .all(|term| about(term, pod, other, snapshot))
        })
        .collect();
    let has_labels = own
        .near
        .iter()
        .all(|term| node.label(&term.topology_key).is_some());
    let near = own.near.iter().all(|term| {
        let mut wanted = wanted.iter();
        wanted.any(|(there, _)| same_place(&term.topology_key, there, node))
    });
    let anyone = wanted.iter().any(|(there, _)| {
        own.near
            .iter()
            .any(|term| there.label(&term.topology_key).is_some())
    });
    let own_kind = own.near.iter().all(|term| about(term, pod, pod, snapshot));
    let near = own.near.is_empty() || has_labels && (near || !anyone && own_kind);
    let far = own.far.iter().all(|term| {
        !all.iter().any(|(there, other)| {
            about(term, pod, other, snapshot) && same_place(&term.topology_key, there, node)
        })
    });
    let welcome = all.iter().all(|(there, other)| {
        !terms(other).far.iter().any(|term| {
            about(term, other, pod, snapshot) && same_place(&term.topology_key, there, node)
        })
    });
    match (near, far, welcome) {
        (false, ..) => 1,
        (_, false, _) => 2,
        (.., false) => 3,
        _ => 0,
    }
}

/// The normalized scores of the nodes that fit; `None`: nothing weighs anything anywhere.
pub(crate) fn scores(
    pod: &PodInfo,
    fitting: &[&NodeInfo],
    snapshot: &Snapshot,
) -> Option<Vec<i64>> {
    let own = terms(pod);
    let all = pods(snapshot);
    let weigh = |node: &NodeInfo| {
        let mut weight = 0_i64;
        for (there, other) in &all {
            let mut add = |term: &PodAffinityTerm, is_about: bool, by: i32| {
                if is_about && same_place(&term.topology_key, there, node) {
                    weight += i64::from(by);
                }
            };
            for term in &own.better_near {
                let inner = &term.pod_affinity_term;
                add(inner, about(inner, pod, other, snapshot), term.weight);
            }
            for term in &own.better_far {
                let inner = &term.pod_affinity_term;
                add(inner, about(inner, pod, other, snapshot), -term.weight);
            }
            let theirs = terms(other);
            for term in &theirs.near {
                add(term, about(term, other, pod, snapshot), 1);
            }
            for term in &theirs.better_near {
                let inner = &term.pod_affinity_term;
                add(inner, about(inner, other, pod, snapshot), term.weight);
            }
            for term in &theirs.better_far {
                let inner = &term.pod_affinity_term;
                add(inner, about(inner, other, pod, snapshot), -term.weight);
            }
        }
        weight
    };
    let nodes = snapshot.nodes().iter().filter(|node| node.node.is_some());
    if nodes.map(weigh).all(|weight| weight == 0) {
        return None;
    }
    let raw: Vec<i64> = fitting.iter().map(|node| weigh(node)).collect();
    let (least, most) = (*raw.iter().min()?, *raw.iter().max()?);
    let normalized = raw.iter().map(|score| {
        if most > least {
            100 * (score - least) / (most - least)
        } else {
            0
        }
    });
    Some(normalized.collect())
}
