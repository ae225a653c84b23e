//! A node whose disk runs full: who is ended, in which order, and who may come.

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Guest, Place, STAYS, shell, with};
use crate::machine::Machine;

/// How much there is, and how much of it must be free.
const SIZE: &str = "64m";
const THRESHOLD: &str = "nodefs.available<24Mi";

#[test]
fn pods_are_ended_in_order_while_the_disk_is_full() {
    let machine = Machine::start();
    // A disk of its own for volumes of pods. It goes with the machine.
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"])
        .arg(machine.scratch("kubelet"))
        .status();
    assert!(mounted.unwrap().success());
    let place = Arc::new(Place::on(machine, &["--eviction-hard", THRESHOLD]));
    let guest = Guest::new(place, "pressure");
    guest.ok("kubectl create priorityclass high --value=1000");
    let rows = [
        ("modest", "", Some("20Mi"), 10),
        ("high", "high", None, 13),
        ("low", "", None, 6),
        ("hungry", "", None, 9),
    ];
    for (name, class, request, _) in rows {
        let mut container = with(
            shell("c", STAYS),
            json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
        );
        if let Some(request) = request {
            container["resources"] = json!({"requests": {"ephemeral-storage": request}});
        }
        let volumes = json!([{"name": "v", "emptyDir": {}}]);
        let mut spec =
            json!({"containers": [container], "volumes": volumes, "restartPolicy": "Never"});
        if !class.is_empty() {
            spec["priorityClassName"] = json!(class);
        }
        guest.pod(name, spec);
    }
    for (name, _, _, mebibytes) in rows {
        guest.ready(name);
        fill(&guest, name, mebibytes);
    }
    // 26 MiB are left. Of those who use more than they asked for and count least, the one that uses most.
    fill(&guest, "high", 4);
    is_evicted(&guest, "hungry");
    guest.until("the node tells of it", || is_short(&guest).then_some(()));
    guest.pod("late", json!({"containers": [shell("c", STAYS)]}));
    guest.told("late", "FailedScheduling: 0/1 nodes are available: ");
    for name in ["modest", "high", "low"] {
        guest.ready(name);
    }
    // Who counts least goes before who uses most.
    fill(&guest, "high", 9);
    is_evicted(&guest, "low");
    // Who uses more than it asked for goes before who does not, whatever it counts.
    fill(&guest, "modest", 7);
    is_evicted(&guest, "high");
    let status = guest.ready("modest");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
    let waits = guest.find("pods/late").unwrap();
    assert!(waits["spec"]["nodeName"].is_null(), "{waits}");
}

/// Writes so many mebibytes into the pod's volume.
fn fill(guest: &Guest, pod: &str, mebibytes: u32) {
    let script = format!("head -c {mebibytes}m /dev/zero >> /v/f");
    guest.inside(pod, &script);
}

fn is_evicted(guest: &Guest, pod: &str) {
    let status = guest.becomes(pod, &[("/phase", json!("Failed"))]);
    assert_eq!(status["reason"], "Evicted", "{status}");
    let message = status["message"].as_str().unwrap();
    let expected =
        "The node was low on resource: ephemeral-storage. Threshold quantity: 24Mi, available: ";
    assert!(message.starts_with(expected), "{message}");
    let conditions = status["conditions"].as_array().unwrap();
    let target = conditions
        .iter()
        .find(|condition| condition["type"] == "DisruptionTarget");
    assert_eq!(target.unwrap()["reason"], "TerminationByKubelet");
    guest.told(
        pod,
        "Evicted: The node was low on resource: ephemeral-storage.",
    );
}

/// Whether the node says that its disk is full, and is tainted for it.
fn is_short(guest: &Guest) -> bool {
    let nodes = guest.ok("kubectl get nodes -o json");
    let nodes: Value = serde_json::from_str(&nodes).unwrap();
    let node = &nodes["items"][0];
    let conditions = node["status"]["conditions"].as_array().unwrap();
    let says = conditions.iter().any(|condition| {
        condition["type"] == "DiskPressure"
            && condition["status"] == "True"
            && condition["reason"] == "KubeletHasDiskPressure"
    });
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    let key = "node.kubernetes.io/disk-pressure";
    says && taints.into_iter().any(|taint| taint["key"] == key)
}
