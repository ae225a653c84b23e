//! Makes room for critical pods: those are let in, and others that may be preempted end (`pkg/kubelet/preemption`).

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::timeout;

use super::admit::{Lack, Rejection, Verdict};
use super::eviction::{Ousting, is_critical};
use super::stop::grace;
use super::{Inner, limits};
use crate::object::Resources;
use crate::reconcile::Key;
use crate::reconcile::events::EventType;

/// What is told of a pod that ends for another one.
const REASON: &str = "Preempting";
const MESSAGE: &str = "Preempted in order to admit critical pod";
/// What its condition says.
const CONDITION: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";
/// Pods that end are waited for this long beyond their grace periods.
const SLACK: Duration = Duration::from_secs(30);

/// What must be freed, by resource.
type Required = Vec<(String, i64)>;

/// What a pod asks for of a resource, as the kubelet counts it.
fn request(pod: &Pod, resource: &str) -> i64 {
    let asked = pod.spec.as_ref().map(Resources::of_pod).unwrap_or_default();
    match resource {
        "pods" => 1,
        "cpu" => asked.milli_cpu,
        "memory" => asked.memory,
        "ephemeral-storage" => asked.ephemeral_storage,
        other => asked.scalars.get(other).copied().unwrap_or(0),
    }
}

/// What is still required when these pods end.
fn without<'a>(required: &Required, pods: impl Iterator<Item = &'a Arc<Pod>> + Clone) -> Required {
    let left = required.iter().map(|(resource, amount)| {
        let freed: i64 = pods.clone().map(|pod| request(pod, resource)).sum();
        (resource.clone(), amount - freed)
    });
    left.filter(|(_, amount)| *amount > 0).collect()
}

/// How far the end of a pod is from what is required; each resource counts alike.
#[expect(clippy::cast_precision_loss, reason = "amounts are compared by shares")]
fn distance(required: &Required, pod: &Pod) -> f64 {
    let each = required.iter().map(|(resource, amount)| {
        let left = (amount - request(pod, resource)).max(0);
        (left as f64 / *amount as f64).powi(2)
    });
    each.sum()
}

/// Whether a pod asks for no more than another.
fn is_smaller(one: &Pod, other: &Pod) -> bool {
    let sizes = |pod| ["memory", "cpu"].map(|resource| request(pod, resource));
    sizes(one) <= sizes(other)
}

/// As few pods as may be whose end frees what is required; what cannot be freed is left.
fn nearest(mut pods: Vec<Arc<Pod>>, mut required: Required) -> Vec<Arc<Pod>> {
    let mut chosen = Vec::new();
    while !required.is_empty() && !pods.is_empty() {
        let mut best = 0;
        for at in 1..pods.len() {
            let (own, known) = (&pods[at], &pods[best]);
            let (near, nearest) = (distance(&required, own), distance(&required, known));
            let is_even = (near - nearest).abs() < f64::EPSILON;
            if (near < nearest && !is_even) || (is_even && is_smaller(own, known)) {
                best = at;
            }
        }
        let pod = pods.swap_remove(best);
        required = without(&required, std::iter::once(&pod));
        chosen.push(pod);
    }
    chosen
}

/// Whether one pod may take another's place.
fn may_preempt(pod: &Pod, other: &Pod) -> bool {
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority);
    (is_critical(pod) && !is_critical(other))
        || priority(pod)
            .zip(priority(other))
            .is_some_and(|(own, other)| own > other)
}

/// The pods that end so that `pod` has what is required: best-effort ones rather than burstable ones, and these rather than
/// guaranteed ones; few rather than many.
///
/// # Errors
/// What cannot be freed.
fn victims(pod: &Pod, others: &[Arc<Pod>], required: &Required) -> Result<Vec<Arc<Pod>>, String> {
    let of = |class: &str| -> Vec<Arc<Pod>> {
        let all = others.iter().filter(|other| may_preempt(pod, other));
        all.filter(|other| limits::qos(other) == class)
            .cloned()
            .collect()
    };
    let (best_effort, burstable, guaranteed) =
        (of("BestEffort"), of("Burstable"), of("Guaranteed"));
    let all = best_effort.iter().chain(&burstable).chain(&guaranteed);
    let unmet = without(required, all);
    if !unmet.is_empty() {
        let each = unmet.iter();
        let each = each.map(|(resource, amount)| format!("(res: {resource}, q: {amount}), "));
        let text = each.collect::<Vec<_>>().concat();
        return Err(format!(
            "no set of running pods found to reclaim resources: [{text}]"
        ));
    }
    let soft = best_effort.iter().chain(&burstable);
    let hard = nearest(guaranteed, without(required, soft));
    let middle = best_effort.iter().chain(&hard);
    let middle = nearest(burstable, without(required, middle));
    let rest = middle.iter().chain(&hard);
    let rest = nearest(best_effort, without(required, rest));
    Ok([rest, middle, hard].concat())
}

