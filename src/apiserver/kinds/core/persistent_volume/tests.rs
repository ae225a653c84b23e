//! What volumes must be and what of them stays.

use super::*;
use crate::apiserver::kinds::testing::{context, defaulted, errors_of, errors_of_update};

fn volume(change: &Value) -> Value {
    let mut spec = json!({ "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/x" } });
    let fields = change.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(fields);
    let volume = json!({ "metadata": { "name": "v" }, "spec": spec });
    defaulted(&PersistentVolume, volume)
}

#[test]
fn defaults() {
    let volume = volume(&json!({}));
    assert_eq!(volume["spec"]["hostPath"]["type"], "");
    assert_eq!(volume["spec"]["volumeMode"], "Filesystem");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(volume["status"]["phase"], "Pending");
}

#[test]
fn rules() {
    for (change, expected) in [
        (json!({}), ""),
        (
            json!({ "capacity": null }),
            "spec.capacity: Required value; spec.capacity: Unsupported value: null: supported values: \"storage\"",
        ),
        (
            json!({ "capacity": { "storage": "-1" } }),
            "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity; spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
        ),
        (
            json!({ "accessModes": ["ReadWriteOncePod", "ReadWriteOnce"] }),
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        ),
        (
            json!({ "hostPath": null }),
            "spec: Required value: must specify a volume type",
        ),
        (
            json!({ "nfs": { "server": "s", "path": "/" } }),
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
        ),
        (
            json!({ "hostPath": { "path": "/a/.." }, "persistentVolumeReclaimPolicy": "Recycle" }),
            "spec.hostPath.path: Invalid value: \"/a/..\": must not contain '..'; spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
        ),
        (
            json!({ "hostPath": null, "local": { "path": "/x" } }),
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ),
        (
            json!({ "nodeAffinity": {} }),
            "spec.nodeAffinity.required: Required value: must specify required node constraints",
        ),
        (
            json!({ "volumeAttributesClassName": "c" }),
            "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
        ),
        (
            json!({ "hostPath": null, "csi": { "controllerPublishSecretRef": { "name": "s" } } }),
            "spec.csi.driver: Required value; spec.csi.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'); spec.csi.volumeHandle: Required value; spec.csi.controllerPublishSecretRef.namespace: Required value",
        ),
        (
            json!({ "hostPath": null, "iscsi": { "targetPortal": "p", "iqn": "x", "lun": 256 } }),
            "spec.iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa; spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
        ),
        (
            json!({ "hostPath": null, "iscsi": { "targetPortal": "p", "iqn": "iqn.2001-04.com.example:disk1" } }),
            "",
        ),
    ] {
        assert_eq!(errors_of(&PersistentVolume, &volume(&change)), expected);
    }
}

#[test]
fn the_source_stays() {
    let old = volume(&json!({}));
    let changed = volume(&json!({ "hostPath": { "path": "/other" } }));
    let found = errors_of_update(&PersistentVolume, None, &changed, &old);
    assert!(
        found.starts_with("spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n@@ -2,7 +2,7 @@\n"),
        "{found}"
    );
    let block = volume(&json!({ "volumeMode": "Block" }));
    assert_eq!(
        errors_of_update(&PersistentVolume, None, &block, &old),
        "volumeMode: Invalid value: \"Block\": field is immutable"
    );
    let affinity = |key: &str| {
        let term =
            json!({ "matchExpressions": [{ "key": key, "operator": "In", "values": ["a"] }] });
        volume(&json!({ "nodeAffinity": { "required": { "nodeSelectorTerms": [term] } } }))
    };
    let (beta, newer) = (
        affinity("failure-domain.beta.kubernetes.io/zone"),
        affinity("topology.kubernetes.io/zone"),
    );
    assert_eq!(errors_of_update(&PersistentVolume, None, &beta, &old), "");
    assert_eq!(errors_of_update(&PersistentVolume, None, &newer, &beta), "");
    assert_eq!(
        errors_of_update(&PersistentVolume, None, &beta, &newer),
        "nodeAffinity: Invalid value: {\"Required\":{\"NodeSelectorTerms\":[{\"MatchExpressions\":[{\"Key\":\"failure-domain.beta.kubernetes.io/zone\",\"Operator\":\"In\",\"Values\":[\"a\"]}],\"MatchFields\":null}]}}: field is immutable, except for updating from beta label to GA"
    );
}

#[test]
fn a_new_phase_has_a_new_time() {
    let mut old = volume(&json!({}));
    old["status"]["lastPhaseTransitionTime"] = "2025-01-01T00:00:00Z".into();
    for (phase, expected) in [
        ("Pending", "2025-01-01T00:00:00Z"),
        ("Bound", "2026-01-01T00:00:00Z"),
    ] {
        let mut new = old.clone();
        new["status"] = json!({ "phase": phase });
        PersistentVolume.prepare_update(&context(Some("status")), &mut new, &old);
        assert_eq!(new["status"]["lastPhaseTransitionTime"], expected);
    }
}

#[test]
fn warnings() {
    let mut object = volume(&json!({
        "persistentVolumeReclaimPolicy": "Recycle", "hostPath": null, "rbd": { "monitors": ["m"], "image": "i" },
    }));
    object.set_at(&["metadata", "annotations", CLASS], "c");
    assert_eq!(PersistentVolume.warnings(&object, None).len(), 3);
}
