//! The plugins say the same as the plain rules, on any cluster.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{cluster, normalized, whole};
use crate::scheduler::framework::{
    Code, CycleState, Filter, NodeInfo, PodInfo, PreFilter, PreScore, Score, Snapshot, Status,
};
use crate::scheduler::plugins::{
    BalancedAllocation, Fit, ImageLocality, InterPodAffinity, NodeAffinity, NodePorts,
    PodTopologySpread, TaintToleration,
};
use crate::scheduler::reference::{pod_affinity, resources, simple, topology_spread};

fn text(values: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(values)
}

/// A node with or without each label, with taints, resources and images.
fn a_node() -> impl Strategy<Value = Value> {
    let taint = (
        text(&["k", "l"]),
        text(&["", "v"]),
        text(&["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    );
    let taints = prop::collection::vec(taint, 0..3);
    let images = prop::collection::vec((text(&["a:1", "b:1"]), 1_i64..1200), 0..2);
    (
        text(&["", "x", "y", "z"]),
        text(&["", "r"]),
        taints,
        images,
        0..5_u32,
        0..5_u32,
        any::<bool>(),
    )
        .prop_map(|(zone, rack, taints, images, cpu, pods, gpu)| {
            let mut labels = json!({});
            for (key, value) in [("zone", zone), ("rack", rack)] {
                if !value.is_empty() {
                    labels[key] = value.into();
                }
            }
            let taints = taints
                .iter()
                .map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect}));
            let images = images
                .iter()
                .map(|(name, mb)| json!({"names": [name], "sizeBytes": mb << 20}));
            let mut allocatable =
                json!({"cpu": cpu.to_string(), "memory": "4Gi", "pods": pods.to_string()});
            if gpu {
                allocatable["example.com/gpu"] = "2".into();
            }
            json!({
                "metadata": {"labels": labels}, "spec": {"taints": taints.collect::<Vec<_>>()},
                "status": {"allocatable": allocatable, "images": images.collect::<Vec<_>>()},
            })
        })
}

fn a_term() -> impl Strategy<Value = Value> {
    let namespaces = prop_oneof![3 => Just(json!({})), 1 => Just(json!({"namespaces": ["other"]})), 1 => Just(json!({"namespaceSelector": {}}))];
    let keys = prop_oneof![3 => Just(json!({})), 1 => Just(json!({"matchLabelKeys": ["rev"]})), 1 => Just(json!({"mismatchLabelKeys": ["rev"]}))];
    (
        text(&["web", "db"]),
        text(&["zone", "rack", "kubernetes.io/hostname"]),
        namespaces,
        keys,
    )
        .prop_map(|(app, key, namespaces, keys)| {
            let mut term =
                json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
            for more in [namespaces, keys] {
                term.as_object_mut()
                    .unwrap()
                    .extend(more.as_object().unwrap().clone());
            }
            term
        })
}

fn an_affinity() -> impl Strategy<Value = Value> {
    let required = || prop::collection::vec(a_term(), 0..2);
    let preferred = || prop::collection::vec((1..10, a_term()), 0..2);
    let side = move || {
        (required(), preferred()).prop_map(|(required, preferred)| {
            let preferred = preferred
                .iter()
                .map(|(weight, term)| json!({"weight": weight, "podAffinityTerm": term}));
            json!({
                "requiredDuringSchedulingIgnoredDuringExecution": required,
                "preferredDuringSchedulingIgnoredDuringExecution": preferred.collect::<Vec<_>>(),
            })
        })
    };
    (side(), side()).prop_map(|(near, far)| json!({"podAffinity": near, "podAntiAffinity": far}))
}

fn a_constraint() -> impl Strategy<Value = Value> {
    let key = text(&["zone", "rack", "kubernetes.io/hostname"]);
    let policies = (text(&["Honor", "Ignore"]), text(&["Honor", "Ignore"]));
    (key, 1..3, any::<bool>(), prop::option::of(1..4_i32), policies, any::<bool>()).prop_map(|(key, skew, hard, domains, (affinity, taints), revised)| {
        let mut constraint = json!({
            "topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
            "labelSelector": {"matchLabels": {"app": "web"}}, "nodeAffinityPolicy": affinity, "nodeTaintsPolicy": taints,
        });
        if let Some(domains) = domains.filter(|_| hard) {
            constraint["minDomains"] = domains.into();
        }
        if revised {
            constraint["matchLabelKeys"] = json!(["rev"]);
        }
        constraint
    })
}

