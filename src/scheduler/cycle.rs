//! The decision about one pod: pre-filter, filter, post-filter, score. Sync, over a snapshot, but for extenders.
//!
//! What plugins say of a node from the pod's class and the node alone ([`Scope::Node`]) is remembered by [`classes`] until the
//! node changes, so that a decision judges the few nodes that changed, and walks arrays for the rest.

mod classes;
mod extended;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use self::classes::{Class, Classes};
use self::extended::{ByExtenders, extend};
use super::framework::{
    Code, CycleState, Decision, Explain, Filter, Framework, Judges, Mark, NodeInfo, PodInfo,
    PreFiltered, Rescue, Scheduler, Scope, Score, Snapshot, Status, Trial, Unfit, Verdicts,
    guarded,
};
use super::metrics::{Asked, Evaluations, Metrics};
use crate::clock::Clock;

/// At least this many fitting nodes are looked for.
const LEAST_NODES: usize = 100;

/// The decision by plugins.
#[derive(Debug)]
pub struct SchedulingCycle {
    clock: Clock,
    percentage: Option<u32>,
    /// Where the search for fitting nodes starts, so that all nodes get their turn.
    start: usize,
    explain: Option<Arc<dyn Explain>>,
    metrics: Metrics,
    /// By the profile.
    evaluations: BTreeMap<Arc<str>, Arc<Evaluations>>,
    classes: Classes,
    order: Order,
    scratch: Scratch,
}

/// The order in which nodes are looked at.
#[derive(Debug, Default)]
struct Order {
    positions: Vec<usize>,
    /// The snapshot's zones when this was made.
    zones: u64,
}

impl Order {
    fn of(&mut self, snapshot: &Snapshot) -> &[usize] {
        if self.zones != snapshot.zones_generation() {
            self.zones = snapshot.zones_generation();
            self.positions = snapshot.interleaved();
        }
        &self.positions
    }
}

/// Memory that decisions use one after another.
#[derive(Debug, Default)]
struct Scratch {
    totals: Vec<i64>,
    scores: Vec<i64>,
    winners: Vec<usize>,
}

/// A pod on its way through the plugins.
struct Search<'a> {
    framework: &'a Framework,
    pod: &'a Arc<PodInfo>,
    snapshot: &'a Snapshot,
    state: CycleState,
    /// The pod's class, and the filters whose word is remembered for it.
    class: Option<Class>,
    local: Judges<'a>,
    /// The other filters.
    other: Vec<&'a dyn Filter>,
    /// All of them.
    judges: Judges<'a>,
    evaluations: Arc<Evaluations>,
    /// Where the plugins are timed one by one, if they are.
    timed: Option<Metrics>,
    /// What a pre-filter says of all nodes.
    rejection: Option<Status>,
    /// The positions of the only nodes that come into question, and who says so.
    only: Option<Vec<usize>>,
    only_by: Vec<&'a str>,
    /// The node it is nominated to.
    nominated: Option<usize>,
    /// The positions of the nodes that fit.
    fitting: Vec<usize>,
}

#[async_trait]
impl Scheduler for SchedulingCycle {
    async fn schedule(
        &mut self,
        framework: &Framework,
        pod: &Arc<PodInfo>,
        snapshot: &Snapshot,
    ) -> Decision {
        if framework.extenders.is_empty() {
            return self.decide(framework, pod, snapshot);
        }
        self.explained(framework, pod, snapshot);
        let found = caught(|| self.search(framework, pod, snapshot));
        let mut search = match found {
            Ok(search) => search,
            Err(decision) => return decision,
        };
        let extended = match extend(&mut search).await {
            Ok(extended) => extended,
            Err(error) => return Decision::Failed(error),
        };
        let preempting = framework.extenders.iter();
        let preempting: Vec<_> = preempting
            .filter(|extender| extender.preempts() && extender.is_interested(pod))
            .collect();
        if search.fitting.is_empty() && !preempting.is_empty() {
            return self.rescue(search, &extended, &preempting).await;
        }
        caught(|| Ok::<_, Decision>(self.finish(search, extended))).unwrap_or_else(|failed| failed)
    }
}

