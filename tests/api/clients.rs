//! `kube::Client` in process: identity, retries, the write observer, isolation of failures.
use crate::support::{Api, builder};
use homeostat::apiserver::{Write, WriteObserver};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api as Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Log(Mutex<Vec<String>>);

impl WriteObserver for Log {
    fn wrote(&self, write: &Write<'_>) {
        let sub = write
            .subresource
            .map_or(String::new(), |sub| format!("/{sub}"));
        let line = format!(
            "{} {} {} {}{sub} {}/{}",
            write.user, write.user_agent, write.verb, write.resource, write.namespace, write.name
        );
        self.0.lock().unwrap().push(line);
    }
}

fn map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: kube::api::ObjectMeta {
            name: Some(name.into()),
            ..Default::default()
        },
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn writes_are_observed_under_the_components_names() {
    let log = Arc::new(Log::default());
    let api = Api::start(builder().observer(log.clone())).await;
    log.0.lock().unwrap().clear();
    let client = api
        .server
        .client_as("deployment-controller/v1", "system:controller:deployment");
    let maps: Client<ConfigMap> = Client::namespaced(client, "default");
    maps.create(&PostParams::default(), &map("x"))
        .await
        .unwrap();
    let patch = json!({"data": {"a": "1"}});
    maps.patch("x", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    // What changes nothing, and what is only tried, is no write.
    maps.patch("x", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    maps.delete("x", &DeleteParams::default().dry_run())
        .await
        .unwrap();
    maps.delete("x", &DeleteParams::default()).await.unwrap();
    let who = "system:controller:deployment deployment-controller/v1";
    let expected =
        ["create", "patch", "delete"].map(|verb| format!("{who} {verb} configmaps default/x"));
    assert_eq!(*log.0.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn clients_try_again_as_kubes_do() {
    let api = Api::start(builder().max_in_flight(0, 4)).await;
    let maps: Client<ConfigMap> = Client::namespaced(api.server.client(), "default");
    let start = tokio::time::Instant::now();
    let error = maps.get("x").await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 429),
        "{error}"
    );
    // Fifteen retries, each at least the second that the server asked for.
    assert!(start.elapsed() >= std::time::Duration::from_secs(15));
}

#[derive(Debug)]
struct Panics;

impl WriteObserver for Panics {
    fn wrote(&self, write: &Write<'_>) {
        assert_ne!(write.name, "bad", "an observer that panics");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_one_requests_failure() {
    let api = Api::start(builder().observer(Arc::new(Panics))).await;
    let maps: Client<ConfigMap> = Client::namespaced(api.server.client(), "default");
    let error = maps
        .create(&PostParams::default(), &map("bad"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 500),
        "{error}"
    );
    maps.create(&PostParams::default(), &map("good"))
        .await
        .unwrap();
}