fn a_pod() -> impl Strategy<Value = Value> {
    let amount = || prop::option::weighted(0.6, 0..4_u32);
    let requests = (amount(), amount(), prop::option::weighted(0.2, 1..3_u32));
    let meta = (
        text(&["ns", "other"]),
        text(&["web", "db"]),
        text(&["1", "2"]),
        prop::bool::weighted(0.1),
    );
    let port = prop::option::weighted(0.3, (text(&["", "10.0.0.1", "10.0.0.2"]), 80..82));
    (meta, requests, port, an_affinity()).prop_map(|((namespace, app, rev, leaving), (cpu, memory, gpu), port, affinity)| {
        let mut requests = json!({});
        for (name, amount, unit) in [("cpu", cpu, ""), ("memory", memory, "Gi"), ("example.com/gpu", gpu, "")] {
            if let Some(amount) = amount {
                requests[name] = format!("{amount}{unit}").into();
            }
        }
        let ports: Vec<Value> = port.iter().map(|(ip, number)| json!({"containerPort": 1, "hostIP": ip, "hostPort": number})).collect();
        let mut pod = json!({
            "metadata": {"namespace": namespace, "labels": {"app": app, "rev": rev}},
            "spec": {"affinity": affinity, "containers": [{"name": "c", "image": "a:1", "resources": {"requests": requests}, "ports": ports}]},
        });
        if leaving {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        pod
    })
}

/// A pod to be scheduled: also with constraints, tolerations and node affinity.
fn a_new_pod() -> impl Strategy<Value = Value> {
    let toleration = (
        text(&["", "k", "l"]),
        text(&["Exists", "Equal"]),
        text(&["", "v"]),
        text(&["", "NoSchedule", "PreferNoSchedule"]),
    );
    let tolerations = prop::collection::vec(toleration, 0..2);
    let requirement = (
        text(&["zone", "rack"]),
        text(&["In", "NotIn", "Exists", "DoesNotExist"]),
        text(&["x", "y"]),
    );
    let terms = prop::option::weighted(
        0.4,
        prop::collection::vec(prop::collection::vec(requirement, 0..3), 1..3),
    );
    let constraints = prop::collection::vec(a_constraint(), 0..3);
    (a_pod(), tolerations, terms, constraints).prop_map(|(mut pod, tolerations, terms, constraints)| {
        pod["metadata"]["name"] = "new".into();
        let tolerations = tolerations.iter().map(|(key, operator, value, effect)| {
            let value = if *operator == "Exists" { "" } else { value };
            json!({"key": key, "operator": operator, "value": value, "effect": effect})
        });
        pod["spec"]["tolerations"] = tolerations.collect();
        pod["spec"]["topologySpreadConstraints"] = constraints.into();
        if let Some(terms) = terms {
            let terms = terms.iter().map(|term| {
                let requirements = term.iter().map(|(key, operator, value)| {
                    let values = if operator.ends_with("In") { json!([value]) } else { json!(null) };
                    json!({"key": key, "operator": operator, "values": values})
                });
                json!({"matchExpressions": requirements.collect::<Vec<_>>()})
            });
            pod["spec"]["affinity"]["nodeAffinity"] = json!({
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms.collect::<Vec<_>>()},
            });
        }
        pod
    })
}

fn a_cluster() -> impl Strategy<Value = (Snapshot, PodInfo)> {
    let nodes = prop::collection::vec(a_node(), 1..6);
    let pods = prop::collection::vec((0..6_usize, a_pod()), 0..8);
    (nodes, pods, a_new_pod()).prop_map(|(mut nodes, pods, new)| {
        let names: Vec<String> = (0..nodes.len()).map(|index| format!("n{index}")).collect();
        for (node, name) in nodes.iter_mut().zip(&names) {
            node["metadata"]["name"] = name.as_str().into();
            node["metadata"]["labels"]["kubernetes.io/hostname"] = name.as_str().into();
        }
        let pods: Vec<(&str, Value)> = pods
            .into_iter()
            .map(|(index, pod)| (names[index % names.len()].as_str(), pod))
            .collect();
        (cluster(&nodes, &pods), whole(new))
    })
}

