//! The rules of claims and volumes, as tables.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::plan::{self, ClaimStep, Reclaim, Seen, VolumeStep};

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn merge(mut base: Value, change: Value) -> Value {
    match (&mut base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                let old = base.remove(&key).unwrap_or_default();
                base.insert(key, merge(old, value));
            }
        }
        (base, change) => *base = change,
    }
    base
}

fn claim(change: Value) -> Arc<PersistentVolumeClaim> {
    let base = json!({
        "metadata": {"name": "c", "namespace": "ns", "uid": "u"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "2Gi"}},
        },
    });
    parse(merge(base, change))
}

fn volume(name: &str, change: Value) -> Arc<PersistentVolume> {
    let base = json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}},
        "status": {"phase": "Available"},
    });
    parse(merge(base, change))
}

fn class(provisioner: &str, mode: &str) -> Arc<StorageClass> {
    parse(json!({"metadata": {"name": "k"}, "provisioner": provisioner, "volumeBindingMode": mode}))
}

fn of_class() -> Value {
    json!({"spec": {"storageClassName": "k"}})
}

fn owned(name: &str, uid: &str) -> Value {
    json!({"spec": {"claimRef": {"namespace": "ns", "name": name, "uid": uid}}})
}

fn words(step: Result<ClaimStep, String>) -> String {
    let said = |said: &plan::Said| format!("{:?} {}: {}", said.type_, said.reason, said.message);
    match step {
        Err(why) => format!("error: {why}"),
        Ok(ClaimStep::Bind(volume)) => format!("bind {}", volume.metadata.name.clone().unwrap()),
        Ok(ClaimStep::Assign(class)) => format!("assign {class}"),
        Ok(ClaimStep::Provision(by)) => format!("provision {by}"),
        Ok(ClaimStep::Wait(None)) => "wait".into(),
        Ok(ClaimStep::Wait(Some(why))) => format!("wait, {}", said(&why)),
        Ok(ClaimStep::Refuse(why)) => format!("refuse, {}", said(&why)),
        Ok(ClaimStep::Lost(why)) => format!("lost, {}", said(&why)),
        Ok(ClaimStep::Stolen(why)) => format!("stolen, {}", said(&why)),
    }
}

#[test]
fn the_volume_that_suits_best() {
    let size = |size: &str| json!({"spec": {"capacity": {"storage": size}}});
    let modes = |modes: &[&str]| json!({"spec": {"accessModes": modes}});
    let wide = ["ReadWriteOnce", "ReadOnlyMany"];
    let label = json!({"metadata": {"labels": {"disk": "fast"}}});
    let selector = json!({"spec": {"selector": {"matchLabels": {"disk": "fast"}}}});
    let block = json!({"spec": {"volumeMode": "Block"}});
    let leaves = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let none = "wait, Normal FailedBinding: no persistent volumes available for this claim and no storage class is set";
    let v = volume;
    for (wanted, volumes, expected) in [
        (
            json!({}),
            vec![
                v("a", size("3Gi")),
                v("b", size("2Gi")),
                v("c", size("1Gi")),
            ],
            "bind b",
        ),
        (json!({}), vec![v("a", size("1Gi"))], none),
        (
            json!({}),
            vec![v("b", json!({})), v("a", json!({}))],
            "bind a",
        ),
        (
            json!({}),
            vec![v("a", modes(&wide)), v("b", size("9Gi"))],
            "bind b",
        ),
        (json!({}), vec![v("a", modes(&["ReadOnlyMany"]))], none),
        (modes(&["ReadWriteMany"]), vec![v("a", modes(&wide))], none),
        (
            json!({}),
            vec![v("a", json!({"status": {"phase": "Released"}}))],
            none,
        ),
        (json!({}), vec![v("a", json!({"status": null}))], none),
        (
            json!({}),
            vec![v("a", owned("other", "x")), v("b", size("9Gi"))],
            "bind b",
        ),
        (
            json!({}),
            vec![
                v("a", json!({})),
                v("b", merge(owned("c", ""), size("9Gi"))),
            ],
            "bind b",
        ),
        (
            json!({}),
            vec![v("a", json!({})), v("b", owned("c", "u"))],
            "bind b",
        ),
        (json!({}), vec![v("b", owned("c", "before"))], none),
        // One that is meant for the claim and too small is passed over.
        (
            json!({}),
            vec![
                v("a", size("9Gi")),
                v("b", merge(owned("c", ""), size("1Gi"))),
            ],
            "bind a",
        ),
        // One that can do more is behind all that can do less, whoever it is meant for.
        (
            json!({}),
            vec![
                v("a", json!({})),
                v("b", merge(owned("c", ""), modes(&wide))),
            ],
            "bind a",
        ),
        (
            selector.clone(),
            vec![v("a", json!({})), v("b", label)],
            "bind b",
        ),
        (selector, vec![v("a", owned("c", ""))], "bind a"),
        (json!({}), vec![v("a", block.clone())], none),
        (
            block.clone(),
            vec![v("a", json!({})), v("b", block)],
            "bind b",
        ),
        (json!({}), vec![v("a", leaves)], none),
        (json!({}), vec![v("a", of_class())], none),
        (
            json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "k"}}}),
            vec![v("a", of_class())],
            "bind a",
        ),
        (
            json!({"spec": {"volumeAttributesClassName": "gold"}}),
            vec![v("a", json!({}))],
            none,
        ),
        (
            json!({"spec": {"resources": null}}),
            vec![v("a", size("1"))],
            "bind a",
        ),
    ] {
        let seen = Seen {
            candidates: volumes,
            ..Seen::default()
        };
        // A class that does not exist: nothing but its name counts.
        let step = words(plan::claim(&claim(wanted.clone()), &seen));
        assert_eq!(step, expected, "{wanted} {:?}", seen.candidates);
    }
}

