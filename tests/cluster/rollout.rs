//! A manifest becomes running pods; the deployment scales, rolls out, rolls back and is deleted.

use homeostat::testing::Cluster;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

const GUESTBOOK: &str = include_str!("../../examples/manifests/guestbook.yaml");

async fn pods(cluster: &Cluster) -> Vec<Pod> {
    let api: Api<Pod> = Api::default_namespaced(cluster.client());
    api.list(&ListParams::default()).await.unwrap().items
}

fn running(pods: &[Pod], image: &str) -> usize {
    let is_running = |pod: &&Pod| {
        pod.status.as_ref().unwrap().phase.as_deref() == Some("Running")
            && pod.metadata.deletion_timestamp.is_none()
            && pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image)
    };
    pods.iter().filter(is_running).count()
}

#[tokio::test(start_paused = true)]
async fn a_deployment_from_cradle_to_grave() {
    let cluster = Cluster::builder().nodes(3).seed(1).start().await.unwrap();
    cluster.apply(GUESTBOOK).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(
        running(&pods(&cluster).await, "registry.example/guestbook:v1"),
        3
    );
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let status = deployments.get("guestbook").await.unwrap().status.unwrap();
    assert_eq!(
        (status.available_replicas, status.updated_replicas),
        (Some(3), Some(3))
    );

    let patch = |spec| Patch::Merge(json!({"spec": spec}));
    deployments
        .patch(
            "guestbook",
            &PatchParams::default(),
            &patch(json!({"replicas": 5})),
        )
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(
        running(&pods(&cluster).await, "registry.example/guestbook:v1"),
        5
    );

    let image = json!([{"name": "web", "image": "registry.example/guestbook:v2"}]);
    let image = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": image}}}}));
    deployments
        .patch("guestbook", &PatchParams::default(), &image)
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    let after = pods(&cluster).await;
    assert_eq!(
        (
            running(&after, "registry.example/guestbook:v2"),
            after.len()
        ),
        (5, 5)
    );
    let sets: Api<ReplicaSet> = Api::default_namespaced(cluster.client());
    assert_eq!(
        sets.list(&ListParams::default()).await.unwrap().items.len(),
        2
    );

    deployments
        .delete("guestbook", &DeleteParams::foreground())
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert!(deployments.get_opt("guestbook").await.unwrap().is_none());
    assert!(
        sets.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(pods(&cluster).await.is_empty());
    cluster.stop().await;
}
