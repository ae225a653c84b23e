//! Which events have a pod tried again, by the plugin that rejected it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node};
use serde_json::{Value, json};

use super::whole;
use crate::scheduler::framework::{
    Actions, ClusterEvent, Hint, Plugin, PodInfo, Resource, Snapshot,
};
use crate::scheduler::plugins::{
    DefaultBinder, Fit, InterPodAffinity, NodeAffinity, NodeDeclaredFeatures, NodeName, NodePorts,
    NodeUnschedulable, PodTopologySpread, SchedulingGates, TaintToleration,
};

fn wakes(plugin: &dyn Plugin, event: &ClusterEvent<'_>, pod: &PodInfo) -> bool {
    plugin.events().iter().any(|pattern| pattern.covers(event))
        && plugin.hint(event, pod, &Snapshot::default()) == Hint::Queue
}

/// A change of a node, the way the scheduler tells it.
fn node(plugin: &dyn Plugin, pod: &Value, old: Option<Value>, new: Option<Value>) -> bool {
    let parse = |node: Value| Arc::new(serde_json::from_value::<Node>(node).unwrap());
    let (old, new) = (old.map(parse), new.map(parse));
    let actions = crate::scheduler::changes::of_node(old.as_deref(), new.as_deref());
    let event = ClusterEvent::new(Resource::Node, actions).with(old.as_deref(), new.as_deref());
    wakes(plugin, &event, &whole(pod.clone()))
}

/// A change of another pod on a node.
fn other(plugin: &dyn Plugin, pod: &Value, old: Option<Value>, new: Option<Value>) -> bool {
    change(plugin, Resource::AssignedPod, pod, old, new)
}

fn change(
    plugin: &dyn Plugin,
    resource: Resource,
    pod: &Value,
    old: Option<Value>,
    new: Option<Value>,
) -> bool {
    let (old, new) = (old.map(whole), new.map(whole));
    let actions = match (&old, &new) {
        (None, _) => Actions::ADD,
        (_, None) => Actions::DELETE,
        (Some(old), Some(new)) => crate::scheduler::changes::of_pod(old, new),
    };
    let event = ClusterEvent::new(resource, actions).with(old.as_ref(), new.as_ref());
    wakes(plugin, &event, &whole(pod.clone()))
}

/// A change of the pod itself.
fn itself(plugin: &dyn Plugin, old: Value, new: Value) -> bool {
    change(
        plugin,
        Resource::TargetPod,
        &new.clone(),
        Some(old),
        Some(new),
    )
}

fn machine(labels: Value, spec: Value, cpu: &str) -> Value {
    json!({
        "metadata": {"name": "n", "labels": labels}, "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}},
    })
}

fn bare() -> Value {
    machine(json!({}), json!({}), "4")
}

fn asking(cpu: &str) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[test]
fn resources() {
    let fit = Fit::default();
    let (pod, small) = (asking("2"), machine(json!({}), json!({}), "1"));
    assert!(node(&fit, &pod, None, Some(bare())));
    assert!(!node(&fit, &pod, None, Some(small.clone())));
    assert!(node(&fit, &pod, Some(small), Some(bare())));
    assert!(!node(
        &fit,
        &pod,
        Some(bare()),
        Some(machine(json!({}), json!({}), "3"))
    ));
    assert!(!node(
        &fit,
        &pod,
        Some(bare()),
        Some(machine(json!({"a": "b"}), json!({}), "4"))
    ));
    // More of what the pod does not ask for.
    let mut larger = bare();
    larger["status"]["allocatable"]["memory"] = "2Gi".into();
    assert!(!node(&fit, &pod, Some(bare()), Some(larger)));
    let mut roomier = bare();
    roomier["status"]["allocatable"]["pods"] = "11".into();
    assert!(node(&fit, &pod, Some(bare()), Some(roomier)));
    assert!(other(&fit, &pod, Some(asking("1")), None));
    assert!(other(&fit, &pod, Some(asking("2")), Some(asking("1"))));
    assert!(!other(&fit, &pod, Some(asking("1")), Some(asking("2"))));
    assert!(!other(
        &fit,
        &json!({}),
        Some(asking("2")),
        Some(asking("1"))
    ));
    assert!(!other(&fit, &pod, None, Some(asking("1"))));
    assert!(itself(&fit, asking("2"), asking("1")));
    assert!(!itself(&fit, asking("1"), asking("2")));
}

