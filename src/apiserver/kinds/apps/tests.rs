//! Tables of what the workloads of `apps` fill in, refuse and keep.

use serde_json::json;

use super::*;
use crate::apiserver::registry::strategy::{Context, Strategy};

const fn context(subresource: Option<&'static str>) -> Context<'static> {
    Context {
        now: "",
        subresource,
        user: "",
    }
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

/// A valid workload with changes to its spec, defaults filled in.
fn workload(kind: &dyn Strategy, change: &Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    });
    for (field, value) in change.as_object().unwrap() {
        spec[field.as_str()] = value.clone();
    }
    let mut object = json!({"metadata": {"name": "x", "namespace": "ns"}, "spec": spec});
    kind.default(&mut object);
    object
}

fn created(kind: &dyn Strategy, change: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    kind.validate(&context(None), &workload(kind, change), &mut errors);
    texts(&errors)
}

fn updated(kind: &dyn Strategy, change: &Value) -> Vec<String> {
    let (new, old) = (workload(kind, change), workload(kind, &json!({})));
    let mut errors = Errors::new();
    kind.validate_update(&context(None), &new, &old, &mut errors);
    texts(&errors)
}

fn status(kind: &dyn Strategy, new: &Value, old: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    let object = |status: &Value| json!({"status": status});
    kind.validate_update(
        &context(Some("status")),
        &object(new),
        &object(old),
        &mut errors,
    );
    texts(&errors)
}

#[test]
fn deployments() {
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"strategy": {"type": "Foo"}}),
            vec![
                "spec.strategy: Unsupported value: {\"Type\":\"Foo\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"",
            ],
        ),
        (
            json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
            vec![
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ],
        ),
        (
            json!({"strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}}),
            vec![
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ],
        ),
        (
            json!({"minReadySeconds": 700}),
            vec![
                "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
            ],
        ),
    ] {
        assert_eq!(created(&Deployment, &change), expected, "{change}");
    }
    let change = json!({"selector": {"matchLabels": {"app": "b"}}});
    assert_eq!(
        updated(&Deployment, &change),
        [
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable",
        ]
    );
    let (new, old) = (
        json!({"replicas": 1, "readyReplicas": 2, "collisionCount": 1}),
        json!({"collisionCount": 2}),
    );
    assert_eq!(
        status(&Deployment, &new, &old),
        [
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.collisionCount: Invalid value: 1: cannot be decremented",
        ]
    );
}

#[test]
fn replica_sets() {
    assert_eq!(
        created(&ReplicaSet, &json!({"replicas": -1, "selector": null})),
        [
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
        ]
    );
    let new = json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 2});
    assert_eq!(
        status(&ReplicaSet, &new, &json!({})),
        [
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
        ]
    );
}

#[test]
fn stateful_sets() {
    for (change, expected) in [
        (json!({"serviceName": "s"}), vec![]),
        (
            json!({"podManagementPolicy": "X", "updateStrategy": {"type": "Y"}}),
            vec![
                "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'",
                "spec.updateStrategy: Invalid value: {\"Type\":\"Y\",\"RollingUpdate\":null}: must be 'RollingUpdate' or 'OnDelete'",
            ],
        ),
        (
            json!({"updateStrategy": {"rollingUpdate": {"partition": -1, "maxUnavailable": 0}}}),
            vec![
                "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
            ],
        ),
        (
            json!({"ordinals": {"start": -1}, "persistentVolumeClaimRetentionPolicy": {"whenScaled": "x"}}),
            vec![
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"x\": supported values: \"Retain\", \"Delete\"",
                "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
    ] {
        assert_eq!(created(&StatefulSet, &change), expected, "{change}");
    }
    assert_eq!(
        StatefulSet.validate_name("a.b", false),
        ["must not contain dots"]
    );
    for (change, expected) in [
        (json!({"replicas": 3, "revisionHistoryLimit": 2}), 0),
        (json!({"serviceName": "other"}), 1),
    ] {
        let errors = updated(&StatefulSet, &change);
        assert_eq!(errors.len(), expected);
        assert!(errors.iter().all(|error| error.starts_with(
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals',"
        )));
    }
    let object = workload(&StatefulSet, &json!({"revisionHistoryLimit": -1}));
    assert_eq!(StatefulSet.warnings(&object, None).len(), 1);
}

#[test]
fn a_stateful_set_may_mount_its_claims() {
    let change = json!({
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{
            "name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}],
        }]}},
    });
    assert_eq!(created(&StatefulSet, &change), Vec::<String>::new());
}

#[test]
fn daemon_sets() {
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"selector": {}}),
            vec!["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
        ),
        (
            json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}),
            vec![
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
            ],
        ),
        (
            json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
            vec![
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ],
        ),
        (
            json!({"updateStrategy": {"type": "X"}}),
            vec![
                "spec.updateStrategy: Unsupported value: {\"Type\":\"X\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \"OnDelete\"",
            ],
        ),
    ] {
        assert_eq!(created(&DaemonSet, &change), expected, "{change}");
    }
    assert_eq!(
        updated(&DaemonSet, &json!({"minReadySeconds": -1})).len(),
        2
    );
}

#[test]
fn the_generation_of_a_daemon_sets_template() {
    let key = "deprecated.daemonset.template.generation";
    let mut old = workload(&DaemonSet, &json!({}));
    DaemonSet.prepare_create(&context(None), &mut old);
    assert_eq!(old.annotation(key), Some("1"));
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {}});
    for (change, expected) in [
        (json!({"minReadySeconds": 1}), "1"),
        (json!({"template": template}), "2"),
    ] {
        let mut new = workload(&DaemonSet, &change);
        new["metadata"]["annotations"][key] = "9".into();
        DaemonSet.prepare_update(&context(None), &mut new, &old);
        assert_eq!(new.annotation(key), Some(expected));
    }
}

#[test]
fn controller_revisions() {
    for (object, expected) in [
        (json!({"data": {"a": 1}, "revision": 1}), vec![]),
        (
            json!({"revision": -1}),
            vec![
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            json!({"data": "x"}),
            vec!["data: Required value: data must be a valid JSON object"],
        ),
    ] {
        let mut errors = Errors::new();
        ControllerRevision.validate(&context(None), &object, &mut errors);
        assert_eq!(texts(&errors), expected);
    }
}
