//! The decision about one pod: pre-filter, filter, post-filter, score. Sync, over a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::framework::{Code, CycleState, NodeInfo, PodInfo, Profile, Snapshot, Status};
use crate::clock::Clock;

/// At least this many fitting nodes are looked for.
const LEAST_NODES: usize = 100;

/// What was decided.
#[derive(Debug)]
pub(super) enum Decision {
    /// The pod goes to this node.
    Node(String),
    /// It fits nowhere.
    Unfit(Unfit),
    /// A plugin failed.
    Failed(String),
}

/// Why a pod fits nowhere.
#[derive(Debug)]
pub(super) struct Unfit {
    /// In the words of the pod's condition and event.
    pub message: String,
    /// The plugins that rejected it.
    pub rejectors: BTreeSet<String>,
}

/// What persists between decisions.
#[derive(Debug)]
pub(super) struct Decider {
    clock: Clock,
    percentage: Option<u32>,
    /// Where the search for fitting nodes starts, so that all nodes get their turn.
    start: usize,
}

impl Decider {
    pub(super) fn new(clock: Clock, percentage: Option<u32>) -> Self {
        Self {
            clock,
            percentage,
            start: 0,
        }
    }

    /// Decides. A plugin that panics fails its pod, nothing else.
    pub(super) fn decide(
        &mut self,
        profile: &Profile,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Decision {
        let decided = catch_unwind(AssertUnwindSafe(|| self.search(profile, pod, snapshot)));
        decided.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Decision::Failed(format!(
                "a plugin panicked: {}",
                text.unwrap_or("(no message)")
            ))
        })
    }

    fn search(&mut self, profile: &Profile, pod: &PodInfo, snapshot: &Snapshot) -> Decision {
        let mut state = CycleState::default();
        let mut skipped: BTreeSet<&str> = BTreeSet::new();
        let total = snapshot
            .nodes()
            .iter()
            .filter(|node| node.node.is_some())
            .count();
        for plugin in &profile.pre_filter {
            let status = plugin.pre_filter(&mut state, pod, snapshot);
            match status.code {
                Code::Success => {}
                Code::Skip => {
                    skipped.insert(plugin.name());
                }
                Code::Error => return Decision::Failed(status.reasons.join(", ")),
                _ => {
                    let message = format!(
                        "0/{total} nodes are available: {}.",
                        status.reasons.join(", ")
                    );
                    return Decision::Unfit(Unfit {
                        message,
                        rejectors: [plugin.name().to_owned()].into(),
                    });
                }
            }
        }
        let (fitting, verdicts) = match self.filter(profile, &state, pod, snapshot, &skipped) {
            Ok(found) => found,
            Err(error) => return Decision::Failed(error),
        };
        if fitting.is_empty() {
            // Nominated by preemption: the pod waits until the victims are gone.
            let nominated = profile
                .post_filter
                .iter()
                .find_map(|plugin| plugin.post_filter(&state, pod, snapshot, &verdicts));
            tracing::debug!(pod = %pod.key, ?nominated, "fits nowhere");
            return Decision::Unfit(unfit(total, verdicts));
        }
        Decision::Node(self.choose(profile, &mut state, pod, &fitting))
    }

    /// The nodes that fit, as many as are wanted, and the verdicts on those that do not.
    fn filter<'a>(
        &mut self,
        profile: &Profile,
        state: &CycleState,
        pod: &PodInfo,
        snapshot: &'a Snapshot,
        skipped: &BTreeSet<&str>,
    ) -> Result<(Vec<&'a NodeInfo>, Vec<Status>), String> {
        let nodes = snapshot.nodes();
        let wanted = self.wanted(nodes.len());
        let (mut fitting, mut verdicts) = (Vec::new(), Vec::new());
        let filters: Vec<_> = profile
            .filter
            .iter()
            .filter(|plugin| !skipped.contains(plugin.name()))
            .collect();
        let start = if nodes.is_empty() {
            0
        } else {
            self.start % nodes.len()
        };
        let mut looked = 0;
        for node in nodes.iter().cycle().skip(start).take(nodes.len()) {
            looked += 1;
            if node.node.is_none() {
                continue;
            }
            let rejection = filters.iter().find_map(|plugin| {
                let status = plugin.filter(state, pod, node);
                (!status.is_success()).then(|| status.by(plugin.name()))
            });
            match rejection {
                None => fitting.push(node),
                Some(status) if status.code == Code::Error => {
                    return Err(status.reasons.join(", "));
                }
                Some(status) => verdicts.push(status),
            }
            if fitting.len() >= wanted {
                break;
            }
        }
        self.start = start + looked;
        Ok((fitting, verdicts))
    }

    /// How many fitting nodes are enough.
    fn wanted(&self, nodes: usize) -> usize {
        if nodes < LEAST_NODES {
            return nodes.max(1);
        }
        let adaptive = 50_usize.saturating_sub(nodes / 125).max(5);
        let percent = self
            .percentage
            .filter(|percent| *percent > 0)
            .map_or(adaptive, |percent| percent as usize);
        (nodes * percent / 100).max(LEAST_NODES)
    }

    /// The best of the fitting nodes; among equals chance decides.
    fn choose(
        &self,
        profile: &Profile,
        state: &mut CycleState,
        pod: &PodInfo,
        fitting: &[&NodeInfo],
    ) -> String {
        if let [only] = fitting {
            return only.name.to_string();
        }
        let mut skipped: BTreeSet<&str> = BTreeSet::new();
        for plugin in &profile.pre_score {
            if plugin.pre_score(state, pod, fitting).code == Code::Skip {
                skipped.insert(plugin.name());
            }
        }
        let mut totals = vec![0_i64; fitting.len()];
        let mut scores = vec![0_i64; fitting.len()];
        for (plugin, weight) in profile
            .score
            .iter()
            .filter(|(plugin, _)| !skipped.contains(plugin.name()))
        {
            for (score, node) in scores.iter_mut().zip(fitting) {
                *score = plugin.score(state, pod, node);
            }
            plugin.normalize(state, pod, &mut scores);
            for (total, score) in totals.iter_mut().zip(&scores) {
                *total += score * weight;
            }
        }
        let best = totals.iter().max().copied().unwrap_or(0);
        let winners = fitting
            .iter()
            .zip(&totals)
            .filter(|(_, total)| **total == best)
            .map(|(node, _)| node);
        let winners: Vec<_> = winners.collect();
        let lot = usize::try_from(self.clock.below(winners.len() as u64)).unwrap_or(0);
        winners
            .get(lot)
            .or_else(|| winners.first())
            .map_or_else(String::new, |node| node.name.to_string())
    }
}

/// The message that counts the reasons: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
fn unfit(total: usize, verdicts: Vec<Status>) -> Unfit {
    if total == 0 {
        let message = "0/0 nodes are available.".to_owned();
        // Whatever the filters wait for, a node is what is missing.
        return Unfit {
            message: message.replace(
                "0/0 nodes are available.",
                "no nodes available to schedule pods",
            ),
            rejectors: ["NodeName".to_owned()].into(),
        };
    }
    let (mut counts, mut rejectors) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    for verdict in verdicts {
        rejectors.insert(verdict.plugin);
        for reason in verdict.reasons {
            *counts.entry(reason).or_default() += 1;
        }
    }
    let mut reasons: Vec<String> = counts
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    reasons.sort();
    Unfit {
        message: format!("0/{total} nodes are available: {}.", reasons.join(", ")),
        rejectors,
    }
}
