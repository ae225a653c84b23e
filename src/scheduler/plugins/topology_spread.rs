//! PodTopologySpread: pods that are alike are spread evenly over zones, nodes, or any other label of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::node_affinity;
use super::taints::untolerated;
use crate::object::LabelSelector;
use crate::object::selector::{Operator, Requirement};
use crate::scheduler::framework::{
    Actions, CycleState, EventPattern, Filter, MAX_SCORE, NodeInfo, Plugin, PodInfo, PreFilter,
    PreFiltered, PreScore, Resource, Score, Snapshot, Status,
};

const HOSTNAME: &str = "kubernetes.io/hostname";
/// The score of a node that lacks a label, until scores are normalized.
const IGNORED: i64 = -1;

/// Filters by `DoNotSchedule` constraints; scores by `ScheduleAnyway` ones.
#[derive(Clone, Copy, Debug)]
pub struct PodTopologySpread;

/// One constraint, parsed.
#[derive(Clone, Debug)]
struct Constraint {
    key: String,
    max_skew: i64,
    min_domains: usize,
    selector: Option<LabelSelector>,
    heeds_affinity: bool,
    heeds_taints: bool,
}

/// The hard constraints and, for each, how many pods every domain has.
#[derive(Clone, Debug)]
struct Hard {
    constraints: Arc<Vec<Constraint>>,
    counts: Vec<BTreeMap<String, i64>>,
}

/// The soft constraints with their weights, and the domains of those that are not about single nodes.
#[derive(Clone, Debug)]
struct Soft {
    constraints: Arc<Vec<(Constraint, f64)>>,
    counts: Arc<Vec<BTreeMap<String, i64>>>,
}

impl Constraint {
    fn of(pod: &PodInfo, action: &str) -> Vec<Self> {
        let all = pod
            .spec()
            .and_then(|spec| spec.topology_spread_constraints.as_ref());
        all.into_iter()
            .flatten()
            .filter(|constraint| constraint.when_unsatisfiable == action)
            .map(|constraint| Self::new(pod, constraint))
            .collect()
    }

    fn new(pod: &PodInfo, constraint: &TopologySpreadConstraint) -> Self {
        let selector = constraint
            .label_selector
            .as_ref()
            .and_then(|selector| LabelSelector::from_typed(selector).ok());
        let keys = constraint.match_label_keys.iter().flatten();
        let own = keys.filter_map(|key| {
            Some(Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![pod.labels()?.get(key)?.clone()],
            })
        });
        let selector = selector.map(|selector| {
            LabelSelector::new(selector.requirements().iter().cloned().chain(own).collect())
        });
        Self {
            key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            min_domains: constraint
                .min_domains
                .and_then(|domains| usize::try_from(domains).ok())
                .unwrap_or(1),
            selector,
            heeds_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            heeds_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    fn selects(&self, pod: &PodInfo) -> bool {
        self.selector
            .as_ref()
            .is_some_and(|selector| selector.matches_optional(pod.labels()))
    }

    /// Whether `other` counts for the constraint of `pod`.
    fn counts(&self, pod: &PodInfo, other: &PodInfo) -> bool {
        other.key.namespace == pod.key.namespace && !other.is_terminating() && self.selects(other)
    }

    fn count_on(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let counted = node.pods.values().filter(|other| self.counts(pod, other));
        i64::try_from(counted.count()).unwrap_or(i64::MAX)
    }

    /// Whether the pods of a node count at all.
    fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.heeds_affinity || node_affinity::matches(pod, node))
            && (!self.heeds_taints || untolerated(pod, node).is_none())
    }
}

fn has_all<'a>(node: &NodeInfo, mut constraints: impl Iterator<Item = &'a Constraint>) -> bool {
    constraints.all(|constraint| node.label(&constraint.key).is_some())
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::Node, Actions::ADD),
            EventPattern::new(Resource::Node, Actions::UPDATE_NODE_LABEL),
            EventPattern::new(Resource::Node, Actions::UPDATE_NODE_TAINT),
            EventPattern::new(
                Resource::AssignedPod,
                Actions::ADD | Actions::UPDATE_POD_LABEL,
            ),
            EventPattern::new(Resource::AssignedPod, Actions::DELETE),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE),
        ]
    }
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> PreFiltered {
        let constraints = Constraint::of(pod, "DoNotSchedule");
        if constraints.is_empty() {
            return Status::skip().into();
        }
        let mut counts = vec![BTreeMap::new(); constraints.len()];
        for node in snapshot.nodes() {
            if node.node.is_none() || !has_all(node, constraints.iter()) {
                continue;
            }
            for (constraint, counts) in constraints.iter().zip(&mut counts) {
                if let Some(domain) = node.label(&constraint.key)
                    && constraint.includes(pod, node)
                {
                    *counts.entry(domain.to_owned()).or_default() += constraint.count_on(pod, node);
                }
            }
        }
        state.write(Hard {
            constraints: Arc::new(constraints),
            counts,
        });
        Status::success().into()
    }

    fn add_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        added: &PodInfo,
        node: &NodeInfo,
        _snapshot: &Snapshot,
    ) {
        if let Some(hard) = state.read_mut::<Hard>() {
            hard.change(pod, added, node, 1);
        }
    }

    fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        removed: &PodInfo,
        node: &NodeInfo,
        _snapshot: &Snapshot,
    ) {
        if let Some(hard) = state.read_mut::<Hard>() {
            hard.change(pod, removed, node, -1);
        }
    }
}

