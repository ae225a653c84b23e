//! Backups, and the stores that are made of them.

use std::collections::BTreeSet;

use super::*;

/// All that a reader can find out: what was present at each revision, and what a watch from there tells.
async fn told(store: &DurableStore, revisions: std::ops::RangeInclusive<Revision>) -> Vec<String> {
    let until = *revisions.end();
    let mut told = Vec::new();
    for revision in revisions {
        let page = store.range(Range::prefix("").at(revision)).await;
        told.push(match page {
            Ok(page) => format!("{:?}", page.entries),
            Err(error) => error.to_string(),
        });
        let mut changes = Vec::new();
        match store.watch("", revision).await {
            Ok(mut watch) => {
                while changes
                    .last()
                    .map_or(revision, |change: &Change| change.revision())
                    < until
                {
                    if let WatchEvent::Changes(more) = watch.next().await.unwrap().unwrap() {
                        changes.extend(more);
                    }
                }
                changes.retain(|change| change.revision() <= until);
            }
            Err(error) => told.push(error.to_string()),
        }
        told.push(format!("{changes:?}"));
    }
    told
}

/// The names of what is in a directory.
fn names(directory: &std::path::Path) -> BTreeSet<String> {
    let Ok(found) = std::fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    found
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A store with a past: updates, deletions, keys with a time to live, and history that is forgotten.
async fn with_a_past(place: &Temporary, clock: &Clock) -> DurableStore {
    let store = place.open().await;
    for number in 0..80 {
        some_write(&store, clock, number).await;
        if number == 30 {
            let newest = store.revision().await.unwrap();
            store.compact(newest).await.unwrap();
        }
    }
    store
}

async fn some_write(store: &DurableStore, clock: &Clock, number: usize) {
    let key = format!("/{}", clock.below(12));
    let present = store.get(&key).await.unwrap();
    let expect = present.map_or(Expect::Absent, |entry| Expect::Modified(entry.modified));
    let value = format!("{number}{}", "x".repeat(number)).into();
    let ttl = (clock.below(4) == 0).then_some(Duration::from_secs(3600));
    // Another writer may have been faster.
    let _written = match clock.below(4) {
        0 => store.delete(&key, None).await.map(drop),
        _ => store.put(&key, value, expect, ttl).await.map(drop),
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_is_as_it_was() {
    for seed in 0..10 {
        let (place, other) = (Temporary::new("backup"), Temporary::new("restored"));
        let clock = Clock::seeded(seed);
        let store = with_a_past(&place, &clock).await;
        let before = store.revision().await.unwrap();
        let copy = place.0.join("copy");
        // An older backup of this name is replaced.
        std::fs::write(&copy, "old").unwrap();
        let writers = (0..4).map(|writer| {
            let (store, clock) = (store.clone(), Clock::seeded(seed * 10 + writer));
            tokio::spawn(async move {
                for number in 0..50 {
                    some_write(&store, &clock, number).await;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        store.backup(&copy).await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        let bytes = std::fs::read(&copy).unwrap();
        DurableStore::restore(&copy, &other.0).await.unwrap();
        assert_eq!(
            std::fs::read(&copy).unwrap(),
            bytes,
            "a backup is only read"
        );
        assert_eq!(
            names(&other.0),
            BTreeSet::from(["homeostat.newest", FILE].map(String::from))
        );
        let restored = other.open().await;
        let newest = restored.revision().await.unwrap();
        assert!(
            newest >= before,
            "seed {seed}: {newest}, {before} was there"
        );
        assert_eq!(
            told(&restored, 0..=newest).await,
            told(&store, 0..=newest).await,
            "seed {seed}"
        );
        let ahead = restored.watch("", newest + 1).await.err();
        assert!(
            matches!(ahead, Some(Error::FutureRevision { .. })),
            "{ahead:?}"
        );
        assert_eq!(write(&restored, "/next", "1").await, newest + 1);
        restored.close().await;
        store.close().await;
    }
}

#[tokio::test]
async fn an_empty_store_is_backed_up_too() {
    let (place, other) = (Temporary::new("nothing"), Temporary::new("restored"));
    let store = place.open().await;
    let copy = place.0.join("copy");
    store.backup(&copy).await.unwrap();
    write(&store, "/a", "1").await;
    store.close().await;
    DurableStore::restore(&copy, &other.0).await.unwrap();
    let restored = other.open().await;
    assert_eq!(restored.revision().await.unwrap(), 0);
    restored.close().await;
}

/// Where a store is, nothing is restored, whether it is open or not.
#[tokio::test]
async fn a_store_is_not_overwritten() {
    let place = Temporary::new("over");
    let store = place.open().await;
    write(&store, "/a", "1").await;
    let copy = place.0.join("copy");
    store.backup(&copy).await.unwrap();
    write(&store, "/a", "2").await;
    let over = DurableStore::restore(&copy, &place.0).await;
    assert!(matches!(over, Err(OpenError::Exists { .. })), "{over:?}");
    // Nor is what is open taken for a backup.
    let other = Temporary::new("restored");
    let live = DurableStore::restore(place.file(), &other.0).await;
    assert!(matches!(live, Err(OpenError::Locked { .. })), "{live:?}");
    store.close().await;
    let over = DurableStore::restore(&copy, &place.0).await;
    assert!(matches!(over, Err(OpenError::Exists { .. })), "{over:?}");
    let store = place.open().await;
    assert_eq!(store.get("/a").await.unwrap().unwrap().value, "2");
    store.close().await;
    let closed = store.backup(&copy).await;
    assert!(matches!(closed, Err(OpenError::Io { .. })), "{closed:?}");
}

/// Whatever is wrong with a backup is told, and leaves no store behind; what is restored is all there was.
#[tokio::test]
async fn damaged_backups_are_not_restored() {
    let place = Temporary::new("damaged");
    let clock = Clock::seeded(3);
    let store = with_a_past(&place, &clock).await;
    let copy = place.0.join("copy");
    store.backup(&copy).await.unwrap();
    let newest = store.revision().await.unwrap();
    let expected = told(&store, 0..=newest).await;
    store.close().await;
    let whole = std::fs::read(&copy).unwrap();
    let length = whole.len() as u64;
    let mut told_of = 0;
    for attempt in 0..640_usize {
        let mut bytes = whole.clone();
        match attempt {
            // Each byte of the head, which says where everything is.
            0..320 => bytes[attempt] ^= 1 << clock.below(8),
            320 => bytes.clear(),
            321..420 => bytes.truncate(usize::try_from(clock.below(length)).unwrap()),
            _ => bytes[usize::try_from(clock.below(length)).unwrap()] ^= 1 << clock.below(8),
        }
        std::fs::write(&copy, &bytes).unwrap();
        let other = Temporary::new("restored");
        match DurableStore::restore(&copy, &other.0).await {
            Ok(()) => {
                let restored = other.open().await;
                assert_eq!(
                    told(&restored, 0..=newest).await,
                    expected,
                    "attempt {attempt}"
                );
                restored.close().await;
            }
            Err(OpenError::Damaged { path, .. } | OpenError::Format { path }) => {
                assert!(path == copy || path.is_relative(), "{}", path.display());
                assert_eq!(names(&other.0), BTreeSet::new(), "attempt {attempt}");
                told_of += 1;
            }
            Err(other) => panic!("attempt {attempt}: {other}"),
        }
    }
    assert!(told_of > 100, "only {told_of} of 640 were told of");
    for missing in ["none", "."] {
        let other = Temporary::new("restored");
        let missing = DurableStore::restore(place.0.join(missing), &other.0).await;
        assert!(matches!(missing, Err(OpenError::Io { .. })), "{missing:?}");
        assert_eq!(names(&other.0), BTreeSet::new());
    }
}