impl Inner {
    /// Ends pods so that a critical one can be let in; why that may not be all the same.
    pub(super) async fn make_room(
        &self,
        key: &Key,
        pod: &Pod,
        verdict: Verdict,
        others: &[Arc<Pod>],
    ) -> Option<Rejection> {
        // No lack of resources is held against it, everything else is.
        if let Some(other) = verdict.others.into_iter().next() {
            return Some(other);
        }
        let required: Required = verdict
            .lacks
            .iter()
            .map(Lack::amount)
            .map(|(resource, amount)| (resource.to_owned(), amount))
            .collect();
        if required.is_empty() {
            return None;
        }
        let victims = match victims(pod, others, &required) {
            Ok(victims) => victims,
            Err(why) => {
                let why = format!("preemption: error finding a set of pods to preempt: {why}");
                return Some(Rejection {
                    reason: "UnexpectedAdmissionError".to_owned(),
                    message: format!(
                        "Unexpected error while attempting to recover from admission failure: {why}"
                    ),
                });
            }
        };
        tracing::info!(pod = %key, victims = victims.len(), "pods end for a critical one");
        for victim in &victims {
            self.event(victim, EventType::Warning, REASON, MESSAGE.to_owned());
            let ousting = Ousting {
                reason: REASON,
                message: MESSAGE.to_owned(),
                grace: Duration::MAX,
                disrupted: Some(CONDITION.to_owned()),
            };
            self.oust(&Key::of(&**victim), ousting);
        }
        let longest = victims.iter().map(|victim| grace(victim)).max();
        let keys: Vec<Key> = victims.iter().map(|victim| Key::of(&**victim)).collect();
        let ends = join_all(keys.iter().map(|key| self.end_of(key)));
        if timeout(longest.unwrap_or_default() + SLACK, ends)
            .await
            .is_err()
        {
            tracing::warn!(pod = %key, "pods have not ended in time for a critical one");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, class: &str, priority: i32, cpu: &str, memory: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name}, "status": {"qosClass": class},
                "spec": {"priority": priority, "containers": [{
                    "name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}},
                }]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn who_ends_for_a_critical_pod() {
        const CRITICAL: i32 = 2_000_001_000;
        let own = pod("own", "Guaranteed", CRITICAL, "1", "1Gi");
        let best = pod("best", "BestEffort", 0, "0", "0");
        let small = pod("small", "Burstable", 0, "100m", "100Mi");
        let middle = pod("middle", "Burstable", 0, "500m", "500Mi");
        let large = pod("large", "Burstable", 0, "2", "2Gi");
        let sure = pod("sure", "Guaranteed", 0, "1", "1Gi");
        let system = pod("system", "Guaranteed", 2_000_000_000, "4", "4Gi");
        let equal = pod("equal", "Guaranteed", CRITICAL, "4", "4Gi");
        let all = [&best, &small, &middle, &large, &sure, &system, &equal].map(Arc::clone);
        let mebi = |amount: i64| amount << 20;
        for (required, expected) in [
            (vec![("cpu", 50)], "small"),
            (vec![("cpu", 400)], "middle"),
            (vec![("cpu", 600)], "large"),
            (vec![("cpu", 100), ("memory", mebi(450))], "middle"),
            (vec![("pods", 1)], "best"),
            (vec![("cpu", 2_500)], "large middle"),
            (vec![("cpu", 3_500)], "large middle sure"),
            (
                vec![("cpu", 9_000)],
                "preemption impossible: no set of running pods found to reclaim resources: [(res: cpu, q: 1400), ]",
            ),
        ] {
            let required: Required = required
                .into_iter()
                .map(|(resource, amount)| (resource.to_owned(), amount))
                .collect();
            let found = match victims(&own, &all, &required) {
                Ok(found) => {
                    let mut names: Vec<&str> =
                        found.iter().map(|pod| super::super::name(pod)).collect();
                    names.sort_unstable();
                    names.join(" ")
                }
                Err(why) => format!("preemption impossible: {why}"),
            };
            assert_eq!(found, expected, "{required:?}");
        }
    }
}
