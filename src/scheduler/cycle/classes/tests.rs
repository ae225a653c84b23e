//! Which pods are alike.

use serde_json::{Value, json};

use super::*;
use crate::scheduler::framework::Profile;
use crate::scheduler::plugins::PrioritySort;

/// A pod whose containers mount the volume of its token and another one.
fn pod(name: &str, token: &str, other: &str) -> Arc<PodInfo> {
    let mounts =
        json!([{"name": token, "mountPath": "/token"}, {"name": other, "mountPath": "/other"}]);
    let pod = json!({
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {
            "volumes": [
                {"name": token, "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
                {"name": other, "emptyDir": {}},
            ],
            "initContainers": [{"name": "i", "volumeMounts": mounts}],
            "containers": [{"name": "c", "volumeMounts": mounts}],
        },
    });
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

/// Gives the classes of pods, one after the other.
fn classes() -> impl FnMut(&Arc<PodInfo>) -> Option<ClassId> {
    let framework = Framework::for_tests(&Profile::empty("test", PrioritySort));
    let mut classes = Classes::default();
    move |pod| {
        let class = classes.take(&framework, pod, 1)?;
        let id = class.id;
        classes.put(class);
        Some(id)
    }
}

#[test]
fn the_name_of_a_claim_tells_no_pods_apart() {
    let mut class = classes();
    let mut with = |volume: Value| {
        let pod = json!({"metadata": {"namespace": "ns"}, "spec": {"volumes": [volume], "containers": []}});
        class(&Arc::new(PodInfo::new(Arc::new(
            serde_json::from_value(pod).unwrap(),
        ))))
    };
    let claim = |name: &str| json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
    assert_eq!(with(claim("a")), None);
    let second = with(claim("b"));
    assert!(second.is_some());
    assert_eq!(with(claim("c")), second);
    assert_ne!(with(json!({"name": "v", "emptyDir": {}})), second);
}

#[test]
fn the_name_of_the_token_volume_tells_no_pods_apart() {
    let mut class = classes();
    assert_eq!(class(&pod("a", "kube-api-access-x7k2p", "data")), None);
    let second = class(&pod("b", "kube-api-access-9bdtz", "data"));
    assert!(second.is_some());
    assert_eq!(class(&pod("c", "kube-api-access-q4wnm", "data")), second);
    // Any other name does.
    assert_ne!(class(&pod("d", "kube-api-access-q4wnm", "more")), second);
    assert_ne!(class(&pod("e", "own-token", "data")), second);
}
