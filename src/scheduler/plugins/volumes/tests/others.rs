//! VolumeZone and VolumeRestrictions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{VolumeRestrictions, VolumeZone};
use super::{
    Listed, bound, claim, class, mounts, node, pod_named, snapshot, user, volume, with, words,
};
use crate::scheduler::framework::{CycleState, Filter, PodInfo, PreFilter, Snapshot};

fn judge<P: PreFilter + Filter>(plugin: &P, pod: &PodInfo, snapshot: &Snapshot) -> Vec<String> {
    let mut state = CycleState::default();
    let mut said = vec![words(&plugin.pre_filter(&mut state, pod, snapshot).status)];
    if said == ["ok"] {
        let nodes = snapshot.nodes().iter();
        said.extend(nodes.map(|node| words(&plugin.filter(&state, pod, node))));
    }
    said
}

#[test]
fn zones_of_volumes() {
    let zone = "topology.kubernetes.io/zone";
    let old_zone = "failure-domain.beta.kubernetes.io/zone";
    let nodes = [
        node(
            "new",
            &json!({zone: "z1", "topology.kubernetes.io/region": "r1"}),
        ),
        node("old", &json!({old_zone: "z2"})),
        node("none", &json!({"other": "label"})),
    ];
    let labelled = |labels: Value| with(volume("v"), json!({"metadata": {"labels": labels}}));
    let no = "R: node(s) had no available volume zone";
    for (labels, said) in [
        (json!({}), vec!["skip"]),
        (json!({zone: "z1"}), vec!["ok", "ok", no, "ok"]),
        (json!({zone: "z1__z3"}), vec!["ok", "ok", no, "ok"]),
        (json!({zone: "z4"}), vec!["ok", no, no, "ok"]),
        // A volume with an old label suits a node with the new one, but not the other way.
        (json!({old_zone: "z1"}), vec!["ok", "ok", no, "ok"]),
        (json!({old_zone: "z2"}), vec!["ok", no, "ok", "ok"]),
        (json!({zone: "z2"}), vec!["ok", no, no, "ok"]),
        (
            json!({zone: "z1", "topology.kubernetes.io/region": "r2"}),
            vec!["ok", no, no, "ok"],
        ),
        // What names an empty zone says nothing.
        (json!({zone: "z4__"}), vec!["skip"]),
    ] {
        let listed = Listed::of(&[bound(claim("c"), "v"), labelled(labels.clone())]);
        let plugin = VolumeZone::over(Arc::new(listed));
        assert_eq!(
            judge(&plugin, &user(&["c"]), &snapshot(&nodes)),
            said,
            "{labels}"
        );
    }
}

#[test]
fn zones_of_nothing() {
    let at_once = with(class("csi"), json!({"volumeBindingMode": "Immediate"}));
    let vague = with(class("csi"), json!({"volumeBindingMode": null}));
    let bare = with(claim("c"), json!({"spec": {"storageClassName": null}}));
    for (objects, claims, said) in [
        (vec![], vec![], "skip"),
        (vec![], vec![""], "R: PersistentVolumeClaim had no name"),
        (
            vec![],
            vec!["c"],
            "R: persistentvolumeclaim \"c\" not found",
        ),
        (
            vec![bare],
            vec!["c"],
            "R: PersistentVolumeClaim had no pv name and storageClass name",
        ),
        (
            vec![claim("c")],
            vec!["c"],
            "R: storageclass.storage.k8s.io \"wait\" not found",
        ),
        (vec![claim("c"), class("csi")], vec!["c"], "skip"),
        (
            vec![claim("c"), at_once],
            vec!["c"],
            "R: PersistentVolume had no name",
        ),
        (
            vec![claim("c"), vague],
            vec!["c"],
            "R: VolumeBindingMode not set for StorageClass \"wait\"",
        ),
        (
            vec![bound(claim("c"), "v")],
            vec!["c"],
            "R: persistentvolume \"v\" not found",
        ),
    ] {
        let plugin = VolumeZone::over(Arc::new(Listed::of(&objects)));
        assert_eq!(judge(&plugin, &user(&claims), &Snapshot::default()), [said]);
    }
}

