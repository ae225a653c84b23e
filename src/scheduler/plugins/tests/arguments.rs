//! Arguments: what they do, and what is wrong with them.

use serde_json::{Value, json};

use super::{asks, cluster, named, reasons, snapshot, verdicts, whole};
use crate::scheduler::framework::{CycleState, NodeInfo, PodInfo, PreScore, Score};
use crate::scheduler::plugins::{
    BalancedAllocation, DefaultPreemption, Fit, InterPodAffinity, NodeAffinity,
};

fn gpu_node() -> Value {
    super::node(json!({}), json!({}))
}

fn score(plugin: &dyn Score, pod: &PodInfo, on_it: &[PodInfo]) -> i64 {
    let snapshot = snapshot(&gpu_node(), on_it);
    plugin.score(&CycleState::default(), pod, snapshot.get("n").unwrap())
}

#[test]
fn strategies() {
    let shape = json!([{"utilization": 0, "score": 0}, {"utilization": 50, "score": 10}, {"utilization": 100, "score": 4}]);
    let ratio =
        json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape}});
    let gpus = json!({"type": "MostAllocated", "resources": [{"name": "example.com/gpu", "weight": 3}, {"name": "cpu"}]});
    let fit = |strategy: &Value| Fit::of(&json!({"scoringStrategy": strategy})).unwrap();
    // The node has 4 cores, 8Gi and 2 gpus.
    let half = asks(json!({"cpu": "2", "memory": "4Gi"}));
    let quarter = asks(json!({"cpu": "1", "memory": "2Gi"}));
    let gpu = asks(json!({"cpu": "1", "example.com/gpu": "2"}));
    let all = asks(json!({"cpu": "4", "memory": "8Gi"}));
    for (strategy, pod, expected) in [
        (json!({"type": "LeastAllocated"}), &quarter, 75),
        (json!({"type": "MostAllocated"}), &quarter, 25),
        (
            json!({"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}]}),
            &half,
            50,
        ),
        (ratio.clone(), &half, 100),
        (ratio.clone(), &quarter, 50),
        (ratio, &all, 40),
        // (3 * 100 + 25) / 4; who wants no gpu is not scored by it.
        (gpus.clone(), &gpu, 81),
        (gpus, &half, 50),
    ] {
        assert_eq!(score(&fit(&strategy), pod, &[]), expected, "{strategy}");
    }
}

#[test]
fn resources_that_others_care_for() {
    let wants = asks(json!({"cpu": "1", "example.com/gpu": "9"}));
    let short = "Insufficient example.com/gpu";
    for (args, said) in [
        (json!({}), short),
        (json!({"ignoredResources": ["example.com/gpu"]}), ""),
        (json!({"ignoredResourceGroups": ["example.com"]}), ""),
        (json!({"ignoredResourceGroups": ["other.com"]}), short),
    ] {
        let fit = Fit::of(&args).unwrap();
        assert_eq!(reasons(&fit, &wants, &gpu_node(), &[]), said, "{args}");
    }
    // What is not extended is looked at, whatever the arguments say.
    let fit = Fit::of(&json!({"ignoredResources": ["hugepages-2Mi", "cpu"]})).unwrap();
    let wants = asks(json!({"cpu": "9", "hugepages-2Mi": "2Mi"}));
    let said = "Insufficient cpu, Insufficient hugepages-2Mi";
    assert_eq!(reasons(&fit, &wants, &gpu_node(), &[]), said);
}

#[test]
fn balance() {
    let three = BalancedAllocation::of(
        &json!({"resources": [{"name": "cpu"}, {"name": "memory"}, {"name": "example.com/gpu"}]}),
    )
    .unwrap();
    for (requests, by_default, of_three) in [
        (json!({"cpu": "2", "memory": "4Gi"}), 100, 100),
        (json!({"cpu": "4"}), 50, 50),
        // Shares of 1, 0 and 1: the mean is 2/3, the deviation 0.47.
        (json!({"cpu": "4", "example.com/gpu": "2"}), 50, 52),
        // More than there is counts as all.
        (json!({"cpu": "40", "memory": "8Gi"}), 100, 100),
    ] {
        let pod = asks(requests.clone());
        assert_eq!(
            score(&BalancedAllocation::default(), &pod, &[]),
            by_default,
            "{requests}"
        );
        assert_eq!(score(&three, &pod, &[]), of_three, "{requests}");
    }
    let snapshot = snapshot(&gpu_node(), &[]);
    let nodes: Vec<&NodeInfo> = snapshot.nodes().iter().collect();
    for (requests, scored) in [
        (json!({}), false),
        (json!({"example.com/gpu": "1"}), false),
        (json!({"cpu": "1"}), true),
    ] {
        let status = BalancedAllocation::default().pre_score(
            &mut CycleState::default(),
            &asks(requests),
            &nodes,
            &snapshot,
        );
        assert_eq!(
            status.code == crate::scheduler::framework::Code::Success,
            scored
        );
    }
}

#[test]
fn added_affinity() {
    let term = |value: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [value]}]});
    let plugin = NodeAffinity::of(&json!({"addedAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("a")]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "preference": term("a")}],
    }}))
    .unwrap();
    let cluster = cluster(
        &[
            named("x", &json!({"zone": "a"})),
            named("y", &json!({"zone": "b"})),
        ],
        &[],
    );
    assert_eq!(
        verdicts(&plugin, &whole(json!({"spec": {}})), &cluster),
        "x y!"
    );
    let node = super::node(json!({}), json!({"zone": "b"}));
    let enforced = "node(s) didn't match scheduler-enforced node affinity";
    assert_eq!(
        reasons(&plugin, &whole(json!({"spec": {}})), &node, &[]),
        enforced
    );
    let preferring = whole(
        json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": term("a")}]}}}}),
    );
    let scores = cluster
        .nodes()
        .iter()
        .map(|node| plugin.score(&CycleState::default(), &preferring, node));
    assert_eq!(scores.collect::<Vec<_>>(), [12, 0]);
}

