//! InterPodAffinity and ImageLocality.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{cluster, named, normalized, verdicts, whole};
use crate::scheduler::framework::{CycleState, Filter, PreFilter};
use crate::scheduler::plugins::{ImageLocality, InterPodAffinity};

fn nodes() -> Vec<Value> {
    let node = |name: &str, zone: &str| named(name, &json!({"zone": zone, "host": name}));
    vec![
        node("a1", "a"),
        node("a2", "a"),
        node("b1", "b"),
        named("c", &json!({})),
    ]
}

fn labelled(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {}})
}

fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn with(app: &str, kind: &str, field: &str, terms: Value) -> Value {
    let mut pod = labelled(app);
    pod["spec"]["affinity"] = json!({kind: {field: terms}});
    pod
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn near(app: &str, terms: Value) -> Value {
    with(app, "podAffinity", REQUIRED, terms)
}

fn far(app: &str, terms: Value) -> Value {
    with(app, "podAntiAffinity", REQUIRED, terms)
}

#[test]
fn required_terms() {
    let elsewhere = |namespaces: Value| {
        let mut term = term("db", "zone");
        term.as_object_mut()
            .unwrap()
            .extend(namespaces.as_object().unwrap().clone());
        near("web", json!([term]))
    };
    let mut other = labelled("db");
    other["metadata"]["namespace"] = "other".into();
    let db = vec![("a1", labelled("db"))];
    for (pod, there, expected) in [
        (
            near("web", json!([term("db", "zone")])),
            db.clone(),
            "a1 a2 b1! c!",
        ),
        (
            near("web", json!([term("db", "host")])),
            db.clone(),
            "a1 a2! b1! c!",
        ),
        // One pod must satisfy all terms.
        (
            near("web", json!([term("db", "zone"), term("cache", "zone")])),
            db.clone(),
            "a1! a2! b1! c!",
        ),
        (
            near("web", json!([term("db", "zone")])),
            vec![],
            "a1! a2! b1! c!",
        ),
        // The first of its kind starts where the label is.
        (
            near("web", json!([term("web", "zone")])),
            db.clone(),
            "a1 a2 b1 c!",
        ),
        (
            near("web", json!([term("web", "zone")])),
            vec![("b1", labelled("web"))],
            "a1! a2! b1 c!",
        ),
        (
            far("web", json!([term("db", "zone")])),
            db.clone(),
            "a1! a2! b1 c",
        ),
        (
            far("web", json!([term("db", "host")])),
            db.clone(),
            "a1! a2 b1 c",
        ),
        // Those that are there do not want it.
        (
            labelled("db"),
            vec![("a2", far("web", json!([term("db", "zone")])))],
            "a1! a2! b1 c",
        ),
        (
            labelled("web"),
            vec![("a2", far("web", json!([term("db", "zone")])))],
            "a1 a2 b1 c",
        ),
        (
            elsewhere(json!({})),
            vec![("a1", other.clone())],
            "a1! a2! b1! c!",
        ),
        (
            elsewhere(json!({"namespaces": ["other"]})),
            vec![("a1", other.clone())],
            "a1 a2 b1! c!",
        ),
        (
            elsewhere(json!({"namespaceSelector": {}})),
            vec![("a1", other.clone())],
            "a1 a2 b1! c!",
        ),
        (
            elsewhere(json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})),
            vec![("a1", other.clone())],
            "a1! a2! b1! c!",
        ),
    ] {
        let snapshot = cluster(&nodes(), &there);
        assert_eq!(
            verdicts(&InterPodAffinity::default(), &whole(pod.clone()), &snapshot),
            expected,
            "{pod} {there:?}"
        );
    }
}

#[test]
fn namespaces_are_selected_by_their_labels() {
    let mut other = labelled("db");
    other["metadata"]["namespace"] = "other".into();
    let mut snapshot = cluster(&nodes(), &[("a1", other)]);
    let namespace = json!({"metadata": {"name": "other", "labels": {"team": "x"}}});
    let namespace = Arc::new(serde_json::from_value(namespace).unwrap());
    snapshot.set_namespace(&"other".into(), Some(namespace));
    let mut term = term("db", "zone");
    term["namespaceSelector"] = json!({"matchLabels": {"team": "x"}});
    let pod = whole(near("web", json!([term])));
    assert_eq!(
        verdicts(&InterPodAffinity::default(), &pod, &snapshot),
        "a1 a2 b1! c!"
    );
}

