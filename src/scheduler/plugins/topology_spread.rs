//! PodTopologySpread: pods that are alike are spread evenly over zones, nodes, or any other label of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, TopologySpreadConstraint};
use parking_lot::Mutex;
use serde_json::Value;

use super::node_affinity;
use super::seen::Seen;
use super::spread_defaults::Defaults;
use super::taints::untolerated;
use crate::object::LabelSelector;
use crate::object::selector::{Operator, Requirement};
use crate::scheduler::framework::{
    Actions, ArgsError, ClassId, ClusterEvent, CycleState, EventPattern, Filter, Handle, Hint,
    Hooks, MAX_SCORE, NodeInfo, Plugin, PodInfo, PreFilter, PreFiltered, PreScore, Resource, Score,
    Snapshot, Status,
};

const HOSTNAME: &str = "kubernetes.io/hostname";
/// The score of a node that lacks a label, until scores are normalized.
const IGNORED: i64 = -1;
/// So many classes of pods are counted for.
const CLASSES: usize = 32;

/// Filters by `DoNotSchedule` constraints; scores by `ScheduleAnyway` ones.
///
/// How many pods each domain has is counted once for each class of pods, and then kept up to date by looking at the nodes that
/// changed.
#[derive(Debug, Default)]
pub struct PodTopologySpread {
    counted: Mutex<BTreeMap<ClassId, Counted>>,
    defaults: Defaults,
}

/// The counts for one class.
#[derive(Debug, Default)]
struct Counted {
    hard: Option<Arc<Spread>>,
    soft: Option<Arc<Spread>>,
}

/// One constraint, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Constraint {
    key: String,
    max_skew: i64,
    min_domains: usize,
    selector: Option<LabelSelector>,
    heeds_affinity: bool,
    heeds_taints: bool,
}

impl Constraint {
    fn of(pod: &PodInfo, constraints: &[TopologySpreadConstraint], action: &str) -> Vec<Self> {
        let wanted = constraints
            .iter()
            .filter(|constraint| constraint.when_unsatisfiable == action);
        wanted
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

    /// Whether the pods of a node count at all.
    fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.heeds_affinity || node_affinity::matches(pod, node))
            && (!self.heeds_taints || untolerated(pod, node).is_none())
    }
}

/// How many pods the domains of a class's constraints have.
#[derive(Clone, Debug)]
struct Spread {
    constraints: Arc<Vec<Constraint>>,
    /// Whether the pod itself is selected, by constraint.
    own: Vec<bool>,
    /// Whether only nodes count that have the labels of all constraints.
    requires_all: bool,
    seen: Seen,
    domains: Vec<Domains>,
    /// By position, then constraint.
    nodes: Vec<Place>,
}

/// Where a node is in the sense of one constraint, and what it adds there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The number of the domain; [`NOWHERE`]: the node lacks the label.
    domain: u32,
    /// Whether it adds to the domain.
    counts: bool,
    pods: i64,
}

const NOWHERE: u32 = u32::MAX;

impl Default for Place {
    fn default() -> Self {
        Self {
            domain: NOWHERE,
            counts: false,
            pods: 0,
        }
    }
}

/// The domains of one constraint.
#[derive(Clone, Debug, Default)]
struct Domains {
    numbers: BTreeMap<String, u32>,
    pods: Vec<i64>,
    /// How many nodes add to it: without any there is no such domain.
    nodes: Vec<u32>,
    /// How many domains have so many pods.
    levels: BTreeMap<i64, usize>,
    existing: usize,
}