#[test]
fn pods_that_name_nodes() {
    use crate::scheduler::framework::PreFilter;
    let plugin = NodeAffinity::default();
    let snapshot = cluster(&[], &[]);
    let field = |names: Value| json!({"key": "metadata.name", "operator": "In", "values": names});
    for (terms, expected) in [
        (json!([{"matchFields": [field(json!(["a"]))]}]), Some("a")),
        (
            json!([{"matchFields": [field(json!(["a", "b"])), field(json!(["b", "c"]))]}, {"matchFields": [field(json!(["d"]))]}]),
            Some("b d"),
        ),
        (
            json!([{"matchFields": [field(json!(["a"]))]}, {"matchExpressions": [{"key": "k", "operator": "Exists"}]}]),
            None,
        ),
        (
            json!([{"matchFields": [field(json!(["a"])), field(json!(["b"]))]}]),
            Some("!pod affinity terms conflict"),
        ),
    ] {
        let pod = whole(
            json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}}),
        );
        let found = plugin.pre_filter(&mut CycleState::default(), &pod, &snapshot);
        let names = found.nodes.map(|nodes| {
            nodes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        });
        let names = names.or_else(|| {
            (!found.status.is_success()).then(|| format!("!{}", found.status.reasons.join(", ")))
        });
        assert_eq!(names.as_deref(), expected, "{terms}");
    }
}