#[test]
fn claims_without_a_volume() {
    let selected =
        json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n"}}});
    let wait = "WaitForFirstConsumer";
    let seen = |class: Option<Arc<StorageClass>>, waiting: &[&str]| Seen {
        class,
        waiting: waiting.iter().map(|name| (*name).to_owned()).collect(),
        ..Seen::default()
    };
    let first = "wait, Normal WaitForFirstConsumer: waiting for first consumer to be created before binding";
    let one = "wait, Normal WaitForPodScheduled: waiting for pod a to be scheduled";
    let two = "wait, Normal WaitForPodScheduled: waiting for pods a,b to be scheduled";
    let by_hand = "refuse, Warning ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner";
    let missing = "refuse, Warning ProvisioningFailed: storageclass.storage.k8s.io \"k\" not found";
    let silent: Arc<StorageClass> = parse(json!({"metadata": {"name": "k"}, "provisioner": "p"}));
    for (change, seen, expected) in [
        (of_class(), seen(Some(class("x.example", wait)), &[]), first),
        (
            of_class(),
            seen(Some(class("x.example", wait)), &["a"]),
            one,
        ),
        (
            of_class(),
            seen(Some(class("x.example", wait)), &["a", "b"]),
            two,
        ),
        (
            merge(of_class(), selected),
            seen(Some(class("x.example", wait)), &["a"]),
            "provision x.example",
        ),
        (
            of_class(),
            seen(Some(class("x.example", "Immediate")), &[]),
            "provision x.example",
        ),
        (
            of_class(),
            seen(Some(class("kubernetes.io/aws-ebs", "Immediate")), &[]),
            "provision ebs.csi.aws.com",
        ),
        (
            of_class(),
            seen(
                Some(class("kubernetes.io/no-provisioner", "Immediate")),
                &[],
            ),
            by_hand,
        ),
        (of_class(), seen(None, &[]), missing),
        (
            of_class(),
            seen(Some(silent), &[]),
            "error: VolumeBindingMode not set for StorageClass \"k\"",
        ),
    ] {
        assert_eq!(words(plan::claim(&claim(change), &seen)), expected);
    }
    let default = |change: Value| {
        let seen = Seen {
            default: Some(class("x.example", wait)),
            ..Seen::default()
        };
        words(plan::claim(&claim(change), &seen))
    };
    assert_eq!(
        default(json!({"spec": {"storageClassName": null}})),
        "assign k"
    );
    assert!(default(json!({})).starts_with("wait, Normal FailedBinding"));
    // A claim that waits gets what is meant for it, and nothing else.
    let waits = |volume: Arc<PersistentVolume>| {
        let seen = Seen {
            class: Some(class("x.example", wait)),
            candidates: vec![volume],
            ..Seen::default()
        };
        words(plan::claim(&claim(of_class()), &seen))
    };
    assert_eq!(waits(volume("a", of_class())), first);
    assert_eq!(
        waits(volume("a", merge(of_class(), owned("c", "u")))),
        "bind a"
    );
}