/// Runs plugins; one that panics fails its pod, nothing else.
fn caught<T>(run: impl FnOnce() -> Result<T, Decision>) -> Result<T, Decision> {
    guarded(run).unwrap_or_else(|panic| Err(Decision::Failed(panic)))
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
            metrics: Metrics::default(),
            evaluations: BTreeMap::new(),
            classes: Classes::default(),
            order: Order::default(),
            scratch: Scratch::default(),
        }
    }

    /// Has its decisions explained.
    #[must_use]
    pub fn explained_to(mut self, explain: Option<Arc<dyn Explain>>) -> Self {
        self.explain = explain;
        self
    }

    /// Counts here.
    #[must_use]
    pub fn counting(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Decides, without extenders. A plugin that panics fails its pod, nothing else.
    pub fn decide(
        &mut self,
        framework: &Framework,
        pod: &Arc<PodInfo>,
        snapshot: &Snapshot,
    ) -> Decision {
        self.explained(framework, pod, snapshot);
        let decided = caught(|| {
            let search = self.search(framework, pod, snapshot)?;
            Ok(self.finish(search, ByExtenders::default()))
        });
        decided.unwrap_or_else(|decision| decision)
    }

    fn explained(&self, framework: &Framework, pod: &Arc<PodInfo>, snapshot: &Snapshot) {
        let wanted = self.explain.as_ref().filter(|explain| explain.wants(pod));
        if let Some(explain) = wanted {
            let explanation = caught(|| Ok(super::explain::evaluate(framework, pod, snapshot)));
            if let Ok(explanation) = explanation {
                explain.explain(explanation);
            }
        }
    }

    /// Looks for nodes that fit. `Err`: it is decided already.
    fn search<'a>(
        &mut self,
        framework: &'a Framework,
        pod: &'a Arc<PodInfo>,
        snapshot: &'a Snapshot,
    ) -> Result<Search<'a>, Decision> {
        let class = self.classes.take(framework, pod, snapshot.nodes().len());
        let mut search = Search::new(framework, pod, snapshot, class);
        search.evaluations = self.evaluations(framework);
        search.timed = self.metrics.sampled();
        if snapshot.present() == 0 {
            return Ok(search);
        }
        let since = Instant::now();
        let prepared = search.prepare();
        let status = match (&prepared, &search.rejection) {
            (Err(_), _) => "Error",
            (Ok(()), Some(rejection)) => rejection.code.name(),
            (Ok(()), None) => "Success",
        };
        took(&self.metrics, ("PreFilter", status), framework, since);
        let looked = match prepared {
            Ok(()) if search.rejection.is_none() => {
                let since = Instant::now();
                let looked = self.look(&mut search);
                let status = if looked.is_ok() { "Success" } else { "Error" };
                took(&self.metrics, ("Filter", status), framework, since);
                looked
            }
            prepared => prepared,
        };
        match looked {
            Ok(()) => Ok(search),
            Err(error) => {
                self.put(&mut search);
                Err(Decision::Failed(error))
            }
        }
    }

    fn evaluations(&mut self, framework: &Framework) -> Arc<Evaluations> {
        if let Some(evaluations) = self.evaluations.get(framework.name()) {
            return evaluations.clone();
        }
        let profile = framework.shared_name();
        let evaluations = self.metrics.evaluations(&profile, || {
            let pre_filters = framework.pre_filter.iter().map(|plugin| plugin.name());
            let filters = framework.filter.iter().map(|plugin| plugin.name());
            let pre_scores = framework.pre_score.iter().map(|plugin| plugin.name());
            let scores = framework.score.iter().map(|(plugin, _)| plugin.name());
            Evaluations::default()
                .with(Asked::PreFilter, pre_filters)
                .with(Asked::Filter, filters)
                .with(Asked::PreScore, pre_scores)
                .with(Asked::Score, scores)
        });
        self.evaluations.insert(profile, evaluations.clone());
        evaluations
    }

    fn put(&mut self, search: &mut Search<'_>) {
        if let Some(class) = search.class.take() {
            self.classes.put(class);
        }
    }

    /// Collects nodes that fit, as many as are wanted.
    fn look(&mut self, search: &mut Search<'_>) -> Result<(), String> {
        let marks = search.snapshot.marks();
        // Room was made for it there.
        if let Some(position) = search.nominated
            && search.comes_into_question(position)
            && search.fits(position, marks)?
        {
            search.fitting.push(position);
            return Ok(());
        }
        let only = search.only.take();
        let nodes = match &only {
            Some(only) => only.as_slice(),
            None => self.order.of(search.snapshot),
        };
        let wanted = wanted(search.framework, self.percentage, nodes.len());
        let start = self.start.checked_rem(nodes.len()).unwrap_or(0);
        let (before, after) = nodes.split_at(start);
        let mut looked = Ok(0);
        for position in after.iter().chain(before) {
            looked = looked.map(|looked| looked + 1);
            match search.fits(*position, marks) {
                Ok(true) => search.fitting.push(*position),
                Ok(false) => {}
                Err(error) => {
                    looked = Err(error);
                    break;
                }
            }
            if search.fitting.len() >= wanted {
                break;
            }
        }
        search.only = only;
        self.start += looked?;
        Ok(())
    }

    /// Chooses one of the nodes that fit, or says why there is none.
    fn finish(&mut self, mut search: Search<'_>, by: ByExtenders) -> Decision {
        let decision = if search.fitting.is_empty() {
            match search.diagnose(&by.rejected) {
                Ok(verdicts) => Decision::Unfit(self.unfit(&search, &verdicts).0),
                Err(error) => Decision::Failed(error),
            }
        } else {
            match self.choose(&mut search, &by.scores) {
                Ok(node) => {
                    let state = std::mem::take(&mut search.state);
                    Decision::Node(node, state.decided())
                }
                Err(error) => Decision::Failed(error),
            }
        };
        self.put(&mut search);
        decision
    }

    /// The best of the fitting nodes; among equals chance decides.
    fn choose(&mut self, search: &mut Search<'_>, extended: &[i64]) -> Result<Arc<str>, String> {
        let nodes = search.snapshot.nodes();
        let name = |position: usize| {
            let node = nodes.get(position);
            node.map_or_else(|| "".into(), |node| node.name.clone())
        };
        if let [only] = search.fitting[..] {
            return Ok(name(only));
        }
        let framework = search.framework;
        let fitting = search.nodes();
        let mut skipped = 0_u64;
        let since = Instant::now();
        for (index, plugin) in framework.pre_score.iter().enumerate() {
            search.evaluations.count(Asked::PreScore, index);
            let status = Metrics::timed(
                search.timed.as_ref(),
                (plugin.name(), "PreScore"),
                || plugin.pre_score(&mut search.state, search.pod, &fitting, search.snapshot),
                |status| status.code.name(),
            );
            match status.code {
                Code::Success => {}
                Code::Skip => skipped |= 1 << index,
                _ => return Err(status.reasons.join(", ")),
            }
        }
        took(&self.metrics, ("PreScore", "Success"), framework, since);
        let since = Instant::now();
        let Scratch {
            totals,
            scores,
            winners,
        } = &mut self.scratch;
        totals.clear();
        totals.resize(fitting.len(), 0);
        let plugins = framework.score.iter().zip(&framework.pre_score_of);
        let plugins = plugins.enumerate();
        let active = plugins.filter(|(_, (_, pre))| pre.is_none_or(|pre| skipped >> pre & 1 == 0));
        let active: Vec<(&dyn Score, i64)> = active
            .inspect(|(index, _)| search.evaluations.count(Asked::Score, *index))
            .map(|(_, ((plugin, weight), _))| (&**plugin, *weight))
            .collect();
        let (local, other): (Vec<_>, Vec<_>) = active.into_iter().partition(|(plugin, _)| {
            search.class.is_some() && plugin.scope(search.pod) == Scope::Node
        });
        search.score(&local, framework)?;
        for (column, (plugin, weight)) in local.iter().enumerate() {
            scores.clear();
            scores.extend(search.scored(column));
            plugin.normalize(&search.state, search.pod, scores);
            add(totals, scores, *weight);
        }
        for (plugin, weight) in other {
            scores.clear();
            let given = fitting.iter();
            Metrics::timed(
                search.timed.as_ref(),
                (plugin.name(), "Score"),
                || scores.extend(given.map(|node| plugin.score(&search.state, search.pod, node))),
                |()| "Success",
            );
            plugin.normalize(&search.state, search.pod, scores);
            add(totals, scores, weight);
        }
        took(&self.metrics, ("Score", "Success"), framework, since);
        add(totals, extended, 1);
        let best = totals.iter().max().copied().unwrap_or(0);
        winners.clear();
        let all = search.fitting.iter().zip(&*totals);
        winners.extend(all.filter(|(_, total)| **total == best).map(|(at, _)| *at));
        let lot = usize::try_from(self.clock.below(winners.len() as u64)).unwrap_or(0);
        let winner = winners.get(lot).or_else(|| winners.first());
        Ok(name(winner.copied().unwrap_or_default()))
    }

    /// Why no node fits, and what may be done about it; and how many of those who would have to leave a budget protects.
    fn unfit(&mut self, search: &Search<'_>, verdicts: &Verdicts) -> (Unfit, usize) {
        let total = search.snapshot.present();
        if total == 0 {
            // Whatever the filters wait for, a node is what is missing.
            let unfit = Unfit {
                message: "no nodes available to schedule pods".to_owned(),
                rejectors: ["NodeName".to_owned()].into(),
                ..Unfit::default()
            };
            return (unfit, 0);
        }
        // What a pre-filter says is not counted.
        let why = match &search.rejection {
            Some(rejection) => rejection.reasons.join(", "),
            None => verdicts.histogram(),
        };
        let mut unfit = Unfit {
            message: format!("0/{total} nodes are available: {why}."),
            rejectors: verdicts.rejectors().map(str::to_owned).collect(),
            ..Unfit::default()
        };
        let trial = Trial {
            pod: search.pod,
            snapshot: search.snapshot,
            verdicts,
            chance: self.clock.random(),
            state: &search.state,
            judges: &search.judges,
            is_local: search.class.is_some() && search.other.is_empty(),
        };
        let since = Instant::now();
        let mut violations = 0;
        for plugin in &search.framework.post_filter {
            let rescue = Metrics::timed(
                search.timed.as_ref(),
                (plugin.name(), "PostFilter"),
                || plugin.post_filter(&trial),
                |rescue| match rescue {
                    Rescue::Room { .. } => "Success",
                    Rescue::None(_) | Rescue::Wait(_) => "Unschedulable",
                },
            );
            match rescue {
                Rescue::None(why) => explain_more(&mut unfit, &why),
                Rescue::Wait(why) => {
                    explain_more(&mut unfit, &why);
                    unfit.waits = true;
                }
                Rescue::Room {
                    node,
                    victims,
                    violations: protected,
                } => {
                    unfit.room = Some((node, victims));
                    violations = protected;
                    break;
                }
            }
        }
        if !search.framework.post_filter.is_empty() {
            let status = if unfit.room.is_some() {
                "Success"
            } else {
                "Unschedulable"
            };
            took(
                &self.metrics,
                ("PostFilter", status),
                search.framework,
                since,
            );
        }
        (unfit, violations)
    }
}

