//! Cluster IPs and node ports, and what every cluster has from the start.
use crate::support::{Api, SERVICES, api, builder};
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

#[tokio::test(start_paused = true)]
async fn addresses_have_objects_and_two_servers_never_give_one_twice() {
    const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
    let store = Arc::new(MemoryStore::new(MemoryConfig::default()));
    let builder = || {
        ApiServer::builder(store.clone())
            .clock(Clock::seeded(1))
            .cluster_ip_range("10.0.0.0/28")
    };
    // Both draw from the same seed, so they draw the same addresses.
    let (one, other) = (Api::start(builder()).await, Api::start(builder()).await);
    let service =
        |name: &str| json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }] } });
    for round in 0..4 {
        for (api, who) in [(&one, "a"), (&other, "b")] {
            api.post(SERVICES, &service(&format!("{who}{round}")))
                .await
                .expect(201);
        }
    }
    let listed = one.get(ADDRESSES).await.expect(200);
    let listed = listed["items"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 9, "the service kubernetes has one too");
    let a0 = one.get(&format!("{SERVICES}/a0")).await.expect(200);
    let address = a0["spec"]["clusterIP"].as_str().unwrap();
    let object = other
        .get(&format!("{ADDRESSES}/{address}"))
        .await
        .expect(200);
    assert_eq!(
        object["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"],
        "IPv4"
    );
    assert_eq!(object["spec"]["parentRef"]["name"], "a0");
    let mut taken = service("c");
    taken["spec"]["clusterIP"] = address.into();
    let why = other.post(SERVICES, &taken).await.fails(422, "Invalid");
    assert!(why.ends_with("provided IP is already allocated"), "{why}");
    one.delete(&format!("{SERVICES}/a0")).await.expect(200);
    one.get(&format!("{ADDRESSES}/{address}"))
        .await
        .fails(404, "NotFound");
    // A server that starts learns of all, and mends what is missing.
    let missing = listed
        .iter()
        .find(|object| object["spec"]["parentRef"]["name"] == "b0")
        .unwrap();
    let path = format!(
        "{ADDRESSES}/{}",
        missing["metadata"]["name"].as_str().unwrap()
    );
    one.delete(&path).await.expect(200);
    let third = Api::start(builder()).await;
    third.get(&path).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn the_service_kubernetes_leads_to_the_server() {
    let api = api().await;
    let endpoints = "/api/v1/namespaces/default/endpoints/kubernetes";
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    api.get(endpoints).await.fails(404, "NotFound");
    for (address, ip) in [
        ("192.0.2.1:6443", "192.0.2.1"),
        ("192.0.2.2:443", "192.0.2.2"),
    ] {
        api.server
            .advertise(address.parse().unwrap())
            .await
            .unwrap();
        let shown = api.get(endpoints).await.expect(200);
        assert_eq!(shown["subsets"][0]["addresses"], json!([{ "ip": ip }]));
        let shown = api.get(slice).await.expect(200);
        assert_eq!(shown["endpoints"][0]["addresses"], json!([ip]));
    }
    let local = api.server.advertise("127.0.0.1:1".parse().unwrap()).await;
    assert!(local.unwrap_err().message.contains("loopback"));
}
