//! VolumeBinding: what a pod is told, and what is reserved and written for it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::{Value, json};

use super::super::assume::Assumed;
use super::super::bind::Reserved;
use super::super::binding::{filter, pre_filter, reserve, unreserve};
use super::super::first::Slot;
use super::{
    BY_HAND, Listed, bound, claim, class, in_zone, mounts, snapshot, user, volume, with, words,
    zones,
};
use crate::reconcile::Key;
use crate::scheduler::framework::{CycleState, PodInfo, Snapshot};

/// What is said of the pod, and of nodes `a` and `b` if that is fine.
fn judge(objects: &[Value], pod: &PodInfo) -> Vec<String> {
    let volumes = Assumed::new(Arc::new(Listed::of(objects)));
    judge_by(&volumes, pod)
}

fn judge_by(volumes: &Assumed, pod: &PodInfo) -> Vec<String> {
    judge_on(volumes, pod, &snapshot(&zones()))
}

fn judge_on(volumes: &Assumed, pod: &PodInfo, snapshot: &Snapshot) -> Vec<String> {
    let mut state = CycleState::default();
    let status = pre_filter(&mut state, pod, volumes, snapshot);
    let mut said = vec![words(&status)];
    if said == ["ok"] {
        let nodes = snapshot.nodes().iter();
        said.extend(nodes.map(|node| words(&filter(&state, node))));
    }
    said
}

const UNBOUND: &str = "R: node(s) didn't find available persistent volumes to bind";
const CONFLICT: &str = "R: node(s) had volume node affinity conflict";

#[test]
fn pods_that_cannot_go_on() {
    let lost = with(
        claim("c"),
        json!({"status": {"phase": "Lost"}, "spec": {"volumeName": "v"}}),
    );
    let leaving = with(
        claim("c"),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    let at_once = with(class("csi"), json!({"volumeBindingMode": "Immediate"}));
    let named = with(claim("c"), json!({"spec": {"volumeName": "v"}}));
    let ephemeral =
        mounts(json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]));
    let immediate = "R: pod has unbound immediate PersistentVolumeClaims";
    for (objects, pod, said) in [
        (vec![], user(&[]), "skip"),
        (
            vec![],
            mounts(json!([{"name": "v", "emptyDir": {}}])),
            "skip",
        ),
        (
            vec![],
            user(&["c"]),
            "R: persistentvolumeclaim \"c\" not found",
        ),
        (
            vec![lost],
            user(&["c"]),
            "R: persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\"",
        ),
        (
            vec![leaving],
            user(&["c"]),
            "R: persistentvolumeclaim \"c\" is being deleted",
        ),
        (
            vec![],
            ephemeral.clone(),
            "R: waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"",
        ),
        (
            vec![claim("p-v")],
            ephemeral,
            "R: PVC ns/p-v was not created for pod ns/p (pod is not owner)",
        ),
        // Without a class, of a class that is not there, of one that does not wait, and with a volume of its own choice.
        (
            vec![with(
                claim("c"),
                json!({"spec": {"storageClassName": null}}),
            )],
            user(&["c"]),
            immediate,
        ),
        (vec![claim("c")], user(&["c"]), immediate),
        (vec![claim("c"), at_once], user(&["c"]), immediate),
        (vec![named, class("csi")], user(&["c"]), immediate),
        (
            vec![
                claim("c"),
                with(class("csi"), json!({"volumeBindingMode": null})),
            ],
            user(&["c"]),
            "E: VolumeBindingMode not set for StorageClass \"wait\"",
        ),
    ] {
        assert_eq!(judge(&objects, &pod), [said], "{objects:?}");
    }
}