impl Hard {
    fn change(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64) {
        if !has_all(node, self.constraints.iter()) {
            return;
        }
        for (constraint, counts) in self.constraints.iter().zip(&mut self.counts) {
            if let Some(domain) = node.label(&constraint.key)
                && constraint.counts(pod, other)
                && constraint.includes(pod, node)
            {
                *counts.entry(domain.to_owned()).or_default() += by;
            }
        }
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let Some(hard) = state.read::<Hard>() else {
            return Status::success();
        };
        for (constraint, counts) in hard.constraints.iter().zip(&hard.counts) {
            let Some(domain) = node.label(&constraint.key) else {
                return Status::unresolvable(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                );
            };
            // With fewer domains than wanted there is always an empty one to come.
            let least = if counts.len() < constraint.min_domains {
                0
            } else {
                counts.values().min().copied().unwrap_or(i64::MAX)
            };
            let there = counts.get(domain).copied().unwrap_or(0);
            let own = i64::from(constraint.selects(pod));
            if (there + own).saturating_sub(least) > constraint.max_skew {
                return Status::unschedulable(
                    "node(s) didn't match pod topology spread constraints",
                );
            }
        }
        Status::success()
    }
}

impl PreScore for PodTopologySpread {
    #[expect(clippy::cast_precision_loss, reason = "the rule is in floating point")]
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Status {
        let constraints = Constraint::of(pod, "ScheduleAnyway");
        if constraints.is_empty() {
            return Status::skip();
        }
        let eligible: Vec<&&NodeInfo> = nodes
            .iter()
            .filter(|node| has_all(node, constraints.iter()))
            .collect();
        let domains: Vec<BTreeSet<&str>> = constraints
            .iter()
            .map(|constraint| {
                let labels = eligible
                    .iter()
                    .filter_map(|node| node.label(&constraint.key));
                labels.collect()
            })
            .collect();
        let mut counts: Vec<BTreeMap<String, i64>> = vec![BTreeMap::new(); constraints.len()];
        for node in snapshot.nodes() {
            if node.node.is_none() || !has_all(node, constraints.iter()) {
                continue;
            }
            for ((constraint, counts), domains) in constraints.iter().zip(&mut counts).zip(&domains)
            {
                let domain = node.label(&constraint.key);
                let domain = domain.filter(|domain| {
                    constraint.key != HOSTNAME
                        && domains.contains(domain)
                        && constraint.includes(pod, node)
                });
                if let Some(domain) = domain {
                    *counts.entry(domain.to_owned()).or_default() += constraint.count_on(pod, node);
                }
            }
        }
        // The more domains, the more a difference between two of them weighs.
        let weighted = constraints.into_iter().zip(&domains);
        let weighted = weighted.map(|(constraint, domains)| {
            let weight = (domains.len() as f64 + 2.0).ln();
            (constraint, weight)
        });
        state.write(Soft {
            constraints: Arc::new(weighted.collect()),
            counts: Arc::new(counts),
        });
        Status::success()
    }
}

impl Score for PodTopologySpread {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the rule is in floating point"
    )]
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(soft) = state.read::<Soft>() else {
            return 0;
        };
        let constraints = soft.constraints.iter().map(|(constraint, _)| constraint);
        if !has_all(node, constraints) {
            return IGNORED;
        }
        let mut score = 0.0;
        for ((constraint, weight), counts) in soft.constraints.iter().zip(&*soft.counts) {
            let count = if constraint.key == HOSTNAME {
                constraint.count_on(pod, node)
            } else {
                let domain = node.label(&constraint.key);
                domain
                    .and_then(|domain| counts.get(domain).copied())
                    .unwrap_or(0)
            };
            score += count as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, _state: &CycleState, _pod: &PodInfo, scores: &mut [i64]) {
        let counted = || scores.iter().copied().filter(|score| *score != IGNORED);
        let (least, most) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
        for score in scores {
            *score = match *score {
                IGNORED => 0,
                _ if most == 0 => MAX_SCORE,
                score => MAX_SCORE * (most + least - score) / most,
            };
        }
    }
}
