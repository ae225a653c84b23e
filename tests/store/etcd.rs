//! The store over real etcd: the contract, and members that die, stop and are cut off.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use homeostat::apiserver::ApiServer;
use homeostat::store::{Error, EtcdConfig, EtcdStore, Expect, Range, Store, WatchEvent};
use homeostat::testing::conformance;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, PostParams, WatchParams};

use super::history::{History, Recorder};
use super::process::{Etcd, empty, programs};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    for (version, program) in programs() {
        let etcd = Etcd::start(&program, 1);
        let store = etcd.store().await;
        println!("etcd {version}");
        conformance::store::run(|| async {
            empty(&store).await;
            Box::new(etcd.store().await) as Box<dyn Store>
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_of_one_revision() {
    let [_, (_, program)] = programs();
    let etcd = Etcd::start(&program, 1);
    let store = etcd.store().await;
    for number in 0..1203 {
        let key = format!("/p/{number:05}");
        store
            .put(&key, "x".into(), Expect::Absent, None)
            .await
            .unwrap();
    }
    let all = store.range(Range::prefix("/p/")).await.unwrap();
    assert_eq!((all.entries.len(), all.remaining), (1203, 0));
    let some = store.range(Range::prefix("/p/").limit(700)).await.unwrap();
    assert_eq!((some.entries.len(), some.remaining), (700, 503));
    let none = store.range(Range::prefix("/p/").limit(0)).await.unwrap();
    assert_eq!((none.entries.len(), none.remaining), (0, 1203));
    assert_eq!(all.revision, store.revision().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_is_wrong() {
    let nobody = EtcdConfig::new(["http://127.0.0.1:1"]).timeout(Duration::from_millis(500));
    let refused = EtcdStore::connect(nobody).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    let [(_, program), _] = programs();
    let etcd = Etcd::start(&program, 1);
    let store = etcd.store().await;
    let large = store
        .put("/large", vec![0; 2 << 20].into(), Expect::Absent, None)
        .await;
    assert!(
        matches!(
            large,
            Err(Error::TooLarge {
                size: 2_097_152,
                ..
            })
        ),
        "{large:?}"
    );
    let first = store
        .put("/a", "1".into(), Expect::Absent, None)
        .await
        .unwrap();
    let second = store
        .put("/a", "2".into(), Expect::Modified(first), None)
        .await
        .unwrap();
    store.compact(second).await.unwrap();
    let past = store.range(Range::prefix("/").at(first)).await;
    assert!(
        matches!(past, Err(Error::Compacted { oldest }) if oldest == second),
        "{past:?}"
    );
}

/// Two API servers on three members: what is written through one is seen through the other, in order.
#[tokio::test(flavor = "multi_thread")]
async fn servers_share_an_etcd() {
    let [_, (_, program)] = programs();
    let etcd = Etcd::start(&program, 3);
    let mut maps = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..2 {
        let server = ApiServer::builder(Arc::new(etcd.store().await))
            .start()
            .await
            .unwrap();
        maps.push(Api::<ConfigMap>::default_namespaced(server.client()));
        servers.push(server);
    }
    let listed = maps[1].list(&ListParams::default()).await.unwrap();
    let from = listed.metadata.resource_version.unwrap();
    let mut watch = maps[1]
        .watch(&WatchParams::default(), &from)
        .await
        .unwrap()
        .boxed();
    for number in 0..50 {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(format!("m{number}")),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let writer = &maps[number % 2];
        writer.create(&PostParams::default(), &map).await.unwrap();
        // A consistent read through the other sees it.
        let reader = &maps[1 - number % 2];
        reader.get(&format!("m{number}")).await.unwrap();
        let count = reader
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len();
        assert_eq!(count, number + 1);
    }
    for number in 0..50 {
        let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        let Some(Ok(kube::api::WatchEvent::Added(map))) = event.unwrap() else {
            panic!("not the addition of m{number}")
        };
        assert_eq!(map.metadata.name, Some(format!("m{number}")));
    }
    for server in servers {
        server.stop().await;
    }
}

/// Members die, stop and come back under load: no acknowledged write is lost, no read is stale, watches have no gap.
#[tokio::test(flavor = "multi_thread")]
async fn members_may_die_and_stop() {
    let [_, (_, program)] = programs();
    let mut etcd = Etcd::start(&program, 3);
    let first = etcd.store().await;
    let stores: Vec<Arc<dyn Store>> = vec![Arc::new(first), Arc::new(etcd.store().await)];
    let start = stores[0].revision().await.unwrap();
    let recorder = Recorder::default();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (store, recorder) = (stores[client % 2].clone(), recorder.clone());
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let mut random = client as u64 + 1;
                while !*stopped.borrow() {
                    recorder.step(&*store, &mut random, 12).await;
                }
            })
        })
        .collect();
    for (round, fault) in ["kill", "stop", "kill", "stop", "kill"].iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let member = round % 3;
        if *fault == "kill" {
            etcd.kill(member);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            etcd.run(member);
        } else {
            etcd.signal(member, "STOP");
            tokio::time::sleep(Duration::from_millis(3000)).await;
            etcd.signal(member, "CONT");
        }
    }
    tokio::time::sleep(Duration::from_millis(1000)).await;
    stop.send_replace(true);
    for client in clients {
        client.await.unwrap();
    }
    let mut told = Vec::new();
    for store in &stores {
        let newest = store.revision().await.unwrap();
        let mut watch = store.watch("/", start).await.unwrap();
        let mut changes = Vec::new();
        while changes
            .last()
            .is_none_or(|change: &homeostat::store::Change| change.revision() < newest)
        {
            match tokio::time::timeout(Duration::from_secs(20), watch.next()).await {
                Ok(Some(Ok(WatchEvent::Changes(more)))) => changes.extend(more),
                Ok(Some(Ok(WatchEvent::Progress(_)))) => {}
                other => panic!("{other:?}"),
            }
        }
        told.push(changes);
    }
    assert_eq!(told[0], told[1], "two stores tell two histories");
    let history = History::new(told.remove(0));
    let operations = recorder.operations();
    println!("{} operations", operations.len());
    assert!(operations.len() > 500);
    history.check(&operations).unwrap();
}