#[test]
fn versions_are_kept_apart_by_label_keys() {
    let mut own = far("web", json!([]));
    own["metadata"]["labels"]["version"] = "2".into();
    let mut there = labelled("web");
    there["metadata"]["labels"]["version"] = "1".into();
    for (field, expected) in [
        ("matchLabelKeys", "a1 a2 b1 c"),
        ("mismatchLabelKeys", "a1! a2! b1 c"),
    ] {
        let mut term = term("web", "zone");
        term[field] = json!(["version"]);
        own["spec"]["affinity"]["podAntiAffinity"][REQUIRED] = json!([term]);
        let snapshot = cluster(&nodes(), &[("a1", there.clone())]);
        assert_eq!(
            verdicts(&InterPodAffinity::default(), &whole(own.clone()), &snapshot),
            expected,
            "{field}"
        );
    }
}

#[test]
fn what_is_tried_out_counts() {
    let snapshot = cluster(&nodes(), &[("a1", labelled("db"))]);
    let pod = whole(far("web", json!([term("db", "zone")])));
    let mut state = CycleState::default();
    InterPodAffinity::default().pre_filter(&mut state, &pod, &snapshot);
    let node = snapshot.get("a1").unwrap();
    assert!(
        !InterPodAffinity::default()
            .filter(&state, &pod, node)
            .is_success()
    );
    let db = node.pods.values().next().unwrap();
    let mut tried = state.clone();
    InterPodAffinity::default().remove_pod(&mut tried, &pod, db, node, &snapshot);
    assert!(
        InterPodAffinity::default()
            .filter(&tried, &pod, node)
            .is_success()
    );
    InterPodAffinity::default().add_pod(&mut tried, &pod, db, node, &snapshot);
    assert!(
        !InterPodAffinity::default()
            .filter(&tried, &pod, node)
            .is_success()
    );
    assert!(
        !InterPodAffinity::default()
            .filter(&state, &pod, node)
            .is_success()
    );
}

#[test]
fn preferred_terms_score() {
    let prefers = |kind: &str, weight: i64| {
        with(
            "web",
            kind,
            PREFERRED,
            json!([{"weight": weight, "podAffinityTerm": term("db", "zone")}]),
        )
    };
    for (pod, there, expected) in [
        (
            prefers("podAffinity", 10),
            vec![("a1", labelled("db"))],
            vec![100, 100, 0, 0],
        ),
        (
            prefers("podAntiAffinity", 10),
            vec![("a1", labelled("db"))],
            vec![0, 0, 100, 100],
        ),
        // What those that are there wish counts the same.
        (
            labelled("db"),
            vec![("b1", prefers("podAffinity", 5))],
            vec![0, 0, 100, 0],
        ),
        (
            labelled("db"),
            vec![("b1", near("web", json!([term("db", "zone")])))],
            vec![0, 0, 100, 0],
        ),
        (
            labelled("web"),
            vec![("b1", prefers("podAffinity", 5))],
            vec![0, 0, 0, 0],
        ),
    ] {
        let snapshot = cluster(&nodes(), &there);
        assert_eq!(
            normalized(&InterPodAffinity::default(), &whole(pod.clone()), &snapshot),
            expected,
            "{pod}"
        );
    }
}

#[test]
fn large_images_that_are_there_score() {
    let with_image = |name: &str, size: i64| {
        let mut node = named(name, &json!({}));
        node["status"]["images"] = json!([{"names": ["big:latest"], "sizeBytes": size}]);
        node
    };
    let pod = whole(json!({"spec": {"containers": [{"name": "c", "image": "big"}]}}));
    for (sizes, expected) in [
        ([Some(1_000 << 20), Some(1_000 << 20)], vec![100, 100]),
        // An image that only one node has counts half.
        ([Some(1_000 << 20), None], vec![48, 0]),
        ([Some(20 << 20), Some(20 << 20)], vec![0, 0]),
        ([Some(500 << 20), Some(5_000 << 20)], vec![48, 100]),
    ] {
        let nodes = sizes.iter().enumerate().map(|(index, size)| {
            let name = format!("n{index}");
            size.map_or_else(|| named(&name, &json!({})), |size| with_image(&name, size))
        });
        let snapshot = cluster(&nodes.collect::<Vec<_>>(), &[]);
        assert_eq!(
            normalized(&ImageLocality, &pod, &snapshot),
            expected,
            "{sizes:?}"
        );
    }
}
