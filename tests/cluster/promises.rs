//! What was promised of a whole cluster, each promise as a user would try it.

use std::time::Duration;

use homeostat::cri::fake::Script;
use homeostat::manifest;
use homeostat::testing::Cluster;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const GUESTBOOK: &str = include_str!("../../examples/manifests/guestbook.yaml");

async fn change(deployments: &Api<Deployment>, spec: Value) {
    let patch = Patch::Strategic(json!({"spec": spec}));
    deployments
        .patch("guestbook", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

fn image(image: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "web", "image": image}]}}})
}

/// A condition as `status reason`.
fn condition(deployment: &Deployment, type_: &str) -> String {
    let deployment = serde_json::to_value(deployment).unwrap();
    let conditions = deployment["status"]["conditions"]
        .as_array()
        .unwrap()
        .clone();
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == type_)
        .unwrap();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}", text("status"), text("reason"))
}

#[tokio::test(start_paused = true)]
async fn a_bad_rollout_runs_into_its_deadline_and_is_rolled_back() {
    let cluster = Cluster::builder().nodes(2).seed(9).start().await.unwrap();
    let broken = "registry.example/guestbook:broken";
    for node in ["node-1", "node-2"] {
        cluster
            .node(node)
            .runtime()
            .script(broken, Script::default().pull_fails("no such tag"));
    }
    cluster.apply(GUESTBOOK).await.unwrap();
    cluster.settle().await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let sets: Api<ReplicaSet> = Api::default_namespaced(cluster.client());
    let before = sets.list(&ListParams::default()).await.unwrap().items;
    let mut spec = image(broken);
    spec["progressDeadlineSeconds"] = 60.into();
    change(&deployments, spec).await;
    cluster.advance(Duration::from_secs(90)).await;
    let stuck = deployments.get("guestbook").await.unwrap();
    assert_eq!(
        condition(&stuck, "Progressing"),
        "False ProgressDeadlineExceeded"
    );
    // The old pods go on: no more of them are away than the strategy allows.
    assert_eq!(
        condition(&stuck, "Available"),
        "True MinimumReplicasAvailable"
    );
    change(&deployments, image("registry.example/guestbook:v1")).await;
    cluster.settle().await.unwrap();
    let healed = deployments.get("guestbook").await.unwrap();
    assert_eq!(
        condition(&healed, "Progressing"),
        "True NewReplicaSetAvailable"
    );
    let sets = sets.list(&ListParams::default()).await.unwrap().items;
    let current: Vec<_> = sets
        .iter()
        .filter(|set| set.status.as_ref().unwrap().replicas == 3)
        .collect();
    // The set of before is taken up again, as the third revision.
    assert_eq!(current[0].metadata.name, before[0].metadata.name);
    let annotations = current[0].metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
}

#[tokio::test(start_paused = true)]
async fn a_paused_rollout_waits() {
    let cluster = Cluster::builder().nodes(2).seed(9).start().await.unwrap();
    cluster.apply(GUESTBOOK).await.unwrap();
    cluster.settle().await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let images = || async {
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        let images = pods.iter().map(|pod| {
            pod.spec.as_ref().unwrap().containers[0]
                .image
                .clone()
                .unwrap()
        });
        images.collect::<std::collections::BTreeSet<_>>()
    };
    let mut spec = image("registry.example/guestbook:v2");
    spec["paused"] = true.into();
    change(&deployments, spec).await;
    cluster.settle().await.unwrap();
    assert_eq!(
        images().await,
        ["registry.example/guestbook:v1".to_owned()].into()
    );
    change(&deployments, json!({"paused": false})).await;
    cluster.settle().await.unwrap();
    assert_eq!(
        images().await,
        ["registry.example/guestbook:v2".to_owned()].into()
    );
}

#[tokio::test(start_paused = true)]
async fn like_events_are_counted() {
    let cluster = Cluster::builder().nodes(1).seed(9).start().await.unwrap();
    let script = Script::default().exits(Duration::from_secs(1), 3);
    cluster
        .node("node-1")
        .runtime()
        .script("registry.example/crashes:v1", script);
    cluster
        .apply("apiVersion: v1\nkind: Pod\nmetadata: {name: crashes}\nspec: {containers: [{name: c, image: 'registry.example/crashes:v1'}]}\n")
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(600)).await;
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let back_off: Vec<_> = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("BackOff"))
        .collect();
    assert_eq!(back_off.len(), 1, "{back_off:?}");
    assert!(back_off[0].count.unwrap() > 3, "{back_off:?}");
    assert!(
        back_off[0]
            .message
            .as_ref()
            .unwrap()
            .starts_with("Back-off restarting failed container c in pod crashes_default(")
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_manifest_is_refused_with_the_field() {
    let cluster = Cluster::builder().seed(9).start().await.unwrap();
    let bad = GUESTBOOK.replace("replicas: 3", "replicas: -3");
    assert_ne!(bad, GUESTBOOK);
    let error = cluster.apply(&bad).await.unwrap_err();
    assert!(matches!(error, manifest::Error::Refused { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("spec.replicas: Invalid value: -3: must be greater than or equal to 0"),
        "{text}"
    );
    let unknown = cluster
        .apply("apiVersion: v1\nkind: Pot\nmetadata: {name: x}\n")
        .await
        .unwrap_err();
    assert!(
        unknown.to_string().contains("no matches for kind \"Pot\""),
        "{unknown}"
    );
    let broken = cluster
        .apply("apiVersion: v1\nkind: [Pod\n")
        .await
        .unwrap_err();
    assert!(
        matches!(broken, manifest::Error::Syntax { document: 1, .. }),
        "{broken}"
    );
}
