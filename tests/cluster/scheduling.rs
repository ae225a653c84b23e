//! Users' scheduler plugins.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostat::cri::fake::Script;
use homeostat::node::NodeSpec;
use homeostat::scheduler::SchedulerConfig;
use homeostat::scheduler::framework::{
    CycleState, Decision, Filter, Framework, NodeInfo, Plugin, PodInfo, Profile, Scheduler,
    Snapshot, Status,
};
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::ListParams;

/// Keeps pods off `node-1`, and cannot bear one of them.
#[derive(Debug)]
struct Picky;

impl Plugin for Picky {
    fn name(&self) -> &'static str {
        "Picky"
    }
}

impl Filter for Picky {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        assert!(&*pod.key.name != "cursed", "cannot bear it");
        if &*node.name == "node-1" {
            Status::unschedulable("node(s) were not liked")
        } else {
            Status::success()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_users_filter_counts_and_its_panic_fails_its_pod_only() {
    let config = SchedulerConfig::default().profile(Profile::default().filter(Picky));
    let cluster = Cluster::builder()
        .nodes(2)
        .seed(4)
        .with(|cluster| cluster.scheduler(config))
        .start()
        .await
        .unwrap();
    for name in ["cursed", "a", "b", "c"] {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: 'registry.example/c:v1'}}]}}\n"
        );
        cluster.apply(&pod).await.unwrap();
    }
    cluster.advance(Duration::from_secs(30)).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    for name in ["a", "b", "c"] {
        assert_eq!(
            pods.get(name)
                .await
                .unwrap()
                .spec
                .unwrap()
                .node_name
                .as_deref(),
            Some("node-2"),
            "{name}"
        );
    }
    let cursed = pods.get("cursed").await.unwrap();
    assert_eq!(cursed.spec.unwrap().node_name, None);
    let conditions = cursed.status.unwrap().conditions.unwrap();
    assert_eq!(conditions[0].reason.as_deref(), Some("SchedulerError"));
    assert!(
        conditions[0]
            .message
            .as_deref()
            .unwrap()
            .contains("cannot bear it")
    );
    // What keeps it busy is named.
    let busy = cluster.settle().await.unwrap_err();
    assert!(busy.to_string().contains("default/cursed"), "{busy}");
}

/// Takes any node, but gets lost over some pods.
#[derive(Debug)]
struct Absent;

#[async_trait]
impl Scheduler for Absent {
    async fn schedule(
        &mut self,
        _: &Framework,
        pod: &Arc<PodInfo>,
        snapshot: &Snapshot,
    ) -> Decision {
        match &*pod.key.name {
            "lost" => std::future::pending().await,
            "cursed" => panic!("cannot bear it"),
            _ => Decision::Node(snapshot.nodes()[0].name.clone(), CycleState::default()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_users_scheduler_that_waits_or_panics_fails_its_pod_only() {
    let config = SchedulerConfig::default().scheduler(|_| Absent);
    let cluster = Cluster::builder()
        .nodes(1)
        .with(|cluster| cluster.scheduler(config))
        .start()
        .await
        .unwrap();
    for name in ["lost", "cursed", "a"] {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: 'registry.example/c:v1'}}]}}\n"
        );
        cluster.apply(&pod).await.unwrap();
    }
    cluster.advance(Duration::from_secs(200)).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    assert_eq!(node_of(&pods.get("a").await.unwrap()), "node-1");
    for (name, why) in [
        ("lost", "not decided after 60s"),
        ("cursed", "the scheduler panicked: cannot bear it"),
    ] {
        let pod = pods.get(name).await.unwrap();
        let conditions = pod.status.unwrap().conditions.unwrap();
        assert_eq!(conditions[0].message.as_deref(), Some(why));
    }
}

/// Some pods need a kubelet that can do something; a node whose agent has not declared it does not get them.
#[tokio::test(start_paused = true)]
async fn pods_go_where_their_features_are_declared() {
    let rule = "{action: RestartAllContainers, exitCodes: {operator: In, values: [3]}}";
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{tolerations: [{{operator: Exists}}], containers: [{{name: c, image: 'registry.example/c:v1', restartPolicy: Never, restartPolicyRules: [{rule}]}}]}}\n"
    );
    let bare = "apiVersion: v1\nkind: Node\nmetadata: {name: bare}\nstatus: {allocatable: {cpu: '8', memory: 8Gi, pods: '9'}}\n";
    for (nodes, hollow, expected) in [(0, 0, ""), (1, 0, "node-1"), (0, 1, "hollow-1")] {
        let cluster = Cluster::builder()
            .nodes(nodes)
            .with(|cluster| cluster.hollow_nodes(hollow))
            .start()
            .await
            .unwrap();
        cluster.apply(bare).await.unwrap();
        cluster.apply(&pod).await.unwrap();
        cluster.advance(Duration::from_secs(5)).await;
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let pod = pods.get("p").await.unwrap();
        assert_eq!(node_of(&pod), expected);
        let conditions = pod.status.unwrap().conditions.unwrap();
        let why = conditions[0].message.as_deref().unwrap_or_default();
        let unmet = "0/1 nodes are available: 1 node(s) didn't match Pod's required features. \
            preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        assert_eq!(why, if expected.is_empty() { unmet } else { "" });
    }
}

