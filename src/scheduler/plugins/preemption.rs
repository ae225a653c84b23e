//! DefaultPreemption: a pod that fits nowhere may take the place of pods of lower priority.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use parking_lot::Mutex;
use serde_json::Value;

use super::args::Args;
use crate::compat::Opt as _;
use crate::object::LabelSelector;
use crate::scheduler::framework::{
    ArgsError, ClassId, Code, Handle, Hooks, Plugin, PodInfo, PostFilter, Rescue, Snapshot, Trial,
    histogram,
};

/// So many classes of pods are remembered.
const CLASSES: usize = 16;

/// Finds the node where the least harm is done.
#[derive(Debug)]
pub struct DefaultPreemption {
    remembered: Mutex<BTreeMap<ClassId, Class>>,
    /// At least this many nodes are tried out …
    least_candidates: usize,
    /// … or this share of them, in percent.
    candidates_percent: usize,
}

impl Default for DefaultPreemption {
    fn default() -> Self {
        Self {
            remembered: Mutex::default(),
            least_candidates: 100,
            candidates_percent: 10,
        }
    }
}

impl DefaultPreemption {
    pub(super) fn make(args: &Value, _handle: &Handle) -> Result<Hooks, ArgsError> {
        let plugin = Arc::new(Self::of(args)?);
        Ok(Hooks::new(&plugin).post_filter(&plugin))
    }

    pub(super) fn of(args: &Value) -> Result<Self, ArgsError> {
        let (percent, least) = ("minCandidateNodesPercentage", "minCandidateNodesAbsolute");
        let args = Args::of(args, "DefaultPreemptionArgs", &[percent, least])?;
        let number = |field: &str, default: i64, range: std::ops::RangeInclusive<i64>| {
            let number = args.integer(field)?.unwrap_or(default);
            if !range.contains(&number) {
                let message = format_args!("Invalid value: {number}: not in valid range");
                return Err(args.invalid(field, message));
            }
            Ok(usize::try_from(number).unwrap_or(usize::MAX))
        };
        let candidates_percent = number(percent, 10, 0..=100)?;
        let least_candidates = number(least, 100, 0..=i64::MAX)?;
        if candidates_percent == 0 && least_candidates == 0 {
            let message =
                format_args!("Invalid value: 0: cannot be zero at the same time as {least}");
            return Err(args.invalid(percent, message));
        }
        Ok(Self {
            remembered: Mutex::default(),
            least_candidates,
            candidates_percent,
        })
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }
}

/// What was found on nodes for pods of one class.
#[derive(Debug, Default)]
struct Class {
    budgets: u64,
    /// By the nodes' positions, with the generations they had.
    found: Vec<(u64, Option<Found>)>,
}

type Found = Result<Arc<Candidate>, Arc<str>>;

/// A node and who would have to leave it, the most important first.
#[derive(Debug)]
struct Candidate {
    node: Arc<str>,
    victims: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    violations: usize,
    harm: Harm,
}

impl PostFilter for DefaultPreemption {
    fn post_filter(&self, trial: &Trial<'_>) -> Rescue {
        if let Some(why) = not_eligible(trial) {
            return Rescue::Wait(format!("preemption: {why}"));
        }
        let total = trial.snapshot.present();
        let hopeful: Vec<usize> = trial.verdicts.hopeful().collect();
        let enough = hopeful.len() * self.candidates_percent / 100;
        let enough = enough.max(self.least_candidates);
        // All are looked at, or some from somewhere on.
        let start = usize::try_from(trial.chance).unwrap_or(0) % hopeful.len().max(1);
        let start = if hopeful.len() > enough { start } else { 0 };
        let (before, after) = hopeful.split_at(start);
        let mut best: Option<Arc<Candidate>> = None;
        let (mut candidates, mut spared) = (0, false);
        let mut reasons: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut remembered = self.remembered.lock();
        let mut class = class_of(&mut remembered, trial);
        for position in after.iter().chain(before) {
            match find(class.as_deref_mut(), trial, *position) {
                Ok(candidate) => {
                    candidates += 1;
                    spared |= candidate.violations == 0;
                    if best.as_ref().is_none_or(|best| candidate.harm < best.harm) {
                        best = Some(candidate);
                    }
                }
                Err(why) => *reasons.entry(why).or_default() += 1,
            }
            // Without one that respects all budgets the search goes on.
            if candidates >= enough && spared {
                break;
            }
        }
        if let Some(best) = best {
            return Rescue::Room {
                node: best.node.clone(),
                victims: best.victims.clone(),
                violations: best.violations,
            };
        }
        let helpless = total.saturating_sub(reasons.values().sum());
        let never = "Preemption is not helpful for scheduling";
        let reasons = reasons.iter().map(|(why, count)| (&**why, *count));
        let counted = histogram(reasons.chain(std::iter::once((never, helpless))));
        Rescue::None(format!(
            "preemption: 0/{total} nodes are available: {counted}."
        ))
    }
}

/// What is remembered for pods like this one, when what is found on a node depends on them and the node alone.
fn class_of<'a>(
    remembered: &'a mut BTreeMap<ClassId, Class>,
    trial: &Trial<'_>,
) -> Option<&'a mut Class> {
    let id = trial.class()?;
    // Its own nomination counts for others and not for itself.
    if trial.snapshot.nomination(&trial.pod.key).is_some() {
        return None;
    }
    if !remembered.contains_key(&id) && remembered.len() >= CLASSES {
        // The oldest: ids grow.
        remembered.pop_first();
    }
    let class = remembered.entry(id).or_default();
    let budgets = trial.snapshot.budgets_generation();
    if class.budgets != budgets {
        class.budgets = budgets;
        class.found.clear();
    }
    class
        .found
        .resize_with(trial.snapshot.nodes().len(), || (0, None));
    Some(class)
}

