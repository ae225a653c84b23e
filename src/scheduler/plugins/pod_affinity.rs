//! InterPodAffinity: which pods a pod wants near or far, and which pods there want it near or far.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node};
use parking_lot::Mutex;
use serde_json::Value;

use super::args::Args;
use super::seen::Seen;
use crate::scheduler::framework::{
    Actions, ArgsError, ClassId, ClusterEvent, CycleState, EventPattern, Filter, Handle, Hint,
    Hooks, MAX_SCORE, NodeInfo, Plugin, PodInfo, PodTerm, PreFilter, PreFiltered, PreScore,
    Resource, Score, Snapshot, Status,
};

/// So many classes of pods are counted for.
const CLASSES: usize = 32;

/// Filters by required terms, of the pod and of those that are there; scores by preferred ones.
///
/// Pods that matter are counted once for each class of pods, by the places where they are; the counts are then kept up to date
/// by looking at the nodes that changed.
#[derive(Debug, Default)]
pub struct InterPodAffinity {
    counted: Mutex<BTreeMap<ClassId, Arc<Near>>>,
    weighing: Weighing,
}

/// What of the pods that are there counts when nodes are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weighing {
    /// How much a term of theirs that is required weighs.
    required: i64,
    /// What they prefer counts only if the pod prefers something, too.
    ignores_preferred: bool,
}

impl Default for Weighing {
    fn default() -> Self {
        Self {
            required: 1,
            ignores_preferred: false,
        }
    }
}

impl InterPodAffinity {
    pub(super) fn make(args: &Value, _handle: &Handle) -> Result<Hooks, ArgsError> {
        let plugin = Arc::new(Self::of(args)?);
        let hooks = Hooks::new(&plugin).pre_filter(&plugin).filter(&plugin);
        Ok(hooks.pre_score(&plugin).score(&plugin))
    }

