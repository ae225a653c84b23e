//! The decision about one pod: pre-filter, filter, post-filter, score. Sync, over a snapshot.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;

use super::framework::{
    Code, CycleState, Decision, Explain, Framework, Judges, NodeInfo, PodInfo, PreFiltered, Rescue,
    Scheduler, Snapshot, Status, Trial, Unfit, histogram,
};
use crate::clock::Clock;

/// At least this many fitting nodes are looked for.
const LEAST_NODES: usize = 100;

/// What was said of each node that does not fit.
type Verdicts = Vec<(Arc<str>, Status)>;

/// The decision by plugins.
#[derive(Debug)]
pub struct SchedulingCycle {
    clock: Clock,
    percentage: Option<u32>,
    /// Where the search for fitting nodes starts, so that all nodes get their turn.
    start: usize,
    explain: Option<Arc<dyn Explain>>,
}

#[async_trait]
impl Scheduler for SchedulingCycle {
    async fn schedule(
        &mut self,
        framework: &Framework,
        pod: &Arc<PodInfo>,
        snapshot: &Snapshot,
    ) -> Decision {
        if let Some(explain) = self.explain.as_ref().filter(|explain| explain.wants(pod)) {
            // Plugins that panic are dealt with below.
            let explanation =
                AssertUnwindSafe(|| super::explain::evaluate(framework, pod, snapshot));
            if let Ok(explanation) = catch_unwind(explanation) {
                explain.explain(explanation);
            }
        }
        self.decide(framework, pod, snapshot)
    }
}

impl SchedulingCycle {
    /// Decides with chance from `clock`; `percentage` of the nodes is looked for.
    #[must_use]
    pub fn new(clock: Clock, percentage: Option<u32>) -> Self {
        Self {
            clock,
            percentage,
            start: 0,
            explain: None,
        }
    }

    /// Has its decisions explained.
    #[must_use]
    pub fn explained_to(mut self, explain: Option<Arc<dyn Explain>>) -> Self {
        self.explain = explain;
        self
    }

    /// Decides. A plugin that panics fails its pod, nothing else.
    pub(super) fn decide(
        &mut self,
        profile: &Framework,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Decision {
        let decided = catch_unwind(AssertUnwindSafe(|| self.search(profile, pod, snapshot)));
        decided.unwrap_or_else(|panic| {
            Decision::Failed(format!("a plugin panicked: {}", panic_text(&*panic)))
        })
    }

    fn search(&mut self, profile: &Framework, pod: &PodInfo, snapshot: &Snapshot) -> Decision {
        let mut state = CycleState::default();
        let mut skipped: BTreeSet<&str> = BTreeSet::new();
        let mut only: Option<BTreeSet<Arc<str>>> = None;
        let total = snapshot
            .nodes()
            .iter()
            .filter(|node| node.node.is_some())
            .count();
        for plugin in &profile.pre_filter {
            let PreFiltered { status, nodes } = plugin.pre_filter(&mut state, pod, snapshot);
            if let Some(nodes) = nodes {
                only = Some(match only {
                    Some(only) => only.intersection(&nodes).cloned().collect(),
                    None => nodes,
                });
            }
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
            return Decision::Node(node.name.clone(), state);
        }
        let (fitting, verdicts) = match self.filter(&judges, &state, pod, snapshot, only.as_ref()) {
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
                    Rescue::None(why) => add(&mut unfit, &why),
                    Rescue::Wait(why) => {
                        add(&mut unfit, &why);
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
        only: Option<&BTreeSet<Arc<str>>>,
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
            if node.node.is_none() || only.is_some_and(|only| !only.contains(&node.name)) {
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
        profile: &Framework,
        state: &mut CycleState,
        pod: &PodInfo,
        fitting: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Arc<str> {
        if let [only] = fitting {
            return only.name.clone();
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
            .map_or_else(|| "".into(), |node| node.name.clone())
    }
}

fn add(unfit: &mut Unfit, why: &str) {
    if !why.is_empty() {
        unfit.message = format!("{} {why}", unfit.message);
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
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
    let reasons = statuses().flat_map(|status| status.reasons.iter().map(|reason| &**reason));
    Unfit {
        message: format!("0/{total} nodes are available: {}.", histogram(reasons)),
        rejectors: statuses().map(|status| status.plugin.clone()).collect(),
        room: None,
        waits: false,
    }
}

#[cfg(test)]
mod tests;
