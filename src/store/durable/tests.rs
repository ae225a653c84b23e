//! What a restart, a crash, a damaged file and a full disk do to a durable store.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;

use super::*;
use crate::clock::Clock;
use crate::store::{Change, WatchEvent};

mod backup;
mod disk;

/// A directory that goes with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("homeostat-{name}-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
    async fn open(&self) -> DurableStore {
        DurableStore::open(&self.0, DurableConfig::default())
            .await
            .unwrap()
    }
    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is in a store: key, value, created, modified.
async fn contents(store: &dyn Store) -> Vec<(String, Bytes, Revision, Revision)> {
    let page = store.range(Range::prefix("")).await.unwrap();
    let entries = page.entries.into_iter();
    entries
        .map(|entry| {
            (
                entry.key.to_string(),
                entry.value,
                entry.created,
                entry.modified,
            )
        })
        .collect()
}

/// The log and what it holds.
async fn log(place: &Temporary) -> (Log, Contents) {
    let file = place.file();
    let open = move || Log::open(&file, Durability::Immediate, log::from_path);
    blocking(open).await.unwrap()
}

async fn write(store: &DurableStore, key: &str, value: &str) -> Revision {
    let expect = store
        .get(key)
        .await
        .unwrap()
        .map_or(Expect::Absent, |entry| Expect::Modified(entry.modified));
    store
        .put(key, value.to_owned().into(), expect, None)
        .await
        .unwrap()
}

#[cfg(feature = "testing")]
#[tokio::test]
async fn keeps_the_contract() {
    let place = Temporary::new("contract");
    let number = AtomicU64::new(0);
    crate::testing::conformance::store::run(|| async {
        let directory = place
            .0
            .join(number.fetch_add(1, Ordering::Relaxed).to_string());
        let store = DurableStore::open(directory, DurableConfig::default()).await;
        Box::new(store.unwrap()) as Box<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn goes_on_after_a_restart() {
    let place = Temporary::new("restart");
    let store = place.open().await;
    write(&store, "/a", "1").await;
    let second = write(&store, "/b", "2").await;
    write(&store, "/a", "3").await;
    let (_, newest) = store.delete("/b", None).await.unwrap();
    let before = contents(&store).await;
    store.close().await;
    assert!(
        store
            .put("/c", "4".into(), Expect::Absent, None)
            .await
            .is_err()
    );

    let store = place.open().await;
    assert_eq!(contents(&store).await, before);
    assert_eq!(store.revision().await.unwrap(), newest);
    let past = store.range(Range::prefix("/").at(second)).await.unwrap();
    assert_eq!(past.entries.len(), 2);
    let mut watch = store.watch("/", second).await.unwrap();
    let Some(Ok(WatchEvent::Changes(changes))) = watch.next().await else {
        panic!("no changes")
    };
    assert_eq!(changes.len(), 2);
    assert!(matches!(&changes[0], Change::Put { previous: Some(old), .. } if old.value == "1"));
    assert_eq!(write(&store, "/c", "4").await, newest + 1);
    store.close().await;
}

#[tokio::test]
async fn compaction_survives_and_reclaims() {
    let place = Temporary::new("compact");
    let store = place.open().await;
    for number in 0..300 {
        write(&store, "/a", &number.to_string()).await;
    }
    let (_, newest) = store.delete("/a", None).await.unwrap();
    store.compact(newest).await.unwrap();
    write(&store, "/b", "stays").await;
    store.close().await;
    // One record is left, of the key that is left.
    let (log, contents) = log(&place).await;
    assert_eq!(contents.parts.concat().len(), 1);
    assert_eq!((contents.compacted, contents.newest), (newest, newest + 1));
    drop(log);
    let store = place.open().await;
    assert_eq!(store.revision().await.unwrap(), newest + 1);
    let past = store.range(Range::prefix("/").at(newest - 1)).await;
    assert!(matches!(past, Err(Error::Compacted { oldest }) if oldest == newest));
    store.close().await;
}

/// Whatever of history is forgotten: keys, when they were made, the past that is left, and where it begins.
#[tokio::test]
async fn a_restart_shows_the_same() {
    async fn shown(store: &DurableStore) -> Vec<Result<Vec<Entry>, String>> {
        let newest = store.revision().await.unwrap();
        let mut shown = Vec::new();
        for revision in 0..=newest {
            let page = store.range(Range::prefix("").at(revision)).await;
            shown.push(
                page.map(|page| page.entries)
                    .map_err(|error| error.to_string()),
            );
        }
        shown
    }
    let clock = Clock::seeded(1);
    for history in 1..12 {
        let place = Temporary::new("same");
        let memory = MemoryConfig::default().history_events(history);
        let config = DurableConfig::default().memory(memory);
        let store = DurableStore::open(&place.0, config).await.unwrap();
        for number in 0..60 {
            let key = format!("/{}", clock.below(8));
            if clock.below(3) > 0 {
                write(&store, &key, &number.to_string()).await;
            } else {
                let _there = store.delete(&key, None).await;
            }
            if number == 40 {
                // So that updates are left whose creation is not.
                store
                    .compact(store.revision().await.unwrap())
                    .await
                    .unwrap();
            }
        }
        let before = shown(&store).await;
        store.close().await;
        let store = DurableStore::open(&place.0, config).await.unwrap();
        assert_eq!(shown(&store).await, before, "history of {history}");
        store.close().await;
    }
}

#[tokio::test]
async fn the_newest_revision_outlives_its_key() {
    let place = Temporary::new("newest");
    let store = place.open().await;
    write(&store, "/a", "1").await;
    let (_, newest) = store.delete("/a", None).await.unwrap();
    store.compact(newest).await.unwrap();
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.revision().await.unwrap(), newest);
    assert_eq!(write(&store, "/a", "2").await, newest + 1);
    let mut watch = store.watch("/", newest).await.unwrap();
    assert!(
        matches!(watch.next().await, Some(Ok(WatchEvent::Changes(changes))) if changes.len() == 1)
    );
    store.close().await;
}

#[tokio::test]
async fn history_is_bounded_on_disk() {
    let place = Temporary::new("bounded");
    let config = DurableConfig::default().memory(MemoryConfig::default().history_events(10));
    let store = DurableStore::open(&place.0, config).await.unwrap();
    for number in 0..500 {
        write(&store, &format!("/{}", number % 3), "x").await;
    }
    store.close().await;
    let (_, contents) = log(&place).await;
    let records = contents.parts.concat().len();
    assert!(records < 20, "{records}");
}

#[tokio::test]
async fn time_to_live_begins_anew() {
    let place = Temporary::new("ttl");
    let store = place.open().await;
    let ttl = Some(Duration::from_millis(300));
    store
        .put("/a", "1".into(), Expect::Absent, ttl)
        .await
        .unwrap();
    store.close().await;
    let store = place.open().await;
    assert!(store.get("/a").await.unwrap().is_some());
    let mut watch = store
        .watch("/", store.revision().await.unwrap())
        .await
        .unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Some(Ok(WatchEvent::Changes(changes))) = watch.next().await {
                return changes;
            }
        }
    });
    assert!(matches!(gone.await.unwrap()[0], Change::Delete { .. }));
    store.close().await;
}