fn cluster(pods: &[(&str, PodInfo)]) -> Snapshot {
    let mut snapshot = snapshot(&[node("a", &json!({})), node("b", &json!({}))]);
    for (node, pod) in pods {
        snapshot.entry(node).add_pod(&Arc::new(pod.clone()));
    }
    snapshot
}

#[test]
fn disks_that_are_not_shared() {
    let gce = |read_only: bool| json!([{"name": "v", "gcePersistentDisk": {"pdName": "d", "readOnly": read_only}}]);
    let aws = |id: &str| json!([{"name": "v", "awsElasticBlockStore": {"volumeID": id, "readOnly": true}}]);
    let iscsi = |iqn: &str, read_only: bool| json!([{"name": "v", "iscsi": {"iqn": iqn, "lun": 0, "targetPortal": "p", "readOnly": read_only}}]);
    let rbd = |monitors: Value, pool: Value, read_only: bool| json!([{"name": "v", "rbd": {"monitors": monitors, "pool": pool, "image": "i", "readOnly": read_only}}]);
    for (wanted, there, fits) in [
        (gce(false), gce(false), false),
        (gce(true), gce(false), false),
        (gce(true), gce(true), true),
        (aws("d"), aws("d"), false),
        (aws("d"), aws("e"), true),
        (iscsi("q", false), iscsi("q", true), false),
        (iscsi("q", true), iscsi("q", true), true),
        (iscsi("q", false), iscsi("r", false), true),
        (
            rbd(json!(["m", "n"]), json!("x"), false),
            rbd(json!(["n"]), json!("x"), false),
            false,
        ),
        (
            rbd(json!(["m"]), json!("x"), false),
            rbd(json!(["n"]), json!("x"), false),
            true,
        ),
        (
            rbd(json!(["m"]), json!(null), false),
            rbd(json!(["m"]), json!("rbd"), false),
            false,
        ),
        (
            rbd(json!(["m"]), json!("x"), true),
            rbd(json!(["m"]), json!("x"), true),
            true,
        ),
    ] {
        let plugin = VolumeRestrictions::over(Arc::new(Listed::default()));
        let snapshot = cluster(&[("a", pod_named("other", there.clone()))]);
        let a = if fits {
            "ok"
        } else {
            "U: node(s) had no available disk"
        };
        let said = judge(&plugin, &mounts(wanted.clone()), &snapshot);
        assert_eq!(said, ["ok", a, "ok"], "{wanted} {there}");
    }
}

#[test]
fn claims_for_one_pod() {
    let alone = with(
        claim("c"),
        json!({"spec": {"accessModes": ["ReadWriteOncePod"]}}),
    );
    let plugin = VolumeRestrictions::over(Arc::new(Listed::of(&[alone, claim("d")])));
    let uses = |name: &str, claim: &str| {
        pod_named(
            name,
            json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]),
        )
    };
    let mut elsewhere = uses("x", "c");
    elsewhere.key.namespace = "other".into();
    let taken = "U: node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    for (pods, wanted, said) in [
        (vec![], "c", vec!["skip"]),
        (vec![("a", uses("x", "d"))], "c", vec!["skip"]),
        (vec![("a", uses("x", "d"))], "d", vec!["skip"]),
        (vec![("a", elsewhere)], "c", vec!["skip"]),
        // Wherever it is used.
        (vec![("a", uses("x", "c"))], "c", vec!["ok", taken, taken]),
        (
            vec![],
            "gone",
            vec!["R: persistentvolumeclaim \"gone\" not found"],
        ),
    ] {
        assert_eq!(
            judge(&plugin, &user(&[wanted]), &cluster(&pods)),
            said,
            "{wanted}"
        );
    }
    // Preemption finds out that it helps when the user goes.
    let snapshot = cluster(&[("a", uses("x", "c"))]);
    let (pod, node) = (user(&["c"]), &snapshot.nodes()[0]);
    let mut state = CycleState::default();
    plugin.pre_filter(&mut state, &pod, &snapshot);
    plugin.remove_pod(&mut state, &pod, &uses("x", "c"), node, &snapshot);
    assert_eq!(words(&plugin.filter(&state, &pod, node)), "ok");
    plugin.add_pod(&mut state, &pod, &uses("x", "c"), node, &snapshot);
    assert_eq!(words(&plugin.filter(&state, &pod, node)), taken);
}
