//! Claims, their volumes and those who use them, in a whole cluster.

use std::time::Duration;

use homeostat::controllers::localprovisioner::LocalProvisionerConfig;
use homeostat::store::Faults;
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

const PROVISIONER: &str = "local.example";

fn class(mode: &str) -> String {
    format!(
        "{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: fast}}, provisioner: {PROVISIONER}, volumeBindingMode: {mode}}}"
    )
}

fn claim(name: &str, class: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {name}}}, spec: {{storageClassName: {class:?}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}}}"
    )
}

fn user(name: &str, claim: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: 'registry.example/c:v1'}}], volumes: [{{name: v, persistentVolumeClaim: {{claimName: {claim}}}}}]}}}}"
    )
}

fn volume(name: &str, size: &str, policy: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: {name}}}, spec: {{accessModes: [ReadWriteOnce], capacity: {{storage: {size}}}, persistentVolumeReclaimPolicy: {policy}, hostPath: {{path: /data/{name}}}}}}}"
    )
}

async fn cluster(nodes: usize, seed: u64) -> Cluster {
    let provisioner = LocalProvisionerConfig::new(PROVISIONER);
    let cluster = Cluster::builder()
        .nodes(nodes)
        .seed(seed)
        .with(|cluster| cluster.local_provisioner(provisioner));
    let cluster = cluster.start().await.unwrap();
    let api: Api<Node> = Api::all(cluster.client());
    for node in api.list(&ListParams::default()).await.unwrap() {
        let name = node.metadata.name.unwrap();
        let labels = json!({"metadata": {"labels": {"kubernetes.io/hostname": name}}});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(labels))
            .await
            .unwrap();
    }
    cluster
}

fn claims(cluster: &Cluster) -> Api<PersistentVolumeClaim> {
    Api::default_namespaced(cluster.client())
}

fn volumes(cluster: &Cluster) -> Api<PersistentVolume> {
    Api::all(cluster.client())
}

fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::default_namespaced(cluster.client())
}

/// A claim's phase and volume.
async fn state(cluster: &Cluster, name: &str) -> (String, String) {
    let claim = claims(cluster).get(name).await.unwrap();
    let phase = claim.status.and_then(|status| status.phase);
    let volume = claim.spec.and_then(|spec| spec.volume_name);
    (phase.unwrap_or_default(), volume.unwrap_or_default())
}

async fn phase(cluster: &Cluster, volume: &str) -> String {
    let volume = volumes(cluster).get(volume).await.unwrap();
    volume
        .status
        .and_then(|status| status.phase)
        .unwrap_or_default()
}

async fn reasons(cluster: &Cluster, about: &str) -> Vec<String> {
    let events: Api<Event> = Api::all(cluster.client());
    let events = events.list(&ListParams::default()).await.unwrap();
    let events = events.items.into_iter();
    let events = events.filter(|event| event.involved_object.name.as_deref() == Some(about));
    events.filter_map(|event| event.reason).collect()
}

