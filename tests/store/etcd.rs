//! The store over real etcd: the contract, and members that die, stop and are cut off.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use homeostat::apiserver::ApiServer;
use homeostat::apiserver::serve::Certificates;
use homeostat::clock::Clock;
use homeostat::cluster::Cluster;
use homeostat::store::{
    Change, Error, EtcdConfig, EtcdStore, Expect, Range, Revision, Store, WatchEvent,
};
use homeostat::testing::conformance;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};

use super::Temporary;
use super::history::{History, Recorder};
use super::process::{Cut, Etcd, Network, crash_safe, empty, programs};

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

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_are_shown() {
    let place = Temporary::new("tls");
    let certificates = Certificates::generate(&Clock::system(), &["127.0.0.1"]).unwrap();
    let (certificate, key) = certificates.server_pem();
    let files = ["server.crt", "server.key", "ca.crt"].map(|name| place.0.join(name));
    for (file, text) in files
        .iter()
        .zip([certificate, key, certificates.authority_pem()])
    {
        std::fs::write(file, text).unwrap();
    }
    let [_, (_, program)] = programs();
    let etcd = Etcd::start_tls(&program, [&files[0], &files[1], &files[2]]);
    let authority = certificates.authority_pem().as_bytes();
    let (certificate, key) = certificates.client_pem("store", &[]).unwrap();
    let shown = (certificate.as_bytes(), key.as_bytes());
    let config = etcd.config().tls(authority, Some(shown));
    let store = etcd.store_with(config.clone()).await;
    store
        .put("/a", "1".into(), Expect::Absent, None)
        .await
        .unwrap();
    let short = Duration::from_secs(1);
    let without = EtcdStore::connect(etcd.config().tls(authority, None).timeout(short)).await;
    assert!(
        without.is_err(),
        "a client without a certificate was let in"
    );

    // A user of the store's own, with a password.
    let options = etcd_client::ConnectOptions::new().with_tls(
        etcd_client::TlsOptions::new()
            .ca_certificate(etcd_client::Certificate::from_pem(authority))
            .identity(etcd_client::Identity::from_pem(shown.0, shown.1)),
    );
    let mut admin = etcd_client::Client::connect(etcd.endpoints(), Some(options))
        .await
        .unwrap();
    for user in ["root", "keeper"] {
        admin.user_add(user, "secret", None).await.unwrap();
        admin.role_add(user).await.unwrap();
        let all = etcd_client::Permission::read_write("").with_all_keys();
        admin.role_grant_permission(user, all).await.unwrap();
        admin.user_grant_role(user, user).await.unwrap();
    }
    admin.auth_enable().await.unwrap();
    let wrong = EtcdStore::connect(config.clone().user("keeper", "wrong").timeout(short)).await;
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .contains("authentication failed")
    );
    let store = EtcdStore::connect(config.user("keeper", "secret"))
        .await
        .unwrap();
    assert_eq!(store.get("/a").await.unwrap().unwrap().value, "1");
    store
        .put("/b", "2".into(), Expect::Absent, None)
        .await
        .unwrap();
    let mut watch = store
        .watch("/", store.revision().await.unwrap())
        .await
        .unwrap();
    store
        .put("/c", "3".into(), Expect::Absent, None)
        .await
        .unwrap();
    let told = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    assert!(
        matches!(told, Ok(Some(Ok(WatchEvent::Changes(changes)))) if &**changes[0].key() == "/c")
    );
}

/// The code of `/readyz`, and what it says of etcd.
async fn readiness(server: &ApiServer) -> (u16, String) {
    let request = http::Request::get("/readyz?verbose");
    let request = request.body(kube::client::Body::empty()).unwrap();
    let response = server.client().send(request).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let line = text.lines().find(|line| line[3..].starts_with("etcd "));
    (code, line.unwrap_or_default().to_owned())
}

/// A server is ready as long as its etcd is: not while that is stopped, nor while it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_that_of_etcd() {
    let ready = (200, "[+]etcd ok".to_owned());
    let not_ready = (500, "[-]etcd failed: reason withheld".to_owned());
    for (version, program) in programs() {
        let mut etcd = Etcd::start(&program, 1);
        let server = ApiServer::builder(Arc::new(etcd.store().await))
            .start()
            .await
            .unwrap();
        let becomes = async |expected: &(u16, String)| {
            for _ in 0..50 {
                if readiness(&server).await == *expected {
                    return;
                }
                for_millis(200).await;
            }
            panic!("etcd {version}: {:?}", readiness(&server).await);
        };
        assert_eq!(readiness(&server).await, ready, "etcd {version}");
        etcd.signal(0, "STOP");
        assert_eq!(readiness(&server).await, not_ready, "etcd {version}");
        etcd.signal(0, "CONT");
        becomes(&ready).await;
        etcd.kill(0);
        assert_eq!(readiness(&server).await, not_ready, "etcd {version}");
        etcd.run(0);
        becomes(&ready).await;
        server.stop().await;
    }
}

