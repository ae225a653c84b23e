//! Pods whose volumes wait for them. The tests do what a provisioner would.

use std::time::Duration;

use futures::StreamExt;
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers: [{name: c, image: 'registry.example/c:v1'}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]
";

fn claim_of(provisioner: &str) -> String {
    format!(
        "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: wait}}
provisioner: {provisioner}
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: c}}
spec:
  storageClassName: wait
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 1Gi}}}}
"
    )
}

/// A volume that is used on the second node only.
const VOLUME: &str = "
apiVersion: v1
kind: PersistentVolume
metadata: {name: v}
spec:
  storageClassName: wait
  accessModes: [ReadWriteOnce]
  capacity: {storage: 2Gi}
  local: {path: /data}
  nodeAffinity:
    required:
      nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-1]}]}]
";

async fn node_of(cluster: &Cluster) -> Option<String> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.get("p").await.unwrap().spec.unwrap().node_name
}

/// The revision at which an object was so for the first time.
async fn first<K>(api: Api<K>, name: &'static str, is_so: fn(&K) -> bool) -> u64
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + ResourceExt,
{
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(api.watch(&params, "0").await.unwrap());
    while let Some(event) = events.next().await {
        if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event.unwrap()
            && is_so(&object)
        {
            return object.resource_version().unwrap().parse().unwrap();
        }
    }
    panic!("{name} never was so");
}

async fn patch<K>(api: &Api<K>, name: &str, patch: Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_exists_decides_the_node() {
    let cluster = Cluster::builder().nodes(3).seed(9).start().await.unwrap();
    cluster
        .apply(&claim_of("kubernetes.io/no-provisioner"))
        .await
        .unwrap();
    cluster.apply(POD).await.unwrap();
    cluster.advance(Duration::from_secs(10)).await;
    assert_eq!(node_of(&cluster).await, None, "there is no volume");
    let nodes: Api<Node> = Api::all(cluster.client());
    let labels = json!({"metadata": {"labels": {"kubernetes.io/hostname": "node-1"}}});
    patch(&nodes, "node-1", labels).await;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(cluster.client());
    let bound = tokio::spawn(first(claims, "c", |claim| {
        let has_volume = claim.spec.as_ref().unwrap().volume_name.is_some();
        has_volume
            && claim
                .annotations()
                .contains_key("pv.kubernetes.io/bind-completed")
    }));
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let placed = tokio::spawn(first(pods, "p", |pod| {
        pod.spec.as_ref().unwrap().node_name.is_some()
    }));
    cluster.apply(VOLUME).await.unwrap();
    let volumes: Api<PersistentVolume> = Api::all(cluster.client());
    cluster.advance(Duration::from_secs(20)).await;
    // The scheduler has chosen, and the controller has bound.
    let owner = volumes.get("v").await.unwrap().spec.unwrap().claim_ref;
    assert_eq!(owner.unwrap().name.as_deref(), Some("c"));
    assert_eq!(node_of(&cluster).await.as_deref(), Some("node-1"));
    // The pod had to wait for its claim.
    assert!(bound.await.unwrap() < placed.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_made_for_the_node() {
    let cluster = Cluster::builder().nodes(2).seed(9).start().await.unwrap();
    cluster.apply(&claim_of("csi.example")).await.unwrap();
    cluster.apply(POD).await.unwrap();
    cluster.advance(Duration::from_secs(5)).await;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(cluster.client());
    let annotation = "volume.kubernetes.io/selected-node";
    let claim = claims.get("c").await.unwrap();
    let selected = claim.metadata.annotations.unwrap()[annotation].clone();
    assert_eq!(node_of(&cluster).await, None);
    // The driver cannot make it there: the scheduler chooses anew.
    patch(
        &claims,
        "c",
        json!({"metadata": {"annotations": {annotation: null, "other": "yes"}}}),
    )
    .await;
    cluster.advance(Duration::from_secs(20)).await;
    let claim = claims.get("c").await.unwrap();
    let again = claim.metadata.annotations.unwrap()[annotation].clone();
    assert!(selected.starts_with("node-") && again.starts_with("node-"));
    let ours = "spec:\n  claimRef: {namespace: default, name: c}\n";
    let made = VOLUME.replace("node-1", &again).replace("spec:\n", ours);
    let nodes: Api<Node> = Api::all(cluster.client());
    let labels = json!({"metadata": {"labels": {"kubernetes.io/hostname": again}}});
    patch(&nodes, &again, labels).await;
    cluster.apply(&made).await.unwrap();
    cluster.advance(Duration::from_secs(5)).await;
    assert_eq!(node_of(&cluster).await, Some(again));
}