#[test]
fn what_is_first_at_a_place_is_remembered_until_its_volumes_change() {
    let here = |name: &str| in_zone(volume(name), "a");
    let given = |volume: Value| {
        let owner = json!({"namespace": "ns", "name": "other", "uid": "u"});
        with(volume, json!({"spec": {"claimRef": owner}}))
    };
    let small = with(here("v"), json!({"spec": {"capacity": {"storage": "1Mi"}}}));
    let listed = Listed::of(&[claim("c"), class(BY_HAND), here("v"), here("w")]);
    let volumes = Assumed::new(Arc::new(listed.clone()));
    let nodes = snapshot(&zones());
    let says = |a: &str, b: &str| {
        // The second time from what is remembered.
        for _ in 0..2 {
            assert_eq!(judge_on(&volumes, &user(&["c"]), &nodes), ["ok", a, b]);
        }
    };
    let knows = |a: Option<Option<&str>>, b: Option<Option<&str>>| {
        let claim = serde_json::from_value(claim("c")).unwrap();
        let first = volumes.first_at(&claim, "zone", &nodes);
        for (node, expected) in [a, b].into_iter().enumerate() {
            let known = match first.get(node) {
                Slot::Unknown => None,
                Slot::Nothing => Some(None),
                Slot::First(volume) => Some(volume.metadata.name.clone()),
            };
            assert_eq!(known, expected.map(|name| name.map(str::to_owned)));
            assert_eq!(first.any(node), expected.map(|name| name.is_some()));
        }
    };
    let parsed = |volume: Value| -> Arc<PersistentVolume> { super::parse(&volume) };
    knows(None, None);
    says("ok", UNBOUND);
    knows(Some(Some("v")), Some(None));
    // What is decided about a volume, and taken back.
    volumes.assume_volume(&parsed(given(here("v"))));
    knows(None, Some(None));
    says("ok", UNBOUND);
    knows(Some(Some("w")), Some(None));
    volumes.assume_volume(&parsed(given(here("w"))));
    says(UNBOUND, UNBOUND);
    knows(Some(None), Some(None));
    volumes.forget_volume(&parsed(given(here("v"))));
    says("ok", UNBOUND);
    knows(Some(Some("v")), Some(None));
    // What the API shows: one goes, one comes, one shrinks.
    listed.put(given(here("v")));
    knows(None, Some(None));
    says(UNBOUND, UNBOUND);
    listed.put(in_zone(volume("x"), "b"));
    knows(Some(None), None);
    says(UNBOUND, "ok");
    listed.put(small);
    says(UNBOUND, "ok");
    listed.put(here("v"));
    says("ok", "ok");
    knows(Some(Some("v")), Some(Some("x")));
}

#[test]
fn what_was_looked_for_before_a_change_is_not_remembered_after_it() {
    let listed = Listed::of(&[claim("c"), class(BY_HAND)]);
    let volumes = Assumed::new(Arc::new(listed));
    let claim = serde_json::from_value(claim("c")).unwrap();
    let mut nodes = snapshot(&zones());
    let before = volumes.first_at(&claim, "zone", &nodes);
    volumes.forget_volume(&super::parse(&in_zone(volume("v"), "b")));
    before.insert(0, None);
    assert_eq!(before.any(0), None);
    let after = volumes.first_at(&claim, "zone", &nodes);
    after.insert(0, None);
    assert_eq!((before.any(0), before.any(1)), (Some(false), None));
    // Claims that ask for something else are another matter.
    let mut other: PersistentVolumeClaim = claim.clone();
    other.spec.as_mut().unwrap().access_modes = Some(vec!["ReadOnlyMany".to_owned()]);
    assert_eq!(volumes.first_at(&other, "zone", &nodes).any(0), None);
    // Nodes that move or come; one without the label has nothing.
    let moved = super::node("b", &json!({"zone": "a"}));
    nodes.set_node("b", Some(super::parse(&moved)));
    for (name, labels) in [("c", json!({"zone": "c"})), ("d", json!({}))] {
        nodes.set_node(name, Some(super::parse(&super::node(name, &labels))));
    }
    let now = volumes.first_at(&claim, "zone", &nodes);
    let all = [0, 1, 2, 3, 4].map(|position| now.any(position));
    assert_eq!(all, [Some(false), Some(false), None, Some(false), None]);
    assert_eq!(before.any(1), None);
}

