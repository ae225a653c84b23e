//! What a ReplicaSet needs: how many pods to create, which to delete, and the status to report.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::compat::Opt;
use crate::controllers::podutil;
use crate::object::LabelSelector;

/// At most this many pods are created or deleted in one reconcile, as upstream's `BurstReplicas`.
pub(super) const BURST: usize = 500;

/// The annotation by which users order deletions: pods of lower cost go first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// How many pods to create.
    pub create: usize,
    /// The pods to delete, the most dispensable first.
    pub delete: Vec<Arc<Pod>>,
}

/// Compares the active pods with the wanted replicas. `related` are the active pods of the same owner's other sets, which
/// tell how crowded each node is.
pub(super) fn plan(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    related: &[Arc<Pod>],
    now: Timestamp,
) -> Plan {
    let wanted = usize::try_from(replicas(set)).unwrap_or(0);
    if active.len() < wanted {
        return Plan {
            create: (wanted - active.len()).min(BURST),
            ..Plan::default()
        };
    }
    let surplus = (active.len() - wanted).min(BURST);
    // By far the most looks find nothing to do: they must not rank the pods.
    if surplus == 0 {
        return Plan::default();
    }
    let mut delete: Vec<Arc<Pod>> = active.to_vec();
    if surplus < delete.len() {
        let crowd = crowd(active, related);
        delete.sort_by_cached_key(|pod| rank(pod, &crowd, now));
    }
    delete.truncate(surplus);
    Plan { create: 0, delete }
}

/// The wanted replicas.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.opt().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How long a pod must be ready to be available.
pub(super) fn min_ready(set: &ReplicaSet) -> Duration {
    let seconds = set
        .spec
        .opt()
        .and_then(|spec| spec.min_ready_seconds)
        .unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// How many active pods of the owner there are on each node.
fn crowd<'a>(active: &'a [Arc<Pod>], related: &'a [Arc<Pod>]) -> BTreeMap<&'a str, usize> {
    let mut crowd = BTreeMap::new();
    for pod in active.iter().chain(related) {
        *crowd.entry(podutil::node_name(pod)).or_default() += 1;
    }
    crowd
}

/// The order in which pods are given up; the least goes first. The rules and their order are upstream's
/// `ActivePodsWithRanks`: unassigned, pending, not ready, cheap, crowded, freshly ready, restarted, young.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    crowd: Reverse<usize>,
    ready_for: Option<u32>,
    restarts: Reverse<i32>,
    age: u32,
    uid: String,
}

fn rank(pod: &Pod, crowd: &BTreeMap<&str, usize>, now: Timestamp) -> Rank {
    let node = podutil::node_name(pod);
    let cost = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(DELETION_COST)?.parse().ok());
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let age = pod
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |time| logarithmic_age(time.0, now));
    Rank {
        assigned: !node.is_empty(),
        phase: match podutil::phase(pod) {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        },
        ready: podutil::is_ready(pod),
        cost: cost.unwrap_or(0),
        crowd: Reverse(crowd.get(node).copied().unwrap_or(0)),
        ready_for: podutil::ready_since(pod).map(|since| logarithmic_age(since, now)),
        restarts: Reverse(
            statuses
                .into_iter()
                .flatten()
                .map(|status| status.restart_count)
                .max()
                .unwrap_or(0),
        ),
        age,
        uid: pod.metadata.uid.clone().unwrap_or_default(),
    }
}

/// Ages are compared by their order of magnitude, so that among pods of a like age chance (the uid) decides (KEP-2185).
fn logarithmic_age(since: Timestamp, now: Timestamp) -> u32 {
    let seconds = now.duration_since(since).as_secs();
    u64::try_from(seconds)
        .unwrap_or(0)
        .checked_ilog2()
        .map_or(0, |log| log + 1)
}

/// A condition that the last attempt to manage pods gave.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// The server's message.
    pub message: String,
}

/// The status that the pods give, and when an unavailable pod will become available.
pub(super) fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let labels = set
        .spec
        .opt()
        .and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.clone());
    let labels = labels.unwrap_or_default();
    let full = LabelSelector::from_pairs(
        labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    );
    let waits: Vec<Duration> = active
        .iter()
        .filter_map(|pod| podutil::available_in(pod, min_ready(set), now))
        .collect();
    let fully_labeled = active
        .iter()
        .filter(|pod| full.matches_optional(pod.metadata.labels.as_ref()))
        .count();
    let old = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: some_count(fully_labeled),
        ready_replicas: some_count(waits.len()),
        available_replicas: some_count(waits.iter().filter(|wait| wait.is_zero()).count()),
        terminating_replicas: Some(count(terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(old.conditions.unwrap_or_default(), failure, now),
        ..ReplicaSetStatus::default()
    };
    (
        status,
        waits.into_iter().filter(|wait| !wait.is_zero()).min(),
    )
}

