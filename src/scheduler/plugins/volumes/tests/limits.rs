//! NodeVolumeLimits.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::NodeVolumeLimits;
use super::{
    Listed, bound, claim, class, mounts, node, pod_named, snapshot, user, volume, with, words,
};
use crate::scheduler::framework::{CycleState, Filter, PodInfo, PreFilter};

fn csi(name: &str, driver: &str) -> Value {
    with(
        volume(name),
        json!({"spec": {"csi": {"driver": driver, "volumeHandle": format!("h-{name}")}}}),
    )
}

fn csi_node(count: Value) -> Value {
    json!({
        "kind": "CSINode", "metadata": {"name": "n"},
        "spec": {"drivers": [{"name": "csi", "nodeID": "n", "allocatable": {"count": count}}]},
    })
}

/// What is said of the pod on a node with these pods.
fn judge(objects: &[Value], pod: &PodInfo, there: &[PodInfo]) -> String {
    let plugin = NodeVolumeLimits::over(Arc::new(Listed::of(objects)));
    let mut snapshot = snapshot(&[node("n", &json!({}))]);
    for pod in there {
        snapshot.entry("n").add_pod(&Arc::new(pod.clone()));
    }
    let mut state = CycleState::default();
    let status = plugin.pre_filter(&mut state, pod, &snapshot).status;
    if words(&status) != "ok" {
        return words(&status);
    }
    let node = &snapshot.nodes()[0];
    let status = plugin.filter(&state, pod, node);
    let fits = plugin.fits(&state, pod, node);
    assert!(fits.is_none_or(|fits| fits == status.is_success()));
    words(&status)
}

fn uses(name: &str, claim: &str) -> PodInfo {
    pod_named(
        name,
        json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]),
    )
}

const FULL: &str = "U: node(s) exceed max volume count";

#[test]
fn claims_of_a_driver() {
    let has = |name: &str, driver: &str| [bound(claim(name), name), csi(name, driver)];
    let base: Vec<Value> = [has("c", "csi"), has("d", "csi"), has("e", "other")].concat();
    let attachment = |volume: &str| {
        json!({
            "kind": "VolumeAttachment", "metadata": {"name": format!("a-{volume}")},
            "spec": {"attacher": "csi", "nodeName": "n", "source": {"persistentVolumeName": volume}},
        })
    };
    let on_it = [uses("x", "d")];
    for (what, more, pod, there, said) in [
        (
            "no claims",
            vec![csi_node(json!(0))],
            mounts(json!([{"name": "v", "emptyDir": {}}])),
            vec![],
            "skip",
        ),
        ("no limits", vec![], user(&["c"]), on_it.to_vec(), "ok"),
        (
            "no count",
            vec![csi_node(json!(null))],
            user(&["c"]),
            on_it.to_vec(),
            "ok",
        ),
        (
            "room",
            vec![csi_node(json!(2))],
            user(&["c"]),
            on_it.to_vec(),
            "ok",
        ),
        (
            "full",
            vec![csi_node(json!(1))],
            user(&["c"]),
            on_it.to_vec(),
            FULL,
        ),
        (
            "more than there is",
            vec![csi_node(json!(1))],
            user(&["c", "d"]),
            vec![],
            FULL,
        ),
        (
            "shared",
            vec![csi_node(json!(1))],
            user(&["d"]),
            on_it.to_vec(),
            "ok",
        ),
        (
            "another driver",
            vec![csi_node(json!(1))],
            user(&["e"]),
            on_it.to_vec(),
            "ok",
        ),
        (
            "there is another driver",
            vec![csi_node(json!(1))],
            user(&["c"]),
            vec![uses("x", "e")],
            "ok",
        ),
        (
            "another's claim is gone",
            vec![csi_node(json!(1))],
            user(&["c"]),
            vec![uses("x", "gone")],
            "ok",
        ),
        (
            "its claim is gone",
            vec![csi_node(json!(1))],
            user(&["gone"]),
            vec![],
            "R: looking up PVC ns/gone: persistentvolumeclaim \"gone\" not found",
        ),
        (
            "still attached",
            vec![csi_node(json!(1)), attachment("d")],
            user(&["c"]),
            vec![],
            FULL,
        ),
        (
            "attached for a pod",
            vec![csi_node(json!(2)), attachment("d")],
            user(&["c"]),
            on_it.to_vec(),
            "ok",
        ),
        (
            "attached already",
            vec![csi_node(json!(1)), attachment("c")],
            user(&["c"]),
            vec![],
            "ok",
        ),
    ] {
        let objects: Vec<Value> = base.iter().cloned().chain(more).collect();
        assert_eq!(judge(&objects, &pod, &there), said, "{what}");
    }
}