    pub(super) fn of(args: &Value) -> Result<Self, ArgsError> {
        let (weight, ignore) = (
            "hardPodAffinityWeight",
            "ignorePreferredTermsOfExistingPods",
        );
        let args = Args::of(args, "InterPodAffinityArgs", &[weight, ignore])?;
        let required = args.integer(weight)?.unwrap_or(1);
        if !(0..=100).contains(&required) {
            let message = format_args!("Invalid value: {required}: not in valid range [0-100]");
            return Err(args.invalid(weight, message));
        }
        let ignores_preferred = args.boolean(ignore)?.unwrap_or(false);
        Ok(Self {
            counted: Mutex::default(),
            weighing: Weighing {
                required,
                ignores_preferred,
            },
        })
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Pods that do not want this one near.
    Repelling,
    /// Pods that this one has to be near.
    Wanted,
    /// Pods that this one must not be near.
    Unwanted,
    /// How good it is to be near.
    Weight,
}

const KINDS: usize = 4;

/// What is counted for one class of pods, by the labels of nodes and their values.
#[derive(Clone, Debug, Default)]
struct Near {
    weighing: Weighing,
    /// Whether the pod itself is of the kind that it has to be near.
    wants_its_kind: bool,
    seen: Seen,
    /// Of which generation of the namespaces this is.
    namespaces: u64,
    keys: Vec<Places>,
    /// What each node adds, by its position.
    nodes: Vec<Vec<Added>>,
    /// How many places have a number that is not 0, by kind.
    nonzero: [usize; KINDS],
}

/// The values of one label.
#[derive(Clone, Debug, Default)]
struct Places {
    key: Arc<str>,
    numbers: BTreeMap<String, u32>,
    counts: Vec<[i64; KINDS]>,
    /// The value's number by the nodes' positions; [`NOWHERE`]: the node lacks the label.
    of_nodes: Vec<u32>,
    /// How many values have a number that is not 0, by kind.
    nonzero: [usize; KINDS],
}

const NOWHERE: u32 = u32::MAX;

/// Something that a node adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Added {
    what: What,
    key: usize,
    value: u32,
    by: i64,
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(
                Resource::AssignedPod,
                Actions::ADD | Actions::UPDATE_POD_LABEL | Actions::DELETE,
            ),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE_POD_LABEL),
            EventPattern::new(Resource::Node, Actions::ADD | Actions::UPDATE_NODE_LABEL),
            // Upstream has pods wait whose terms come to mean other namespaces. One may be heard of later than its pods.
            EventPattern::new(Resource::Namespace, Actions::ADD | Actions::UPDATE),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, snapshot: &Snapshot) -> Hint {
        let helps = match event.resource {
            Resource::Node => node_helps(
                pod,
                event.old::<Node>(),
                event.new_object::<Node>(),
                snapshot,
            ),
            Resource::AssignedPod => pod_helps(
                pod,
                event.old::<PodInfo>(),
                event.new_object::<PodInfo>(),
                snapshot,
            ),
            Resource::Namespace => {
                let own = &pod.affinity;
                let mut terms = own.required.iter().chain(&own.required_anti);
                let changed = event.new_object::<Namespace>();
                let is_own = changed.is_none_or(|changed| {
                    changed.metadata.name.as_deref() == Some(&*pod.key.namespace)
                });
                terms.any(PodTerm::heeds_namespaces) || (is_own && snapshot.has_affinity())
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

/// Whether a pod is one of those that it has to be near itself: as long as there is no other one, it may go anywhere.
fn wants_its_kind(pod: &PodInfo, snapshot: &Snapshot) -> bool {
    let mut required = pod.affinity.required.iter();
    required.all(|term| term.matches(pod, snapshot))
}

/// Whether a node that is new or has other labels may take a pod, or takes pods that are there out of its way.
fn node_helps(pod: &PodInfo, old: Option<&Node>, new: Option<&Node>, snapshot: &Snapshot) -> bool {
    let label = |node: Option<&'_ Node>, key: &str| -> Option<String> {
        node?.metadata.labels.as_ref()?.get(key).cloned()
    };
    let own = &pod.affinity;
    let (mut near, mut far) = (own.required.iter(), own.required_anti.iter());
    if old.is_none() {
        // Without a label no pod is too near.
        let has = |term: &PodTerm| label(new, &term.topology_key).is_some();
        let wants_some = !own.required.is_empty() && own.required_anti.is_empty();
        return new.is_none() || !wants_some || near.any(has);
    }
    let moved = |key: &str| label(old, key) != label(new, key);
    let comes = near.any(|term| {
        let key = &term.topology_key;
        moved(key) && (label(new, key).is_some() || wants_its_kind(pod, snapshot))
    });
    let leaves = far.any(|term| {
        let key = &term.topology_key;
        moved(key) && label(old, key).is_some()
    });
    // Those that do not want this one near may speak of other labels.
    let names = |node: Option<&Node>| -> Vec<String> {
        let labels = node.and_then(|node| node.metadata.labels.as_ref());
        labels
            .into_iter()
            .flat_map(|labels| labels.keys().cloned())
            .collect()
    };
    comes
        || leaves
        || names(old)
            .iter()
            .any(|key| snapshot.repels_by(key) && moved(key))
}

/// Whether a pod that came to a node, left one or has other labels is now one to be near to, or no longer in the way.
fn pod_helps(
    pod: &PodInfo,
    old: Option<&PodInfo>,
    new: Option<&PodInfo>,
    snapshot: &Snapshot,
) -> bool {
    let own = &pod.affinity;
    let wanted = |other: &PodInfo| {
        !own.required.is_empty()
            && own
                .required
                .iter()
                .all(|term| term.matches(other, snapshot))
    };
    let kept_away = |other: &PodInfo| {
        let unwanted = own
            .required_anti
            .iter()
            .any(|term| term.matches(other, snapshot));
        let theirs = &other.affinity.required_anti;
        unwanted || theirs.iter().any(|term| term.matches(pod, snapshot))
    };
    let (was_wanted, is_wanted) = (old.is_some_and(wanted), new.is_some_and(wanted));
    let came = is_wanted && !was_wanted;
    let went = old.is_some_and(kept_away) && !new.is_some_and(kept_away);
    // It may have been the last one.
    let begins = was_wanted && !is_wanted && wants_its_kind(pod, snapshot);
    came || went || begins || (old.is_none() && new.is_none())
}

/// Everything that `other` means to `pod`.
fn meaning<'a>(
    weighing: Weighing,
    pod: &'a PodInfo,
    other: &'a PodInfo,
    snapshot: &Snapshot,
    mut add: impl FnMut(What, &'a PodTerm, i64),
) {
    let (own, theirs) = (&pod.affinity, &other.affinity);
    for term in &theirs.required_anti {
        if term.matches(pod, snapshot) {
            add(What::Repelling, term, 1);
        }
    }
    let required = &own.required;
    if !required.is_empty() && required.iter().all(|term| term.matches(other, snapshot)) {
        for term in required {
            add(What::Wanted, term, 1);
        }
    }
    for term in &own.required_anti {
        if term.matches(other, snapshot) {
            add(What::Unwanted, term, 1);
        }
    }
    for (weight, term) in &own.preferred {
        if term.matches(other, snapshot) {
            add(What::Weight, term, *weight);
        }
    }
    for (weight, term) in &own.preferred_anti {
        if term.matches(other, snapshot) {
            add(What::Weight, term, -weight);
        }
    }
    let prefers = !own.preferred.is_empty() || !own.preferred_anti.is_empty();
    if weighing.ignores_preferred && !prefers {
        return;
    }
    for term in &theirs.required {
        if weighing.required > 0 && term.matches(pod, snapshot) {
            add(What::Weight, term, weighing.required);
        }
    }
    for (weight, term) in &theirs.preferred {
        if term.matches(pod, snapshot) {
            add(What::Weight, term, *weight);
        }
    }
    for (weight, term) in &theirs.preferred_anti {
        if term.matches(pod, snapshot) {
            add(What::Weight, term, -weight);
        }
    }
}

impl Places {
    fn number(&mut self, value: &str) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.counts.len()).unwrap_or(NOWHERE);
        self.numbers.insert(value.to_owned(), number);
        self.counts.push([0; KINDS]);
        number
    }

    /// Notes where the node at `position` is.
    fn place(&mut self, snapshot: &Snapshot, position: usize) {
        let node = snapshot.nodes().get(position);
        let node = node.filter(|node| node.node.is_some());
        let value = node.and_then(|node| node.label(&self.key));
        let number = value.map_or(NOWHERE, |value| self.number(value));
        if self.of_nodes.len() <= position {
            self.of_nodes.resize(position + 1, NOWHERE);
        }
        if let Some(slot) = self.of_nodes.get_mut(position) {
            *slot = number;
        }
    }

    fn of(&self, node: &NodeInfo) -> u32 {
        self.of_nodes.get(node.position).copied().unwrap_or(NOWHERE)
    }

    fn count(&self, what: What, value: u32) -> i64 {
        let index = usize::try_from(value).ok();
        let counts = index.and_then(|index| self.counts.get(index));
        counts.map_or(0, |counts| counts[what as usize])
    }
}