/// Counts how long the plugins of an extension point took.
fn took(
    metrics: &Metrics,
    (point, status): (&'static str, &'static str),
    framework: &Framework,
    since: Instant,
) {
    let profile = framework.shared_name();
    metrics.extension_point(point, status, &profile, since.elapsed());
}

/// How many fitting nodes are enough. `percentage` counts unless the profile has its own.
fn wanted(framework: &Framework, percentage: Option<u32>, nodes: usize) -> usize {
    if framework.score.is_empty() && framework.extenders.is_empty() {
        // None is better than another.
        return 1;
    }
    if nodes < LEAST_NODES {
        return nodes.max(1);
    }
    let adaptive = 50_usize.saturating_sub(nodes / 125).max(5);
    let percent = framework
        .percentage_of_nodes_to_score()
        .or(percentage)
        .filter(|percent| *percent > 0)
        .map_or(adaptive, |percent| percent as usize);
    (nodes * percent / 100).max(LEAST_NODES)
}

fn add(totals: &mut [i64], scores: &[i64], weight: i64) {
    for (total, score) in totals.iter_mut().zip(scores) {
        *total += score * weight;
    }
}

fn explain_more(unfit: &mut Unfit, why: &str) {
    if !why.is_empty() {
        unfit.message = format!("{} {why}", unfit.message);
    }
}