/// Clients that read and write through two stores while `faults` happens; then whether all that they saw was possible.
async fn under_load<F: Future<Output = ()>>(stores: [EtcdStore; 2], faults: F) {
    let stores = stores.map(|store| Arc::new(store) as Arc<dyn Store>);
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
    faults.await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Clients get on again after the faults; on a slow machine it takes longer until there is enough to judge.
    let enough = async {
        while recorder.operations().len() <= 500 {
            for_millis(200).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), enough)
        .await
        .unwrap_or_else(|_| panic!("clients do not get on after the faults"));
    stop.send_replace(true);
    for client in clients {
        client.await.unwrap();
    }
    let mut told = Vec::new();
    for store in &stores {
        told.push(changes_since(&**store, start).await);
    }
    assert!(told[0] == told[1], "two stores tell two histories");
    let history = History::new(told.remove(0));
    let operations = recorder.operations();
    println!("{} operations", operations.len());
    assert!(operations.len() > 500, "{}", operations.len());
    history.check(&operations).unwrap();
}

pub(crate) async fn changes_since(store: &dyn Store, start: Revision) -> Vec<Change> {
    let newest = store.revision().await.unwrap();
    let mut watch = store.watch("/", start).await.unwrap();
    let mut changes = Vec::new();
    while changes
        .last()
        .is_none_or(|change: &Change| change.revision() < newest)
    {
        match tokio::time::timeout(Duration::from_secs(20), watch.next()).await {
            Ok(Some(Ok(WatchEvent::Changes(more)))) => {
                // Servers that share an etcd compact it under a key of their own.
                changes.extend(
                    more.into_iter()
                        .filter(|change| change.key().starts_with('/')),
                );
            }
            Ok(Some(Ok(WatchEvent::Progress(_)))) => {}
            other => panic!("{other:?}"),
        }
    }
    changes
}

async fn for_millis(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Members die, stop and come back: no acknowledged write is lost, no read is stale, watches have no gap.
#[tokio::test(flavor = "multi_thread")]
async fn members_may_die_and_stop() {
    let program = crash_safe();
    let mut etcd = Etcd::start(&program, 3);
    let stores = [etcd.store().await, etcd.store().await];
    under_load(stores, async {
        // Whoever leads is among them.
        for member in 0..3 {
            for_millis(500).await;
            etcd.kill(member);
            for_millis(1500).await;
            etcd.run(member);
            for_millis(700).await;
            etcd.signal(member, "STOP");
            for_millis(3000).await;
            etcd.signal(member, "CONT");
        }
    })
    .await;
}

/// The same with the network: a member is cut off from all, or only from its peers.
#[tokio::test(flavor = "multi_thread")]
async fn networks_may_part() {
    let [_, (_, program)] = programs();
    let network = Network::new(3);
    let etcd = Etcd::start_on(&program, &network);
    let stores = [etcd.store().await, etcd.store().await];
    under_load(stores, async {
        for host in 0..3 {
            for_millis(500).await;
            network.cut(host, Cut::All);
            for_millis(2500).await;
            network.mend(host);
            for_millis(1000).await;
            network.cut(host, Cut::Peers);
            for_millis(2500).await;
            network.mend(host);
        }
    })
    .await;
}

/// A member that is cut off from its peers goes on holding watches and has nothing to tell: the store leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn watches_leave_a_member_that_is_alone() {
    let [_, (_, program)] = programs();
    let network = Network::new(3);
    let etcd = Etcd::start_on(&program, &network);
    let store = etcd.store().await;
    // One of them is the one that feeds the watches.
    for host in 0..3 {
        let mut watch = store
            .watch("/", store.revision().await.unwrap())
            .await
            .unwrap();
        network.cut(host, Cut::Peers);
        let key = format!("/{host}");
        let told = async {
            // A write of unknown outcome is tried again; one of them is told.
            while !matches!(
                store.put(&key, "1".into(), Expect::Absent, None).await,
                Ok(_) | Err(Error::AlreadyExists { .. })
            ) {}
            while !matches!(watch.next().await.unwrap().unwrap(), WatchEvent::Changes(_)) {}
        };
        let told = tokio::time::timeout(Duration::from_secs(20), told).await;
        assert!(told.is_ok(), "nothing is told while member {host} is alone");
        network.mend(host);
    }
}

/// A cluster on three members, and a second API server beside it: a rollout that is asked for while members die arrives.
#[tokio::test(flavor = "multi_thread")]
async fn controllers_converge_after_failures() {
    let program = crash_safe();
    let mut etcd = Etcd::start(&program, 3);
    let cluster = Cluster::builder()
        .server(ApiServer::builder(Arc::new(etcd.store().await)))
        .nodes(2)
        .start()
        .await
        .unwrap();
    let other = ApiServer::builder(Arc::new(etcd.store().await))
        .start()
        .await
        .unwrap();
    let deployments = Api::<Deployment>::default_namespaced(other.client());
    let deployment = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}},
        },
    }));
    deployments
        .create(&PostParams::default(), &deployment.unwrap())
        .await
        .unwrap();
    for member in 0..3 {
        etcd.kill(member);
        // A write of unknown outcome fails; the user tries again.
        let patch = serde_json::json!({"spec": {"replicas": member + 3}});
        let asked = async {
            while deployments
                .patch("web", &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .is_err()
            {
                for_millis(100).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asked)
            .await
            .unwrap();
        etcd.run(member);
        for_millis(1000).await;
    }
    let ready = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| {
            deployment
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                == Some(5)
        })
    };
    let arrives = kube::runtime::wait::await_condition(deployments, "web", ready);
    tokio::time::timeout(Duration::from_secs(60), arrives)
        .await
        .unwrap()
        .unwrap();
    let pods = Api::<Pod>::default_namespaced(cluster.client());
    assert_eq!(
        pods.list(&ListParams::default()).await.unwrap().items.len(),
        5
    );
    cluster.stop().await;
    other.stop().await;
}