#[test]
fn the_default_class_is_the_newest() {
    let class = |name: &str, created: &str, is: &str| -> Arc<StorageClass> {
        parse(json!({"metadata": {
            "name": name, "creationTimestamp": created,
            "annotations": {"storageclass.kubernetes.io/is-default-class": is},
        }, "provisioner": "p"}))
    };
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let classes = vec![
        class("a", old, "true"),
        class("c", new, "true"),
        class("b", new, "true"),
        class("z", "2026-01-03T00:00:00Z", "false"),
    ];
    let name =
        |class: Option<Arc<StorageClass>>| class.and_then(|class| class.metadata.name.clone());
    assert_eq!(name(plan::default(classes)).as_deref(), Some("b"));
    assert_eq!(name(plan::default(vec![class("z", old, "false")])), None);
}

#[test]
fn claims_that_name_a_volume() {
    let names = json!({"spec": {"volumeName": "v"}});
    let done = merge(
        names.clone(),
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}}),
    );
    let ours = merge(
        names.clone(),
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}}),
    );
    let forgot = merge(done.clone(), json!({"spec": {"volumeName": null}}));
    let mismatch = |why: &str| {
        format!("wait, Warning VolumeMismatch: Cannot bind to requested volume \"v\": {why}")
    };
    let taken = "volume \"v\" already bound to a different claim.";
    let v = |change: Value| Some(volume("v", change));
    let leaves = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    for (change, named, expected) in [
        (&names, None, "wait".to_owned()),
        (&names, v(json!({})), "bind v".into()),
        (&names, v(owned("c", "")), "bind v".into()),
        (&names, v(owned("c", "u")), "bind v".into()),
        (&names, v(owned("other", "x")), format!("wait, Warning FailedBinding: {taken}")),
        (&ours, v(owned("other", "x")), format!("stolen, Warning FailedBinding: {taken}")),
        (&names, v(leaves), mismatch("the volume is marked for deletion \"v\"")),
        (&names, v(json!({"spec": {"capacity": {"storage": "1Gi"}}})), mismatch("requested PV is too small")),
        (&names, v(of_class()), mismatch("storageClassName does not match")),
        (&names, v(json!({"spec": {"volumeAttributesClassName": "x"}})), mismatch("volumeAttributesClassName does not match")),
        (&names, v(json!({"spec": {"volumeMode": "Block"}})), mismatch("incompatible volumeMode")),
        (&names, v(json!({"spec": {"accessModes": ["ReadOnlyMany"]}})), mismatch("incompatible accessMode")),
        (&done, None, "lost, Warning ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!".into()),
        (&forgot, None, "lost, Warning ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!".into()),
        (&done, v(owned("c", "x")), "lost, Warning ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly".into()),
        (&done, v(owned("c", "u")), "bind v".into()),
        (&done, v(json!({})), "bind v".into()),
    ] {
        let seen = Seen { named: named.clone(), ..Seen::default() };
        assert_eq!(words(plan::claim(&claim(change.clone()), &seen)), expected, "{change} {named:?}");
    }
}