impl Domains {
    fn number(&mut self, value: &str) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.pods.len()).unwrap_or(NOWHERE);
        self.numbers.insert(value.to_owned(), number);
        self.pods.push(0);
        self.nodes.push(0);
        number
    }

    /// Changes a domain by so many pods and nodes.
    fn change(&mut self, domain: u32, pods: i64, nodes: i32) {
        let Ok(index) = usize::try_from(domain) else {
            return;
        };
        let (Some(count), Some(there)) = (self.pods.get_mut(index), self.nodes.get_mut(index))
        else {
            return;
        };
        if *there > 0 {
            self.existing -= 1;
            if let Some(level) = self.levels.get_mut(count) {
                *level -= 1;
                if *level == 0 {
                    self.levels.remove(count);
                }
            }
        }
        *count += pods;
        *there = there.saturating_add_signed(nodes);
        if *there > 0 {
            self.existing += 1;
            *self.levels.entry(*count).or_default() += 1;
        }
    }

    fn pods(&self, domain: u32) -> i64 {
        let index = usize::try_from(domain).ok();
        index
            .and_then(|index| self.pods.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// What the emptiest domain has; with fewer domains than wanted there is always an empty one to come.
    fn least(&self, wanted: usize) -> i64 {
        if self.existing < wanted {
            return 0;
        }
        self.levels.keys().next().copied().unwrap_or(i64::MAX)
    }
}

impl Spread {
    fn new(pod: &PodInfo, constraints: Vec<Constraint>, requires_all: bool) -> Self {
        Self {
            own: constraints
                .iter()
                .map(|constraint| constraint.selects(pod))
                .collect(),
            domains: vec![Domains::default(); constraints.len()],
            constraints: Arc::new(constraints),
            requires_all,
            seen: Seen::default(),
            nodes: Vec::new(),
        }
    }

    /// Takes over what changed since.
    fn catch_up(&mut self, pod: &PodInfo, snapshot: &Snapshot) {
        for position in self.seen.changed(snapshot) {
            self.renew(pod, snapshot, position);
        }
    }

    /// Counts a node anew.
    fn renew(&mut self, pod: &PodInfo, snapshot: &Snapshot, position: usize) {
        let each = self.constraints.len();
        let least = (position + 1) * each;
        self.nodes
            .resize(self.nodes.len().max(least), Place::default());
        let node = snapshot.nodes().get(position);
        let node = node.filter(|node| node.node.is_some());
        let has_all =
            node.is_some_and(|node| !self.requires_all || has_all(node, self.constraints.iter()));
        for (index, constraint) in self.constraints.iter().enumerate() {
            let Some(domains) = self.domains.get_mut(index) else {
                continue;
            };
            let value = node.and_then(|node| Some((node, node.label(&constraint.key)?)));
            let place = match value {
                None => Place::default(),
                Some((node, value)) => {
                    let counts = has_all && constraint.includes(pod, node);
                    let counted = |other: &&Arc<PodInfo>| constraint.counts(pod, other);
                    // A node's own count is asked for even where the domain's is not.
                    let pods = node.pods.values().filter(counted).count();
                    Place {
                        domain: domains.number(value),
                        counts,
                        pods: i64::try_from(pods).unwrap_or(i64::MAX),
                    }
                }
            };
            let Some(slot) = self.nodes.get_mut(position * each + index) else {
                continue;
            };
            let before = std::mem::replace(slot, place);
            if before == place {
                continue;
            }
            if before.counts {
                domains.change(before.domain, -before.pods, -1);
            }
            if place.counts {
                domains.change(place.domain, place.pods, 1);
            }
        }
    }

    fn place(&self, node: &NodeInfo, constraint: usize) -> Place {
        let index = node.position * self.constraints.len() + constraint;
        self.nodes.get(index).copied().unwrap_or_default()
    }
}

/// The counts of hard constraints, and what is thought to be otherwise.
#[derive(Clone, Debug)]
struct Hard {
    spread: Arc<Spread>,
    /// By constraint and domain.
    thought: BTreeMap<(usize, u32), i64>,
}

/// The counts of soft constraints, and the weights of these.
#[derive(Clone, Debug)]
struct Soft {
    spread: Arc<Spread>,
    weights: Vec<f64>,
}

fn has_all<'a>(node: &NodeInfo, mut constraints: impl Iterator<Item = &'a Constraint>) -> bool {
    constraints.all(|constraint| node.label(&constraint.key).is_some())
}