impl Near {
    /// Takes over what changed since.
    fn catch_up(&mut self, pod: &PodInfo, snapshot: &Snapshot) {
        if self.seen.is_nothing() || self.namespaces != snapshot.namespaces_generation() {
            *self = Self {
                weighing: self.weighing,
                wants_its_kind: wants_its_kind(pod, snapshot),
                namespaces: snapshot.namespaces_generation(),
                ..Self::default()
            };
        }
        for position in self.seen.changed(snapshot) {
            self.renew(pod, snapshot, position);
        }
    }

    /// Counts a node anew.
    fn renew(&mut self, pod: &PodInfo, snapshot: &Snapshot, position: usize) {
        if self.nodes.len() <= position {
            self.nodes.resize_with(position + 1, Vec::new);
        }
        for places in &mut self.keys {
            places.place(snapshot, position);
        }
        let before = self.nodes.get_mut(position).map(std::mem::take);
        for added in before.iter().flatten() {
            self.change(*added, -1);
        }
        let node = snapshot.nodes().get(position);
        let Some(node) = node.filter(|node| node.node.is_some()) else {
            return;
        };
        let mut added = before.unwrap_or_default();
        added.clear();
        if pod.affinity.any() || node.with_affinity > 0 {
            for other in node.pods.values() {
                if !pod.affinity.any() && !other.affinity.any() {
                    continue;
                }
                meaning(self.weighing, pod, other, snapshot, |what, term, by| {
                    let key = self.key(&term.topology_key, snapshot);
                    let value = self.keys.get(key).map_or(NOWHERE, |places| places.of(node));
                    if value != NOWHERE {
                        let one = Added {
                            what,
                            key,
                            value,
                            by,
                        };
                        self.change(one, 1);
                        added.push(one);
                    }
                });
            }
        }
        if let Some(slot) = self.nodes.get_mut(position) {
            *slot = added;
        }
    }