#[tokio::test]
async fn a_second_opener_is_told() {
    let place = Temporary::new("lock");
    let store = place.open().await;
    let second = DurableStore::open(&place.0, DurableConfig::default())
        .await
        .unwrap_err();
    assert_eq!(
        second.to_string(),
        format!("{} is in use by another process", place.file().display())
    );
    store.close().await;
}

#[tokio::test]
async fn relaxed_stores_keep_all_when_closed() {
    let place = Temporary::new("relaxed");
    let config = DurableConfig::default().relaxed(Duration::from_secs(60));
    let store = DurableStore::open(&place.0, config).await.unwrap();
    write(&store, "/a", "1").await;
    store.close().await;
    let store = place.open().await;
    assert!(store.get("/a").await.unwrap().is_some());
    store.close().await;
}

/// Damage is told, or it is where nothing is; what is served is what was written.
#[tokio::test]
async fn damaged_files_are_not_served() {
    let place = Temporary::new("damage");
    let store = place.open().await;
    for number in 0..200 {
        write(&store, &format!("/{number}"), &"v".repeat(100)).await;
    }
    let expected = contents(&store).await;
    store.close().await;
    let whole = std::fs::read(place.file()).unwrap();
    let clock = Clock::seeded(11);
    let mut told = 0;
    for attempt in 0..240 {
        let mut bytes = whole.clone();
        // Half of them in the head of the file, which says where everything is.
        let within = if attempt % 2 == 0 {
            320
        } else {
            bytes.len() as u64
        };
        let at = usize::try_from(clock.below(within)).unwrap();
        if attempt % 8 == 3 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << (attempt % 8);
        }
        std::fs::write(place.file(), &bytes).unwrap();
        match DurableStore::open(&place.0, DurableConfig::default()).await {
            Ok(store) => {
                let found = contents(&store).await;
                store.close().await;
                assert!(found == expected, "byte {at} of attempt {attempt}");
            }
            Err(OpenError::Damaged { .. } | OpenError::Format { .. } | OpenError::Io { .. }) => {
                told += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(told > 20, "only {told} of 240 were told of");
}

/// A process that died leaves the last commits in the head of the file, of which the engine takes the older one when the
/// newer one is damaged. Whatever bit of the head it is: nothing is lost without a word.
#[tokio::test]
async fn a_damaged_head_takes_nothing_away() {
    let place = Temporary::new("head");
    let store = place.open().await;
    for number in 0..5 {
        write(&store, &format!("/{number}"), "v").await;
    }
    let expected = contents(&store).await;
    // As the process leaves them that is killed now.
    let whole = std::fs::read(place.file()).unwrap();
    let witness = std::fs::read(place.0.join("homeostat.newest")).unwrap();
    store.close().await;
    let clock = Clock::seeded(5);
    let (mut lost, mut told) = (0, 0);
    for at in 0..320 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << clock.below(8);
        std::fs::write(place.file(), &bytes).unwrap();
        std::fs::write(place.0.join("homeostat.newest"), &witness).unwrap();
        match DurableStore::open(&place.0, DurableConfig::default()).await {
            Ok(store) => {
                assert_eq!(contents(&store).await, expected, "byte {at}");
                store.close().await;
            }
            Err(OpenError::Damaged { what, .. }) if what.contains("it ends with revision 4") => {
                lost += 1;
            }
            Err(_) => told += 1,
        }
    }
    // The test is about something: the engine does go back.
    assert!(lost > 20 && told > 20, "{lost} and {told} of 320");
}

#[tokio::test]
async fn a_file_that_is_gone_is_told() {
    let place = Temporary::new("gone");
    let store = place.open().await;
    write(&store, "/a", "1").await;
    let copy = place.0.join("copy");
    store.backup(&copy).await.unwrap();
    write(&store, "/b", "2").await;
    store.close().await;
    std::fs::remove_file(place.file()).unwrap();
    let gone = DurableStore::open(&place.0, DurableConfig::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(gone.contains("ends with revision 0, but 2 was"), "{gone}");
    // What a backup restores is what counts from then on.
    DurableStore::restore(&copy, &place.0).await.unwrap();
    let store = place.open().await;
    assert_eq!(store.revision().await.unwrap(), 1);
    store.close().await;
}
