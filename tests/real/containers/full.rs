//! As many pods as a node runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Guest, Place, STAYS, shell};

/// As many pods as a node takes by default.
const PODS: usize = 110;

#[test]
fn a_hundred_and_ten_pods() {
    let place = Arc::new(Place::start(&[]));
    let guest = Guest::new(place, "full");
    let template = json!({
        "metadata": {"labels": {"app": "many"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [shell("c", STAYS)]},
    });
    let spec = json!({"replicas": PODS, "selector": {"matchLabels": {"app": "many"}}, "template": template});
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec});
    guest.file("many.json", &object.to_string());
    guest.ok("kubectl apply -f many.json");
    let ready = |guest: &Guest| {
        let all = guest.find("pods").unwrap()["items"].clone();
        let all = all.as_array().unwrap().clone();
        let ready = all.iter().filter(|pod| super::is_ready(&pod["status"]));
        ready.cloned().collect::<Vec<Value>>()
    };
    let all = guest.within(240, "all pods are ready", || {
        let ready = ready(&guest);
        (ready.len() == PODS).then_some(ready)
    });
    let text = |pod: &Value, path: &str| pod.pointer(path).unwrap().as_str().unwrap().to_owned();
    let ips: BTreeSet<String> = all.iter().map(|pod| text(pod, "/status/podIP")).collect();
    assert_eq!(ips.len(), PODS);
    // One more has no place.
    guest.pod("more", json!({"containers": [shell("c", STAYS)]}));
    guest.told(
        "more",
        "FailedScheduling: 0/1 nodes are available: 1 Too many pods.",
    );
    let bound = guest.find("pods/more").unwrap();
    assert!(bound["spec"]["nodeName"].is_null(), "{bound}");
    guest.ok("kubectl scale deploy/many --replicas=0");
    guest.ready("more");
    guest.within(120, "all pods are gone", || {
        let left = guest.find("pods?labelSelector=app=many").unwrap();
        left["items"].as_array().unwrap().is_empty().then_some(())
    });
    guest.within(30, "all shims are gone", || {
        (guest.place.machine.shims().len() == 1).then_some(())
    });
}
