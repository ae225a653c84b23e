//! Volumes, storage.k8s.io and resource.k8s.io.
use super::cells::cells;
use super::core::count;
use super::format::{age, or, strings};
use crate::object::Document;
use jiff::Timestamp;
use serde_json::Value;

/// Short forms of the access modes, in the order tables name them.
const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

fn access_modes(object: &Value, path: &[&str]) -> String {
    let modes = strings(object, path);
    let known = MODES
        .iter()
        .filter(|(mode, _)| modes.contains(mode))
        .map(|(_, short)| *short);
    known.collect::<Vec<_>>().join(",")
}

fn phase(object: &Value) -> &str {
    if object.deletion_timestamp().is_some() {
        "Terminating"
    } else {
        object.str_at(&["status", "phase"])
    }
}

/// The class of a volume or claim, also from the annotation that came before the field.
fn class(object: &Value) -> &str {
    let annotation = object.annotation("volume.beta.kubernetes.io/storage-class");
    annotation.unwrap_or_else(|| object.str_at(&["spec", "storageClassName"]))
}

fn or_unset<'a>(object: &'a Value, field: &str) -> &'a str {
    or(object.str_at(&["spec", field]), "<unset>")
}

pub(super) fn volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let claim = object.at(&["spec", "claimRef"]).map(|claim| {
        format!(
            "{}/{}",
            claim.str_at(&["namespace"]),
            claim.str_at(&["name"])
        )
    });
    cells![
        object.name(),
        object.str_at(&["spec", "capacity", "storage"]),
        access_modes(object, &["spec", "accessModes"]),
        object.str_at(&["spec", "persistentVolumeReclaimPolicy"]),
        phase(object),
        claim.unwrap_or_default(),
        class(object),
        or_unset(object, "volumeAttributesClassName"),
        object.str_at(&["status", "reason"]),
        age(object, now),
        or_unset(object, "volumeMode"),
    ]
}

pub(super) fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let volume = object.str_at(&["spec", "volumeName"]);
    let bound = !volume.is_empty();
    let capacity = if bound {
        or(object.str_at(&["status", "capacity", "storage"]), "0")
    } else {
        ""
    };
    let modes = if bound {
        access_modes(object, &["status", "accessModes"])
    } else {
        String::new()
    };
    cells![
        object.name(),
        phase(object),
        volume,
        capacity,
        modes,
        class(object),
        or_unset(object, "volumeAttributesClassName"),
        age(object, now),
        or_unset(object, "volumeMode"),
    ]
}

/// The name, marked when the object is the default of its kind.
fn default_marked(object: &Value, annotations: &[&str]) -> String {
    let default = annotations
        .iter()
        .any(|annotation| object.annotation(annotation) == Some("true"));
    format!(
        "{}{}",
        object.name(),
        if default { " (default)" } else { "" }
    )
}

pub(super) fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let marks = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ];
    cells![
        default_marked(object, &marks),
        object.str_at(&["provisioner"]),
        or(object.str_at(&["reclaimPolicy"]), "Delete"),
        or(object.str_at(&["volumeBindingMode"]), "Immediate"),
        object.bool_at(&["allowVolumeExpansion"]).unwrap_or(false),
        age(object, now),
    ]
}

pub(super) fn attributes_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let name = default_marked(object, &["storage.alpha.kubernetes.io/is-default-class"]);
    cells![name, object.str_at(&["driverName"]), age(object, now)]
}

pub(super) fn attachment(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        object.str_at(&["spec", "attacher"]),
        object.str_at(&["spec", "source", "persistentVolumeName"]),
        object.str_at(&["spec", "nodeName"]),
        object.bool_at(&["status", "attached"]).unwrap_or(false),
        age(object, now),
    ]
}

pub(super) fn csi_driver(object: &Value, now: Timestamp) -> Vec<Value> {
    let flag = |field: &str, default: bool| object.bool_at(&["spec", field]).unwrap_or(default);
    let audiences = object
        .list_at(&["spec", "tokenRequests"])
        .iter()
        .map(|request| request.str_at(&["audience"]));
    let modes = strings(object, &["spec", "volumeLifecycleModes"]).join(",");
    cells![
        object.name(),
        flag("attachRequired", true),
        flag("podInfoOnMount", false),
        flag("storageCapacity", false),
        or(&audiences.collect::<Vec<_>>().join(","), "<unset>"),
        flag("requiresRepublish", false),
        or(&modes, "<none>"),
        age(object, now),
    ]
}

pub(super) fn csi_node(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        count(object, &["spec", "drivers"]),
        age(object, now)
    ]
}

pub(super) fn resource_claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let deleted = object.deletion_timestamp().is_some();
    let allocated = object.at(&["status", "allocation"]).is_some();
    let states = [
        (deleted, "deleted"),
        (!allocated && !deleted, "pending"),
        (allocated, "allocated"),
        (
            allocated && count(object, &["status", "reservedFor"]) > 0,
            "reserved",
        ),
    ];
    let states: Vec<&str> = states
        .iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, state)| *state)
        .collect();
    cells![object.name(), states.join(","), age(object, now)]
}

pub(super) fn resource_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        object.str_at(&["spec", "nodeName"]),
        object.str_at(&["spec", "driver"]),
        object.str_at(&["spec", "pool", "name"]),
        age(object, now),
    ]
}