/// The condition `ReplicaFailure` is there while managing pods fails.
fn conditions(
    mut conditions: Vec<ReplicaSetCondition>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let is_failure = |condition: &ReplicaSetCondition| {
        Opt::<String>::opt(&condition.type_).is_some_and(|type_| type_ == "ReplicaFailure")
    };
    match failure {
        // Upstream keeps the first failure until it has passed.
        Some(failure) if !conditions.iter().any(is_failure) => {
            conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".to_owned().into(),
                status: "True".to_owned().into(),
                reason: Some(failure.reason.to_owned()),
                message: Some(failure.message.clone()),
                last_transition_time: Some(Time(now)),
            });
        }
        Some(_) => {}
        None => conditions.retain(|condition| !is_failure(condition)),
    }
    (!conditions.is_empty()).then_some(conditions)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Zero is left out, as the API does.
fn some_count(number: usize) -> Option<i32> {
    (number > 0).then(|| count(number))
}

/// The sizes of the batches in which `total` pods are created: 1, 2, 4, … so that a creation that is bound to fail (a quota,
/// say) fails once and not `total` times.
pub(super) fn slow_start(total: usize) -> impl Iterator<Item = usize> {
    let mut left = total;
    let mut next = 1;
    std::iter::from_fn(move || {
        let size = next.min(left);
        left -= size;
        next = size * 2;
        (size > 0).then_some(size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "generation": 3},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}}}},
        }))
        .unwrap()
    }

    fn pod(name: &str, node: &str, phase: &str, ready_since: Option<&str>) -> Arc<Pod> {
        let conditions: Vec<_> = ready_since
            .map(|since| serde_json::json!({"type": "Ready", "status": "True", "lastTransitionTime": since}))
            .into_iter()
            .collect();
        let pod = serde_json::json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web"}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": conditions},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter()
            .filter_map(|pod| pod.metadata.name.as_deref())
            .collect()
    }

    #[test]
    fn creates_what_is_missing_up_to_the_burst() {
        assert_eq!(
            plan(&set(3), &[pod("a", "", "Pending", None)], &[], now()).create,
            2
        );
        assert_eq!(plan(&set(2000), &[], &[], now()).create, BURST);
    }

    #[test]
    fn gives_up_the_most_dispensable_first() {
        let (long, short) = ("2026-01-01T00:00:00Z", "2026-01-01T00:59:30Z");
        let pods = [
            pod("steady", "n1", "Running", Some(long)),
            pod("fresh", "n2", "Running", Some(short)),
            pod("unready", "n2", "Running", None),
            pod("pending", "n1", "Pending", None),
            pod("unassigned", "", "Pending", None),
            pod("steady-too", "n3", "Running", Some(long)),
        ];
        let delete = |wanted| plan(&set(wanted), &pods, &[], now()).delete;
        assert_eq!(names(&delete(3)), ["unassigned", "pending", "unready"]);
        assert_eq!(names(&delete(0)).len(), 6);
        // n1 and n2 still carry two pods each when nodes are compared, n3 one.
        assert_eq!(
            names(&delete(1)),
            ["unassigned", "pending", "unready", "fresh", "steady"]
        );
    }

    #[test]
    fn related_pods_make_a_node_crowded() {
        let long = Some("2026-01-01T00:00:00Z");
        let pods = [
            pod("a", "n1", "Running", long),
            pod("b", "n2", "Running", long),
        ];
        let related = [pod("other", "n2", "Running", long)];
        assert_eq!(names(&plan(&set(1), &pods, &related, now()).delete), ["b"]);
    }

    #[test]
    fn deletion_cost_decides_between_equals() {
        let long = Some("2026-01-01T00:00:00Z");
        let mut dear = (*pod("dear", "n1", "Running", long)).clone();
        dear.metadata.annotations = Some([(DELETION_COST.to_owned(), "10".to_owned())].into());
        let pods = [Arc::new(dear), pod("cheap", "n2", "Running", long)];
        assert_eq!(names(&plan(&set(1), &pods, &[], now()).delete), ["cheap"]);
    }

    #[test]
    fn status_counts_and_waits_for_availability() {
        let mut set = set(3);
        let spec = set.spec.opt().cloned().map(|mut spec| {
            spec.min_ready_seconds = Some(60);
            spec
        });
        set.spec = spec.unwrap().into();
        let pods = [
            pod("a", "n1", "Running", Some("2026-01-01T00:00:00Z")),
            pod("b", "n1", "Running", Some("2026-01-01T00:59:40Z")),
            pod("c", "n1", "Pending", None),
        ];
        let (status, wait) = status(&set, &pods, 1, None, now());
        assert_eq!(
            (
                status.replicas,
                status.ready_replicas,
                status.available_replicas
            ),
            (3, Some(2), Some(1))
        );
        assert_eq!(
            (status.fully_labeled_replicas, status.terminating_replicas),
            (Some(3), Some(1))
        );
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(wait, Some(Duration::from_secs(40)));
    }

    #[test]
    fn failure_condition_comes_and_goes() {
        let failure = Failure {
            reason: "FailedCreate",
            message: "quota".to_owned(),
        };
        let (with, _) = status(&set(1), &[], 0, Some(&failure), now());
        assert_eq!(with.conditions.as_ref().map(Vec::len), Some(1));
        let failed = ReplicaSet {
            status: Some(with),
            ..set(1)
        };
        assert_eq!(status(&failed, &[], 0, None, now()).0.conditions, None);
    }

    #[test]
    fn batches_double() {
        assert_eq!(slow_start(10).collect::<Vec<_>>(), [1, 2, 4, 3]);
        assert_eq!(slow_start(0).count(), 0);
    }
}