#[test]
fn volumes() {
    let policy = |policy: &str| json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
    let made =
        |by: &str| json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": by}}});
    let gone = |change: Value| volume("v", merge(owned("c", "u"), change));
    let fails = |step: VolumeStep| match step {
        VolumeStep::Release(Reclaim::Fail(said)) => format!("{}: {}", said.reason, said.message),
        VolumeStep::Release(Reclaim::Leave) => "left".into(),
        other => format!("{other:?}"),
    };
    let none = "VolumeFailedDelete: error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched";
    for (change, expected) in [
        (policy("Retain"), "left"),
        (
            policy("Recycle"),
            "VolumeFailedRecycle: No recycler plugin found for the volume!",
        ),
        (policy("Delete"), none),
        (merge(policy("Delete"), made("x.example")), "left"),
        (
            merge(policy("Delete"), made("kubernetes.io/aws-ebs")),
            "left",
        ),
        (
            merge(policy("Delete"), made("kubernetes.io/host-path")),
            "VolumeFailedDelete: no volume plugin matched name: kubernetes.io/host-path",
        ),
        (
            merge(
                policy("Delete"),
                json!({"spec": {"csi": {"driver": "d", "volumeHandle": "h"}}}),
            ),
            "left",
        ),
        (
            policy("Burn"),
            "VolumeUnknownReclaimPolicy: Volume has unrecognized PersistentVolumeReclaimPolicy",
        ),
    ] {
        assert_eq!(
            fails(plan::volume(&gone(change.clone()), None)),
            expected,
            "{change}"
        );
        // A claim of the name that came later is another.
        let later = claim(json!({"metadata": {"uid": "later"}}));
        assert_eq!(fails(plan::volume(&gone(change), Some(&later))), expected);
    }
    let bound = |name: &str| claim(json!({"spec": {"volumeName": name}}));
    assert_eq!(
        plan::volume(&volume("v", json!({})), None),
        VolumeStep::Phase("Available")
    );
    assert_eq!(
        plan::volume(&volume("v", owned("c", "")), None),
        VolumeStep::Phase("Available")
    );
    let v = gone(json!({}));
    assert_eq!(
        plan::volume(&v, Some(&bound("v"))),
        VolumeStep::Phase("Bound")
    );
    assert_eq!(plan::volume(&v, Some(&claim(json!({})))), VolumeStep::Wait);
    assert_eq!(plan::volume(&v, Some(&bound("w"))), VolumeStep::Unbind);
    let spare = gone(merge(policy("Delete"), made("x.example")));
    assert_eq!(
        plan::volume(&spare, Some(&bound("w"))),
        VolumeStep::Release(Reclaim::Leave)
    );
    let kept = gone(merge(policy("Retain"), made("x.example")));
    assert_eq!(plan::volume(&kept, Some(&bound("w"))), VolumeStep::Unbind);
    let block = gone(json!({"spec": {"volumeMode": "Block"}}));
    assert!(matches!(
        plan::volume(&block, Some(&claim(json!({})))),
        VolumeStep::Mismatch(..)
    ));
}

#[test]
fn changes() {
    let free = volume("v", json!({}));
    let wanted = claim(json!({}));
    let change = plan::volume_for_claim(&free, &wanted).unwrap();
    assert_eq!(change["spec"]["claimRef"]["uid"], "u");
    assert_eq!(
        change["metadata"]["annotations"],
        json!({"pv.kubernetes.io/bound-by-controller": "yes"})
    );
    let meant = plan::volume_for_claim(&volume("v", owned("c", "")), &wanted).unwrap();
    assert!(meant["metadata"]["annotations"].is_null());
    assert_eq!(
        plan::volume_for_claim(&volume("v", owned("c", "u")), &wanted),
        None
    );
    let change = plan::claim_for_volume(&wanted, "v").unwrap();
    assert_eq!(change["spec"], json!({"volumeName": "v"}));
    assert_eq!(
        change["metadata"]["annotations"].as_object().unwrap().len(),
        2
    );
    let asked = claim(json!({"spec": {"volumeName": "v"}}));
    let change = plan::claim_for_volume(&asked, "v").unwrap();
    assert_eq!(
        change["metadata"]["annotations"],
        json!({"pv.kubernetes.io/bind-completed": "yes"})
    );
    let status = plan::claim_status(&wanted, "Bound", Some(&free))
        .unwrap()
        .unwrap();
    assert_eq!(
        status["status"],
        json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}})
    );
    // A bound claim may be of another size than its volume.
    let bound = claim(
        json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}}),
    );
    assert_eq!(plan::claim_status(&bound, "Bound", Some(&free)), Ok(None));
    let lost = plan::claim_status(&bound, "Lost", None).unwrap().unwrap();
    assert_eq!(
        lost["status"],
        json!({"phase": "Lost", "accessModes": null, "capacity": null})
    );
    let sizeless = volume("v", json!({"spec": {"capacity": null}}));
    assert!(plan::claim_status(&wanted, "Bound", Some(&sizeless)).is_err());
    let by_us = volume(
        "v",
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}}),
    );
    assert_eq!(plan::unbound(&by_us)["spec"], json!({"claimRef": null}));
    assert_eq!(
        plan::unbound(&free)["spec"],
        json!({"claimRef": {"uid": null}})
    );
}
