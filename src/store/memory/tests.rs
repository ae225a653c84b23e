//! The memory store against a plain model, and what is its own: bounds, expiry, slow watches.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::WatchEvent;

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u8),
    Delete(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0..6_u8, any::<u8>()).prop_map(|(key, value)| Op::Put(key, value)),
        (0..6_u8).prop_map(Op::Delete)
    ];
    proptest::collection::vec(op, 0..40)
}

fn key(number: u8) -> String {
    format!("/{}/{number}", number % 2)
}

async fn put(store: &MemoryStore, key: &str, value: &[u8]) -> Revision {
    let expect = match store.get(key).await.unwrap() {
        Some(entry) => Expect::Modified(entry.modified),
        None => Expect::Absent,
    };
    store
        .put(key, Bytes::copy_from_slice(value), expect, None)
        .await
        .unwrap()
}

async fn follow(
    store: &MemoryStore,
    prefix: &str,
    after: Revision,
    until: Revision,
) -> Vec<(String, Option<Bytes>)> {
    let mut watch = store.watch(prefix, after).await.unwrap();
    let (mut seen, mut at) = (Vec::new(), after);
    while at < until {
        match watch.next().await.unwrap().unwrap() {
            WatchEvent::Progress(revision) => at = revision,
            WatchEvent::Changes(changes) => {
                for change in changes {
                    assert!(change.revision() > at);
                    at = change.revision();
                    let value = match &change {
                        Change::Put { entry, .. } => Some(entry.value.clone()),
                        Change::Delete { .. } => None,
                    };
                    seen.push((change.key().to_string(), value));
                }
            }
        }
    }
    seen
}

