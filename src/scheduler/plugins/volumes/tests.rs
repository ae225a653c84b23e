//! The rules of the plugins about volumes, on objects in memory.

mod binding;
mod hints;
mod limits;
mod others;
mod property;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::listers::{Volumes, pin};
use crate::object::volume::{class_of_volume, owner, size};
use crate::reconcile::{Key, Object};
use crate::scheduler::framework::{PodInfo, Snapshot, Status};

/// Objects by kind and key, and the volumes that changed.
#[derive(Clone, Debug, Default)]
struct Listed(
    Arc<Mutex<BTreeMap<(String, Key), Value>>>,
    Arc<Mutex<Vec<Arc<PersistentVolume>>>>,
);

impl Listed {
    fn of(objects: &[Value]) -> Self {
        let listed = Self::default();
        for object in objects {
            listed.put(object.clone());
        }
        listed
    }

    fn put(&self, object: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let meta = &object["metadata"];
        let key = Key::new(text(&meta["namespace"]), text(&meta["name"]));
        let is_volume = object["kind"] == "PersistentVolume";
        let new = is_volume.then(|| parse(&object));
        let old = self.0.lock().insert((text(&object["kind"]), key), object);
        let old = old.filter(|_| is_volume);
        self.1.lock().extend(old.as_ref().map(parse));
        self.1.lock().extend(new);
    }

    fn all<K: Object>(&self) -> Vec<Arc<K>> {
        let objects = self.0.lock();
        let of_kind = objects
            .iter()
            .filter(|((kind, _), _)| *kind == K::kind(&()));
        of_kind.map(|(_, object)| parse(object)).collect()
    }

    fn unowned(&self, class: &str) -> Vec<Arc<PersistentVolume>> {
        let mut all: Vec<Arc<PersistentVolume>> = self.all();
        all.retain(|volume| owner(volume).is_none() && class_of_volume(volume) == class);
        all
    }

    fn one<K: Object>(&self, key: &Key) -> Option<Arc<K>> {
        let key = (K::kind(&()).into_owned(), key.clone());
        self.0.lock().get(&key).map(parse)
    }
}

fn parse<K: DeserializeOwned>(object: &Value) -> Arc<K> {
    Arc::new(serde_json::from_value(object.clone()).unwrap())
}

impl Volumes for Listed {
    fn claim(&self, key: &Key) -> Option<Arc<PersistentVolumeClaim>> {
        self.one(key)
    }
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.one(&Key::cluster(name))
    }
    fn meant_for(&self, class: &str, claim: &Key) -> Vec<Arc<PersistentVolume>> {
        let mut all = self.all();
        all.retain(|volume| {
            let is_meant = owner(volume).is_some_and(|owner| {
                owner.name.as_deref() == Some(&*claim.name)
                    && owner.namespace.as_deref() == Some(&*claim.namespace)
            });
            is_meant && class_of_volume(volume) == class
        });
        all
    }
    fn pins(&self, class: &str) -> Vec<String> {
        let of_class = self.unowned(class);
        let labels = of_class.iter().filter_map(|volume| pin(volume));
        let labels: BTreeSet<String> = labels.map(|(pin, _)| pin.key.clone()).collect();
        labels.into_iter().collect()
    }
    fn changed(&self) -> Vec<Arc<PersistentVolume>> {
        std::mem::take(&mut *self.1.lock())
    }
    fn free(
        &self,
        class: &str,
        at: Option<(&str, &str)>,
        least: i64,
        visit: &mut dyn FnMut(&Arc<PersistentVolume>) -> ControlFlow<()>,
    ) {
        let mut all = self.unowned(class);
        all.retain(|volume| match (at, pin(volume)) {
            (None, None) => true,
            (Some((label, value)), Some((own, values))) => {
                own.key == label && values.iter().any(|one| one == value)
            }
            _ => false,
        });
        all.retain(|volume| size(volume.spec.as_ref().unwrap()) >= least);
        all.sort_by_key(|volume| size(volume.spec.as_ref().unwrap()));
        let _ = all.iter().try_for_each(visit);
    }
    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.one(&Key::cluster(name))
    }
    fn csi_node(&self, node: &str) -> Option<Arc<CSINode>> {
        self.one(&Key::cluster(node))
    }
    fn csi_driver(&self, name: &str) -> Option<Arc<CSIDriver>> {
        self.one(&Key::cluster(name))
    }
    fn capacities(&self, class: &str) -> Vec<Arc<CSIStorageCapacity>> {
        let mut all: Vec<Arc<CSIStorageCapacity>> = self.all();
        all.retain(|capacity| capacity.storage_class_name == class);
        all
    }
    fn attachments(&self, node: &str) -> Vec<Arc<VolumeAttachment>> {
        let mut all: Vec<Arc<VolumeAttachment>> = self.all();
        all.retain(|attachment| attachment.spec.node_name == node);
        all
    }
    fn pod(&self, key: &Key) -> Option<Arc<Pod>> {
        self.one(key)
    }
    fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.one(&Key::cluster(name))
    }
}