#[test]
fn little_is_remembered() {
    let volumes = Assumed::new(Arc::new(Listed::of(&[class(BY_HAND)])));
    let claim = |size: usize| -> PersistentVolumeClaim {
        let requests = json!({"resources": {"requests": {"storage": size.to_string()}}});
        serde_json::from_value(with(claim("c"), json!({"spec": requests}))).unwrap()
    };
    let nodes = snapshot(&zones());
    volumes.first_at(&claim(1), "zone", &nodes).insert(0, None);
    assert_eq!(
        volumes.first_at(&claim(1), "zone", &nodes).any(0),
        Some(false)
    );
    for size in 2..=17 {
        volumes.first_at(&claim(size), "zone", &nodes);
    }
    assert_eq!(volumes.first_at(&claim(1), "zone", &nodes).any(0), None);
    // Values that come and go.
    let mut nodes = nodes;
    for number in 0..3000 {
        let labels = json!({"zone": number.to_string()});
        nodes.set_node("a", Some(super::parse(&super::node("a", &labels))));
        let first = volumes.first_at(&claim(1), "zone", &nodes);
        first.insert(0, None);
        assert_eq!(first.any(0), Some(false));
    }
    assert_eq!(volumes.first_at(&claim(1), "zone", &nodes).any(1), None);
}