proptest! {
    /// Ranges at every revision and watches from every revision agree with a log of all states.
    #[test]
    fn agrees_with_a_model(ops in ops(), limit in 1..4_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::default();
            let mut states: Vec<BTreeMap<String, Bytes>> = vec![BTreeMap::new()];
            let mut log = Vec::new();
            for op in ops {
                let mut state = states.last().unwrap().clone();
                match op {
                    Op::Put(number, value) => {
                        put(&store, &key(number), &[value]).await;
                        state.insert(key(number), Bytes::copy_from_slice(&[value]));
                        log.push((key(number), Some(Bytes::copy_from_slice(&[value]))));
                    }
                    Op::Delete(number) => {
                        if store.delete(&key(number), None).await.is_err() { continue }
                        state.remove(&key(number));
                        log.push((key(number), None));
                    }
                }
                states.push(state);
            }
            let newest = store.revision().await.unwrap();
            assert_eq!(newest, log.len() as u64);
            for (revision, state) in states.iter().enumerate() {
                let mut after = None;
                let mut read = BTreeMap::new();
                loop {
                    let mut range = Range::prefix("/0").at(revision as u64).limit(limit);
                    range.after = after;
                    let page = store.range(range).await.unwrap();
                    let remaining = page.remaining;
                    read.extend(page.entries.iter().map(|entry| (entry.key.to_string(), entry.value.clone())));
                    after = page.entries.last().map(|entry| entry.key.to_string());
                    let expected = state.keys().filter(|key| key.starts_with("/0")).count();
                    assert_eq!(remaining, expected - read.len());
                    if remaining == 0 { break }
                }
                let expected: BTreeMap<_, _> = state.clone().into_iter().filter(|(key, _)| key.starts_with("/0")).collect();
                assert_eq!(read, expected);
                let expected: Vec<_> = log[revision..].iter().filter(|(key, _)| key.starts_with("/1")).cloned().collect();
                assert_eq!(follow(&store, "/1", revision as u64, newest).await, expected);
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn history_is_bounded_and_slow_watches_learn_it() {
    let store = MemoryStore::new(MemoryConfig::default().history_events(10));
    let mut slow = store.watch("/", 0).await.unwrap();
    for number in 0..25_u8 {
        put(&store, "/a", &[number]).await;
    }
    assert!(matches!(
        slow.next().await.unwrap(),
        Err(Error::Compacted { oldest: 15 })
    ));
    assert!(slow.next().await.is_none());
    assert!(matches!(
        store.range(Range::prefix("/").at(14)).await,
        Err(Error::Compacted { oldest: 15 })
    ));
    assert_eq!(
        store
            .range(Range::prefix("/").at(15))
            .await
            .unwrap()
            .entries[0]
            .value,
        [14_u8][..]
    );
    assert_eq!(
        store.shared.state.read().history.after(15).unwrap().count(),
        10
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_bound_history_too() {
    let store = MemoryStore::new(MemoryConfig::default().history_bytes(10_000));
    for number in 0..20_u8 {
        put(&store, "/a", &[number; 2000]).await;
    }
    assert!(store.shared.state.read().history.compacted() >= 15);
}

/// What was deleted counts, however large it was and however little its deletion says.
#[tokio::test(start_paused = true)]
async fn deleted_values_are_let_go() {
    let store = MemoryStore::new(MemoryConfig::default().history_bytes(100_000));
    let value = Bytes::from(vec![1; 10_000]);
    for number in 0..100_u8 {
        put(&store, &key(number), &value).await;
    }
    // What is present costs history nothing.
    assert_eq!(store.shared.state.read().history.compacted(), 0);
    for number in 0..100_u8 {
        store.delete(&key(number), None).await.unwrap();
    }
    let state = store.shared.state.read();
    let kept = state.history.after(state.history.compacted());
    assert!(kept.unwrap().count() < 10);
}

/// For longer than any clock can show.
#[tokio::test(start_paused = true)]
async fn keys_may_live_for_ever() {
    let store = MemoryStore::default();
    let ttl = Some(Duration::MAX);
    let put = store.put("/a", "1".into(), Expect::Absent, ttl);
    put.await.unwrap();
    tokio::time::sleep(Duration::from_secs(1 << 25)).await;
    assert!(store.get("/a").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn keys_expire_and_updates_renew_them() {
    let store = MemoryStore::default();
    let ttl = Some(Duration::from_secs(60));
    let first = store
        .put("/a", "1".into(), Expect::Absent, ttl)
        .await
        .unwrap();
    let mut watch = store.watch("/", first).await.unwrap();
    tokio::time::sleep(Duration::from_secs(50)).await;
    store
        .put("/a", "2".into(), Expect::Modified(first), ttl)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(store.get("/a").await.unwrap().is_some());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(store.get("/a").await.unwrap().is_none());
    let mut deleted = None;
    while deleted.is_none() {
        if let WatchEvent::Changes(changes) = watch.next().await.unwrap().unwrap() {
            deleted = changes
                .into_iter()
                .find(|change| matches!(change, Change::Delete { .. }));
        }
    }
    assert_eq!(deleted.unwrap().revision(), 3);
}

#[tokio::test(start_paused = true)]
async fn watches_of_other_keys_are_told_of_progress() {
    let store = MemoryStore::default();
    let mut watch = store.watch("/quiet", 0).await.unwrap();
    for number in 0..5_u8 {
        put(&store, "/busy", &[number]).await;
    }
    assert_eq!(
        watch.next().await.unwrap().unwrap(),
        WatchEvent::Progress(5)
    );
}

/// A reader that writes other keys on each mark is given one a second, and does not spin.
#[tokio::test(start_paused = true)]
async fn marks_keep_their_distance() {
    let store = MemoryStore::default();
    let mut watch = store.watch("/watched/", 0).await.unwrap();
    let mut marks = 0;
    let reader = async {
        loop {
            put(&store, "/other", b"x").await;
            let event = watch.next().await.unwrap().unwrap();
            assert!(matches!(event, WatchEvent::Progress(_)));
            marks += 1;
        }
    };
    let limit = tokio::time::timeout(Duration::from_secs(10), reader).await;
    assert!(limit.is_err());
    assert!((9..=11).contains(&marks), "{marks}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_store_has_no_timers() {
    let store = MemoryStore::default();
    let _watch = store.watch("/", 0).await.unwrap();
    put(&store, "/a", b"1").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // With no other timer, the paused clock jumps straight to the end of this sleep.
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(start.elapsed(), Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_store_ends_its_watches() {
    let store = MemoryStore::default();
    let mut watch = store.watch("/", 0).await.unwrap();
    drop(store);
    assert!(watch.next().await.is_none());
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn conforms() {
    crate::testing::conformance::store::run(|| async {
        Box::new(MemoryStore::default()) as Box<dyn Store>
    })
    .await;
}