/// Whether a pod says itself how it is to be spread.
fn has_own(pod: &PodInfo) -> bool {
    !own(pod).is_empty()
}

fn own(pod: &PodInfo) -> &[TopologySpreadConstraint] {
    let spec = pod.spec();
    spec.and_then(|spec| spec.topology_spread_constraints.as_deref())
        .unwrap_or_default()
}

impl PodTopologySpread {
    pub(super) fn make(args: &Value, handle: &Handle) -> Result<Hooks, ArgsError> {
        let plugin = Arc::new(Self {
            counted: Mutex::default(),
            defaults: Defaults::of(args, handle)?,
        });
        let hooks = Hooks::new(&plugin).pre_filter(&plugin).filter(&plugin);
        Ok(hooks.pre_score(&plugin).score(&plugin))
    }

    /// The constraints of one kind for a pod: its own, or the default ones; and whether only nodes count that have all labels.
    fn constraints(&self, pod: &PodInfo, action: &str) -> Option<(Vec<Constraint>, bool)> {
        if has_own(pod) {
            let own = Constraint::of(pod, own(pod), action);
            return (!own.is_empty()).then_some((own, true));
        }
        let mut constraints = Constraint::of(pod, &self.defaults.constraints, action);
        if constraints.is_empty() {
            return None;
        }
        let selector = self.defaults.selector(pod)?;
        for constraint in &mut constraints {
            constraint.selector = Some(selector.clone());
        }
        Some((constraints, !self.defaults.system))
    }