#[test]
fn nodes() {
    let here = || in_zone(volume("v"), "a");
    let owned = |volume: Value, claim: &str, uid: &str| {
        let owner = json!({"namespace": "ns", "name": claim, "uid": uid});
        with(volume, json!({"spec": {"claimRef": owner}}))
    };
    let selected = |node: &str| {
        with(
            claim("c"),
            json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}}),
        )
    };
    let topology = |values: Value| {
        let terms = json!([{"matchLabelExpressions": [{"key": "zone", "values": values}]}]);
        with(class("csi"), json!({"allowedTopologies": terms}))
    };
    let like = |more: Value| with(here(), more);
    for (what, objects, a, b) in [
        (
            "bound, used in a",
            vec![bound(claim("c"), "v"), here()],
            "ok",
            CONFLICT,
        ),
        (
            "bound, used anywhere",
            vec![bound(claim("c"), "v"), volume("v")],
            "ok",
            "ok",
        ),
        (
            "bound to nothing",
            vec![bound(claim("c"), "v")],
            "R: node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            "R: node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
        ),
        (
            "a free one in a",
            vec![claim("c"), class(BY_HAND), here()],
            "ok",
            UNBOUND,
        ),
        ("none", vec![claim("c"), class(BY_HAND)], UNBOUND, UNBOUND),
        (
            "too small",
            vec![
                claim("c"),
                class(BY_HAND),
                like(json!({"spec": {"capacity": {"storage": "1Mi"}}})),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "not available",
            vec![
                claim("c"),
                class(BY_HAND),
                like(json!({"status": {"phase": "Released"}})),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "of another class",
            vec![
                claim("c"),
                class(BY_HAND),
                like(json!({"spec": {"storageClassName": "other"}})),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "of another mode",
            vec![
                claim("c"),
                class(BY_HAND),
                like(json!({"spec": {"volumeMode": "Block"}})),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "of other access",
            vec![
                claim("c"),
                class(BY_HAND),
                like(json!({"spec": {"accessModes": ["ReadOnlyMany"]}})),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "of other attributes",
            vec![
                claim("c"),
                class(BY_HAND),
                like(json!({"spec": {"volumeAttributesClassName": "gold"}})),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "leaving",
            vec![
                claim("c"),
                class(BY_HAND),
                like(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "another's",
            vec![claim("c"), class(BY_HAND), owned(here(), "d", "uid-d")],
            UNBOUND,
            UNBOUND,
        ),
        (
            "its namesake's",
            vec![claim("c"), class(BY_HAND), owned(here(), "c", "uid-old")],
            UNBOUND,
            UNBOUND,
        ),
        // One that is meant for the claim is taken whatever its phase is, and no other.
        (
            "its own",
            vec![
                claim("c"),
                class(BY_HAND),
                owned(like(json!({"status": {"phase": "Pending"}})), "c", ""),
                volume("w"),
            ],
            "ok",
            UNBOUND,
        ),
        (
            "unlike its selector",
            vec![
                with(
                    claim("c"),
                    json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}}),
                ),
                class(BY_HAND),
                here(),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "like its selector",
            vec![
                with(
                    claim("c"),
                    json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}}),
                ),
                class(BY_HAND),
                like(json!({"metadata": {"labels": {"disk": "ssd"}}})),
            ],
            "ok",
            UNBOUND,
        ),
        ("made anywhere", vec![claim("c"), class("csi")], "ok", "ok"),
        (
            "made in b",
            vec![claim("c"), topology(json!(["b", "c"]))],
            UNBOUND,
            "ok",
        ),
        (
            "made nowhere",
            vec![
                claim("c"),
                with(class("csi"), json!({"allowedTopologies": [{}]})),
            ],
            UNBOUND,
            UNBOUND,
        ),
        (
            "being made in b",
            vec![selected("b"), class("csi"), here()],
            UNBOUND,
            "ok",
        ),
    ] {
        assert_eq!(judge(&objects, &user(&["c"])), ["ok", a, b], "{what}");
    }
}

#[test]
fn room_for_new_volumes() {
    let driver = |counts: Value| json!({"kind": "CSIDriver", "metadata": {"name": "csi"}, "spec": {"storageCapacity": counts}});
    let capacity = |more: Value| {
        let capacity = json!({
            "kind": "CSIStorageCapacity", "metadata": {"name": "x", "namespace": "ns"}, "storageClassName": "wait",
            "nodeTopology": {"matchLabels": {"zone": "a"}}, "capacity": "2Gi",
        });
        with(capacity, more)
    };
    let full = "R: node(s) did not have enough free storage";
    for (driver, capacity, a, b) in [
        (driver(json!(true)), capacity(json!({})), "ok", full),
        (
            driver(json!(true)),
            capacity(json!({"capacity": "1Mi"})),
            full,
            full,
        ),
        (
            driver(json!(true)),
            capacity(json!({"maximumVolumeSize": "1Mi"})),
            full,
            full,
        ),
        (
            driver(json!(true)),
            capacity(json!({"capacity": "1Mi", "maximumVolumeSize": "1Gi"})),
            "ok",
            full,
        ),
        (
            driver(json!(true)),
            capacity(json!({"capacity": null})),
            full,
            full,
        ),
        (
            driver(json!(true)),
            capacity(json!({"nodeTopology": null})),
            full,
            full,
        ),
        (
            driver(json!(true)),
            capacity(json!({"storageClassName": "other"})),
            full,
            full,
        ),
        // A driver that keeps no count can always.
        (driver(json!(false)), capacity(json!({})), "ok", "ok"),
        (
            driver(json!(null)),
            capacity(json!({"capacity": "1Mi"})),
            "ok",
            "ok",
        ),
    ] {
        let objects = [claim("c"), class("csi"), driver.clone(), capacity.clone()];
        assert_eq!(
            judge(&objects, &user(&["c"])),
            ["ok", a, b],
            "{driver} {capacity}"
        );
    }
    // A claim that does not say how large needs no room.
    let vague = with(claim("c"), json!({"spec": {"resources": null}}));
    let objects = [vague, class("csi"), driver(json!(true))];
    assert_eq!(judge(&objects, &user(&["c"])), ["ok", "ok", "ok"]);
}

#[test]
fn several_claims() {
    let large = |object: Value| {
        let size = json!({"storage": "9Gi"});
        let key = if object["kind"] == "PersistentVolume" {
            json!({"capacity": size})
        } else {
            json!({"resources": {"requests": size}})
        };
        with(object, json!({"spec": key}))
    };
    let mut objects = vec![
        class(BY_HAND),
        claim("small"),
        large(claim("large")),
        volume("v"),
        large(volume("w")),
    ];
    assert_eq!(
        judge(&objects, &user(&["large", "small"])),
        ["ok", "ok", "ok"]
    );
    // A claim that is named twice is one claim.
    assert_eq!(
        judge(&objects, &user(&["large", "large"])),
        ["ok", "ok", "ok"]
    );
    objects.pop();
    assert_eq!(
        judge(&objects, &user(&["large", "small"])),
        ["ok", UNBOUND, UNBOUND]
    );
    let taken = with(
        in_zone(volume("v"), "a"),
        json!({"status": {"phase": "Bound"}}),
    );
    let free = in_zone(volume("w"), "b");
    let mixed = [
        bound(claim("has"), "v"),
        taken,
        claim("c"),
        class(BY_HAND),
        free,
    ];
    let both = format!("{CONFLICT}, {}", &UNBOUND[3..]);
    assert_eq!(
        judge(&mixed, &user(&["has", "c"])),
        ["ok", UNBOUND, CONFLICT]
    );
    assert_eq!(
        judge(&mixed[..4], &user(&["has", "c"])),
        ["ok", UNBOUND, &both]
    );
}

fn reserved(objects: &[Value], node: &str) -> (Assumed, CycleState) {
    let volumes = Assumed::new(Arc::new(Listed::of(objects)));
    let mut state = CycleState::default();
    let pod = user(&["c"]);
    assert_eq!(
        words(&pre_filter(&mut state, &pod, &volumes, &snapshot(&zones()))),
        "ok"
    );
    assert_eq!(words(&reserve(&mut state, node, &volumes)), "ok");
    (volumes, state)
}

#[test]
fn what_is_reserved_is_gone_for_others() {
    let objects = [
        claim("c"),
        claim("d"),
        class(BY_HAND),
        volume("v"),
        zones()[0].clone(),
    ];
    let (volumes, state) = reserved(&objects, "a");
    let owner = volumes
        .volume("v")
        .unwrap()
        .spec
        .clone()
        .unwrap()
        .claim_ref
        .unwrap();
    assert_eq!(
        (owner.name.as_deref(), owner.uid.as_deref()),
        (Some("c"), Some("uid-c"))
    );
    let nodes = snapshot(&zones());
    let try_other = || {
        let mut state = CycleState::default();
        pre_filter(&mut state, &user(&["d"]), &volumes, &nodes);
        words(&filter(&state, &nodes.nodes()[0]))
    };
    assert_eq!(try_other(), UNBOUND);
    unreserve(&state, &volumes);
    assert_eq!(try_other(), "ok");
    // Twice does no harm.
    unreserve(&state, &volumes);
}

#[test]
fn a_claim_names_its_node() {
    let objects = [claim("c"), class("csi"), zones()[1].clone()];
    let (volumes, state) = reserved(&objects, "b");
    let key = Key::new("ns", "c");
    let selected = || {
        let claim = volumes.claim(&key).unwrap();
        let annotations = claim.metadata.annotations.clone().unwrap_or_default();
        annotations
            .get("volume.kubernetes.io/selected-node")
            .cloned()
    };
    assert_eq!(selected().as_deref(), Some("b"));
    assert!(
        state
            .read::<Reserved>()
            .is_some_and(|reserved| !reserved.is_empty())
    );
    unreserve(&state, &volumes);
    assert_eq!(selected(), None);
}

#[test]
fn what_the_api_shows_later_counts_more() {
    let listed = Listed::of(&[claim("c"), class("csi"), zones()[0].clone()]);
    let volumes = Assumed::new(Arc::new(listed.clone()));
    let mut state = CycleState::default();
    pre_filter(&mut state, &user(&["c"]), &volumes, &snapshot(&zones()));
    reserve(&mut state, "a", &volumes);
    listed.put(with(
        claim("c"),
        json!({"metadata": {"resourceVersion": "10"}}),
    ));
    let claim = volumes.claim(&Key::new("ns", "c")).unwrap();
    assert_eq!(claim.metadata.annotations, None);
}
