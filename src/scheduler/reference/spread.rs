//! Topology spread, by counting every domain for every node anew.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::simple;
use crate::object::LabelSelector;
use crate::scheduler::framework::{NodeInfo, PodInfo, Snapshot};

fn constraints<'a>(pod: &'a PodInfo, action: &str) -> Vec<&'a TopologySpreadConstraint> {
    let all = pod
        .spec()
        .unwrap()
        .topology_spread_constraints
        .iter()
        .flatten();
    all.filter(|constraint| constraint.when_unsatisfiable == action)
        .collect()
}

fn selects(constraint: &TopologySpreadConstraint, pod: &PodInfo, other: &PodInfo) -> bool {
    let selector = LabelSelector::from_typed(constraint.label_selector.as_ref().unwrap()).unwrap();
    let label = |pod: &PodInfo, key: &str| pod.labels().and_then(|labels| labels.get(key)).cloned();
    let mut keys = constraint.match_label_keys.iter().flatten();
    selector.matches_optional(other.labels())
        && keys.all(|key| label(pod, key).is_none_or(|own| label(other, key) == Some(own)))
}

fn count_on(constraint: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let counted = node.pods.values().filter(|other| {
        other.key.namespace == pod.key.namespace
            && !other.is_terminating()
            && selects(constraint, pod, other)
    });
    i64::try_from(counted.count()).unwrap()
}

fn has_all(node: &NodeInfo, constraints: &[&TopologySpreadConstraint]) -> bool {
    let mut all = constraints.iter();
    all.all(|constraint| node.label(&constraint.topology_key).is_some())
}

/// How many pods each domain has, of the nodes that count.
fn domains(
    constraint: &TopologySpreadConstraint,
    all: &[&TopologySpreadConstraint],
    pod: &PodInfo,
    snapshot: &Snapshot,
) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for node in snapshot.nodes() {
        let affinity = constraint.node_affinity_policy.as_deref() == Some("Ignore")
            || simple::node_affinity(pod, node);
        let taints = constraint.node_taints_policy.as_deref() != Some("Honor")
            || simple::untolerated(pod, node, &["NoSchedule", "NoExecute"]) == 0;
        if has_all(node, all) && affinity && taints {
            let domain = node.label(&constraint.topology_key).unwrap().to_owned();
            *counts.entry(domain).or_default() += count_on(constraint, pod, node);
        }
    }
    counts
}

/// Whether a node would keep every hard constraint: `None`, it lacks a label.
pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> Option<bool> {
    let all = constraints(pod, "DoNotSchedule");
    for constraint in &all {
        let domain = node.label(&constraint.topology_key)?;
        let counts = domains(constraint, &all, pod, snapshot);
        let wanted = constraint.min_domains.unwrap_or(1);
        let few = i32::try_from(counts.len()).unwrap() < wanted;
        let least = if few {
            Some(0)
        } else {
            counts.values().min().copied()
        };
        let own = i64::from(selects(constraint, pod, pod));
        let there = counts.get(domain).copied().unwrap_or(0);
        if least.is_some_and(|least| there + own - least > i64::from(constraint.max_skew)) {
            return Some(false);
        }
    }
    Some(true)
}

/// The scores of all nodes, which all fit; `None`: the pod has no soft constraints.
pub(crate) fn scores(pod: &PodInfo, snapshot: &Snapshot) -> Option<Vec<i64>> {
    let all = constraints(pod, "ScheduleAnyway");
    if all.is_empty() {
        return None;
    }
    let eligible: Vec<&NodeInfo> = snapshot
        .nodes()
        .iter()
        .filter(|node| has_all(node, &all))
        .collect();
    let mut raw: Vec<Option<i64>> = Vec::new();
    for node in snapshot.nodes() {
        if !has_all(node, &all) {
            raw.push(None);
            continue;
        }
        let mut score = 0.0;
        for constraint in &all {
            let key = &constraint.topology_key;
            let (count, size) = if key == "kubernetes.io/hostname" {
                (count_on(constraint, pod, node), eligible.len())
            } else {
                let values: std::collections::BTreeSet<_> =
                    eligible.iter().map(|node| node.label(key)).collect();
                let counts = domains(constraint, &all, pod, snapshot);
                (
                    counts.get(node.label(key).unwrap()).copied().unwrap_or(0),
                    values.len(),
                )
            };
            score += count as f64 * ((size + 2) as f64).ln() + f64::from(constraint.max_skew - 1);
        }
        raw.push(Some(score.round() as i64));
    }
    let known = || raw.iter().flatten().copied();
    let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let scaled = |score: &Option<i64>| match score {
        None => 0,
        Some(_) if most == 0 => 100,
        Some(score) => 100 * (most + least - score) / most,
    };
    Some(raw.iter().map(scaled).collect())
}