    /// The counts for a pod's constraints of one kind; `None`: it has none.
    fn spread(
        &self,
        class: Option<ClassId>,
        pod: &PodInfo,
        snapshot: &Snapshot,
        action: &str,
    ) -> Option<Arc<Spread>> {
        let (constraints, requires_all) = self.constraints(pod, action)?;
        let is_current = |spread: &Spread| {
            // Services and owners may come to select other pods.
            let mut all = spread.constraints.iter().zip(&constraints);
            has_own(pod) || all.all(|(known, now)| known.selector == now.selector)
        };
        let new = || Spread::new(pod, constraints.clone(), requires_all);
        let Some(class) = class else {
            let mut spread = new();
            spread.catch_up(pod, snapshot);
            return Some(Arc::new(spread));
        };
        let mut counted = self.counted.lock();
        if !counted.contains_key(&class) && counted.len() >= CLASSES {
            // The oldest: ids grow.
            counted.pop_first();
        }
        let counted = counted.entry(class).or_default();
        let slot = if action == "DoNotSchedule" {
            &mut counted.hard
        } else {
            &mut counted.soft
        };
        if slot.as_deref().is_some_and(|spread| !is_current(spread)) {
            *slot = None;
        }
        let spread = slot.get_or_insert_with(|| Arc::new(new()));
        // Nobody else has it between decisions.
        Arc::make_mut(spread).catch_up(pod, snapshot);
        Some(spread.clone())
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn events(&self) -> Vec<EventPattern> {
        let moved = Actions::ADD | Actions::UPDATE_POD_LABEL | Actions::DELETE;
        let changed = Actions::UPDATE_POD_LABEL | Actions::UPDATE_POD_TOLERATION;
        vec![
            // One that is being deleted does not count any more.
            EventPattern::new(Resource::AssignedPod, moved | Actions::UPDATE_OTHER),
            EventPattern::new(Resource::TargetPod, changed),
            EventPattern::new(
                Resource::Node,
                Actions::ADD
                    | Actions::DELETE
                    | Actions::UPDATE_NODE_LABEL
                    | Actions::UPDATE_NODE_TAINT,
            ),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let hard = |pod: &PodInfo| {
            let constraints = self.constraints(pod, "DoNotSchedule");
            constraints.map_or_else(Vec::new, |(constraints, _)| constraints)
        };
        let constraints = hard(pod);
        let helps = match event.resource {
            // Its own labels are part of some constraints.
            Resource::TargetPod
                if event
                    .old::<PodInfo>()
                    .is_some_and(|old| hard(old) != constraints) =>
            {
                true
            }
            Resource::Node => node_helps(
                pod,
                &constraints,
                event.old::<Node>(),
                event.new_object::<Node>(),
            ),
            _ => pod_helps(&constraints, event, pod),
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

/// Whether a pod that came, went or changed may make room in its domain.
fn pod_helps(constraints: &[Constraint], event: &ClusterEvent<'_>, pod: &PodInfo) -> bool {
    let (old, new) = (event.old::<PodInfo>(), event.new_object::<PodInfo>());
    let is_target = event.resource == Resource::TargetPod;
    let near = |other: &PodInfo| is_target || other.key.namespace == pod.key.namespace;
    if old.is_some_and(|old| !near(old)) || new.is_some_and(|new| !near(new)) {
        return false;
    }
    let selects = |constraint: &Constraint, pod: Option<&PodInfo>| {
        pod.is_some_and(|pod| constraint.selects(pod) && (is_target || !pod.is_terminating()))
    };
    match (old, new) {
        (Some(before), Some(now)) => {
            let tolerates = is_target
                && before.tolerations() != now.tolerations()
                && constraints.iter().any(|constraint| constraint.heeds_taints);
            let mut all = constraints.iter();
            tolerates || all.any(|constraint| selects(constraint, old) != selects(constraint, new))
        }
        // One that came, or went, counts if any selects it.
        (old, new) => {
            let moved = old.or(new);
            moved.is_none()
                || constraints
                    .iter()
                    .any(|constraint| selects(constraint, moved))
        }
    }
}

/// Whether a node that came, went or changed may make or move a domain.
fn node_helps(
    pod: &PodInfo,
    constraints: &[Constraint],
    old: Option<&Node>,
    new: Option<&Node>,
) -> bool {
    let label = |node: &Node, constraint: &Constraint| {
        let labels = node.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(&constraint.key))
            .cloned()
    };
    let has_all = |node: Option<&Node>| {
        let mut all = constraints.iter();
        node.is_some_and(|node| all.all(|constraint| label(node, constraint).is_some()))
    };
    let (Some(before), Some(now)) = (old, new) else {
        return has_all(old) || has_all(new) || (old.is_none() && new.is_none());
    };
    if has_all(old) != has_all(new) {
        return true;
    }
    let mut all = constraints.iter();
    let moved = all.any(|constraint| label(before, constraint) != label(now, constraint));
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    // Its pods may count no longer, or only now.
    let counts = |node: &Node| {
        let info = NodeInfo::of(Arc::new(node.clone()));
        let counts = |constraint: &Constraint| constraint.includes(pod, &info);
        constraints.iter().map(counts).collect::<Vec<_>>()
    };
    has_all(new) && (moved || taints(before) != taints(now) || counts(before) != counts(now))
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> PreFiltered {
        let spread = self.spread(state.class(), pod, snapshot, "DoNotSchedule");
        let Some(spread) = spread else {
            return Status::skip().into();
        };
        state.write_for_decision(Hard {
            spread,
            thought: BTreeMap::new(),
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
            hard.think(pod, added, node, 1);
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
            hard.think(pod, removed, node, -1);
        }
    }
}

impl Hard {
    fn think(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64) {
        for (index, constraint) in self.spread.constraints.iter().enumerate() {
            let place = self.spread.place(node, index);
            if place.counts && constraint.counts(pod, other) {
                *self.thought.entry((index, place.domain)).or_default() += by;
            }
        }
    }

    /// How many pods a domain has.
    fn pods(&self, constraint: usize, domain: u32) -> i64 {
        let domains = self.spread.domains.get(constraint);
        let counted = domains.map_or(0, |domains| domains.pods(domain));
        let thought = self.thought.get(&(constraint, domain));
        counted + thought.copied().unwrap_or(0)
    }

    /// What the emptiest domain of a constraint has.
    fn least(&self, index: usize, constraint: &Constraint) -> i64 {
        let Some(domains) = self.spread.domains.get(index) else {
            return 0;
        };
        if self.thought.is_empty() {
            return domains.least(constraint.min_domains);
        }
        if domains.existing < constraint.min_domains {
            return 0;
        }
        let all = domains.nodes.iter().zip(0_u32..);
        let all = all.filter(|(nodes, _)| **nodes > 0);
        let counts = all.map(|(_, domain)| self.pods(index, domain));
        counts.min().unwrap_or(i64::MAX)
    }

    /// `Err`: the node lacks a label (`true`), or its domain has too many pods (`false`).
    fn judge(&self, node: &NodeInfo) -> Result<(), bool> {
        for (index, constraint) in self.spread.constraints.iter().enumerate() {
            let place = self.spread.place(node, index);
            if place.domain == NOWHERE {
                return Err(true);
            }
            let own = i64::from(self.spread.own.get(index) == Some(&true));
            let there = self.pods(index, place.domain);
            let skew = (there + own).saturating_sub(self.least(index, constraint));
            if skew > constraint.max_skew {
                return Err(false);
            }
        }
        Ok(())
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> Status {
        match state.read::<Hard>().map_or(Ok(()), |hard| hard.judge(node)) {
            Ok(()) => Status::success(),
            Err(true) => Status::unresolvable(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ),
            Err(false) => {
                Status::unschedulable("node(s) didn't match pod topology spread constraints")
            }
        }
    }

    fn fits(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> Option<bool> {
        let hard = state.read::<Hard>();
        Some(hard.is_none_or(|hard| hard.judge(node).is_ok()))
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
        let spread = self.spread(state.class(), pod, snapshot, "ScheduleAnyway");
        let Some(spread) = spread else {
            return Status::skip();
        };
        let all = 0..spread.constraints.len();
        let is_somewhere = |node: &NodeInfo, index| spread.place(node, index).domain != NOWHERE;
        let mut among: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); all.len()];
        let mut last = vec![None; all.len()];
        let mut eligible = 0;
        for node in nodes {
            if spread.requires_all && !all.clone().all(|index| is_somewhere(node, index)) {
                continue;
            }
            eligible += 1;
            for ((index, among), last) in all.clone().zip(&mut among).zip(&mut last) {
                // Where labels may be lacking, those without are a domain of their own.
                let domain = spread.place(node, index).domain;
                if *last != Some(domain) {
                    among.insert(domain);
                    *last = Some(domain);
                }
            }
        }
        // The more domains, the more a difference between two of them weighs.
        let sizes = spread.constraints.iter().zip(&among);
        let weights = sizes.map(|(constraint, domains)| {
            let size = if constraint.key == HOSTNAME {
                eligible
            } else {
                domains.len()
            };
            (size as f64 + 2.0).ln()
        });
        let weights = weights.collect();
        state.write_for_decision(Soft { spread, weights });
        Status::success()
    }
}

impl Score for PodTopologySpread {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the rule is in floating point"
    )]
    fn score(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Soft { spread, weights }) = state.read::<Soft>() else {
            return 0;
        };
        let mut score = 0.0;
        let all = spread.constraints.iter().zip(&spread.domains).zip(weights);
        for (index, ((constraint, domains), weight)) in all.enumerate() {
            let place = spread.place(node, index);
            if place.domain == NOWHERE {
                if spread.requires_all {
                    return IGNORED;
                }
                continue;
            }
            let count = if constraint.key == HOSTNAME {
                place.pods
            } else {
                domains.pods(place.domain)
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