#[test]
fn labels_taints_and_ports() {
    let affinity = NodeAffinity::default();
    let picky = json!({"spec": {"nodeSelector": {"disk": "ssd"}}});
    let fast = || Some(machine(json!({"disk": "ssd"}), json!({}), "4"));
    assert!(node(&affinity, &picky, None, fast()));
    assert!(!node(&affinity, &picky, None, Some(bare())));
    assert!(node(&affinity, &picky, Some(bare()), fast()));
    let other_label = Some(machine(json!({"disk": "ssd", "a": "b"}), json!({}), "4"));
    assert!(!node(&affinity, &picky, fast(), other_label));
    assert!(!node(&affinity, &picky, fast(), Some(bare())));

    let plain = json!({});
    let tainted = |effect: &str| {
        Some(machine(
            json!({}),
            json!({"taints": [{"key": "k", "effect": effect}]}),
            "4",
        ))
    };
    assert!(node(&TaintToleration, &plain, None, Some(bare())));
    assert!(!node(&TaintToleration, &plain, None, tainted("NoSchedule")));
    assert!(node(
        &TaintToleration,
        &plain,
        None,
        tainted("PreferNoSchedule")
    ));
    assert!(node(
        &TaintToleration,
        &plain,
        tainted("NoSchedule"),
        Some(bare())
    ));
    assert!(!node(
        &TaintToleration,
        &plain,
        Some(bare()),
        tainted("PreferNoSchedule")
    ));
    let tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    assert!(itself(&TaintToleration, json!({}), tolerant.clone()));
    assert!(!itself(
        &TaintToleration,
        json!({}),
        json!({"metadata": {"labels": {"a": "b"}}})
    ));

    let cordoned = || Some(machine(json!({}), json!({"unschedulable": true}), "4"));
    assert!(node(&NodeUnschedulable, &plain, None, Some(bare())));
    assert!(!node(&NodeUnschedulable, &plain, None, cordoned()));
    assert!(node(&NodeUnschedulable, &plain, cordoned(), Some(bare())));
    assert!(!node(&NodeUnschedulable, &plain, Some(bare()), cordoned()));
    assert!(itself(&NodeUnschedulable, json!({}), tolerant));
    let unlike = json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}});
    assert!(!itself(&NodeUnschedulable, json!({}), unlike));

    assert!(node(&NodeName, &plain, None, Some(bare())));
    assert!(!node(&NodeName, &plain, Some(bare()), fast()));

    let port = |number: i32| json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": number}]}]}});
    assert!(other(&NodePorts, &port(80), Some(port(80)), None));
    assert!(!other(&NodePorts, &port(80), Some(port(81)), None));
    assert!(node(&NodePorts, &port(80), None, Some(bare())));
    assert!(!node(&NodePorts, &port(80), Some(bare()), fast()));

    let declares = |names: &[&str]| {
        let mut node = bare();
        node["status"]["declaredFeatures"] = json!(names);
        Some(node)
    };
    let shared = json!({"spec": {"hostNetwork": true, "hostUsers": false}});
    let plugin = &NodeDeclaredFeatures;
    assert!(node(plugin, &shared, None, declares(&[])));
    assert!(node(plugin, &shared, declares(&[]), declares(&["F"])));
    assert!(!node(plugin, &shared, declares(&["F"]), declares(&["F"])));
    assert!(!node(plugin, &shared, Some(bare()), fast()));
    assert!(itself(plugin, shared.clone(), plain.clone()));
    let named = json!({"spec": {"hostNetwork": true, "hostUsers": false, "hostname": "h"}});
    assert!(!itself(plugin, shared, named));

    let gated = json!({"spec": {"schedulingGates": [{"name": "g"}]}});
    let both = json!({"spec": {"schedulingGates": [{"name": "g"}, {"name": "h"}]}});
    assert!(itself(&SchedulingGates, gated.clone(), json!({"spec": {}})));
    assert!(!itself(&SchedulingGates, both, gated));
    assert_eq!(DefaultBinder.name(), "DefaultBinder");
}

fn labelled(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}})
}