impl<'a> Search<'a> {
    fn new(
        framework: &'a Framework,
        pod: &'a Arc<PodInfo>,
        snapshot: &'a Snapshot,
        class: Option<Class>,
    ) -> Self {
        let nominated = snapshot.nomination(&pod.key);
        Self {
            framework,
            pod,
            snapshot,
            state: CycleState::of_class(class.as_ref().map(|class| class.id)),
            class,
            local: Judges::default(),
            other: Vec::new(),
            judges: Judges::default(),
            evaluations: Arc::default(),
            timed: None,
            rejection: None,
            only: None,
            only_by: Vec::new(),
            nominated: nominated.and_then(|node| snapshot.position(node)),
            fitting: Vec::new(),
        }
    }

    /// Runs the pre-filters, and finds out which filters have to do with the pod.
    fn prepare(&mut self) -> Result<(), String> {
        let mut skipped = 0_u64;
        let mut only: Option<BTreeSet<Arc<str>>> = None;
        for (index, plugin) in self.framework.pre_filter.iter().enumerate() {
            self.evaluations.count(Asked::PreFilter, index);
            let PreFiltered { status, nodes } = Metrics::timed(
                self.timed.as_ref(),
                (plugin.name(), "PreFilter"),
                || plugin.pre_filter(&mut self.state, self.pod, self.snapshot),
                |said| said.status.code.name(),
            );
            match status.code {
                Code::Success => {}
                Code::Skip => skipped |= 1 << index,
                Code::Error => return Err(status.reasons.join(", ")),
                _ => {
                    self.rejection = Some(status.by(plugin.name()));
                    return Ok(());
                }
            }
            if let Some(nodes) = nodes {
                self.only_by.push(plugin.name());
                only = Some(match only {
                    Some(only) => only.intersection(&nodes).cloned().collect(),
                    None => nodes,
                });
            }
        }
        self.only = only.map(|names| {
            let names = names.iter();
            names
                .filter_map(|name| self.snapshot.position(name))
                .collect()
        });
        let pre_filters = self.framework.pre_filter.iter().enumerate();
        let pre_filters = pre_filters.filter(|(index, _)| skipped >> index & 1 == 0);
        self.judges.pre_filters = pre_filters.map(|(_, plugin)| &**plugin).collect();
        let filters = self.framework.filter.iter();
        for (index, (plugin, pre)) in filters.zip(&self.framework.pre_filter_of).enumerate() {
            if pre.is_some_and(|pre| skipped >> pre & 1 == 1) {
                continue;
            }
            self.evaluations.count(Asked::Filter, index);
            self.judges.filters.push(&**plugin);
            if self.class.is_some() && plugin.scope(self.pod) == Scope::Node {
                self.local.filters.push(&**plugin);
            } else {
                self.other.push(&**plugin);
            }
        }
        self.local.pre_filters.clone_from(&self.judges.pre_filters);
        self.local.timed.clone_from(&self.timed);
        self.judges.timed.clone_from(&self.timed);
        Ok(())
    }