#[tokio::test(start_paused = true)]
async fn the_smallest_volume_is_bound_kept_and_released() {
    let cluster = cluster(1, 3).await;
    cluster.apply(&claim("c", "")).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(
        state(&cluster, "c").await,
        ("Pending".into(), String::new())
    );
    assert_eq!(reasons(&cluster, "c").await, ["FailedBinding"]);
    for (name, size) in [("large", "5Gi"), ("small", "1Gi"), ("tiny", "1Mi")] {
        cluster.apply(&volume(name, size, "Retain")).await.unwrap();
    }
    cluster.settle().await.unwrap();
    // The first that came was large enough; it was there alone.
    let (is, bound) = state(&cluster, "c").await;
    assert_eq!((is.as_str(), bound.as_str()), ("Bound", "large"));
    cluster.apply(&claim("d", "")).await.unwrap();
    cluster.apply(&user("p", "c")).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(state(&cluster, "d").await, ("Bound".into(), "small".into()));
    assert_eq!(phase(&cluster, "tiny").await, "Available");
    // A claim in use stays, and so does its volume.
    let params = DeleteParams::default();
    claims(&cluster).delete("c", &params).await.unwrap();
    volumes(&cluster).delete("large", &params).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(state(&cluster, "c").await.0, "Bound");
    assert_eq!(phase(&cluster, "large").await, "Bound");
    pods(&cluster).delete("p", &params).await.unwrap();
    cluster.settle().await.unwrap();
    assert!(claims(&cluster).get_opt("c").await.unwrap().is_none());
    assert!(volumes(&cluster).get_opt("large").await.unwrap().is_none());
    // One that is kept is nobody's until a user says so.
    claims(&cluster).delete("d", &params).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(phase(&cluster, "small").await, "Released");
    cluster.apply(&claim("e", "")).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(state(&cluster, "e").await.0, "Pending");
    let free = Patch::Merge(json!({"spec": {"claimRef": null}}));
    volumes(&cluster)
        .patch("small", &PatchParams::default(), &free)
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(state(&cluster, "e").await, ("Bound".into(), "small".into()));
}

