//! Topology spread, by counting all pods of all nodes for every node that is asked about.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::simple;
use crate::object::LabelSelector;
use crate::scheduler::framework::{NodeInfo, PodInfo, Snapshot};

fn constraints<'a>(pod: &'a PodInfo, action: &str) -> Vec<&'a TopologySpreadConstraint> {
    let spec = pod.spec().unwrap();
    let all = spec.topology_spread_constraints.iter().flatten();
    all.filter(|constraint| constraint.when_unsatisfiable == action)
        .collect()
}

fn selects(constraint: &TopologySpreadConstraint, pod: &PodInfo, other: &PodInfo) -> bool {
    let Some(selector) = &constraint.label_selector else {
        return false;
    };
    let alike = constraint.match_label_keys.iter().flatten().all(|key| {
        let own = pod.labels().and_then(|labels| labels.get(key));
        own.is_none() || own == other.labels().and_then(|labels| labels.get(key))
    });
    alike
        && LabelSelector::from_typed(selector)
            .unwrap()
            .matches_optional(other.labels())
}

/// Whether a node's pods count for a constraint.
fn includes(constraint: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    let affinity = constraint.node_affinity_policy.as_deref() == Some("Ignore")
        || simple::node_affinity(pod, node);
    let taints = constraint.node_taints_policy.as_deref() != Some("Honor")
        || simple::untolerated(pod, node, &["NoSchedule", "NoExecute"]) == 0;
    affinity && taints
}

/// How many pods each domain of a constraint has.
fn domains(
    constraint: &TopologySpreadConstraint,
    all: &[&TopologySpreadConstraint],
    pod: &PodInfo,
    snapshot: &Snapshot,
) -> BTreeMap<String, i64> {
    let mut domains = BTreeMap::new();
    for node in snapshot.nodes().iter().filter(|node| node.node.is_some()) {
        let has_all = all
            .iter()
            .all(|other| node.label(&other.topology_key).is_some());
        if !has_all || !includes(constraint, pod, node) {
            continue;
        }
        let domain = node.label(&constraint.topology_key).unwrap().to_owned();
        *domains.entry(domain).or_default() += on_node(constraint, pod, node);
    }
    domains
}

fn on_node(constraint: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let counted = node.pods.values().filter(|other| {
        other.key.namespace == pod.key.namespace
            && !other.is_terminating()
            && selects(constraint, pod, other)
    });
    i64::try_from(counted.count()).unwrap()
}

/// Whether a node would keep every hard constraint of a pod; `None`: it lacks the label of the first it would not keep.
pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> Option<bool> {
    let all = constraints(pod, "DoNotSchedule");
    for constraint in &all {
        let domain = node.label(&constraint.topology_key)?;
        let domains = domains(constraint, &all, pod, snapshot);
        let wanted = usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap();
        let least = if domains.len() < wanted {
            0
        } else {
            domains.values().min().copied().unwrap_or(i64::MAX)
        };
        let there = domains.get(domain).copied().unwrap_or(0);
        let with_it = there + i64::from(selects(constraint, pod, pod));
        if with_it.saturating_sub(least) > i64::from(constraint.max_skew) {
            return Some(false);
        }
    }
    Some(true)
}

/// The normalized scores of the nodes that fit; `None`: the pod has no soft constraints.
pub(crate) fn scores(
    pod: &PodInfo,
    fitting: &[&NodeInfo],
    snapshot: &Snapshot,
) -> Option<Vec<i64>> {
    let all = constraints(pod, "ScheduleAnyway");
    if all.is_empty() {
        return None;
    }
    let has_all = |node: &NodeInfo| {
        let mut all = all.iter();
        all.all(|constraint| node.label(&constraint.topology_key).is_some())
    };
    let raw: Vec<Option<i64>> = fitting
        .iter()
        .map(|node| {
            if !has_all(node) {
                return None;
            }
            let mut score = 0.0;
            for constraint in &all {
                let among: BTreeSet<_> = fitting
                    .iter()
                    .filter(|node| has_all(node))
                    .map(|node| node.label(&constraint.topology_key))
                    .collect();
                let count = if constraint.topology_key == "kubernetes.io/hostname" {
                    on_node(constraint, pod, node)
                } else {
                    let domain = node.label(&constraint.topology_key).unwrap();
                    let domains = domains(constraint, &all, pod, snapshot);
                    domains.get(domain).copied().unwrap_or(0)
                };
                let weight = (f64::from(u32::try_from(among.len()).unwrap()) + 2.0).ln();
                score += f64::from(i32::try_from(count).unwrap()) * weight
                    + f64::from(constraint.max_skew - 1);
            }
            #[expect(clippy::cast_possible_truncation, reason = "the rule rounds")]
            Some(score.round() as i64)
        })
        .collect();
    let least = raw.iter().flatten().min().copied().unwrap_or(0);
    let most = raw.iter().flatten().max().copied().unwrap_or(0);
    let normalized = raw.into_iter().map(|score| match score {
        None => 0,
        Some(_) if most == 0 => 100,
        Some(score) => 100 * (most + least - score) / most,
    });
    Some(normalized.collect())
}
