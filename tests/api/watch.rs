//! Watches through a client.
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use homeostat::apiserver::ApiServer;
use homeostat::store::{MemoryConfig, MemoryStore, Store};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::watcher;
use serde_json::json;

async fn server() -> (ApiServer, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new(MemoryConfig::default()));
    (
        ApiServer::builder(store.clone()).start().await.unwrap(),
        store,
    )
}

async fn create(maps: &Api<ConfigMap>, name: &str) {
    let map = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
}

async fn next(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin),
) -> String {
    loop {
        return match events.next().await {
            None => "end".to_owned(),
            Some(Ok(WatchEvent::Added(map))) => format!("added {}", map.name_any()),
            Some(Ok(WatchEvent::Modified(map))) => format!("modified {}", map.name_any()),
            Some(Ok(WatchEvent::Deleted(map))) => format!("deleted {}", map.name_any()),
            Some(Ok(WatchEvent::Bookmark(_))) => continue,
            Some(Ok(WatchEvent::Error(status))) => format!("error {}", status.code),
            Some(Err(error)) => panic!("{error}"),
        };
    }
}

#[tokio::test(start_paused = true)]
async fn changes_come_in_order_and_only_those_selected() {
    let (server, _) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let params = WatchParams::default().labels("app=web").timeout(5);
    let mut all = maps
        .watch(&WatchParams::default().timeout(5), &start)
        .await
        .unwrap()
        .boxed();
    let mut web = maps.watch(&params, &start).await.unwrap().boxed();
    create(&maps, "a").await;
    for app in ["web", "db"] {
        let patch = json!({ "metadata": { "labels": { "app": app } } });
        maps.patch("a", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    for expected in ["added a", "modified a", "modified a", "deleted a", "end"] {
        assert_eq!(next(&mut all).await, expected);
    }
    for expected in ["added a", "deleted a", "end"] {
        assert_eq!(next(&mut web).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_revision_is_gone() {
    let store = Arc::new(MemoryStore::new(MemoryConfig::default()));
    let server = ApiServer::builder(store)
        .watch_history(2)
        .start()
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    for number in 0..4 {
        create(&maps, &format!("m{number}")).await;
    }
    let mut events = maps
        .watch(&WatchParams::default(), &start)
        .await
        .unwrap()
        .boxed();
    assert_eq!(next(&mut events).await, "error 410");
    assert_eq!(next(&mut events).await, "end");
}

#[tokio::test(start_paused = true)]
async fn kubes_watcher_keeps_up_in_both_list_modes() {
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let (server, _) = server().await;
        let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
        create(&maps, "before").await;
        let mut events = watcher(maps.clone(), config).boxed();
        let mut seen = Vec::new();
        while !seen.contains(&"done".to_owned()) {
            match events.try_next().await.unwrap().unwrap() {
                watcher::Event::InitApply(map) | watcher::Event::Apply(map) => {
                    seen.push(map.name_any());
                }
                watcher::Event::InitDone => create(&maps, "done").await,
                _ => {}
            }
        }
        assert_eq!(seen, ["before", "done"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_ends_watches() {
    let (server, store) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let mut events = maps
        .watch(&WatchParams::default().timeout(290), "0")
        .await
        .unwrap()
        .boxed();
    create(&maps, "a").await;
    assert_eq!(next(&mut events).await, "added a");
    let stop = tokio::spawn(async move { server.stop().await });
    let ended = tokio::time::timeout(Duration::from_secs(1), async {
        while next(&mut events).await != "end" {}
    });
    ended.await.unwrap();
    stop.await.unwrap();
    assert!(store.revision().await.unwrap() > 0);
}
