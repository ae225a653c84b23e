//! The decision about one pod: pre-filter, filter, post-filter, score. Sync, over a snapshot.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::framework::{
    Code, CycleState, Judges, NodeInfo, PodInfo, Profile, Rescue, Snapshot, Status, Trial,
    histogram,
};
use crate::clock::Clock;

/// At least this many fitting nodes are looked for.
const LEAST_NODES: usize = 100;

/// What was decided.
#[derive(Debug)]
pub(super) enum Decision {
    /// The pod goes to this node.
    Node(String, CycleState),
    /// It fits nowhere.
    Unfit(Unfit),
    /// A plugin failed.
    Failed(String),
}

/// Why a pod fits nowhere, and what may be done about it.
#[derive(Debug)]
pub(super) struct Unfit {
    /// In the words of the pod's condition and event.
    pub message: String,
    /// The plugins that rejected it.
    pub rejectors: BTreeSet<String>,
    /// The node that it will fit once these pods have left.
    pub room: Option<(String, Vec<Arc<PodInfo>>)>,
    /// A nomination that it has stays.
    pub waits: bool,
}

impl Unfit {
    fn add(&mut self, why: &str) {
        if !why.is_empty() {
            self.message = format!("{} {why}", self.message);
        }
    }
}

/// What was said of each node that does not fit.
type Verdicts = Vec<(Arc<str>, Status)>;

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
                        room: None,
                        waits: false,
                    });
                }
            }
        }
        let wanted = |name: &str| !skipped.contains(name);
        let pre_filters = profile.pre_filter.iter().map(|plugin| &**plugin);
        let filters = profile.filter.iter().map(|plugin| &**plugin);
        let judges = Judges {
            pre_filters: pre_filters.filter(|plugin| wanted(plugin.name())).collect(),
            filters: filters.filter(|plugin| wanted(plugin.name())).collect(),
        };
        // Room was made for it there.
        let nominated = snapshot
            .nomination(&pod.key)
            .and_then(|name| snapshot.get(name))
            .filter(|node| node.node.is_some());
        if let Some(node) = nominated
            && judges.judge(&state, pod, node, snapshot).is_success()
        {
            return Decision::Node(node.name.to_string(), state);
        }
        let (fitting, verdicts) = match self.filter(&judges, &state, pod, snapshot) {
            Ok(found) => found,
            Err(error) => return Decision::Failed(error),
        };
        if fitting.is_empty() {
            let trial = Trial {
                pod,
                snapshot,
                verdicts: &verdicts,
                state: &state,
                judges: &judges,
            };
            let mut unfit = unfit(total, &verdicts);
            for plugin in profile.post_filter.iter().filter(|_| total > 0) {
                match plugin.post_filter(&trial) {
                    Rescue::None(why) => unfit.add(&why),
                    Rescue::Wait(why) => {
                        unfit.add(&why);
                        unfit.waits = true;
                    }
                    Rescue::Room { node, victims } => {
                        unfit.room = Some((node, victims));
                        break;
                    }
                }
            }
            return Decision::Unfit(unfit);
        }
        let node = self.choose(profile, &mut state, pod, &fitting, snapshot);
        Decision::Node(node, state)
    }

    /// The nodes that fit, as many as are wanted, and the verdicts on those that do not.
    fn filter<'a>(
        &mut self,
        judges: &Judges<'_>,
        state: &CycleState,
        pod: &PodInfo,
        snapshot: &'a Snapshot,
    ) -> Result<(Vec<&'a NodeInfo>, Verdicts), String> {
        let nodes = snapshot.nodes();
        let wanted = self.wanted(nodes.len());
        let (mut fitting, mut verdicts) = (Vec::new(), Vec::new());
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
            let status = judges.judge(state, pod, node, snapshot);
            if status.is_success() {
                fitting.push(node);
            } else if status.code == Code::Error {
                return Err(status.reasons.join(", "));
            } else {
                verdicts.push((node.name.clone(), status));
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
        snapshot: &Snapshot,
    ) -> String {
        if let [only] = fitting {
            return only.name.to_string();
        }
        let mut skipped: BTreeSet<&str> = BTreeSet::new();
        for plugin in &profile.pre_score {
            if plugin.pre_score(state, pod, fitting, snapshot).code == Code::Skip {
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
fn unfit(total: usize, verdicts: &Verdicts) -> Unfit {
    if total == 0 {
        // Whatever the filters wait for, a node is what is missing.
        return Unfit {
            message: "no nodes available to schedule pods".to_owned(),
            rejectors: ["NodeName".to_owned()].into(),
            room: None,
            waits: false,
        };
    }
    let statuses = || verdicts.iter().map(|(_, status)| status);
    let reasons = statuses().flat_map(|status| status.reasons.iter().map(String::as_str));
    Unfit {
        message: format!("0/{total} nodes are available: {}.", histogram(reasons)),
        rejectors: statuses().map(|status| status.plugin.clone()).collect(),
        room: None,
        waits: false,
    }
}

#[cfg(test)]
mod tests;
