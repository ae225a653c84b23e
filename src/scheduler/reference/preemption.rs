//! Preemption, by trying all nodes.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use crate::object::LabelSelector;
use crate::scheduler::framework::{PodInfo, Snapshot};

fn started(pod: &PodInfo) -> Timestamp {
    let status = pod.pod.status.as_ref();
    status
        .and_then(|status| status.start_time.as_ref())
        .map_or(Timestamp::MAX, |time| time.0)
}

/// The most important first.
fn sort(pods: &mut [Arc<PodInfo>]) {
    pods.sort_by_key(|pod| (Reverse(pod.priority), started(pod)));
}

/// The node and the victims with the least harm; nodes are equal in harm when that is `None` of them. `fits` says whether the
/// pod would fit a node on which only these pods are.
pub(crate) fn choose(
    pod: &PodInfo,
    snapshot: &Snapshot,
    fits: impl Fn(&str, &[Arc<PodInfo>]) -> bool,
) -> Vec<(Arc<str>, Vec<Arc<PodInfo>>)> {
    let mut candidates = Vec::new();
    for node in snapshot.nodes().iter().filter(|node| node.node.is_some()) {
        let all: Vec<Arc<PodInfo>> = node.pods.values().cloned().collect();
        let (mut lower, mut staying): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|other| other.priority < pod.priority);
        if lower.is_empty() || !fits(&node.name, &staying) {
            continue;
        }
        sort(&mut lower);
        let mut left: Vec<(String, i32)> = Vec::new();
        let mut protected = Vec::new();
        let mut free = Vec::new();
        for other in lower {
            let mut violates = false;
            for budget in snapshot.budgets(&other.key.namespace) {
                let selector = budget.spec.as_ref().unwrap().selector.as_ref().unwrap();
                let selector = LabelSelector::from_typed(selector).unwrap();
                if selector.is_empty() || !selector.matches_optional(other.labels()) {
                    continue;
                }
                let name = budget.metadata.name.clone().unwrap();
                let known = left.iter().position(|(known, _)| *known == name);
                let index = known.unwrap_or_else(|| {
                    use crate::compat::Opt as _;
                    let status = budget.status.as_ref();
                    let allowed =
                        status.and_then(|status| status.disruptions_allowed.opt().copied());
                    left.push((name, allowed.unwrap_or(0)));
                    left.len() - 1
                });
                left[index].1 -= 1;
                violates |= left[index].1 < 0;
            }
            if violates {
                protected.push(other);
            } else {
                free.push(other);
            }
        }
        let (mut victims, mut violations) = (Vec::new(), 0);
        for (other, is_protected) in protected
            .into_iter()
            .map(|other| (other, true))
            .chain(free.into_iter().map(|other| (other, false)))
        {
            staying.push(other.clone());
            if !fits(&node.name, &staying) {
                staying.pop();
                victims.push(other);
                violations += usize::from(is_protected);
            }
        }
        sort(&mut victims);
        let highest = victims.first().map_or(i32::MIN, |victim| victim.priority);
        let sum: i64 = victims
            .iter()
            .map(|victim| i64::from(victim.priority) + (1 << 31))
            .sum();
        let most_important = victims.iter().filter(|victim| victim.priority == highest);
        let since = most_important.map(|victim| started(victim)).min();
        let harm = (
            violations,
            highest,
            sum,
            victims.len(),
            Reverse(since.unwrap_or(Timestamp::MAX)),
        );
        candidates.push((harm, node.name.clone(), victims));
    }
    let least = candidates.iter().map(|(harm, ..)| *harm).min();
    candidates
        .into_iter()
        .filter(|(harm, ..)| Some(*harm) == least)
        .map(|(_, node, victims)| (node, victims))
        .collect()
}
