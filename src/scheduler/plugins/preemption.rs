//! DefaultPreemption: a pod that fits nowhere may take the place of pods of lower priority.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::compat::Opt as _;
use crate::object::LabelSelector;
use crate::scheduler::framework::{
    Code, Plugin, PodInfo, PostFilter, Rescue, Snapshot, Trial, histogram,
};

/// At least this many nodes are tried out …
const LEAST_CANDIDATES: usize = 100;
/// … or this share of them, in percent.
const CANDIDATES_PERCENT: usize = 10;

/// Finds the node where the least harm is done.
#[derive(Clone, Copy, Debug)]
pub struct DefaultPreemption;

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }
}

/// A node and who would have to leave it, the most important first.
#[derive(Debug)]
struct Candidate {
    node: Arc<str>,
    victims: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    violations: usize,
}

impl PostFilter for DefaultPreemption {
    fn post_filter(&self, trial: &Trial<'_>) -> Rescue {
        if let Some(why) = not_eligible(trial) {
            return Rescue::Wait(format!("preemption: {why}"));
        }
        let total = trial.snapshot.nodes().len();
        let hopeful: Vec<&Arc<str>> = trial
            .verdicts
            .iter()
            .filter(|(_, status)| status.code == Code::Unschedulable)
            .map(|(node, _)| node)
            .collect();
        let enough = (hopeful.len() * CANDIDATES_PERCENT / 100).max(LEAST_CANDIDATES);
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut reasons: Vec<String> = Vec::new();
        for node in &hopeful {
            match victims(trial, node) {
                Ok(candidate) => candidates.push(candidate),
                Err(why) => reasons.push(why),
            }
            // Without one that respects all budgets the search goes on.
            if candidates.len() >= enough
                && candidates.iter().any(|candidate| candidate.violations == 0)
            {
                break;
            }
        }
        if let Some(Candidate { node, victims, .. }) = candidates.into_iter().min_by_key(harm) {
            return Rescue::Room { node, victims };
        }
        let helpless = total.saturating_sub(reasons.len());
        let never = "Preemption is not helpful for scheduling";
        let reasons = reasons
            .iter()
            .map(String::as_str)
            .chain(std::iter::repeat_n(never, helpless));
        let counted = histogram(reasons);
        Rescue::None(format!(
            "preemption: 0/{total} nodes are available: {counted}."
        ))
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
    // Room is being made there already, unless the node will never do.
    let never = trial.verdicts.iter().any(|(node, status)| {
        node == nominated && status.code == Code::UnschedulableAndUnresolvable
    });
    let node = trial.snapshot.get(nominated).filter(|_| !never)?;
    let mut pods = node.pods.values();
    pods.any(|other| other.priority < pod.priority && other.is_terminating())
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Who would have to leave a node: of the pods of lower priority, as few and as unimportant ones as will do.
fn victims(trial: &Trial<'_>, name: &Arc<str>) -> Result<Candidate, String> {
    let gone = || "the node is gone".to_owned();
    let mut node = trial.node(name).ok_or_else(gone)?;
    let mut lower: Vec<Arc<PodInfo>> = node
        .node()
        .pods
        .values()
        .filter(|other| other.priority < trial.pod.priority)
        .cloned()
        .collect();
    if lower.is_empty() {
        return Err("No preemption victims found for incoming pod".to_owned());
    }
    for other in &lower {
        node.remove(&other.key);
    }
    let status = node.judge();
    if !status.is_success() {
        return Err(status.reasons.join(", "));
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
    Ok(Candidate {
        node: name.clone(),
        victims,
        violations,
    })
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
fn harm(candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
    let victims = &candidate.victims;
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
        candidate.violations,
        highest,
        sum,
        victims.len(),
        Reverse(youngest.unwrap_or(Timestamp::MAX)),
    )
}
