//! Users' controllers: a plain kube-rs one, and one of ours that panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use homeostat::reconcile::{Action, Cache, Controller, Error, Key, Reconciler, Source};
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::controller;
use kube::runtime::watcher;
use serde_json::json;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).unwrap()
}

async fn label(client: kube::Client, name: &str) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let patch = Patch::Merge(json!({"metadata": {"labels": {"seen": "yes"}}}));
    maps.patch(name, &PatchParams::default(), &patch)
        .await
        .map(drop)
}

fn is_labelled(map: &ConfigMap) -> bool {
    map.metadata
        .labels
        .iter()
        .flatten()
        .any(|(key, _)| key == "seen")
}

#[tokio::test(start_paused = true)]
async fn a_kube_rs_controller_runs_unchanged() {
    let cluster = Cluster::builder().seed(5).start().await.unwrap();
    let client = cluster.client();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let running = controller::Controller::new(maps.clone(), watcher::Config::default()).run(
        |map: Arc<ConfigMap>, client: Arc<kube::Client>| async move {
            if !is_labelled(&map) {
                label((*client).clone(), map.metadata.name.as_deref().unwrap()).await?;
            }
            Ok::<_, kube::Error>(controller::Action::await_change())
        },
        |_, _, _| controller::Action::requeue(Duration::from_secs(5)),
        Arc::new(client),
    );
    let task = tokio::spawn(running.for_each(|_| std::future::ready(())));
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    }
    cluster.settle().await.unwrap();
    for name in ["a", "b", "c"] {
        assert!(is_labelled(&maps.get(name).await.unwrap()), "{name}");
    }
    task.abort();
}

/// Labels config maps, and panics over one of them, once.
struct Panics {
    client: kube::Client,
    maps: Cache<ConfigMap>,
    panics: Arc<AtomicUsize>,
}

impl Reconciler for Panics {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(map) = self
            .maps
            .get(&key)
            .filter(|map| &*key.namespace == "default" && !is_labelled(map))
        else {
            return Ok(Action::Done);
        };
        if &*key.name == "bad" {
            let before = self.panics.fetch_add(1, Ordering::SeqCst);
            assert!(before >= 3, "cannot bear {:?}", map.metadata.name);
        }
        label(self.client.clone(), &key.name).await?;
        Ok(Action::Done)
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_its_key_and_nothing_else() {
    let cluster = Cluster::builder().nodes(1).seed(5).start().await.unwrap();
    let manager = cluster.manager();
    let maps = manager.cache::<ConfigMap>();
    let panics = Arc::new(AtomicUsize::new(0));
    let reconciler = Panics {
        client: manager.client_for("panics"),
        maps: maps.clone(),
        panics: panics.clone(),
    };
    manager.add(Controller::new("panics", reconciler).source(Source::objects(&maps)));
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    for name in ["bad", "good"] {
        api.create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    }
    cluster.settle().await.unwrap();
    assert!(is_labelled(&api.get("good").await.unwrap()));
    // It was tried again, with backoff, until it went well.
    assert!(is_labelled(&api.get("bad").await.unwrap()));
    assert_eq!(panics.load(Ordering::SeqCst), 4);
}
