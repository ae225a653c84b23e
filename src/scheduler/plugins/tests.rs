//! The rules of the plugins, one table each.

mod arguments;
mod gang;
mod hints;
mod near;
mod preempt;
mod property;
mod spread;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    BalancedAllocation, Fit, NodeAffinity, NodeDeclaredFeatures, NodeName, NodePorts,
    NodeUnschedulable, SchedulingGates, TaintToleration,
};
use crate::scheduler::framework::{
    Code, CycleState, Filter, NodeInfo, PodInfo, PreEnqueue, PreFilter, PreScore, Score, Snapshot,
};

fn pod(spec: Value) -> PodInfo {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec});
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

/// A pod with one container that requests this.
fn asks(requests: Value) -> PodInfo {
    pod(json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

fn snapshot(node: &Value, on_it: &[PodInfo]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut info = snapshot.entry("n");
    info.set_node(Some(Arc::new(
        serde_json::from_value(node.clone()).unwrap(),
    )));
    for (index, pod) in on_it.iter().enumerate() {
        let mut pod = pod.clone();
        pod.key.name = format!("other-{index}").into();
        info.add_pod(&Arc::new(pod));
    }
    snapshot
}

fn node(spec: Value, labels: Value) -> Value {
    json!({
        "metadata": {"name": "n", "labels": labels}, "spec": spec,
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "3", "example.com/gpu": "2"}},
    })
}

fn plain() -> Value {
    node(json!({}), json!({}))
}

/// The reasons for which a filter rejects; empty: it does not.
fn reasons(filter: &dyn Filter, pod: &PodInfo, node: &Value, on_it: &[PodInfo]) -> String {
    let snapshot = snapshot(node, on_it);
    let info: &NodeInfo = snapshot.get("n").unwrap();
    filter
        .filter(&CycleState::default(), pod, info)
        .reasons
        .join(", ")
}

#[test]
fn resources_fit() {
    for (pod, on_it, expected) in [
        (asks(json!({})), vec![], ""),
        (asks(json!({"cpu": "4", "memory": "8Gi"})), vec![], ""),
        (asks(json!({"cpu": "4001m"})), vec![], "Insufficient cpu"),
        (
            asks(json!({"cpu": "2", "memory": "9Gi"})),
            vec![asks(json!({"cpu": "3"}))],
            "Insufficient cpu, Insufficient memory",
        ),
        (
            asks(json!({})),
            vec![asks(json!({})), asks(json!({})), asks(json!({}))],
            "Too many pods",
        ),
        (
            asks(json!({"example.com/gpu": "2"})),
            vec![asks(json!({"example.com/gpu": "1"}))],
            "Insufficient example.com/gpu",
        ),
        // Nothing asked of a resource fits a node that has none left of it.
        (
            asks(json!({"memory": "1Gi"})),
            vec![asks(json!({"cpu": "4"}))],
            "",
        ),
    ] {
        assert_eq!(
            reasons(&Fit::default(), &pod, &plain(), &on_it),
            expected,
            "{:?}",
            pod.requests
        );
    }
}

#[test]
fn requests_of_a_pod() {
    let container = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
    let sidecar = |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    for (spec, cpu) in [
        (
            json!({"containers": [container("1"), container("500m")]}),
            1500,
        ),
        (
            json!({"containers": [container("1")], "initContainers": [container("3")]}),
            3000,
        ),
        (
            json!({"containers": [container("1")], "initContainers": [container("500m")]}),
            1000,
        ),
        (
            json!({"containers": [container("1")], "initContainers": [sidecar("1"), container("2")]}),
            3000,
        ),
        (
            json!({"containers": [container("1")], "initContainers": [sidecar("2"), container("500m")]}),
            3000,
        ),
        (
            json!({"containers": [container("1")], "overhead": {"cpu": "250m"}}),
            1250,
        ),
        (
            json!({"containers": [container("1")], "resources": {"requests": {"cpu": "2"}}}),
            2000,
        ),
        (json!({"containers": [{"name": "c"}]}), 0),
    ] {
        assert_eq!(pod(spec.clone()).requests.milli_cpu, cpu, "{spec}");
    }
    assert_eq!(
        pod(json!({"containers": [{"name": "c"}]})).non_zero,
        (100, 200 << 20)
    );
}

