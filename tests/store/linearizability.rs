//! Seeded histories of concurrent clients on each store that runs in this process, with faults and restarts.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use homeostat::clock::Clock;
use homeostat::store::{
    Change, DurableConfig, DurableStore, Faults, FaultyStore, MemoryStore, Store, WatchEvent,
};

use super::Temporary;
use super::history::{History, Recorder};

/// So many clients act at once, each so often.
const CLIENTS: u64 = 5;
const STEPS: usize = 12;

/// Lets clients act on `store`.
async fn act(store: &dyn Store, recorder: &Recorder, seed: u64) {
    let clients = (0..CLIENTS).map(|client| async move {
        let mut random = seed.wrapping_mul(CLIENTS).wrapping_add(client);
        for _ in 0..STEPS {
            recorder.step(store, &mut random, 4).await;
        }
    });
    futures::future::join_all(clients).await;
}

/// What a watch from the beginning tells.
async fn told(store: &dyn Store) -> Vec<Change> {
    let newest = store.revision().await.unwrap();
    let mut watch = store.watch("/", 0).await.unwrap();
    let mut changes: Vec<Change> = Vec::new();
    while changes.last().map_or(0, Change::revision) < newest {
        match watch.next().await {
            Some(Ok(WatchEvent::Changes(more))) => changes.extend(more),
            Some(Ok(WatchEvent::Progress(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    changes
}

fn check(changes: Vec<Change>, recorder: &Recorder, seed: u64) {
    if let Err(error) = History::new(changes).check(&recorder.operations()) {
        panic!("seed {seed}: {error}")
    }
}

#[tokio::test(start_paused = true)]
async fn memory_with_faults() {
    for seed in 0..3000 {
        let memory = MemoryStore::default();
        let store = FaultyStore::new(Arc::new(memory.clone()), &Clock::seeded(seed));
        store.set(
            Faults::default()
                .before_commit(100)
                .after_commit(100)
                .reads(50)
                .latency(Duration::from_millis(5)),
        );
        let recorder = Recorder::default();
        act(&store, &recorder, seed).await;
        check(told(&memory).await, &recorder, seed);
    }
}

#[tokio::test]
async fn durable_with_restarts() {
    for seed in 0..150 {
        let place = Temporary::new("linear");
        let recorder = Recorder::default();
        for round in 0..3 {
            let store = DurableStore::open(&place.0, DurableConfig::default())
                .await
                .unwrap();
            act(&store, &recorder, seed * 3 + round).await;
            if round == 2 {
                check(told(&store).await, &recorder, seed);
            }
            store.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threads() {
    for seed in 0..200 {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let recorder = Recorder::default();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (store, recorder) = (store.clone(), recorder.clone());
                tokio::spawn(async move {
                    let mut random = seed * CLIENTS + client;
                    for _ in 0..STEPS * 4 {
                        recorder.step(&*store, &mut random, 4).await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        check(told(&*store).await, &recorder, seed);
    }
}
