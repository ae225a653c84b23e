//! Pods that are scheduled together or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use homeostat::clock::Clock;
use homeostat::node::NodeSpec;
use homeostat::scheduler::config::KubeSchedulerConfiguration;
use homeostat::scheduler::explain::explain_pod;
use homeostat::scheduler::framework::{Profile, Registry};
use homeostat::scheduler::{POD_GROUP_SCHEDULED, PodGroup, SchedulerConfig};
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::sleep;

use crate::scheduler_faults::{BAD, Network, Process, World, history};

const NAME: &str = "default-scheduler";

fn config() -> SchedulerConfig {
    SchedulerConfig::default().profile(Profile::default().enable("GangScheduling", 0))
}

/// Two nodes of four cores each.
async fn cluster(config: SchedulerConfig) -> Cluster {
    let node = |name: &str| NodeSpec::new(name).capacity("cpu", "4");
    let cluster = Cluster::builder().seed(6).with(|cluster| {
        let cluster = cluster.node(node("n1")).node(node("n2"));
        cluster.resource::<PodGroup>().scheduler(config)
    });
    let cluster = cluster.start().await.unwrap();
    cluster.settle().await.unwrap();
    cluster
}

fn group(name: &str, min: usize) -> PodGroup {
    let spec = json!({"schedulingPolicy": {"gang": {"minCount": min}}});
    PodGroup::new(name, serde_json::from_value(spec).unwrap())
}

async fn make_group(client: &kube::Client, name: &str, min: usize) {
    let groups: Api<PodGroup> = Api::default_namespaced(client.clone());
    let none = PostParams::default();
    groups.create(&none, &group(name, min)).await.unwrap();
}

async fn make_pod(client: &kube::Client, name: &str, group: Option<&str>, cpu: u64, class: &str) {
    let mut pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "registry.example/c:v1", "resources": {"requests": {"cpu": cpu.to_string()}}}]},
    });
    if let Some(group) = group {
        pod["spec"]["schedulingGroup"] = json!({"podGroupName": group});
        pod["metadata"]["labels"] = json!({"gang": group});
    }
    if !class.is_empty() {
        pod["spec"]["priorityClassName"] = class.into();
    }
    let pod = serde_json::from_value(pod).unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

/// How many pods of each gang (`""`: of none) there are, and how many of them have a node.
async fn placed(client: &kube::Client) -> BTreeMap<String, (usize, usize)> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut placed: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let spec = pod.spec.unwrap();
        let group = spec.scheduling_group.and_then(|group| group.pod_group_name);
        let (all, with_node) = placed.entry(group.unwrap_or_default()).or_default();
        *all += 1;
        *with_node += usize::from(spec.node_name.is_some());
    }
    placed
}

async fn delete_gang(client: &kube::Client, name: &str) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let its = ListParams::default().labels(&format!("gang={name}"));
    for pod in pods.list(&its).await.unwrap() {
        let now = DeleteParams::default().grace_period(0);
        pods.delete(&pod.metadata.name.unwrap(), &now)
            .await
            .unwrap();
    }
}