#[test]
fn affinity_and_selector() {
    let labelled = node(json!({}), json!({"zone": "a", "size": "7"}));
    let required = |term: Value| json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
    let expression = |key: &str, operator: &str, values: Value| {
        required(
            json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
        )
    };
    for (spec, fits) in [
        (json!({"containers": []}), true),
        (
            json!({"containers": [], "nodeSelector": {"zone": "a"}}),
            true,
        ),
        (
            json!({"containers": [], "nodeSelector": {"zone": "b"}}),
            false,
        ),
        (expression("zone", "In", json!(["a", "b"])), true),
        (expression("zone", "NotIn", json!(["a"])), false),
        (expression("other", "NotIn", json!(["a"])), true),
        (expression("zone", "Exists", json!([])), true),
        (expression("zone", "DoesNotExist", json!([])), false),
        (expression("size", "Gt", json!(["6"])), true),
        (expression("size", "Lt", json!(["7"])), false),
        (
            required(
                json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}),
            ),
            true,
        ),
        (required(json!({})), false),
    ] {
        assert_eq!(
            reasons(&NodeAffinity::default(), &pod(spec.clone()), &labelled, &[]).is_empty(),
            fits,
            "{spec}"
        );
    }
}

#[test]
fn taints_cordons_names_and_gates() {
    let tainted = node(
        json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
        json!({}),
    );
    let soft = node(
        json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}),
        json!({}),
    );
    let tolerant =
        pod(json!({"containers": [], "tolerations": [{"key": "k", "operator": "Exists"}]}));
    let other = pod(json!({"containers": []}));
    assert_eq!(
        reasons(&TaintToleration, &other, &tainted, &[]),
        "node(s) had untolerated taint(s)"
    );
    assert_eq!(reasons(&TaintToleration, &tolerant, &tainted, &[]), "");
    assert_eq!(reasons(&TaintToleration, &other, &soft, &[]), "");
    let cordoned = node(json!({"unschedulable": true}), json!({}));
    assert_eq!(
        reasons(&NodeUnschedulable, &other, &cordoned, &[]),
        "node(s) were unschedulable"
    );
    let key = "node.kubernetes.io/unschedulable";
    let drains = pod(
        json!({"containers": [], "tolerations": [{"key": key, "operator": "Exists", "effect": "NoSchedule"}]}),
    );
    assert_eq!(reasons(&NodeUnschedulable, &drains, &cordoned, &[]), "");
    let elsewhere = pod(json!({"containers": [], "nodeName": "m"}));
    assert_eq!(
        reasons(&NodeName, &elsewhere, &plain(), &[]),
        "node(s) didn't match the requested node name"
    );
    assert!(SchedulingGates.pre_enqueue(&other).is_success());
    assert!(
        !SchedulingGates
            .pre_enqueue(&pod(
                json!({"containers": [], "schedulingGates": [{"name": "g"}]})
            ))
            .is_success()
    );
}

#[test]
fn host_ports() {
    let wants = |port: Value| pod(json!({"containers": [{"name": "c", "ports": [port]}]}));
    let port = |number: i32, address: &str, protocol: &str| json!({"containerPort": 1, "hostPort": number, "hostIP": address, "protocol": protocol});
    for (a, b, fits) in [
        (port(80, "", "TCP"), port(80, "", "TCP"), false),
        (port(80, "", "TCP"), port(81, "", "TCP"), true),
        (port(80, "", "TCP"), port(80, "", "UDP"), true),
        (
            port(80, "10.0.0.1", "TCP"),
            port(80, "10.0.0.2", "TCP"),
            true,
        ),
        (port(80, "10.0.0.1", "TCP"), port(80, "", "TCP"), false),
    ] {
        assert_eq!(
            reasons(&NodePorts, &wants(a.clone()), &plain(), &[wants(b.clone())]).is_empty(),
            fits,
            "{a} {b}"
        );
    }
}