#[test]
fn near_and_far() {
    let plugin = InterPodAffinity::default();
    let term = json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let rule = |kind: &str| json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": term}}}});
    let (near, far) = (rule("podAffinity"), rule("podAntiAffinity"));
    assert!(other(&plugin, &near, None, Some(labelled("web"))));
    assert!(!other(&plugin, &near, None, Some(labelled("db"))));
    assert!(other(
        &plugin,
        &near,
        Some(labelled("db")),
        Some(labelled("web"))
    ));
    assert!(!other(&plugin, &near, Some(labelled("web")), None));
    assert!(other(&plugin, &far, Some(labelled("web")), None));
    assert!(other(
        &plugin,
        &far,
        Some(labelled("web")),
        Some(labelled("db"))
    ));
    assert!(!other(&plugin, &far, Some(labelled("db")), None));
    assert!(!other(&plugin, &far, None, Some(labelled("web"))));
    // One that did not want this pod near is gone.
    let mut hostile = far.clone();
    hostile["metadata"] = json!({"labels": {"app": "db"}});
    assert!(other(
        &plugin,
        &labelled("web"),
        Some(hostile.clone()),
        None
    ));
    assert!(!other(&plugin, &labelled("db"), Some(hostile), None));
    let zoned = |zone: &str| Some(machine(json!({"zone": zone}), json!({}), "4"));
    let also = || Some(machine(json!({"zone": "a", "disk": "ssd"}), json!({}), "4"));
    for (old, new, helps_near, helps_far) in [
        (None, zoned("a"), true, true),
        // On a node without the label no pod is too near, and none is near.
        (None, Some(bare()), false, true),
        (Some(bare()), zoned("a"), true, false),
        (zoned("a"), zoned("b"), true, true),
        (zoned("a"), Some(bare()), false, true),
        (zoned("a"), also(), false, false),
    ] {
        let said = [&near, &far].map(|pod| node(&plugin, pod, old.clone(), new.clone()));
        assert_eq!(said, [helps_near, helps_far], "{old:?} {new:?}");
    }
    // One that wants its own kind near may start anywhere when the last one of it is gone.
    let mut own_kind = near.clone();
    own_kind["metadata"] = json!({"labels": {"app": "web"}});
    assert!(other(&plugin, &own_kind, Some(labelled("web")), None));
    assert!(other(
        &plugin,
        &own_kind,
        Some(labelled("web")),
        Some(labelled("db"))
    ));
    assert!(!other(&plugin, &own_kind, Some(labelled("db")), None));
    assert!(node(&plugin, &own_kind, zoned("a"), Some(bare())));
    assert!(itself(&plugin, labelled("web"), labelled("db")));
}

#[test]
fn nodes_that_move_out_of_the_way() {
    // The pod wants nothing itself; who does not want it near speaks of racks.
    let mut snapshot = Snapshot::default();
    let hostile = json!({"metadata": {"name": "h", "namespace": "ns"}, "spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "rack", "labelSelector": {}}]}}}});
    let hostile = Arc::new(whole(hostile));
    snapshot.add_pod("n", &hostile);
    let pod = whole(labelled("web"));
    let on = |label: &str, value: &str| {
        let node = machine(json!({label: value}), json!({}), "4");
        serde_json::from_value::<Node>(node).unwrap()
    };
    let wakes = |old: Node, new: Node, snapshot: &Snapshot| {
        let event = ClusterEvent::new(Resource::Node, Actions::UPDATE_NODE_LABEL);
        let event = event.with(Some(&old), Some(&new));
        InterPodAffinity::default().hint(&event, &pod, snapshot) == Hint::Queue
    };
    assert!(wakes(on("rack", "1"), on("rack", "2"), &snapshot));
    assert!(wakes(on("rack", "1"), on("disk", "ssd"), &snapshot));
    assert!(!wakes(on("disk", "hdd"), on("disk", "ssd"), &snapshot));
    assert!(!wakes(on("disk", "hdd"), on("rack", "1"), &snapshot));
    snapshot.remove_pod("n", &hostile.key);
    assert!(!wakes(on("rack", "1"), on("rack", "2"), &snapshot));
}

#[test]
fn namespaces() {
    let plugin = InterPodAffinity::default();
    let rule = |more: Value| {
        let mut term =
            json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}});
        term.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        whole(
            json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"affinity": {"podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [term]}}}}),
        )
    };
    let selects = rule(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}));
    let all = rule(json!({"namespaceSelector": {}}));
    let named = rule(json!({"namespaces": ["other"]}));
    let mut crowded = Snapshot::default();
    crowded.add_pod("n", &Arc::new(rule(json!({}))));
    let empty = Snapshot::default();
    for (pod, namespace, snapshot, helps) in [
        (&selects, "other", &empty, true),
        (&all, "other", &empty, false),
        (&named, "other", &empty, false),
        // What others say of the pod's own namespace counts, too.
        (&named, "ns", &empty, false),
        (&named, "ns", &crowded, true),
        (&named, "other", &crowded, false),
    ] {
        let labelled = json!({"metadata": {"name": namespace, "labels": {"team": "a"}}});
        let labelled: Namespace = serde_json::from_value(labelled).unwrap();
        let event = ClusterEvent::new(Resource::Namespace, Actions::UPDATE_OTHER);
        let event = event.with(Some(&labelled), Some(&labelled));
        assert!(plugin.events().iter().any(|pattern| pattern.covers(&event)));
        let said = plugin.hint(&event, pod, snapshot) == Hint::Queue;
        assert_eq!(said, helps, "{namespace} {pod:?}");
    }
}

