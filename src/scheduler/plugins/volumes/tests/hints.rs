//! Which events have a pod tried again, by plugin.

use std::any::Any;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::binding::{events, hint};
use super::super::{NodeVolumeLimits, VolumeRestrictions, VolumeZone};
use super::{Listed, bound, claim, class, mounts, node, parse, pod_named, user, volume, with};
use crate::scheduler::framework::{
    Actions, ClusterEvent, EventPattern, Hint, Plugin, PodInfo, Resource, Snapshot,
};

/// VolumeBinding without a cluster behind it.
#[derive(Debug)]
struct Binding;

impl Plugin for Binding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }
    fn events(&self) -> Vec<EventPattern> {
        events()
    }
    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        hint(event, pod)
    }
}

fn event<'a, T: Any + Send + Sync>(
    resource: Resource,
    old: Option<&'a T>,
    new: Option<&'a T>,
) -> ClusterEvent<'a> {
    let actions = match (old, new) {
        (None, _) => Actions::ADD,
        (_, None) => Actions::DELETE,
        _ => Actions::UPDATE,
    };
    ClusterEvent::new(resource, actions).with(old, new)
}

fn wakes(plugin: &dyn Plugin, event: &ClusterEvent<'_>, pod: &PodInfo) -> bool {
    plugin.events().iter().any(|pattern| pattern.covers(event))
        && plugin.hint(event, pod, &Snapshot::default()) == Hint::Queue
}

/// Whether a change of an object of a kind has the pod tried again.
fn changed<T: DeserializeOwned + Any + Send + Sync>(
    plugin: &dyn Plugin,
    pod: &PodInfo,
    old: Option<Value>,
    new: Option<Value>,
) -> bool {
    let kind = old
        .as_ref()
        .or(new.as_ref())
        .map(|object| object["kind"].as_str().unwrap().to_owned());
    let resource = match kind.as_deref() {
        Some("Node") => Resource::Node,
        kind => Resource::Kind(kind.unwrap_or_default().to_owned().into()),
    };
    let (old, new) = (
        old.map(|old| parse::<T>(&old)),
        new.map(|new| parse::<T>(&new)),
    );
    wakes(
        plugin,
        &event(resource, old.as_deref(), new.as_deref()),
        pod,
    )
}

#[test]
fn binding() {
    let pod = user(&["c"]);
    let claims = |old, new| changed::<PersistentVolumeClaim>(&Binding, &pod, old, new);
    assert!(claims(None, Some(claim("c"))));
    assert!(claims(Some(claim("c")), Some(bound(claim("c"), "v"))));
    assert!(!claims(Some(claim("c")), None));
    assert!(!claims(None, Some(claim("d"))));
    assert!(!claims(
        None,
        Some(with(
            claim("c"),
            json!({"metadata": {"namespace": "other"}})
        ))
    ));
    let ephemeral = mounts(json!([{"name": "v", "ephemeral": {}}]));
    assert!(changed::<PersistentVolumeClaim>(
        &Binding,
        &ephemeral,
        None,
        Some(claim("p-v"))
    ));

    let volumes = |old, new| changed::<PersistentVolume>(&Binding, &pod, old, new);
    assert!(volumes(None, Some(volume("v"))));
    assert!(volumes(Some(volume("v")), Some(volume("v"))));
    assert!(!volumes(Some(volume("v")), None));

    let classes = |old, new| changed::<StorageClass>(&Binding, &pod, old, new);
    let topology = with(class("csi"), json!({"allowedTopologies": [{}]}));
    assert!(classes(None, Some(class("csi"))));
    assert!(classes(Some(class("csi")), Some(topology)));
    assert!(!classes(
        Some(class("csi")),
        Some(with(class("csi"), json!({"parameters": {"a": "b"}})))
    ));

    let capacity = |size: &str, largest: Value| json!({"kind": "CSIStorageCapacity", "metadata": {"name": "x"}, "storageClassName": "wait", "capacity": size, "maximumVolumeSize": largest});
    let capacities = |old, new| changed::<CSIStorageCapacity>(&Binding, &pod, old, new);
    let none = Value::Null;
    assert!(capacities(None, Some(capacity("1Gi", none.clone()))));
    assert!(capacities(
        Some(capacity("1Gi", none.clone())),
        Some(capacity("2Gi", none.clone()))
    ));
    assert!(!capacities(
        Some(capacity("2Gi", none.clone())),
        Some(capacity("1Gi", none.clone()))
    ));
    assert!(!capacities(
        Some(capacity("1Gi", none.clone())),
        Some(capacity("2Gi", json!("1Mi")))
    ));

    let migrated = |plugins: &str| json!({"kind": "CSINode", "metadata": {"name": "n", "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": plugins}}, "spec": {"drivers": []}});
    let csi_nodes = |old, new| changed::<CSINode>(&Binding, &pod, old, new);
    assert!(csi_nodes(None, Some(migrated(""))));
    assert!(csi_nodes(
        Some(migrated("")),
        Some(migrated("kubernetes.io/gce-pd"))
    ));
    assert!(!csi_nodes(Some(migrated("")), Some(migrated(""))));

    let driver = |counts: bool| json!({"kind": "CSIDriver", "metadata": {"name": "csi"}, "spec": {"storageCapacity": counts}});
    let inline = mounts(json!([{"name": "v", "csi": {"driver": "csi"}}]));
    let drivers = |pod: &PodInfo, old, new| {
        changed::<CSIDriver>(&Binding, pod, Some(driver(old)), Some(driver(new)))
    };
    assert!(drivers(&inline, true, false));
    assert!(!drivers(&inline, false, true));
    assert!(!drivers(&pod, true, false));
    nodes(&Binding, true);
}