/// Who would have to leave a node; found before, or now.
fn find(class: Option<&mut Class>, trial: &Trial<'_>, position: usize) -> Found {
    let marks = trial.snapshot.marks();
    let generation = marks.get(position).map(|mark| mark.generation);
    let slot = class.and_then(|class| class.found.get_mut(position));
    let (Some(generation), Some(slot)) = (generation, slot) else {
        return victims(trial, position);
    };
    match slot {
        (known, Some(found)) if *known == generation => found.clone(),
        slot => {
            let found = victims(trial, position);
            *slot = (generation, Some(found.clone()));
            found
        }
    }
}

/// Why the pod may not preempt others.
fn not_eligible(trial: &Trial<'_>) -> Option<&'static str> {
    let pod = trial.pod;
    let policy = pod
        .spec()
        .and_then(|spec| spec.preemption_policy.as_deref());
    if policy == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = trial.snapshot.nomination(&pod.key)?;
    let position = trial.snapshot.position(nominated)?;
    // Room is being made there already, unless the node will never do.
    let verdict = trial.verdicts.get(position);
    if verdict.is_some_and(|status| status.code == Code::UnschedulableAndUnresolvable) {
        return None;
    }
    let node = trial.snapshot.nodes().get(position)?;
    let mut pods = node.pods.values();
    pods.any(|other| other.priority < pod.priority && is_preempted(other))
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Whether a pod is leaving because a scheduler asked it to.
fn is_preempted(pod: &PodInfo) -> bool {
    let status = pod.pod.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let told = conditions.find(|condition| condition.type_ == "DisruptionTarget");
    pod.is_terminating()
        && told.is_some_and(|told| {
            told.status == "True" && told.reason.as_deref() == Some("PreemptionByScheduler")
        })
}

/// Who would have to leave a node: of the pods of lower priority, as few and as unimportant ones as will do.
fn victims(trial: &Trial<'_>, position: usize) -> Found {
    let mut node = trial
        .node(position)
        .ok_or_else(|| Arc::from("the node is gone"))?;
    let mut lower: Vec<Arc<PodInfo>> = node
        .node()
        .pods
        .values()
        .filter(|other| other.priority < trial.pod.priority)
        .cloned()
        .collect();
    if lower.is_empty() {
        return Err("No preemption victims found for incoming pod".into());
    }
    for other in &lower {
        node.remove(&other.key);
    }
    let status = node.judge();
    if !status.is_success() {
        return Err(status.reasons.join(", ").into());
    }
    // As many as possible are let back in, those under a budget and the important ones first.
    lower.sort_by_key(|pod| importance(pod));
    let (protected, free) = by_budget(trial.snapshot, lower);
    let mut victims = Vec::new();
    let mut violations = 0;
    for (index, other) in protected.iter().chain(&free).enumerate() {
        node.add(other);
        if !node.judge().is_success() {
            node.remove(&other.key);
            victims.push(other.clone());
            violations += usize::from(index < protected.len());
        }
    }
    victims.sort_by_key(|pod| importance(pod));
    Ok(Arc::new(Candidate {
        node: node.node().name.clone(),
        harm: harm(&victims, violations),
        victims,
        violations,
    }))
}

/// Higher priorities come first, then those that have run for longer.
fn importance(pod: &PodInfo) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.priority), started(pod))
}

/// Since when a pod has run; one that has not started counts as just started.
fn started(pod: &PodInfo) -> Timestamp {
    let status = pod.pod.status.as_ref();
    status
        .and_then(|status| status.start_time.as_ref())
        .map_or(Timestamp::MAX, |time| time.0)
}

/// Splits pods into those whose eviction would break a disruption budget, and the rest; both keep their order.
fn by_budget(
    snapshot: &Snapshot,
    pods: Vec<Arc<PodInfo>>,
) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: BTreeMap<&str, i32> = BTreeMap::new();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for budget in snapshot.budgets(&pod.key.namespace) {
            if !protects(budget, pod) {
                continue;
            }
            let name = budget.metadata.name.as_deref().unwrap_or_default();
            let status = budget.status.as_ref();
            let allowed = status.and_then(|status| status.disruptions_allowed.opt().copied());
            let left = left.entry(name).or_insert_with(|| allowed.unwrap_or(0));
            *left -= 1;
            violates |= *left < 0;
        }
        violates
    })
}

fn protects(budget: &PodDisruptionBudget, pod: &PodInfo) -> bool {
    let spec = budget.spec.as_ref();
    let selector = spec
        .and_then(|spec| spec.selector.as_ref())
        .and_then(|selector| LabelSelector::from_typed(selector).ok())
        .filter(|selector| !selector.is_empty());
    // One that is being evicted already was counted.
    let counted = budget
        .status
        .as_ref()
        .and_then(|status| status.disrupted_pods.as_ref())
        .is_some_and(|pods| pods.contains_key(&*pod.key.name));
    !counted && selector.is_some_and(|selector| selector.matches_optional(pod.labels()))
}

/// By this the candidates are compared; the least harm wins, and among equals the first.
type Harm = (usize, i32, i64, usize, Reverse<Timestamp>);

fn harm(victims: &[Arc<PodInfo>], violations: usize) -> Harm {
    let highest = victims.first().map_or(i32::MIN, |pod| pod.priority);
    // Shifted, so that many pods of negative priority weigh more than few.
    let sum = victims
        .iter()
        .map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1)
        .sum();
    let youngest = victims
        .iter()
        .take_while(|pod| pod.priority == highest)
        .map(|pod| started(pod))
        .min();
    (
        violations,
        highest,
        sum,
        victims.len(),
        Reverse(youngest.unwrap_or(Timestamp::MAX)),
    )
}