    fn change(&mut self, added: Added, times: i64) {
        let Some(places) = self.keys.get_mut(added.key) else {
            return;
        };
        let index = usize::try_from(added.value).ok();
        let Some(counts) = index.and_then(|index| places.counts.get_mut(index)) else {
            return;
        };
        let kind = added.what as usize;
        let before = counts[kind];
        counts[kind] += added.by * times;
        match (before, counts[kind]) {
            (0, 0) => {}
            (0, _) => {
                self.nonzero[kind] += 1;
                places.nonzero[kind] += 1;
            }
            (_, 0) => {
                self.nonzero[kind] -= 1;
                places.nonzero[kind] -= 1;
            }
            _ => {}
        }
    }

    /// The position of a label's places, made when it is not known.
    fn key(&mut self, key: &Arc<str>, snapshot: &Snapshot) -> usize {
        let known = self.keys.iter().position(|places| places.key == *key);
        known.unwrap_or_else(|| {
            let mut places = Places {
                key: key.clone(),
                ..Places::default()
            };
            for position in 0..snapshot.nodes().len() {
                places.place(snapshot, position);
            }
            self.keys.push(places);
            self.keys.len() - 1
        })
    }

    fn places(&self, key: &str) -> Option<&Places> {
        self.keys.iter().find(|places| *places.key == *key)
    }
}

impl InterPodAffinity {
    fn near(&self, class: Option<ClassId>, pod: &PodInfo, snapshot: &Snapshot) -> Arc<Near> {
        let new = || Near {
            weighing: self.weighing,
            ..Near::default()
        };
        let Some(class) = class else {
            let mut near = new();
            near.catch_up(pod, snapshot);
            return Arc::new(near);
        };
        let mut counted = self.counted.lock();
        if !counted.contains_key(&class) && counted.len() >= CLASSES {
            // The oldest: ids grow.
            counted.pop_first();
        }
        let near = counted.entry(class).or_insert_with(|| Arc::new(new()));
        // Nobody else has it between decisions.
        Arc::make_mut(near).catch_up(pod, snapshot);
        near.clone()
    }
}

/// The counts, and what is thought to be otherwise.
#[derive(Clone, Debug)]
struct Counts {
    near: Arc<Near>,
    /// By kind, label and value.
    thought: BTreeMap<(What, Arc<str>), BTreeMap<String, i64>>,
}

impl Counts {
    fn think(
        &mut self,
        pod: &PodInfo,
        other: &PodInfo,
        node: &NodeInfo,
        by: i64,
        snapshot: &Snapshot,
    ) {
        let thought = &mut self.thought;
        meaning(
            self.near.weighing,
            pod,
            other,
            snapshot,
            |what, term, number| {
                let value = node.label(&term.topology_key);
                if let Some(value) = value.filter(|_| what != What::Weight) {
                    let values = thought
                        .entry((what, term.topology_key.clone()))
                        .or_default();
                    *values.entry(value.to_owned()).or_default() += number * by;
                }
            },
        );
    }

    fn thought(&self, what: What, key: &Arc<str>, node: &NodeInfo) -> i64 {
        if self.thought.is_empty() {
            return 0;
        }
        let values = self.thought.get(&(what, key.clone()));
        values
            .and_then(|values| values.get(node.label(key)?))
            .copied()
            .unwrap_or(0)
    }

    /// The number at the place of `node` that `term` speaks of; `None`: the node lacks the label.
    fn at(&self, what: What, term: &PodTerm, node: &NodeInfo) -> Option<i64> {
        let key = &term.topology_key;
        let counted = match self.near.places(key) {
            Some(places) => {
                let value = places.of(node);
                (value != NOWHERE).then(|| places.count(what, value))?
            }
            None => node.label(key).map(|_| 0)?,
        };
        Some(counted + self.thought(what, key, node))
    }

    /// Whether there is anyone at all that the pod has to be near.
    fn anyone_wanted(&self) -> bool {
        let thought = || {
            let all = self
                .thought
                .iter()
                .filter(|((what, _), _)| *what == What::Wanted);
            all.flat_map(|((_, key), values)| {
                values.iter().map(move |(value, by)| (key, value, *by))
            })
        };
        if self.near.nonzero[What::Wanted as usize] == 0 {
            return thought().any(|(_, _, by)| by > 0);
        }
        if thought().all(|(_, _, by)| by >= 0) {
            return true;
        }
        // Some are thought away: is any left?
        self.near.keys.iter().any(|places| {
            places.numbers.iter().any(|(value, number)| {
                let same = |(key, other, _): &(&Arc<str>, &String, i64)| {
                    **key == places.key && *other == value
                };
                let by: i64 = thought().filter(same).map(|(_, _, by)| by).sum();
                places.count(What::Wanted, *number) + by > 0
            })
        })
    }