#[tokio::test(start_paused = true)]
async fn volumes_that_nobody_can_reclaim_fail() {
    let cluster = cluster(0, 4).await;
    for (name, policy, reason) in [
        ("a", "Recycle", "VolumeFailedRecycle"),
        ("b", "Delete", "VolumeFailedDelete"),
    ] {
        cluster.apply(&volume(name, "1Gi", policy)).await.unwrap();
        cluster.apply(&claim(name, "")).await.unwrap();
        cluster.settle().await.unwrap();
        assert_eq!(state(&cluster, name).await, ("Bound".into(), name.into()));
        let params = DeleteParams::default();
        claims(&cluster).delete(name, &params).await.unwrap();
        cluster.settle().await.unwrap();
        assert_eq!(phase(&cluster, name).await, "Failed");
        assert!(reasons(&cluster, name).await.contains(&reason.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_loses_its_volume_is_lost() {
    let cluster = cluster(0, 4).await;
    cluster.apply(&volume("v", "1Gi", "Retain")).await.unwrap();
    cluster.apply(&claim("c", "")).await.unwrap();
    cluster.settle().await.unwrap();
    let params = DeleteParams::default();
    volumes(&cluster).delete("v", &params).await.unwrap();
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    volumes(&cluster)
        .patch("v", &PatchParams::default(), &bare)
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(state(&cluster, "c").await.0, "Lost");
    assert!(
        reasons(&cluster, "c")
            .await
            .contains(&"ClaimLost".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_default_class_that_comes_later_is_given_to_waiting_claims() {
    let cluster = cluster(0, 5).await;
    let unnamed = claim("c", "").replace("storageClassName: \"\", ", "");
    cluster.apply(&unnamed).await.unwrap();
    cluster.apply(&claim("none", "")).await.unwrap();
    cluster.settle().await.unwrap();
    let default = class("Immediate").replace(
        "{name: fast}",
        "{name: fast, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}",
    );
    cluster.apply(&default).await.unwrap();
    cluster.settle().await.unwrap();
    let (is, bound) = state(&cluster, "c").await;
    assert_eq!(is, "Bound");
    assert!(bound.starts_with("pvc-"), "{bound}");
    assert_eq!(state(&cluster, "none").await.0, "Pending");
}

#[tokio::test(start_paused = true)]
async fn volumes_are_made_where_their_first_pod_goes() {
    let cluster = cluster(3, 6).await;
    cluster.apply(&class("WaitForFirstConsumer")).await.unwrap();
    for index in 0..3 {
        cluster
            .apply(&claim(&format!("data-{index}"), "fast"))
            .await
            .unwrap();
    }
    cluster.settle().await.unwrap();
    assert_eq!(reasons(&cluster, "data-0").await, ["WaitForFirstConsumer"]);
    for index in 0..3 {
        let pod = user(&format!("web-{index}"), &format!("data-{index}"));
        cluster.apply(&pod).await.unwrap();
    }
    cluster.settle().await.unwrap();
    let mut places = Vec::new();
    for index in 0..3 {
        let (is, bound) = state(&cluster, &format!("data-{index}")).await;
        assert_eq!(is, "Bound");
        let volume = json!(volumes(&cluster).get(&bound).await.unwrap());
        let term = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0];
        let pod = pods(&cluster).get(&format!("web-{index}")).await.unwrap();
        let node = pod.spec.unwrap().node_name.unwrap();
        assert_eq!(term["matchExpressions"][0]["values"], json!([node]));
        assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Running"));
        places.push(node);
    }
    // A pod that comes again goes where its volume is.
    let params = DeleteParams::default();
    pods(&cluster).delete("web-1", &params).await.unwrap();
    cluster.settle().await.unwrap();
    cluster.apply(&user("web-1", "data-1")).await.unwrap();
    cluster.settle().await.unwrap();
    let again = pods(&cluster).get("web-1").await.unwrap();
    assert_eq!(again.spec.unwrap().node_name.as_ref(), places.get(1));
    // Claims that go take their volumes along.
    for index in 0..3 {
        let (pod, claim) = (format!("web-{index}"), format!("data-{index}"));
        pods(&cluster).delete(&pod, &params).await.unwrap();
        claims(&cluster).delete(&claim, &params).await.unwrap();
    }
    cluster.settle().await.unwrap();
    let left = volumes(&cluster)
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(left.items.is_empty(), "{:?}", left.items);
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_volume_lives_as_long_as_its_pod() {
    let cluster = cluster(1, 7).await;
    cluster.apply(&class("WaitForFirstConsumer")).await.unwrap();
    let spec = "{accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}";
    let pod = user("p", "x").replace(
        "persistentVolumeClaim: {claimName: x}",
        &format!("ephemeral: {{volumeClaimTemplate: {{spec: {spec}}}}}"),
    );
    cluster.apply(&pod).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(state(&cluster, "p-v").await.0, "Bound");
    let running = pods(&cluster).get("p").await.unwrap().status.unwrap();
    assert_eq!(running.phase.as_deref(), Some("Running"));
    let params = DeleteParams::default();
    pods(&cluster).delete("p", &params).await.unwrap();
    cluster.settle().await.unwrap();
    assert!(claims(&cluster).get_opt("p-v").await.unwrap().is_none());
    let left = volumes(&cluster)
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(left.items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_volume_is_two_claims_whatever_fails() {
    for seed in 0..8 {
        let cluster = cluster(2, seed).await;
        cluster.apply(&class("WaitForFirstConsumer")).await.unwrap();
        cluster.set_faults(
            Faults::default()
                .before_commit(100)
                .after_commit(100)
                .watches(20),
        );
        let objects = (0..6).flat_map(|index| {
            let (size, waits) = (format!("{}Gi", 1 + index % 3), format!("w{index}"));
            [
                volume(&format!("v{index}"), &size, "Retain"),
                claim(&format!("c{index}"), ""),
                claim(&waits, "fast"),
                user(&waits, &waits),
            ]
        });
        for object in objects {
            while cluster.apply(&object).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        cluster.advance(Duration::from_secs(60)).await;
        cluster.set_faults(Faults::default());
        cluster.advance(Duration::from_secs(1200)).await;
        let mut used = std::collections::BTreeMap::new();
        for claim in claims(&cluster).list(&ListParams::default()).await.unwrap() {
            let name = claim.metadata.name.unwrap();
            let (is, bound) = state(&cluster, &name).await;
            assert_eq!(is, "Bound", "{name} with seed {seed}");
            let volume = volumes(&cluster).get(&bound).await.unwrap();
            let owner = volume.spec.unwrap().claim_ref.unwrap();
            assert_eq!(owner.name, Some(name.clone()), "seed {seed}");
            assert_eq!(used.insert(bound, name), None, "seed {seed}");
        }
    }
}