    fn comes_into_question(&self, position: usize) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.contains(&position))
    }

    /// Whether a node fits.
    fn fits(&mut self, position: usize, marks: &[Mark]) -> Result<bool, String> {
        let (Some(mark), Some(node)) = (marks.get(position), self.snapshot.nodes().get(position))
        else {
            return Ok(false);
        };
        if !mark.present {
            return Ok(false);
        }
        if mark.nominated > 0 && (!self.other.is_empty() || self.nominated == Some(position)) {
            let status = self
                .judges
                .judge(&self.state, self.pod, node, self.snapshot);
            return fine(&status);
        }
        if self.remembered(position, mark, node)? != 0 {
            return Ok(false);
        }
        for index in 0..self.other.len() {
            let Some(plugin) = self.other.get(index) else {
                break;
            };
            let fits = match plugin.fits(&self.state, self.pod, node) {
                Some(fits) => fits,
                None => fine(&self.judges.ask(*plugin, &self.state, self.pod, node))?,
            };
            if !fits {
                // It may well turn down the next one, too: all are to agree, in whatever order they are asked.
                self.other.swap(0, index);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The number of the class's verdict on a node; 0 when it fits, or there is no class.
    fn remembered(&mut self, position: usize, mark: &Mark, node: &NodeInfo) -> Result<u32, String> {
        let Some(class) = &mut self.class else {
            return Ok(0);
        };
        if let Some(verdict) = class.verdict(position, mark.generation) {
            return Ok(verdict);
        }
        let status = self.local.judge(&self.state, self.pod, node, self.snapshot);
        fine(&status)?;
        Ok(class.judge(position, mark.generation, status))
    }

    /// What is said of each node; none fits.
    fn diagnose(&mut self, extended: &[(usize, Status)]) -> Result<Verdicts, String> {
        let (marks, nodes) = (self.snapshot.marks(), self.snapshot.nodes());
        let mut verdicts = Verdicts::new(nodes.len());
        let present = || marks.iter().enumerate().filter(|(_, mark)| mark.present);
        if let Some(rejection) = &self.rejection {
            present().for_each(|(position, _)| verdicts.set(position, rejection));
            return Ok(verdicts);
        }
        if self.only.is_some() {
            let by = self.only_by.join(" ");
            let why = format!("node(s) didn't satisfy plugin(s) [{by}]");
            let elsewhere =
                Status::unresolvable(why).by(self.only_by.first().copied().unwrap_or_default());
            present().for_each(|(position, _)| verdicts.set(position, &elsewhere));
        }
        let mut numbers: Vec<u32> = Vec::new();
        let all = match &self.only {
            Some(only) => only.clone(),
            None => (0..nodes.len()).collect(),
        };
        for position in all {
            let (Some(mark), Some(node)) = (marks.get(position), nodes.get(position)) else {
                continue;
            };
            if !mark.present {
                continue;
            }
            let number = if mark.nominated > 0 && self.nominated == Some(position) {
                0
            } else {
                self.remembered(position, mark, node)?
            };
            let index = usize::try_from(number).unwrap_or(0).checked_sub(1);
            if let Some(index) = index {
                // Many nodes have few verdicts.
                if numbers.len() <= index {
                    numbers.resize(index + 1, 0);
                }
                if numbers[index] == 0 {
                    let class = self.class.as_ref();
                    let status = class.and_then(|class| class.statuses.get(index));
                    numbers[index] = status.map_or(0, |status| verdicts.number(status));
                }
                verdicts.set_number(position, numbers[index]);
                continue;
            }
            let status = self
                .judges
                .judge(&self.state, self.pod, node, self.snapshot);
            if !fine(&status)? {
                verdicts.set(position, &status);
            }
        }
        for (position, status) in extended {
            verdicts.set(*position, status);
        }
        Ok(verdicts)
    }

    /// The nodes that fit.
    fn nodes(&self) -> Vec<&'a NodeInfo> {
        let (snapshot, fitting) = (self.snapshot, self.fitting.iter());
        fitting
            .filter_map(|position| snapshot.nodes().get(*position))
            .collect()
    }

    /// Has the fitting nodes scored by these plugins, as far as they are not yet.
    fn score(&mut self, local: &[(&dyn Score, i64)], framework: &Framework) -> Result<(), String> {
        let Some(class) = &mut self.class else {
            return Ok(());
        };
        // Which of the profile's plugins these are.
        let all = framework.score.iter().enumerate();
        let mask = all.filter(|(_, (plugin, _))| {
            local.iter().any(|(other, _)| other.name() == plugin.name())
        });
        let mask = mask.fold(0_u64, |mask, (index, _)| mask | 1 << index);
        class.fit_scores(self.snapshot.nodes().len(), mask, local.len());
        for position in &self.fitting {
            let (Some(mark), Some(node)) = (
                self.snapshot.marks().get(*position),
                self.snapshot.nodes().get(*position),
            ) else {
                return Err("a node is gone".to_owned());
            };
            if class.scores(*position, mark.generation).is_some() {
                continue;
            }
            if let Some(scores) = class.score(*position, mark.generation) {
                for (score, (plugin, _)) in scores.iter_mut().zip(local) {
                    *score = plugin.score(&self.state, self.pod, node);
                }
            }
        }
        Ok(())
    }

    /// The scores of the fitting nodes by one plugin, in their order.
    fn scored(&self, column: usize) -> impl Iterator<Item = i64> {
        let (class, marks) = (self.class.as_ref(), self.snapshot.marks());
        self.fitting.iter().map(move |position| {
            let mark = marks.get(*position);
            let scores = mark
                .zip(class)
                .and_then(|(mark, class)| class.scores(*position, mark.generation));
            scores
                .and_then(|scores| scores.get(column))
                .copied()
                .unwrap_or(0)
        })
    }
}

/// Whether a verdict lets the node through. `Err`: the plugin failed.
fn fine(status: &Status) -> Result<bool, String> {
    if status.code == Code::Error {
        return Err(status.reasons.join(", "));
    }
    Ok(status.is_success())
}

#[cfg(test)]
mod tests;