    /// Which rule keeps the pod from the node.
    fn judge(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rule> {
        let required = &pod.affinity.required;
        let mut all = true;
        for term in required {
            let Some(there) = self.at(What::Wanted, term, node) else {
                return Err(Rule::Affinity);
            };
            all &= there > 0;
        }
        // The first of a group that wants its own kind near may start anywhere.
        let may_be_first = self.near.wants_its_kind && !self.anyone_wanted();
        if !all && !may_be_first {
            return Err(Rule::Affinity);
        }
        let mut unwanted = pod.affinity.required_anti.iter();
        if unwanted.any(|term| self.at(What::Unwanted, term, node).unwrap_or(0) > 0) {
            return Err(Rule::AntiAffinity);
        }
        let mut repelling = self.near.keys.iter().filter(|places| {
            places.nonzero[What::Repelling as usize] > 0 || !self.thought.is_empty()
        });
        let repelled = repelling.any(|places| {
            let value = places.of(node);
            let counted = places.count(What::Repelling, value);
            value != NOWHERE && counted + self.thought(What::Repelling, &places.key, node) > 0
        });
        // Labels of which nothing is counted yet.
        let mut thought = self
            .thought
            .iter()
            .filter(|((what, key), _)| *what == What::Repelling && self.near.places(key).is_none());
        let repelled = repelled
            || thought.any(|((_, key), values)| {
                let value = node.label(key).and_then(|value| values.get(value));
                value.is_some_and(|by| *by > 0)
            });
        if repelled {
            return Err(Rule::Existing);
        }
        Ok(())
    }
}

/// A rule that keeps a pod from a node.
enum Rule {
    Affinity,
    AntiAffinity,
    Existing,
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> PreFiltered {
        if !pod.affinity.any() && !snapshot.has_affinity() {
            return Status::skip().into();
        }
        let near = self.near(state.class(), pod, snapshot);
        let own = &pod.affinity;
        let wants = !own.required.is_empty() || !own.required_anti.is_empty();
        let skips = !wants && near.nonzero[What::Repelling as usize] == 0;
        state.write_for_decision(Counts {
            near,
            thought: BTreeMap::new(),
        });
        if skips {
            return Status::skip().into();
        }
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
            counts.think(pod, added, node, 1, snapshot);
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
            counts.think(pod, removed, node, -1, snapshot);
        }
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let judged = state
            .read::<Counts>()
            .map_or(Ok(()), |counts| counts.judge(pod, node));
        match judged {
            Ok(()) => Status::success(),
            Err(Rule::Affinity) => Status::unresolvable("node(s) didn't match pod affinity rules"),
            Err(Rule::AntiAffinity) => {
                Status::unschedulable("node(s) didn't match pod anti-affinity rules")
            }
            Err(Rule::Existing) => {
                Status::unschedulable("node(s) didn't satisfy existing pods anti-affinity rules")
            }
        }
    }

    fn fits(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<bool> {
        let counts = state.read::<Counts>();
        Some(counts.is_none_or(|counts| counts.judge(pod, node).is_ok()))
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
        if !pod.affinity.any() && !snapshot.has_affinity() {
            return Status::skip();
        }
        if state.read::<Counts>().is_none() {
            let near = self.near(state.class(), pod, snapshot);
            state.write_for_decision(Counts {
                near,
                thought: BTreeMap::new(),
            });
        }
        let counts = state.read::<Counts>();
        if counts.is_none_or(|counts| counts.near.nonzero[What::Weight as usize] == 0) {
            return Status::skip();
        }
        Status::success()
    }
}

impl Score for InterPodAffinity {
    fn score(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Counts { near, .. }) = state.read() else {
            return 0;
        };
        let weighing = near.keys.iter();
        weighing
            .filter(|places| places.nonzero[What::Weight as usize] > 0)
            .map(|places| places.count(What::Weight, places.of(node)))
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
