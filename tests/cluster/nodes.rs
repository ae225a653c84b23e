//! Nodes that fail, and pods that fit nowhere.

use std::time::Duration;

use homeostat::cri::fake::Script;
use homeostat::node::NodeSpec;
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PatchParams};

const GUESTBOOK: &str = include_str!("../../examples/manifests/guestbook.yaml");

fn node_of(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .unwrap()
        .node_name
        .as_deref()
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn heals_after_node_loss() {
    let cluster = Cluster::builder().nodes(3).seed(7).start().await.unwrap();
    cluster.apply(GUESTBOOK).await.unwrap();
    cluster.settle().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let before = pods.list(&ListParams::default()).await.unwrap().items;
    let lost = node_of(&before[0]).to_owned();
    cluster.node(&lost).stop().await;
    cluster.settle().await.unwrap();
    let after = pods.list(&ListParams::default()).await.unwrap().items;
    let alive: Vec<_> = after
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    assert_eq!(alive.len(), 3);
    assert!(alive.iter().all(|pod| node_of(pod) != lost));
    let nodes: Api<Node> = Api::all(cluster.client());
    let node = nodes.get(&lost).await.unwrap();
    let ready = node
        .status
        .unwrap()
        .conditions
        .unwrap()
        .into_iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref()),
        ("Unknown", Some("NodeStatusUnknown"))
    );

    cluster.node(&lost).start().await.unwrap();
    cluster.settle().await.unwrap();
    let node = nodes.get(&lost).await.unwrap();
    assert!(
        node.spec
            .unwrap()
            .taints
            .is_none_or(|taints| taints.is_empty())
    );
    assert_eq!(
        pods.list(&ListParams::default()).await.unwrap().items.len(),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_waits_and_says_why() {
    let cluster = Cluster::builder().nodes(2).seed(3).start().await.unwrap();
    cluster
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: big}
spec: {containers: [{name: c, image: 'registry.example/big:v1', resources: {requests: {cpu: '6'}}}]}
",
        )
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let status = pods.get("big").await.unwrap().status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let scheduled = &status.conditions.unwrap()[0];
    assert_eq!(
        (
            scheduled.type_.as_str(),
            scheduled.status.as_str(),
            scheduled.reason.as_deref()
        ),
        ("PodScheduled", "False", Some("Unschedulable"))
    );
    assert_eq!(
        scheduled.message.as_deref(),
        Some(
            "0/2 nodes are available: 2 Insufficient cpu. \
             preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        )
    );
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let events = events.list(&ListParams::default()).await.unwrap().items;
    assert!(
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("FailedScheduling"))
    );
    // A node that fits appears.
    let nodes: Api<Node> = Api::all(cluster.client());
    let patch =
        serde_json::json!({"status": {"capacity": {"cpu": "8"}, "allocatable": {"cpu": "8"}}});
    nodes
        .patch_status(
            "node-1",
            &PatchParams::default(),
            &kube::api::Patch::Merge(patch),
        )
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(node_of(&pods.get("big").await.unwrap()), "node-1");
}

#[tokio::test(start_paused = true)]
async fn crash_loops_back_off_and_settle_names_them() {
    let cluster = Cluster::builder()
        .with(|cluster| cluster.node(NodeSpec::new("n")))
        .start()
        .await
        .unwrap();
    let script = Script::default().exits(Duration::from_secs(1), 3);
    cluster
        .node("n")
        .runtime()
        .script("registry.example/crashes:v1", script);
    cluster
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: crashes}
spec: {containers: [{name: c, image: 'registry.example/crashes:v1'}]}
",
        )
        .await
        .unwrap();
    let busy = cluster.settle().await.unwrap_err();
    assert!(busy.to_string().contains("default/crashes"), "{busy}");
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let pod = pods.get("crashes").await.unwrap();
    let container = &pod.status.unwrap().container_statuses.unwrap()[0];
    assert!(
        container.restart_count >= 8 && container.restart_count <= 12,
        "{}",
        container.restart_count
    );
    assert_eq!(
        container
            .last_state
            .as_ref()
            .unwrap()
            .terminated
            .as_ref()
            .unwrap()
            .exit_code,
        3
    );
    pods.delete("crashes", &DeleteParams::default())
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert!(pods.get_opt("crashes").await.unwrap().is_none());
    cluster
        .stays_settled(Duration::from_secs(600))
        .await
        .unwrap();
}