#[test]
fn errors_name_their_place() {
    let strategy = |value: Value| json!({"scoringStrategy": value});
    let ratio = |points: Value| {
        strategy(
            json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": points}}),
        )
    };
    let fit = |args: &Value| Fit::of(args).err().map(|error| error.path);
    for (args, path) in [
        (json!(null), None),
        (
            json!({"kind": "NodeResourcesFitArgs", "apiVersion": "kubescheduler.config.k8s.io/v1"}),
            None,
        ),
        (json!({"kind": "Other"}), Some("kind")),
        (json!([]), Some("")),
        (json!({"ignored": []}), Some("ignored")),
        (json!({"ignoredResources": [7]}), Some("ignoredResources")),
        (
            json!({"ignoredResourceGroups": ["a", "b/c"]}),
            Some("ignoredResourceGroups[1]"),
        ),
        (
            strategy(json!({"type": "Best"})),
            Some("scoringStrategy.type"),
        ),
        (
            strategy(json!({"resources": [{"name": "cpu", "weight": 101}]})),
            Some("scoringStrategy.resources[0].weight"),
        ),
        (
            strategy(json!({"resources": [{"name": "cpu"}, {"name": "cpu"}]})),
            Some("scoringStrategy.resources[1].name"),
        ),
        (
            strategy(json!({"type": "RequestedToCapacityRatio"})),
            Some("scoringStrategy.requestedToCapacityRatio"),
        ),
        (
            ratio(json!([])),
            Some("scoringStrategy.requestedToCapacityRatio.shape"),
        ),
        (
            ratio(json!([{"utilization": 5, "score": 0}, {"utilization": 5, "score": 1}])),
            Some("scoringStrategy.requestedToCapacityRatio.shape[1].utilization"),
        ),
        (
            ratio(json!([{"utilization": 5, "score": 11}])),
            Some("scoringStrategy.requestedToCapacityRatio.shape[0].score"),
        ),
    ] {
        assert_eq!(fit(&args).as_deref(), path, "{args}");
    }
    let affinity = |args: Value| InterPodAffinity::of(&args).err().map(|error| error.path);
    assert_eq!(
        affinity(json!({"hardPodAffinityWeight": 101})).as_deref(),
        Some("hardPodAffinityWeight")
    );
    assert_eq!(
        affinity(json!({"hardPodAffinityWeight": 0, "ignorePreferredTermsOfExistingPods": true})),
        None
    );
    let preemption = |args: Value| DefaultPreemption::of(&args).err().map(|error| error.path);
    let percent = "minCandidateNodesPercentage";
    assert_eq!(preemption(json!({percent: 101})).as_deref(), Some(percent));
    assert_eq!(
        preemption(json!({percent: 0, "minCandidateNodesAbsolute": 0})).as_deref(),
        Some(percent)
    );
    assert_eq!(preemption(json!({percent: 0})), None);
}

#[test]
fn weights_of_required_terms() {
    let term = json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let wants = |kind: &str, terms: Value| json!({"metadata": {"labels": {"app": "db"}}, "spec": {"affinity": {"podAffinity": {kind: terms}}}});
    let required = wants(
        "requiredDuringSchedulingIgnoredDuringExecution",
        term.clone(),
    );
    let preferred = wants(
        "preferredDuringSchedulingIgnoredDuringExecution",
        json!([{"weight": 3, "podAffinityTerm": term[0]}]),
    );
    let nodes = [
        named("x", &json!({"zone": "a"})),
        named("y", &json!({"zone": "b"})),
    ];
    let snapshot = cluster(&nodes, &[("x", required), ("y", preferred)]);
    let web = whole(json!({"metadata": {"labels": {"app": "web"}}}));
    for (args, expected) in [
        (json!({}), [0, 100]),
        (json!({"hardPodAffinityWeight": 50}), [100, 0]),
        (json!({"hardPodAffinityWeight": 0}), [0, 100]),
        // This one prefers nothing itself.
        (json!({"ignorePreferredTermsOfExistingPods": true}), [0, 0]),
    ] {
        let plugin = InterPodAffinity::of(&args).unwrap();
        assert_eq!(
            super::normalized(&plugin, &web, &snapshot),
            expected,
            "{args}"
        );
    }
}