/// The verdicts of a plugin with what it prepares.
fn statuses<P: PreFilter + Filter>(plugin: &P, pod: &PodInfo, snapshot: &Snapshot) -> Vec<Status> {
    let mut state = CycleState::default();
    let prepared = plugin.pre_filter(&mut state, pod, snapshot).status;
    let nodes = snapshot.nodes().iter();
    let judged = nodes.map(|node| {
        if prepared.code == Code::Skip {
            return Status::success();
        }
        let status = plugin.filter(&state, pod, node);
        let fits = plugin
            .fits(&state, pod, node)
            .unwrap_or_else(|| status.is_success());
        assert_eq!(fits, status.is_success(), "both ways to ask agree");
        status
    });
    judged.collect()
}

fn scored<P: PreScore + Score>(plugin: &P, pod: &PodInfo, snapshot: &Snapshot) -> Option<Vec<i64>> {
    let nodes: Vec<&NodeInfo> = snapshot.nodes().iter().collect();
    let prepared = plugin.pre_score(&mut CycleState::default(), pod, &nodes, snapshot);
    (prepared.code != Code::Skip).then(|| normalized(plugin, pod, snapshot))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn single_nodes((snapshot, pod) in a_cluster()) {
        let fit = Fit::default();
        let state = CycleState::default();
        let hard = ["NoSchedule", "NoExecute"];
        let ports = statuses(&NodePorts, &pod, &snapshot);
        let balanced = scored(&BalancedAllocation::default(), &pod, &snapshot);
        for (index, node) in snapshot.nodes().iter().enumerate() {
            let status = fit.filter(&state, &pod, node);
            let (reasons, never) = resources::fit(&pod, node);
            prop_assert_eq!(&status.reasons, &reasons);
            prop_assert_eq!(status.code == Code::UnschedulableAndUnresolvable, never);
            prop_assert_eq!(fit.fits(&state, &pod, node), Some(reasons.is_empty()));
            prop_assert_eq!(fit.score(&state, &pod, node), resources::least(&pod, node));
            let scores = balanced.as_ref().map(|scores| scores[index]);
            prop_assert_eq!(scores, resources::balanced(&pod, node));
            prop_assert_eq!(TaintToleration.filter(&state, &pod, node).is_success(), simple::untolerated(&pod, node, &hard) == 0);
            prop_assert_eq!(TaintToleration.score(&state, &pod, node), simple::untolerated(&pod, node, &["PreferNoSchedule"]));
            prop_assert_eq!(NodeAffinity::default().filter(&state, &pod, node).is_success(), simple::node_affinity(&pod, node));
            prop_assert_eq!(ports[index].is_success(), simple::ports(&pod, node));
        }
        let plain: Vec<i64> = snapshot.nodes().iter().map(|node| simple::images(&pod, node, &snapshot)).collect();
        let scores = scored(&ImageLocality, &pod, &snapshot).unwrap_or_else(|| vec![0; plain.len()]);
        prop_assert_eq!(scores, plain);
    }

    #[test]
    fn affinity((snapshot, pod) in a_cluster()) {
        let plugin = InterPodAffinity::default();
        let said = statuses(&plugin, &pod, &snapshot);
        let rules = [
            "", "node(s) didn't match pod affinity rules", "node(s) didn't match pod anti-affinity rules",
            "node(s) didn't satisfy existing pods anti-affinity rules",
        ];
        for (status, node) in said.iter().zip(snapshot.nodes()) {
            let plain = rules[usize::from(pod_affinity::filter(&pod, node, &snapshot))];
            prop_assert_eq!(status.reasons.join(", "), plain, "{}", node.name);
        }
        let nodes: Vec<&NodeInfo> = snapshot.nodes().iter().collect();
        let plain = pod_affinity::scores(&pod, &nodes, &snapshot).unwrap_or_else(|| vec![0; nodes.len()]);
        let scores = scored(&plugin, &pod, &snapshot).unwrap_or_else(|| vec![0; nodes.len()]);
        prop_assert_eq!(scores, plain);
    }

    #[test]
    fn topology((snapshot, pod) in a_cluster()) {
        let plugin = PodTopologySpread::default();
        let said = statuses(&plugin, &pod, &snapshot);
        for (status, node) in said.iter().zip(snapshot.nodes()) {
            let code = match topology_spread::filter(&pod, node, &snapshot) {
                None => Code::UnschedulableAndUnresolvable,
                Some(false) => Code::Unschedulable,
                Some(true) => Code::Success,
            };
            prop_assert_eq!(status.code, code, "{}", node.name);
        }
        let nodes: Vec<&NodeInfo> = snapshot.nodes().iter().collect();
        let plain = topology_spread::scores(&pod, &nodes, &snapshot);
        prop_assert_eq!(scored(&plugin, &pod, &snapshot), plain);
    }
}