#[test]
fn claims_without_volumes_and_old_disks() {
    // Not bound yet: it will be the driver of its class.
    let objects = [claim("c"), claim("d"), class("csi"), csi_node(json!(1))];
    assert_eq!(judge(&objects, &user(&["c"]), &[]), "ok");
    assert_eq!(judge(&objects, &user(&["c"]), &[uses("x", "d")]), FULL);
    assert_eq!(judge(&objects, &user(&["c"]), &[uses("x", "c")]), "ok");
    let ephemeral =
        mounts(json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]));
    let objects = [claim("p-v"), class("csi"), csi_node(json!(1))];
    let foreign = "E: PVC ns/p-v was not created for pod ns/p (pod is not owner)";
    assert_eq!(judge(&objects, &ephemeral, &[]), foreign);
}

#[test]
fn disks_of_drivers_that_were_in_tree() {
    let node = |driver: &str| {
        let drivers = json!([{"name": driver, "nodeID": "n", "allocatable": {"count": 1}}]);
        json!({"kind": "CSINode", "metadata": {"name": "n"}, "spec": {"drivers": drivers}})
    };
    // Those that are attached count as their successors'; shares are not attached, and vSphere's are left out.
    for (source, driver, said) in [
        (
            json!({"awsElasticBlockStore": {"volumeID": "DISK"}}),
            "ebs.csi.aws.com",
            FULL,
        ),
        (
            json!({"gcePersistentDisk": {"pdName": "DISK"}}),
            "pd.csi.storage.gke.io",
            FULL,
        ),
        (
            json!({"azureDisk": {"diskName": "d", "diskURI": "DISK"}}),
            "disk.csi.azure.com",
            FULL,
        ),
        (
            json!({"cinder": {"volumeID": "DISK"}}),
            "cinder.csi.openstack.org",
            FULL,
        ),
        (
            json!({"portworxVolume": {"volumeID": "DISK"}}),
            "pxd.portworx.com",
            FULL,
        ),
        (
            json!({"vsphereVolume": {"volumePath": "DISK"}}),
            "csi.vsphere.vmware.com",
            "ok",
        ),
        (
            json!({"azureFile": {"secretName": "s", "shareName": "DISK"}}),
            "file.csi.azure.com",
            "ok",
        ),
    ] {
        let named = |id: &str| -> Value {
            let source = source.to_string().replace("DISK", id);
            serde_json::from_str(&source).unwrap()
        };
        let uses = |name: &str, id: &str| {
            let mut volume = named(id);
            volume["name"] = "v".into();
            pod_named(name, json!([volume]))
        };
        let there = [uses("x", "b")];
        assert_eq!(
            judge(&[node(driver)], &uses("p", "a"), &there),
            said,
            "{driver}"
        );
        // It is there already.
        assert_eq!(
            judge(&[node(driver)], &uses("p", "b"), &there),
            "ok",
            "{driver}"
        );
        // Nobody knows what the node can attach.
        assert_eq!(judge(&[], &uses("p", "a"), &there), "ok", "{driver}");
        // The same disk as a volume of its own.
        let own = with(volume("v"), json!({"spec": named("a")}));
        let objects = [node(driver), bound(claim("c"), "v"), own];
        assert_eq!(judge(&objects, &user(&["c"]), &there), said, "{driver}");
    }
    // A claim that is to be made by a driver that was in tree.
    let ebs = class("kubernetes.io/aws-ebs");
    let objects = [claim("c"), claim("d"), ebs, node("ebs.csi.aws.com")];
    assert_eq!(
        judge(&objects, &user(&["c"]), &[self::uses("x", "d")]),
        FULL
    );
}