async fn end_placed(client: &kube::Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let placed = ListParams::default().fields("spec.nodeName!=");
    for pod in pods.list(&placed).await.unwrap() {
        let now = DeleteParams::default().grace_period(0);
        let name = pod.metadata.name.unwrap();
        pods.delete(&name, &now).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn pods_wait_for_their_group_and_for_each_other() {
    // As a document configures it.
    let document = "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- plugins: {multiPoint: {enabled: [{name: GangScheduling}]}}
";
    let document = KubeSchedulerConfiguration::parse(document).unwrap();
    let cluster = cluster(document.resolve(&Registry::in_tree()).unwrap()).await;
    let client = cluster.client();
    let gate = async || {
        let explained = explain_pod(client.clone(), config(), "default", "a").await;
        let explained = explained.unwrap();
        let waits: Vec<String> = explained.waits_for[0].events.clone();
        assert_eq!(
            waits,
            [
                "UnscheduledPod/Add",
                "AssignedPod/Add",
                "PodGroup/Add|Update"
            ]
        );
        explained.gate.unwrap().reasons.join(", ")
    };
    make_pod(&client, "a", Some("g"), 1, "").await;
    make_pod(&client, "alone", None, 1, "").await;
    cluster.advance(Duration::from_secs(5)).await;
    assert_eq!(
        gate().await,
        "waiting for pod's pod group \"g\" to appear in scheduling queue"
    );
    make_group(&client, "g", 3).await;
    make_pod(&client, "b", Some("g"), 1, "").await;
    make_pod(&client, "other", Some("h"), 1, "").await;
    cluster.advance(Duration::from_secs(5)).await;
    assert_eq!(
        gate().await,
        "waiting for minCount pods from a gang to appear in scheduling queue"
    );
    let state = placed(&client).await;
    assert_eq!(
        (state["g"], state["h"], state[""]),
        ((2, 0), (1, 0), (1, 1))
    );
    make_pod(&client, "c", Some("g"), 1, "").await;
    cluster.advance(Duration::from_secs(2)).await;
    let state = placed(&client).await;
    assert_eq!((state["g"], state["h"]), ((3, 3), (1, 0)));
    // One that comes later joins them at once.
    make_pod(&client, "d", Some("g"), 1, "").await;
    cluster.advance(Duration::from_secs(2)).await;
    assert_eq!(placed(&client).await["g"], (4, 4));
}

#[tokio::test(start_paused = true)]
async fn two_gangs_do_not_block_each_other() {
    let cluster = cluster(config()).await;
    let client = cluster.client();
    // Room is for four pods, and each gang needs three.
    for name in ["x", "y"] {
        make_group(&client, name, 3).await;
    }
    for index in 0..3 {
        for gang in ["x", "y"] {
            make_pod(&client, &format!("{gang}{index}"), Some(gang), 2, "").await;
        }
    }
    cluster.advance(Duration::from_secs(30)).await;
    let state = placed(&client).await;
    let (x, y) = (state["x"].1, state["y"].1);
    assert!((x, y) == (3, 0) || (x, y) == (0, 3), "{state:?}");
    // What the one that waits cannot use is free for others.
    make_pod(&client, "alone", None, 2, "").await;
    cluster.advance(Duration::from_secs(2)).await;
    assert_eq!(placed(&client).await[""], (1, 1));
    let (first, second) = if x == 3 { ("x", "y") } else { ("y", "x") };
    delete_gang(&client, first).await;
    cluster.advance(Duration::from_secs(15)).await;
    assert_eq!(placed(&client).await[second], (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_gang_that_asks_for_less_is_tried_again() {
    let cluster = cluster(config()).await;
    let client = cluster.client();
    make_group(&client, "g", 3).await;
    for name in ["a", "b", "c"] {
        make_pod(&client, name, Some("g"), 4, "").await;
    }
    cluster.advance(Duration::from_secs(15)).await;
    assert_eq!(placed(&client).await["g"], (3, 0));
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let status = pods.get("a").await.unwrap().status.unwrap();
    let condition = &status.conditions.unwrap()[0];
    assert_eq!(condition.reason.as_deref(), Some("Unschedulable"));
    assert_eq!(
        condition.message.as_deref(),
        Some("minCount (3) cannot be satisfied: 2 scheduled, 0 remaining")
    );
    let groups: Api<PodGroup> = Api::default_namespaced(client.clone());
    let told = async || {
        let status = groups.get("g").await.unwrap().status.unwrap();
        let condition = status.conditions[0].clone();
        assert_eq!(condition.type_, POD_GROUP_SCHEDULED);
        (condition.status, condition.reason, condition.message)
    };
    let why = "minCount (3) cannot be satisfied: 2 scheduled, 0 remaining";
    let says = |status: &str, reason: &str, message: &str| {
        (status.to_owned(), reason.to_owned(), message.to_owned())
    };
    assert_eq!(told().await, says("False", "Unschedulable", why));
    let less = json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}});
    let none = PatchParams::default();
    groups.patch("g", &none, &Patch::Merge(less)).await.unwrap();
    cluster.advance(Duration::from_secs(15)).await;
    assert_eq!(placed(&client).await["g"], (3, 2));
    assert_eq!(told().await, says("True", "Scheduled", ""));
}

#[tokio::test(start_paused = true)]
async fn room_is_made_for_a_whole_gang_or_not_at_all() {
    // The second node's pod may be asked to leave, or not.
    for (class, placed_) in [("low", 2), ("high", 0)] {
        let cluster = cluster(config()).await;
        let client = cluster.client();
        for (name, value) in [("low", 1), ("high", 100)] {
            let class = format!(
                "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {{name: {name}}}\nvalue: {value}\n"
            );
            cluster.apply(&class).await.unwrap();
        }
        make_pod(&client, "one", None, 3, "low").await;
        make_pod(&client, "two", None, 3, class).await;
        cluster.advance(Duration::from_secs(5)).await;
        make_group(&client, "g", 2).await;
        for name in ["a", "b"] {
            make_pod(&client, name, Some("g"), 4, "high").await;
        }
        cluster.advance(Duration::from_secs(90)).await;
        let state = placed(&client).await;
        assert_eq!(state["g"], (2, placed_), "{class}");
        let left = state.get("").copied().unwrap_or_default();
        assert_eq!(left, (2 - placed_, 2 - placed_), "{class}");
    }
}

#[tokio::test(start_paused = true)]
async fn gangs_on_a_bad_network() {
    for seed in 0..16 {
        let mut world = World::new(seed, 8).await;
        let client = world.cluster.client();
        let history = history(&world.store).await;
        let network = Network::new(seed, BAD);
        let profile = Profile::default().enable("GangScheduling", 0);
        let scheduler = network.client(&client);
        let process = Process::start_with(scheduler, seed, profile, None).await;
        let process = process.unwrap();
        let chance = Clock::seeded(seed).fork("gangs");
        for gang in 0..12 {
            let (size, cpu) = (2 + chance.below(4), 1 + chance.below(3));
            let name = format!("g{gang}");
            make_group(&client, &name, usize::try_from(size).unwrap()).await;
            for index in 0..size {
                make_pod(&client, &format!("{name}-{index}"), Some(&name), cpu, "").await;
                sleep(Duration::from_millis(chance.below(300))).await;
            }
            world.make(2, NAME).await;
            if gang > 3 && chance.below(2) == 0 {
                delete_gang(&client, &format!("g{}", gang - 3)).await;
            }
            sleep(Duration::from_millis(chance.below(2000))).await;
        }
        network.heal();
        // All of a gang have a node, or none has; and each of them has its turn when others end.
        for round in 0.. {
            sleep(Duration::from_secs(40)).await;
            let state = placed(&client).await;
            if state.is_empty() {
                break;
            }
            assert!(round < 20, "seed {seed}: {state:?} are left");
            for (gang, (all, with_node)) in state.into_iter().filter(|(gang, _)| !gang.is_empty()) {
                assert!(
                    with_node == 0 || with_node == all,
                    "seed {seed}: {gang} has {with_node} of {all}"
                );
            }
            end_placed(&client).await;
        }
        world.check(&history.lock(), seed, &[NAME]);
        process.end().await;
    }
}