#[test]
fn spread() {
    let plugin = PodTopologySpread::default();
    let constraint = |policy: &str| {
        json!({"spec": {"topologySpreadConstraints": [{
            "topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": policy,
            "labelSelector": {"matchLabels": {"app": "web"}},
        }]}})
    };
    let pod = constraint("Ignore");
    assert!(other(&plugin, &pod, None, Some(labelled("web"))));
    assert!(!other(&plugin, &pod, None, Some(labelled("db"))));
    assert!(other(&plugin, &pod, Some(labelled("web")), None));
    assert!(other(
        &plugin,
        &pod,
        Some(labelled("web")),
        Some(labelled("db"))
    ));
    let mut also = labelled("web");
    also["metadata"]["labels"]["tier"] = "front".into();
    assert!(!other(&plugin, &pod, Some(labelled("web")), Some(also)));
    let mut elsewhere = labelled("web");
    elsewhere["metadata"]["namespace"] = "other".into();
    assert!(!other(&plugin, &pod, Some(elsewhere), None));
    let zoned = |zone: &str| Some(machine(json!({"zone": zone}), json!({}), "4"));
    assert!(node(&plugin, &pod, None, zoned("a")));
    assert!(!node(&plugin, &pod, None, Some(bare())));
    assert!(node(&plugin, &pod, zoned("a"), None));
    assert!(node(&plugin, &pod, zoned("a"), zoned("b")));
    assert!(node(&plugin, &pod, zoned("a"), Some(bare())));
    let tainted = Some(machine(
        json!({"zone": "a"}),
        json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}),
        "4",
    ));
    assert!(node(&plugin, &pod, zoned("a"), tainted));
    assert!(!node(
        &plugin,
        &pod,
        zoned("a"),
        Some(machine(json!({"zone": "a", "disk": "ssd"}), json!({}), "4"))
    ));
    // Its own label is part of what it asks for.
    let mut keyed = constraint("Ignore");
    keyed["spec"]["topologySpreadConstraints"][0]["matchLabelKeys"] = json!(["version"]);
    let version = |version: &str| {
        let mut pod = keyed.clone();
        pod["metadata"] = json!({"labels": {"version": version}});
        pod
    };
    assert!(itself(&plugin, version("1"), version("2")));
    assert!(!itself(&plugin, keyed.clone(), {
        let mut other = keyed.clone();
        other["metadata"] = json!({"labels": {"tier": "front"}});
        other
    }));
    // Pods on nodes that the pod itself cannot use do not count.
    let mut choosy = pod.clone();
    choosy["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    let fast = || Some(machine(json!({"zone": "a", "disk": "ssd"}), json!({}), "4"));
    assert!(node(&plugin, &choosy, fast(), zoned("a")));
    assert!(node(&plugin, &choosy, zoned("a"), fast()));
    let mut leaving = labelled("web");
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert!(other(&plugin, &pod, Some(labelled("web")), Some(leaving)));
    for (policy, helps) in [("Honor", true), ("Ignore", false)] {
        let mut tolerant = constraint(policy);
        tolerant["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        assert_eq!(
            itself(&plugin, constraint(policy), tolerant),
            helps,
            "{policy}"
        );
    }
}
