//! What gang scheduling says without a cluster: which events help whom, and pods whose group is not there.

use serde_json::{Value, json};

use super::whole;
use crate::scheduler::framework::{
    Actions, ClusterEvent, Framework, Handle, Profile, Resource, Snapshot,
};
use crate::scheduler::plugins::GangScheduling;
use crate::scheduler::pod_group::PodGroup;

fn pod(namespace: &str, group: &str) -> Value {
    let mut pod =
        json!({"metadata": {"name": "p", "namespace": namespace}, "spec": {"containers": []}});
    if !group.is_empty() {
        pod["spec"]["schedulingGroup"] = json!({"podGroupName": group});
    }
    pod
}

/// `min` 0: a group without a gang.
fn group(namespace: &str, name: &str, min: i32) -> PodGroup {
    let policy = match min {
        0 => json!({"basic": {}}),
        min => json!({"gang": {"minCount": min}}),
    };
    let spec = serde_json::from_value(json!({"schedulingPolicy": policy})).unwrap();
    let mut group = PodGroup::new(name, spec);
    group.metadata.namespace = Some(namespace.to_owned());
    group
}

fn framework() -> Framework {
    Framework::for_tests(&Profile::default().enable("GangScheduling", 0))
}

#[test]
fn hints() {
    let framework = framework();
    let wakes = |event: &ClusterEvent<'_>, waiting: &Value| {
        let waiting = whole(waiting.clone());
        framework.wakes("GangScheduling", event, &waiting, &Snapshot::default())
    };
    let own = pod("ns", "g");
    for (resource, actions, other, helps) in [
        (Resource::UnscheduledPod, Actions::ADD, pod("ns", "g"), true),
        (Resource::AssignedPod, Actions::ADD, pod("ns", "g"), true),
        (
            Resource::UnscheduledPod,
            Actions::ADD,
            pod("ns", "h"),
            false,
        ),
        (
            Resource::UnscheduledPod,
            Actions::ADD,
            pod("other", "g"),
            false,
        ),
        (Resource::UnscheduledPod, Actions::ADD, pod("ns", ""), false),
        (
            Resource::AssignedPod,
            Actions::DELETE,
            pod("ns", "g"),
            false,
        ),
        (
            Resource::AssignedPod,
            Actions::UPDATE_POD_LABEL,
            pod("ns", "g"),
            false,
        ),
    ] {
        let other = whole(other);
        let event = ClusterEvent::new(resource, actions).with(None, Some(&other));
        assert_eq!(wakes(&event, &own), helps, "{event:?}");
        assert!(!wakes(&event, &pod("ns", "")), "{event:?}");
    }
    let kind = || Resource::kind("PodGroup");
    for (old, new, helps) in [
        (None, group("ns", "g", 3), true),
        (None, group("ns", "g", 0), true),
        (None, group("ns", "h", 3), false),
        (None, group("other", "g", 3), false),
        (Some(group("ns", "g", 3)), group("ns", "g", 2), true),
        (Some(group("ns", "g", 3)), group("ns", "g", 3), false),
        (Some(group("ns", "g", 3)), group("ns", "g", 4), false),
        (Some(group("ns", "g", 3)), group("ns", "g", 0), false),
        (Some(group("ns", "h", 3)), group("ns", "h", 2), false),
    ] {
        let actions = old.as_ref().map_or(Actions::ADD, |_| Actions::UPDATE);
        let event = ClusterEvent::new(kind(), actions).with(old.as_ref(), Some(&new));
        assert_eq!(wakes(&event, &own), helps, "{old:?} {new:?}");
    }
    let gone = group("ns", "g", 3);
    let event = ClusterEvent::new(kind(), Actions::DELETE).with(Some(&gone), None);
    assert!(!wakes(&event, &own));
}

#[test]
fn a_pod_whose_group_is_not_there_waits() {
    let framework = framework();
    assert_eq!(framework.gate(&whole(pod("ns", ""))), None);
    assert_eq!(framework.gang(&whole(pod("ns", ""))), Ok(None));
    let status = framework.gate(&whole(pod("ns", "g"))).unwrap();
    let why = "waiting for pod's pod group \"g\" to appear in scheduling queue";
    assert_eq!(
        (status.plugin.as_str(), &*status.reasons[0]),
        ("GangScheduling", why)
    );
    // One whose group went while it waited is not scheduled by itself.
    assert_eq!(framework.gang(&whole(pod("ns", "g"))), Err(status));
}

#[test]
fn it_takes_no_arguments() {
    let error = GangScheduling::make(&json!({"x": 1}), &Handle::for_tests()).unwrap_err();
    assert_eq!(error.message, "the plugin takes no arguments");
}
