//! PodTopologySpread.

use serde_json::{Value, json};

use super::{cluster, named, normalized, verdicts, whole};
use crate::scheduler::plugins::PodTopologySpread;

fn web() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}})
}

fn spread(constraint: Value) -> Value {
    let mut own = json!({
        "topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    own.as_object_mut()
        .unwrap()
        .extend(constraint.as_object().unwrap().clone());
    own
}

fn wants(constraints: &[Value]) -> Value {
    let mut pod = web();
    pod["metadata"]["name"] = "new".into();
    pod["spec"] = json!({"topologySpreadConstraints": constraints});
    pod
}

fn zones() -> Vec<Value> {
    let node = |name: &str, zone: &str| {
        named(name, &json!({"zone": zone, "kubernetes.io/hostname": name}))
    };
    vec![
        node("a1", "a"),
        node("a2", "a"),
        node("b1", "b"),
        node("c1", "c"),
    ]
}

#[test]
fn hard_constraints() {
    let there = [("a1", web()), ("a2", web()), ("b1", web())];
    let mut unlike = wants(&[spread(json!({}))]);
    unlike["metadata"]["labels"]["app"] = "db".into();
    let mut selected = wants(&[spread(json!({}))]);
    selected["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]}}});
    let mut ignores = selected.clone();
    ignores["spec"]["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = "Ignore".into();
    let mut keyed = wants(&[spread(json!({"matchLabelKeys": ["version"]}))]);
    keyed["metadata"]["labels"]["version"] = "2".into();
    for (pod, expected) in [
        (wants(&[spread(json!({}))]), "a1! a2! b1! c1"),
        (wants(&[spread(json!({"maxSkew": 2}))]), "a1! a2! b1 c1"),
        (wants(&[spread(json!({"maxSkew": 3}))]), "a1 a2 b1 c1"),
        // Whom it does not select itself, it does not add to.
        (unlike, "a1! a2! b1 c1"),
        // Only zones that it could go to count.
        (selected, "a1! a2! b1 c1"),
        (ignores, "a1! a2! b1! c1"),
        (
            wants(&[spread(json!({"topologyKey": "kubernetes.io/hostname"}))]),
            "a1! a2! b1! c1",
        ),
        (
            wants(&[spread(json!({"topologyKey": "rack"}))]),
            "a1! a2! b1! c1!",
        ),
        // Pods of other versions do not count.
        (keyed, "a1 a2 b1 c1"),
        (wants(&[]), "a1 a2 b1 c1"),
        (
            wants(&[spread(json!({"whenUnsatisfiable": "ScheduleAnyway"}))]),
            "a1 a2 b1 c1",
        ),
    ] {
        let snapshot = cluster(&zones(), &there);
        assert_eq!(
            verdicts(
                &PodTopologySpread::default(),
                &whole(pod.clone()),
                &snapshot
            ),
            expected,
            "{pod}"
        );
    }
}

#[test]
fn domains_to_come_and_pods_to_go() {
    let even = [("a1", web()), ("b1", web()), ("c1", web())];
    for (domains, expected) in [(3, "a1 a2 b1 c1"), (4, "a1! a2! b1! c1!")] {
        let pod = whole(wants(&[spread(json!({"minDomains": domains}))]));
        assert_eq!(
            verdicts(
                &PodTopologySpread::default(),
                &pod,
                &cluster(&zones(), &even)
            ),
            expected
        );
    }
    let mut leaving = web();
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut elsewhere = web();
    elsewhere["metadata"]["namespace"] = "other".into();
    let pod = whole(wants(&[spread(json!({}))]));
    for pods in [[("a1", leaving)], [("a1", elsewhere)]] {
        assert_eq!(
            verdicts(
                &PodTopologySpread::default(),
                &pod,
                &cluster(&zones(), &pods)
            ),
            "a1 a2 b1 c1"
        );
    }
}

#[test]
fn taints_are_heeded_on_request() {
    let mut nodes = zones();
    nodes[3]["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    let there = [("a1", web()), ("b1", web())];
    for (policy, expected) in [("Ignore", "a1! a2! b1! c1"), ("Honor", "a1 a2 b1 c1")] {
        let pod = whole(wants(&[spread(json!({"nodeTaintsPolicy": policy}))]));
        assert_eq!(
            verdicts(
                &PodTopologySpread::default(),
                &pod,
                &cluster(&nodes, &there)
            ),
            expected,
            "{policy}"
        );
    }
}

#[test]
fn soft_constraints_prefer_emptier_domains() {
    let soft =
        |key: &str| spread(json!({"whenUnsatisfiable": "ScheduleAnyway", "topologyKey": key}));
    let there = [("a1", web()), ("a1", web()), ("b1", web())];
    for (key, expected) in [
        ("zone", vec![0, 0, 33, 100]),
        ("kubernetes.io/hostname", vec![0, 100, 50, 100]),
        ("rack", vec![0, 0, 0, 0]),
    ] {
        let pod = whole(wants(&[soft(key)]));
        let scores = normalized(
            &PodTopologySpread::default(),
            &pod,
            &cluster(&zones(), &there),
        );
        assert_eq!(scores, expected, "{key}");
    }
}
