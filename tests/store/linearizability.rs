//! Thousands of seeded histories of concurrent clients on each store, with faults and restarts. Each is watched while it
//! happens and again afterwards; both watches tell the same, and the answers that clients got fit it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use homeostat::clock::Clock;
use homeostat::store::{
    Change, DurableConfig, DurableStore, Entry, Expect, Faults, FaultyStore, MemoryStore, Page,
    Range, Result, Revision, Store, WatchEvent, WatchStream,
};
use parking_lot::RwLock;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::Temporary;
use super::history::{History, Recorder};
use super::process::{Etcd, crash_safe, programs};

/// So many clients act at once, each so often, on so many keys.
const CLIENTS: u64 = 5;
const STEPS: usize = 8;
const KEYS: u64 = 4;
/// The last key of each history.
const END: &str = "end";

/// The changes under `prefix` after `start`, up to the end of the history. Watches that break are begun again.
async fn follow(store: Arc<dyn Store>, prefix: String, start: Revision) -> Vec<Change> {
    let end = format!("{prefix}{END}");
    let mut changes: Vec<Change> = Vec::new();
    loop {
        yield_now().await;
        let after = changes.last().map_or(start, Change::revision);
        let Ok(mut watch) = store.watch(&prefix, after).await else {
            continue;
        };
        while let Some(Ok(event)) = watch.next().await {
            if let WatchEvent::Changes(more) = event {
                changes.extend(more);
            }
            if let Some(at) = changes.iter().position(|change| **change.key() == end) {
                changes.truncate(at);
                return changes;
            }
        }
    }
}

/// Lets clients act through `store`, which may fail, while `meanwhile` happens; then judges it by what `plain`, the store behind
/// it, tells.
async fn run(
    store: Arc<dyn Store>,
    plain: Arc<dyn Store>,
    seed: u64,
    meanwhile: impl Future<Output = ()>,
) {
    let prefix = format!("/{seed}/");
    let start = plain.revision().await.unwrap();
    let recorder = Recorder::under(&prefix);
    let live = tokio::spawn(follow(store.clone(), prefix.clone(), start));
    let clients = (0..CLIENTS).map(|client| {
        let (store, recorder) = (store.clone(), recorder.clone());
        tokio::spawn(async move {
            let mut random = seed.wrapping_mul(CLIENTS).wrapping_add(client);
            for _ in 0..STEPS {
                recorder.step(&*store, &mut random, KEYS).await;
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    meanwhile.await;
    for client in clients {
        client.await.unwrap();
    }
    let end = format!("{prefix}{END}");
    while plain.get(&end).await.is_ok_and(|end| end.is_none()) {
        // Whether it took effect is asked above.
        let _ = plain.put(&end, Bytes::new(), Expect::Absent, None).await;
    }
    let told = follow(plain, prefix, start);
    let (told, live) = timeout(Duration::from_secs(60), async { (told.await, live.await) })
        .await
        .unwrap_or_else(|_| panic!("seed {seed}: a watch does not come to the end"));
    assert_eq!(
        live.unwrap(),
        told,
        "seed {seed}: two watches tell two histories"
    );
    if let Err(error) = History::new(told).check(&recorder.operations()) {
        panic!("seed {seed}: {error}")
    }
}

fn faults() -> Faults {
    let faults = Faults::default().before_commit(100).after_commit(100);
    faults.reads(50).watches(50)
}

fn faulty(plain: &Arc<dyn Store>, seed: u64, faults: Faults) -> Arc<dyn Store> {
    let store = FaultyStore::new(plain.clone(), &Clock::seeded(seed));
    store.set(faults);
    Arc::new(store)
}

/// On virtual time: calls overlap by their latencies.
#[tokio::test(start_paused = true)]
async fn memory_with_faults() {
    for seed in 0..3000 {
        let plain: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let store = faulty(&plain, seed, faults().latency(Duration::from_millis(5)));
        run(store, plain, seed, async {}).await;
    }
}

/// On threads: calls overlap as it happens.
#[tokio::test(flavor = "multi_thread")]
async fn memory_on_threads() {
    for seed in 0..2000 {
        let plain: Arc<dyn Store> = Arc::new(MemoryStore::default());
        run(faulty(&plain, seed, faults()), plain, seed, async {}).await;
    }
}

/// The store that is open now; while none is, the last one, which is closed.
#[derive(Debug)]
struct Current(RwLock<Arc<dyn Store>>);

impl Current {
    fn now(&self) -> Arc<dyn Store> {
        self.0.read().clone()
    }
}

#[async_trait]
impl Store for Current {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.now().get(key).await
    }
    async fn range(&self, range: Range) -> Result<Page> {
        self.now().range(range).await
    }
    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Revision> {
        self.now().put(key, value, expect, ttl).await
    }
    async fn delete(&self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)> {
        self.now().delete(key, expect).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        self.now().watch(prefix, after).await
    }
    async fn compact(&self, revision: Revision) -> Result<()> {
        self.now().compact(revision).await
    }
    async fn revision(&self) -> Result<Revision> {
        self.now().revision().await
    }
}

/// Each history is interrupted by a restart. Every sync is asked for; in memory it costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn durable_with_restarts() {
    const IN_ONE: u64 = 100;
    let open = async |place: &Temporary| {
        let store = DurableStore::open(&place.0, DurableConfig::default()).await;
        store.unwrap()
    };
    for first in (0..2000).step_by(usize::try_from(IN_ONE).unwrap()) {
        let place = Temporary::in_memory("linear");
        let mut store = open(&place).await;
        let current = Arc::new(Current(RwLock::new(Arc::new(store.clone()))));
        let plain: Arc<dyn Store> = current.clone();
        for seed in first..first + IN_ONE {
            let restart = async {
                for _ in 0..seed % 50 {
                    yield_now().await;
                }
                store.close().await;
                store = open(&place).await;
                *current.0.write() = Arc::new(store.clone());
            };
            let through = faulty(&plain, seed, faults());
            run(through, plain.clone(), seed, restart).await;
        }
        store.close().await;
    }
}

/// One etcd for many histories, a few at a time. It ends now and then, killed where that is safe, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_with_restarts() {
    const AT_ONCE: usize = 4;
    const BETWEEN_KILLS: u64 = 100;
    for (version, program) in programs() {
        // What the process wrote survives it; no power is lost.
        let mut etcd = Etcd::start_with(&program, &["--unsafe-no-fsync"]);
        let plain: Arc<dyn Store> = Arc::new(etcd.store().await);
        for first in (0..1000).step_by(usize::try_from(BETWEEN_KILLS).unwrap()) {
            let runs = futures::stream::iter(first..first + BETWEEN_KILLS).map(|seed| {
                let through = faulty(&plain, seed, faults());
                tokio::spawn(run(through, plain.clone(), seed, async {}))
            });
            let runs = runs
                .buffer_unordered(AT_ONCE)
                .for_each(async |run| run.unwrap());
            let end = async {
                sleep(Duration::from_millis(200 + first % 300)).await;
                if program == crash_safe() {
                    etcd.kill(0);
                } else {
                    etcd.end(0);
                }
                etcd.run(0);
            };
            futures::join!(runs, end);
        }
        println!("etcd {version}");
    }
}