#[test]
fn declared_features() {
    let rules =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}]);
    let ruled = json!({"name": "c", "restartPolicyRules": rules});
    let other = json!({"name": "c", "restartPolicyRules": [{"action": "Restart"}]});
    let restarts = "RestartAllContainersOnContainerExits";
    let users = "UserNamespacesHostNetworkSupport";
    let shared = |containers: Value| json!({"containers": [containers], "hostNetwork": true, "hostUsers": false});
    let refusal = "node(s) didn't match Pod's required features";
    for (spec, needed) in [
        (json!({"containers": [{"name": "c"}]}), vec![]),
        (json!({"containers": [other]}), vec![]),
        (json!({"containers": [ruled]}), vec![restarts]),
        (
            json!({"initContainers": [ruled], "containers": []}),
            vec![restarts],
        ),
        (json!({"containers": [], "hostUsers": false}), vec![]),
        (json!({"containers": [], "hostNetwork": true}), vec![]),
        (shared(json!({"name": "c"})), vec![users]),
        (shared(ruled.clone()), vec![restarts, users]),
    ] {
        let pod = pod(spec.clone());
        for declares in [
            vec![],
            vec![restarts],
            vec![users],
            vec!["F", users, restarts],
        ] {
            let mut node = plain();
            node["status"]["declaredFeatures"] = json!(declares);
            let snapshot = snapshot(&node, &[]);
            let mut state = CycleState::default();
            let found = NodeDeclaredFeatures.pre_filter(&mut state, &pod, &snapshot);
            assert_eq!(found.status.code == Code::Skip, needed.is_empty(), "{spec}");
            let status = NodeDeclaredFeatures.filter(&state, &pod, snapshot.get("n").unwrap());
            let fits = needed.iter().all(|name| declares.contains(name));
            assert_eq!(status.is_success(), fits, "{spec} {declares:?}");
            assert!(fits || status.reasons == [refusal], "{status:?}");
        }
    }
}

#[test]
fn scores() {
    let score = |plugin: &dyn Score, pod: &PodInfo, on_it: &[PodInfo]| {
        let snapshot = snapshot(&plain(), on_it);
        plugin.score(&CycleState::default(), pod, snapshot.get("n").unwrap())
    };
    let half = asks(json!({"cpu": "2", "memory": "4Gi"}));
    assert_eq!(score(&Fit::default(), &half, &[]), 50);
    assert_eq!(
        score(&Fit::default(), &half, std::slice::from_ref(&half)),
        0
    );
    assert_eq!(score(&BalancedAllocation::default(), &half, &[]), 100);
    // cpu all used, memory not at all: half apart.
    assert_eq!(
        score(
            &BalancedAllocation::default(),
            &asks(json!({"cpu": "4"})),
            &[]
        ),
        50
    );
    let mut taints = [0, 1, 2];
    TaintToleration.normalize(&CycleState::default(), &half, &mut taints);
    assert_eq!(taints, [100, 50, 0]);
    let mut affinity = [0, 5, 10];
    NodeAffinity::default().normalize(&CycleState::default(), &half, &mut affinity);
    assert_eq!(affinity, [0, 50, 100]);
}

/// A node of this name with these labels, four cores and room for ten pods.
fn named(name: &str, labels: &Value) -> Value {
    json!({
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    })
}

/// A cluster of nodes and of pods on them: the node's name, and the pod's metadata and spec.
fn cluster(nodes: &[Value], pods: &[(&str, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        let name = node["metadata"]["name"].as_str().unwrap();
        let parsed = serde_json::from_value(node.clone()).unwrap();
        snapshot.entry(name).set_node(Some(Arc::new(parsed)));
    }
    for (index, (node, pod)) in pods.iter().enumerate() {
        let mut pod = whole(pod.clone());
        if pod.key.name.is_empty() {
            pod.key.name = format!("pod-{index}").into();
        }
        snapshot.entry(node).add_pod(&Arc::new(pod));
    }
    snapshot
}

/// A pod from its metadata and spec, in the namespace `ns` unless it says another.
fn whole(mut pod: Value) -> PodInfo {
    if pod["metadata"]["namespace"].is_null() {
        pod["metadata"]["namespace"] = "ns".into();
    }
    if pod["spec"]["containers"].is_null() {
        pod["spec"]["containers"] = json!([]);
    }
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

/// The nodes that a plugin lets a pod go to, and the reasons of the others.
fn verdicts<P: PreFilter + Filter>(plugin: &P, pod: &PodInfo, snapshot: &Snapshot) -> String {
    let mut state = CycleState::default();
    plugin.pre_filter(&mut state, pod, snapshot);
    let verdicts = snapshot.nodes().iter().map(|node| {
        let status = plugin.filter(&state, pod, node);
        if status.is_success() {
            node.name.to_string()
        } else {
            format!("{}!", node.name)
        }
    });
    verdicts.collect::<Vec<_>>().join(" ")
}

/// The scores of all nodes, normalized.
fn normalized<P: PreScore + Score>(plugin: &P, pod: &PodInfo, snapshot: &Snapshot) -> Vec<i64> {
    let mut state = CycleState::default();
    let nodes: Vec<&NodeInfo> = snapshot.nodes().iter().collect();
    plugin.pre_score(&mut state, pod, &nodes, snapshot);
    let scores = nodes.iter().map(|node| plugin.score(&state, pod, node));
    let mut scores: Vec<i64> = scores.collect();
    plugin.normalize(&state, pod, &mut scores);
    scores
}
