//! Documents as protobuf and back, and bytes that are none.

use super::*;

/// There and back.
#[track_caller]
fn round(document: &Value) {
    let bytes = encode(document).unwrap();
    assert_eq!(bytes.get(..4), Some(MAGIC));
    assert_eq!(decode(&bytes).unwrap(), *document);
}

#[test]
fn documents_come_back_as_they_were() {
    round(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "labels": { "a": "b", "c": "" }, "creationTimestamp": "2026-01-02T03:04:05Z", "generation": -1,
            "managedFields": [{ "manager": "m", "fieldsV1": { "f:spec": {} } }],
        },
        "spec": {
            "securityContext": { "supplementalGroups": [1, 300] },
            "containers": [{
                "name": "c", "ports": [{ "containerPort": 80, "protocol": "TCP" }], "args": ["x", ""],
                "resources": { "limits": { "cpu": "100m" } },
                "livenessProbe": { "httpGet": { "port": "web", "path": "/" }, "periodSeconds": 3 },
                "readinessProbe": { "tcpSocket": { "port": 8080 } },
                "env": [{ "name": "E", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }],
            }],
            "volumes": [{ "name": "v", "emptyDir": { "sizeLimit": "1Gi" } }],
        },
    }));
    round(
        &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "k": "AAEC" } }),
    );
    round(&json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {},
        "spec": { "renewTime": "2026-01-02T03:04:05.000006Z", "acquireTime": "1969-12-31T23:59:59.500000Z" },
    }));
    round(&json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
        "status": { "user": { "username": "u", "extra": { "a": ["b", "c"], "d": [] } } },
    }));
    round(&json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {}, "data": { "spec": [1, null, 2.5] }, "revision": 3,
    }));
    let schema = json!({
        "type": "object", "maximum": 1.5, "default": { "a": 1 }, "additionalProperties": { "type": "string" },
        "properties": { "p": { "items": { "x-kubernetes-int-or-string": true }, "additionalProperties": false } },
    });
    round(&json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {},
        "spec": { "versions": [{ "name": "v1", "schema": { "openAPIV3Schema": schema } }] },
    }));
}

#[test]
fn numbers_are_those_of_the_api() {
    let document = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "k": "v" } });
    let expected = [
        MAGIC,
        &[10, 15, 10, 2],
        b"v1",
        &[18, 9],
        b"ConfigMap",
        &[
            18, 13, 10, 3, 10, 1, b'a', 18, 6, 10, 1, b'k', 18, 1, b'v', 26, 0, 34, 0,
        ],
    ]
    .concat();
    assert_eq!(encode(&document).unwrap(), expected);
}

#[test]
fn lists_and_metadata() {
    let item = json!({ "metadata": { "name": "a" } });
    let encoded = |kind: &str, version: &str| {
        let list = json!({ "kind": kind, "apiVersion": version, "metadata": { "resourceVersion": "7" }, "items": [item] });
        encode(&list).map(|bytes| bytes.ends_with(&[18, 5, 10, 3, 10, 1, b'a', 26, 0, 34, 0]))
    };
    assert_eq!(encoded("ConfigMapList", "v1"), Some(true));
    assert_eq!(
        encoded("PartialObjectMetadataList", "meta.k8s.io/v1"),
        Some(true)
    );
    assert_eq!(encoded("CronTabList", "example.com/v1"), None);
    assert_eq!(encoded("Table", "meta.k8s.io/v1"), None);
}

#[test]
fn events_have_their_length_before_them() {
    let object = encode(&json!({ "apiVersion": "v1", "kind": "ConfigMap" })).unwrap();
    let bytes = watch_event("ADDED", &object);
    let (length, rest) = bytes.split_at(4);
    assert_eq!(length, u32::try_from(rest.len()).unwrap().to_be_bytes());
    assert!(rest.starts_with(b"\x0a\x05ADDED\x12"));
}

#[test]
fn whatever_comes_is_no_panic() {
    let good = encode(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "labels": { "a": "b" } },
        "spec": { "containers": [{ "name": "c", "ports": [{ "containerPort": 80 }] }] },
    }))
    .unwrap();
    assert!(
        decode(b"{}")
            .unwrap_err()
            .starts_with("provided data does not appear")
    );
    for cut in 4..good.len() {
        let _ = decode(&good[..cut]);
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[cut] ^= 1 << bit;
            let _ = decode(&bad);
        }
    }
}

#[test]
fn every_number_is_of_a_field() {
    let text = include_str!("../schema/numbers.tsv");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, numbers) = line.split_once('\t').unwrap_or((line, ""));
        let slot = table::definition(name).unwrap();
        let fields: Vec<&str> = slot.lines().map(|line| line.name).collect();
        for number in numbers.split('\t').filter(|number| !number.is_empty()) {
            let (field, _) = number.split_once('=').unwrap();
            assert!(fields.contains(&field), "{name}.{field}");
        }
        assert!(Shape::of(name).is_some(), "{name}");
    }
}