fn node_of(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref().unwrap();
    spec.node_name.as_deref().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn an_important_pod_takes_the_place_of_others() {
    let cluster = Cluster::builder().nodes(2).seed(4).start().await.unwrap();
    let runtime = |name: &str| cluster.node(name).runtime().clone();
    for name in ["node-1", "node-2"] {
        let slow = Script::default().stop_takes(Duration::from_secs(10));
        runtime(name).script("registry.example/c:v1", slow);
    }
    let pod = |name: &str, cpu: i32, class: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {{priorityClassName: {class}, \
             containers: [{{name: c, image: 'registry.example/c:v1', resources: {{requests: {{cpu: '{cpu}'}}}}}}]}}\n"
        )
    };
    let class = |name: &str, value: i32| {
        format!(
            "---\napiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {{name: {name}}}\nvalue: {value}\n"
        )
    };
    let classes = class("low", 1) + &class("middle", 5) + &class("high", 100);
    cluster.apply(&classes).await.unwrap();
    cluster
        .apply(&(pod("low", 3, "low") + &pod("middle", 3, "middle")))
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let low = pods.get("low").await.unwrap();
    cluster.apply(&pod("high", 4, "high")).await.unwrap();
    cluster.advance(Duration::from_secs(5)).await;
    // The victim ends in its own time, the pod is nominated meanwhile, and a lesser one may not slip in.
    let waits = pods.get("high").await.unwrap();
    let nominated = waits.status.unwrap().nominated_node_name.unwrap();
    assert_eq!(nominated, node_of(&low));
    let victim = pods.get("low").await.unwrap();
    assert!(victim.metadata.deletion_timestamp.is_some());
    let conditions = victim.status.unwrap().conditions.unwrap();
    let disrupted = conditions
        .iter()
        .find(|condition| condition.type_ == "DisruptionTarget")
        .unwrap();
    assert_eq!(disrupted.reason.as_deref(), Some("PreemptionByScheduler"));
    cluster.apply(&pod("late", 1, "low")).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(node_of(&pods.get("high").await.unwrap()), node_of(&low));
    assert!(pods.get_opt("low").await.unwrap().is_none());
    let middle = pods.get("middle").await.unwrap();
    assert_eq!(node_of(&pods.get("late").await.unwrap()), node_of(&middle));
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let events = events.list(&ListParams::default()).await.unwrap().items;
    assert!(
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("Preempted"))
    );
}

#[tokio::test(start_paused = true)]
async fn replicas_are_spread_and_followers_follow() {
    let zone =
        |name: &str, zone: &str| NodeSpec::new(name).label("topology.kubernetes.io/zone", zone);
    let cluster = Cluster::builder()
        .seed(4)
        .with(|cluster| {
            cluster
                .node(zone("a1", "a"))
                .node(zone("a2", "a"))
                .node(zone("b1", "b"))
                .node(zone("c1", "c"))
        })
        .start()
        .await
        .unwrap();
    cluster
        .apply(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers: [{name: c, image: 'registry.example/c:v1'}]
---
apiVersion: v1
kind: Pod
metadata: {name: follower}
spec:
  affinity:
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {labelSelector: {matchLabels: {app: leader}}, topologyKey: kubernetes.io/hostname}
  containers: [{name: c, image: 'registry.example/c:v1'}]
",
        )
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let mut by_zone = std::collections::BTreeMap::new();
    let web = pods
        .list(&ListParams::default().labels("app=web"))
        .await
        .unwrap()
        .items;
    for pod in &web {
        *by_zone.entry(node_of(pod)[..1].to_owned()).or_insert(0) += 1;
    }
    assert_eq!(by_zone.into_values().collect::<Vec<_>>(), [2, 2, 2]);
    // There is nobody to follow yet; as soon as there is, the pod that waits is tried again.
    assert_eq!(node_of(&pods.get("follower").await.unwrap()), "");
    cluster
        .apply("apiVersion: v1\nkind: Pod\nmetadata: {name: leader, labels: {app: leader}}\nspec: {nodeName: c1, containers: [{name: c, image: 'registry.example/c:v1'}]}\n")
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(node_of(&pods.get("follower").await.unwrap()), "c1");
}