/// New nodes and new labels help; new taints do not.
fn nodes(plugin: &dyn Plugin, labels: bool) {
    let pod = user(&["c"]);
    let node = node("n", &json!({}));
    assert!(changed::<Node>(plugin, &pod, None, Some(node)));
    let update = |actions| ClusterEvent::new(Resource::Node, actions);
    assert_eq!(
        wakes(plugin, &update(Actions::UPDATE_NODE_LABEL), &pod),
        labels
    );
    assert!(!wakes(plugin, &update(Actions::UPDATE_NODE_TAINT), &pod));
    assert!(!wakes(plugin, &update(Actions::DELETE), &pod));
}

#[test]
fn zone() {
    let plugin = VolumeZone::over(Arc::new(Listed::default()));
    let pod = user(&["c"]);
    let claims = |old, new| changed::<PersistentVolumeClaim>(&plugin, &pod, old, new);
    assert!(claims(None, Some(claim("c"))));
    assert!(claims(Some(claim("c")), Some(bound(claim("c"), "v"))));
    assert!(!claims(None, Some(claim("d"))));
    let classes = |new| changed::<StorageClass>(&plugin, &pod, None, Some(new));
    assert!(classes(class("csi")));
    assert!(!classes(with(
        class("csi"),
        json!({"volumeBindingMode": "Immediate"})
    )));
    let volumes = |old, new| changed::<PersistentVolume>(&plugin, &pod, old, Some(new));
    let labelled = |zone: &str| {
        with(
            volume("v"),
            json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}),
        )
    };
    assert!(volumes(None, volume("v")));
    assert!(volumes(Some(labelled("a")), labelled("b")));
    assert!(!volumes(
        Some(labelled("a")),
        with(labelled("a"), json!({"status": {"phase": "Bound"}}))
    ));
    nodes(&plugin, true);
}

fn gone(pod: &PodInfo) -> ClusterEvent<'_> {
    ClusterEvent::new(Resource::AssignedPod, Actions::DELETE).with(Some(pod), None)
}

#[test]
fn restrictions() {
    let plugin = VolumeRestrictions::over(Arc::new(Listed::default()));
    let pod = user(&["c"]);
    let uses = |claim: &str| {
        pod_named(
            "x",
            json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]),
        )
    };
    assert!(wakes(&plugin, &gone(&uses("c")), &pod));
    assert!(!wakes(&plugin, &gone(&uses("d")), &pod));
    let mut elsewhere = uses("c");
    elsewhere.key.namespace = "other".into();
    assert!(!wakes(&plugin, &gone(&elsewhere), &pod));
    let disk = || mounts(json!([{"name": "v", "gcePersistentDisk": {"pdName": "d"}}]));
    assert!(wakes(&plugin, &gone(&disk()), &disk()));
    let mut elsewhere = disk();
    elsewhere.key.namespace = "other".into();
    assert!(wakes(&plugin, &gone(&elsewhere), &disk()));
    assert!(!wakes(&plugin, &gone(&disk()), &pod));
    let claims = |old, new| changed::<PersistentVolumeClaim>(&plugin, &pod, old, new);
    assert!(claims(None, Some(claim("c"))));
    assert!(!claims(None, Some(claim("d"))));
    assert!(!claims(Some(claim("c")), Some(claim("c"))));
    nodes(&plugin, false);
}

#[test]
fn limits() {
    let csi = with(
        volume("v"),
        json!({"spec": {"csi": {"driver": "csi", "volumeHandle": "h"}}}),
    );
    let plugin = NodeVolumeLimits::over(Arc::new(Listed::of(&[bound(claim("c"), "v"), csi])));
    let pod = user(&["c"]);
    assert!(wakes(&plugin, &gone(&user(&["d"])), &pod));
    assert!(!wakes(&plugin, &gone(&user(&[])), &pod));
    let claims = |old, new| changed::<PersistentVolumeClaim>(&plugin, &pod, old, new);
    assert!(claims(None, Some(claim("c"))));
    assert!(!claims(Some(claim("c")), Some(claim("c"))));
    let csi_node = |count: i32| json!({"kind": "CSINode", "metadata": {"name": "n"}, "spec": {"drivers": [{"name": "csi", "nodeID": "n", "allocatable": {"count": count}}]}});
    let csi_nodes = |old, new| changed::<CSINode>(&plugin, &pod, old, new);
    assert!(csi_nodes(None, Some(csi_node(0))));
    assert!(csi_nodes(Some(csi_node(1)), Some(csi_node(2))));
    assert!(!csi_nodes(Some(csi_node(2)), Some(csi_node(1))));
    let attachment = |driver: &str| json!({"kind": "VolumeAttachment", "metadata": {"name": "a"}, "spec": {"attacher": driver, "nodeName": "n", "source": {}}});
    let attachments = |old, new| changed::<VolumeAttachment>(&plugin, &pod, old, new);
    assert!(attachments(Some(attachment("csi")), None));
    assert!(!attachments(Some(attachment("other")), None));
    assert!(!attachments(None, Some(attachment("csi"))));
    let node = || Some(node("n", &json!({})));
    assert!(!changed::<Node>(&plugin, &pod, None, node()));
}