/// Adds the fields of `more` to `object`.
fn with(mut object: Value, more: Value) -> Value {
    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }
    merge(&mut object, more);
    object
}

/// A pod of the namespace `ns` that uses these claims.
fn user(claims: &[&str]) -> PodInfo {
    let volumes = claims.iter().enumerate().map(
        |(index, claim)| json!({"name": format!("v{index}"), "persistentVolumeClaim": {"claimName": claim}}),
    );
    mounts(volumes.collect())
}

/// A pod with these volumes.
fn mounts(volumes: Value) -> PodInfo {
    pod_named("p", volumes)
}

fn pod_named(name: &str, volumes: Value) -> PodInfo {
    let pod = json!({
        "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}")},
        "spec": {"containers": [], "volumes": volumes},
    });
    PodInfo::new(parse(&pod))
}

/// A claim of a gigabyte that waits for its first pod.
fn claim(name: &str) -> Value {
    json!({
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": "1"},
        "spec": {
            "storageClassName": "wait", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

/// The claim as one that has this volume.
fn bound(claim: Value, volume: &str) -> Value {
    with(
        claim,
        json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": volume}, "status": {"phase": "Bound"},
        }),
    )
}

/// A free volume of a gigabyte.
fn volume(name: &str) -> Value {
    json!({
        "kind": "PersistentVolume", "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {
            "storageClassName": "wait", "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
        },
        "status": {"phase": "Available"},
    })
}

/// The volume as one that is used on nodes of this zone.
fn in_zone(volume: Value, zone: &str) -> Value {
    let term = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
    with(
        volume,
        json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}}),
    )
}

/// A class whose volumes wait for the first pod and are made by `provisioner`.
fn class(provisioner: &str) -> Value {
    json!({
        "kind": "StorageClass", "metadata": {"name": "wait"},
        "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer",
    })
}

const BY_HAND: &str = "kubernetes.io/no-provisioner";

fn node(name: &str, labels: &Value) -> Value {
    json!({"kind": "Node", "metadata": {"name": name, "labels": labels}})
}

/// Nodes `a` and `b` in zones of their names.
fn zones() -> [Value; 2] {
    ["a", "b"].map(|name| node(name, &json!({"zone": name})))
}

fn snapshot(nodes: &[Value]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        let name = node["metadata"]["name"].as_str().unwrap();
        snapshot.entry(name).set_node(Some(parse(node)));
    }
    snapshot
}

/// In words: `ok`, `skip`, or the code's first letter and the reasons.
fn words(status: &Status) -> String {
    use crate::scheduler::framework::Code;
    let code = match status.code {
        Code::Success => return "ok".into(),
        Code::Skip => return "skip".into(),
        Code::Unschedulable => "U",
        Code::UnschedulableAndUnresolvable => "R",
        Code::Pending => "P",
        Code::Error => "E",
    };
    format!("{code}: {}", status.reasons.join(", "))
}
