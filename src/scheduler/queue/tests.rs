//! The order of pods, their backoff, and what wakes them.

use serde_json::{Value, json};
use tokio::time::advance;

use super::*;
use crate::scheduler::framework::{Actions, Profile};

fn queue() -> (Queue, Arc<Framework>) {
    let profile = Arc::new(Framework::for_tests(&Profile::default()));
    (Queue::new(Activity::default()), profile)
}

fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    let mut spec = spec;
    spec["containers"] = json!([]);
    let pod = json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

fn put(queue: &mut Queue, pod: Arc<PodInfo>, framework: &Arc<Framework>) -> Result<(), Status> {
    queue.put(pod, framework, &Snapshot::default())
}

/// A pod has left a node.
fn freed() -> ClusterEvent<'static> {
    ClusterEvent::new(Resource::AssignedPod, Actions::DELETE)
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
        put(
            &mut queue,
            pod(name, json!({"priority": priority})),
            &profile,
        )
        .unwrap();
    }
    // Each pod is queued once.
    put(&mut queue, pod("a", json!({"priority": 0})), &profile).unwrap();
    let order: Vec<_> = std::iter::from_fn(|| take(&mut queue)).collect();
    assert_eq!(order, ["b", "d", "a", "c"]);
    assert!(!queue.has_active());
}

#[tokio::test(start_paused = true)]
async fn only_the_right_events_wake() {
    let all = [
        (Resource::Node, Actions::ADD),
        (Resource::Node, Actions::UPDATE_NODE_ALLOCATABLE),
        (Resource::Node, Actions::UPDATE_NODE_LABEL),
        (Resource::Node, Actions::UPDATE_NODE_TAINT),
        (Resource::AssignedPod, Actions::ADD),
        (Resource::AssignedPod, Actions::DELETE),
    ];
    for event in all {
        let (mut queue, framework) = queue();
        let event = ClusterEvent::new(event.0, event.1);
        let pods: Vec<String> = framework.plugins().map(str::to_owned).collect();
        for plugin in &pods {
            let name = plugin.to_lowercase();
            let key = key(&name);
            put(&mut queue, pod(&name, json!({})), &framework).unwrap();
            take(&mut queue).unwrap();
            queue.park(&key, rejectors(&[plugin]));
        }
        advance(Duration::from_secs(60)).await;
        queue.event(&event, &Snapshot::default());
        let woken: BTreeSet<_> = std::iter::from_fn(|| take(&mut queue)).collect();
        let unhurt = PodInfo::new(pod("a", json!({})).pod.clone());
        let wakes =
            |plugin: &&String| framework.wakes(plugin, &event, &unhurt, &Snapshot::default());
        let expected: BTreeSet<_> = pods
            .iter()
            .filter(wakes)
            .map(|name| name.to_lowercase())
            .collect();
        assert_eq!(woken, expected, "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_has_a_pod_tried_at_once() {
    let (mut queue, framework) = queue();
    put(&mut queue, pod("a", json!({})), &framework).unwrap();
    take(&mut queue).unwrap();
    queue.park(&key("a"), rejectors(&["NodeResourcesFit", "NodeAffinity"]));
    queue.activate_now(&key("a"));
    assert_eq!(take(&mut queue).as_deref(), Some("a"));
    assert!(queue.parked.is_empty());
    queue.retry(&key("a"), "binding failed");
    queue.activate_now(&key("a"));
    assert_eq!(take(&mut queue).as_deref(), Some("a"));
    // Gates hold.
    let gated = pod("b", json!({"schedulingGates": [{"name": "g"}]}));
    put(&mut queue, gated, &framework).unwrap_err();
    queue.activate_now(&key("b"));
    assert_eq!(take(&mut queue), None);
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_from_one_second_to_ten() {
    let (mut queue, profile) = queue();
    put(&mut queue, pod("a", json!({})), &profile).unwrap();
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
        queue.retry(&key("a"), "binding failed");
        assert!(!queue.has_active());
        let due = queue.next_due().unwrap();
        waits.push((due - Instant::now()).as_secs());
        tokio::time::sleep_until(due).await;
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn the_rejected_let_others_go_first_and_wait_for_nobody() {
    let (mut queue, profile) = queue();
    let rejected = |queue: &mut Queue| {
        assert_eq!(take(queue).as_deref(), Some("a"));
        queue.park(&key("a"), rejectors(&["NodeResourcesFit"]));
        queue.event(&freed(), &Snapshot::default());
    };
    put(&mut queue, pod("a", json!({"priority": 9})), &profile).unwrap();
    rejected(&mut queue);
    put(&mut queue, pod("b", json!({})), &profile).unwrap();
    assert_eq!(take(&mut queue).as_deref(), Some("b"));
    // There is nobody else.
    rejected(&mut queue);
    // The time in which it is parked counts.
    put(&mut queue, pod("c", json!({})), &profile).unwrap();
    advance(Duration::from_secs(2)).await;
    rejected(&mut queue);
    assert_eq!(take(&mut queue).as_deref(), Some("c"));
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again() {
    let (mut queue, profile) = queue();
    put(&mut queue, pod("a", json!({})), &profile).unwrap();
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
    let rejection = put(&mut queue, gated, &profile).unwrap_err();
    assert_eq!(rejection.plugin, "SchedulingGates");
    queue.event(
        &ClusterEvent::new(Resource::Node, Actions::ADD),
        &Snapshot::default(),
    );
    advance(Duration::from_secs(600)).await;
    queue.flush_leftovers();
    assert!(!queue.has_active());
    put(&mut queue, pod("a", json!({})), &profile).unwrap();
    assert_eq!(take(&mut queue).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_pod_is_tried_again_and_a_changed_status_is_not() {
    let (mut queue, profile) = queue();
    put(&mut queue, pod("a", json!({})), &profile).unwrap();
    take(&mut queue).unwrap();
    queue.park(&key("a"), rejectors(&["TaintToleration"]));
    advance(Duration::from_secs(60)).await;
    let mut told = (*pod("a", json!({})).pod).clone();
    told.status = Some(serde_json::from_value(json!({"phase": "Pending"})).unwrap());
    put(&mut queue, Arc::new(PodInfo::new(Arc::new(told))), &profile).unwrap();
    assert!(!queue.has_active());
    put(
        &mut queue,
        pod("a", json!({"tolerations": [{"operator": "Exists"}]})),
        &profile,
    )
    .unwrap();
    assert!(queue.has_active());
}

#[tokio::test(start_paused = true)]
async fn forgotten_pods_come_back_and_removed_ones_do_not() {
    let (mut queue, profile) = queue();
    for name in ["a", "b"] {
        put(&mut queue, pod(name, json!({})), &profile).unwrap();
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
