//! The order of pods, their backoff, and what wakes them.

use serde_json::{Value, json};
use tokio::time::advance;

use super::ClusterEvent as E;
use super::*;
use crate::scheduler::plugins::default_profile;

fn queue() -> (Queue, Arc<Profile>) {
    let profile = Arc::new(default_profile("default-scheduler"));
    (Queue::new(Activity::default()), profile)
}

fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    let mut spec = spec;
    spec["containers"] = json!([]);
    let pod = json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

fn take(queue: &mut Queue) -> Option<String> {
    queue.take().map(|queued| queued.info.key.name.to_string())
}

fn rejectors(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn priority_then_arrival() {
    let (mut queue, profile) = queue();
    for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
        queue
            .put(pod(name, json!({"priority": priority})), &profile)
            .unwrap();
    }
    // Each pod is queued once.
    queue
        .put(pod("a", json!({"priority": 0})), &profile)
        .unwrap();
    let order: Vec<_> = std::iter::from_fn(|| take(&mut queue)).collect();
    assert_eq!(order, ["b", "d", "a", "c"]);
    assert!(!queue.has_active());
}

#[tokio::test(start_paused = true)]
async fn only_the_right_events_wake() {
    let all = [
        ClusterEvent::NodeAdded,
        ClusterEvent::NodeAllocatable,
        ClusterEvent::NodeLabels,
        ClusterEvent::NodeTaints,
        ClusterEvent::PodAssigned,
        ClusterEvent::PodDeleted,
        ClusterEvent::PodUpdated,
    ];
    for (plugin, wakes) in [
        (
            "NodeResourcesFit",
            vec![
                E::NodeAdded,
                E::NodeAllocatable,
                E::PodDeleted,
                E::PodUpdated,
            ],
        ),
        (
            "NodeAffinity",
            vec![E::NodeAdded, E::NodeLabels, E::PodUpdated],
        ),
        (
            "TaintToleration",
            vec![E::NodeAdded, E::NodeTaints, E::PodUpdated],
        ),
        (
            "NodeUnschedulable",
            vec![E::NodeAdded, E::NodeTaints, E::PodUpdated],
        ),
        ("NodeName", vec![E::NodeAdded]),
        ("NodePorts", vec![E::NodeAdded, E::PodDeleted]),
        (
            "InterPodAffinity",
            vec![
                E::NodeAdded,
                E::NodeLabels,
                E::PodAssigned,
                E::PodDeleted,
                E::PodUpdated,
            ],
        ),
        (
            "PodTopologySpread",
            vec![
                E::NodeAdded,
                E::NodeLabels,
                E::NodeTaints,
                E::PodAssigned,
                E::PodDeleted,
                E::PodUpdated,
            ],
        ),
    ] {
        for event in all {
            let (mut queue, profile) = queue();
            queue.put(pod("a", json!({})), &profile).unwrap();
            take(&mut queue).unwrap();
            queue.park(&key("a"), rejectors(&[plugin]));
            advance(Duration::from_secs(60)).await;
            assert!(!queue.has_active());
            queue.event(event);
            assert_eq!(
                queue.has_active(),
                wakes.contains(&event),
                "{plugin} {event:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_from_one_second_to_ten() {
    let (mut queue, profile) = queue();
    queue.put(pod("a", json!({})), &profile).unwrap();
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
        queue.park(&key("a"), rejectors(&["NodeResourcesFit"]));
        queue.event(ClusterEvent::PodDeleted);
        assert!(!queue.has_active());
        let due = queue.next_due().unwrap();
        waits.push((due - Instant::now()).as_secs());
        tokio::time::sleep_until(due).await;
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    // The time in which it was parked counts.
    assert_eq!(take(&mut queue).as_deref(), Some("a"));
    queue.park(&key("a"), rejectors(&["NodeResourcesFit"]));
    advance(Duration::from_secs(11)).await;
    queue.event(ClusterEvent::PodDeleted);
    assert!(queue.has_active());
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again() {
    let (mut queue, profile) = queue();
    queue.put(pod("a", json!({})), &profile).unwrap();
    take(&mut queue).unwrap();
    queue.retry(&key("a"), "binding failed");
    assert!(!queue.has_active());
    advance(Duration::from_secs(1)).await;
    assert_eq!(take(&mut queue).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn gates_keep_pods_out_until_they_are_gone() {
    let (mut queue, profile) = queue();
    let gated = pod("a", json!({"schedulingGates": [{"name": "g"}]}));
    let rejection = queue.put(gated, &profile).unwrap_err();
    assert_eq!(rejection.plugin, "SchedulingGates");
    queue.event(ClusterEvent::NodeAdded);
    advance(Duration::from_secs(600)).await;
    queue.flush_leftovers();
    assert!(!queue.has_active());
    queue.put(pod("a", json!({})), &profile).unwrap();
    assert_eq!(take(&mut queue).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_pod_is_tried_again_and_a_changed_status_is_not() {
    let (mut queue, profile) = queue();
    queue.put(pod("a", json!({})), &profile).unwrap();
    take(&mut queue).unwrap();
    queue.park(&key("a"), rejectors(&["NodeAffinity"]));
    advance(Duration::from_secs(60)).await;
    let mut told = (*pod("a", json!({})).pod).clone();
    told.status = Some(serde_json::from_value(json!({"phase": "Pending"})).unwrap());
    queue
        .put(Arc::new(PodInfo::new(Arc::new(told))), &profile)
        .unwrap();
    assert!(!queue.has_active());
    queue
        .put(pod("a", json!({"nodeSelector": {"a": "b"}})), &profile)
        .unwrap();
    assert!(queue.has_active());
}

#[tokio::test(start_paused = true)]
async fn forgotten_pods_come_back_and_removed_ones_do_not() {
    let (mut queue, profile) = queue();
    for name in ["a", "b"] {
        queue.put(pod(name, json!({})), &profile).unwrap();
        take(&mut queue).unwrap();
        queue.park(&key(name), rejectors(&["NodeName"]));
    }
    queue.remove(&key("b"));
    advance(Duration::from_secs(299)).await;
    queue.flush_leftovers();
    assert!(!queue.has_active());
    advance(Duration::from_secs(1)).await;
    queue.flush_leftovers();
    assert_eq!(take(&mut queue).as_deref(), Some("a"));
    assert_eq!(take(&mut queue), None);
    queue.remove(&key("a"));
    assert!(queue.slots.is_empty() && queue.parked.is_empty());
}
