//! Cluster IPs and node ports, and what every cluster has from the start.
use crate::support::{SERVICES, api, builder};
use homeostat::apiserver::ApiServer;
use homeostat::clock::Clock;
use homeostat::store::{MemoryConfig, MemoryStore, Store};
use serde_json::{Value, json};
use std::sync::Arc;

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(start_paused = true)]
async fn addresses_are_released_on_deletion() {
    let api = api().await;
    let want = |name: &str| {
        service(
            name,
            json!({"clusterIP": "10.100.77.77", "ports": [{"port": 80}]}),
        )
    };
    api.post(SERVICES, &want("a")).await.expect(201);
    let message = api.post(SERVICES, &want("b")).await.fails(422, "Invalid");
    assert!(
        message.ends_with("failed to allocate IP 10.100.77.77: provided IP is already allocated"),
        "{message}"
    );
    assert_eq!(
        api.delete(&format!("{SERVICES}/a")).await.expect(200)["kind"],
        "Service"
    );
    api.post(SERVICES, &want("b")).await.expect(201);
    // A dry run takes nothing.
    let other = service(
        "c",
        json!({"clusterIP": "10.100.77.78", "ports": [{"port": 80}]}),
    );
    api.post(&format!("{SERVICES}?dryRun=All"), &other)
        .await
        .expect(201);
    api.post(SERVICES, &other).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn types_change() {
    let api = api().await;
    let path = format!("{SERVICES}/x");
    let first = api
        .post(SERVICES, &service("x", json!({"ports": [{"port": 80}]})))
        .await
        .expect(201);
    assert!(
        first["spec"]["clusterIP"]
            .as_str()
            .unwrap()
            .starts_with("10.")
    );
    let node = api
        .patch(&path, "merge", &json!({"spec": {"type": "NodePort"}}))
        .await
        .expect(200);
    let port = node["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port));
    assert_eq!(node["spec"]["clusterIP"], first["spec"]["clusterIP"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_changes_nothing_and_remembers() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(MemoryConfig::default()));
    let first = ApiServer::builder(store.clone())
        .clock(Clock::seeded(1))
        .start()
        .await
        .unwrap();
    let api = crate::support::Api { server: first };
    let fixed = service(
        "a",
        json!({"clusterIP": "10.100.1.1", "ports": [{"port": 80}]}),
    );
    api.post(SERVICES, &fixed).await.expect(201);
    let kubernetes = api.get(&format!("{SERVICES}/kubernetes")).await.expect(200);
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.96.0.1");
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical";
    assert_eq!(api.get(classes).await.expect(200)["value"], 2_000_001_000);
    api.server.stop().await;
    let before = store.revision().await.unwrap();
    let again = ApiServer::builder(store.clone())
        .clock(Clock::seeded(2))
        .start()
        .await
        .unwrap();
    assert_eq!(store.revision().await.unwrap(), before);
    let api = crate::support::Api { server: again };
    let taken = service(
        "b",
        json!({"clusterIP": "10.100.1.1", "ports": [{"port": 80}]}),
    );
    api.post(SERVICES, &taken).await.fails(422, "Invalid");
}

#[tokio::test(start_paused = true)]
async fn the_range_is_checked() {
    assert!(
        builder()
            .cluster_ip_range("nonsense")
            .start()
            .await
            .is_err()
    );
    let api = crate::support::Api::start(builder().cluster_ip_range("10.0.0.0/16")).await;
    assert_eq!(
        api.get(&format!("{SERVICES}/kubernetes")).await.expect(200)["spec"]["clusterIP"],
        "10.0.0.1"
    );
}
