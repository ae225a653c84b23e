//! Which pods are alike.

use serde_json::json;

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

#[test]
fn the_name_of_the_token_volume_tells_no_pods_apart() {
    let framework = Framework::for_tests(&Profile::empty("test", PrioritySort));
    let mut classes = Classes::default();
    let mut class = |pod: &Arc<PodInfo>| {
        let class = classes.take(&framework, pod, 1)?;
        let id = class.id;
        classes.put(class);
        Some(id)
    };
    assert_eq!(class(&pod("a", "kube-api-access-x7k2p", "data")), None);
    let second = class(&pod("b", "kube-api-access-9bdtz", "data"));
    assert!(second.is_some());
    assert_eq!(class(&pod("c", "kube-api-access-q4wnm", "data")), second);
    // Any other name does.
    assert_ne!(class(&pod("d", "kube-api-access-q4wnm", "more")), second);
    assert_ne!(class(&pod("e", "own-token", "data")), second);
}
