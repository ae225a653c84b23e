//! What every [`Store`] promises, as named cases. A new store passes them in one call:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! use homeostat::store::{MemoryStore, Store};
//! use homeostat::testing::conformance::store::run;
//! run(|| async { Box::new(MemoryStore::default()) as Box<dyn Store> }).await;
//! # });
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a suite that fails panics, with the case's name"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

use crate::store::{Change, Error, Expect, Range, Revision, Store, WatchEvent, WatchStream};

/// How long a watch may take to deliver what it has. Real stores are slow, and virtual time is free.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs every case on a fresh store of its own, which `make` gives.
///
/// # Panics
/// When a case fails; the message begins with its name.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Box<dyn Store>>,
{
    let fresh = || async { Arc::<dyn Store>::from(make().await) };
    create_needs_an_absent_key(fresh().await).await;
    update_needs_the_revision_it_read(fresh().await).await;
    delete_needs_what_it_expects(fresh().await).await;
    every_write_takes_the_next_revision(fresh().await).await;
    ranges_are_ordered_and_paged(fresh().await).await;
    pages_end_where_they_should(fresh().await).await;
    keys_may_be_any_text(fresh().await).await;
    ranges_show_the_past(fresh().await).await;
    the_future_cannot_be_read(fresh().await).await;
    values_are_kept_as_they_are(fresh().await).await;
    one_of_many_writers_wins(fresh().await).await;
    watches_tell_every_change_in_order(fresh().await).await;
    watches_tell_of_their_prefix_only(fresh().await).await;
    watches_begin_in_the_past(fresh().await).await;
    watches_miss_nothing_of_concurrent_writers(fresh().await).await;
    compaction_forgets(fresh().await).await;
    keys_with_a_time_to_live_go(fresh().await).await;
    the_last_write_says_how_long(fresh().await).await;
    marks_do_not_answer_writes(fresh().await).await;
    a_working_store_is_healthy(fresh().await).await;
}

fn check(case: &str, holds: bool, what: &str) {
    assert!(holds, "{case}: {what}");
}

async fn create(store: &Arc<dyn Store>, key: &str, value: &str) -> Revision {
    store
        .put(
            key,
            Bytes::copy_from_slice(value.as_bytes()),
            Expect::Absent,
            None,
        )
        .await
        .unwrap()
}

/// The next `count` changes of a watch.
async fn changes(case: &str, watch: &mut WatchStream, count: usize) -> Vec<Change> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match tokio::time::timeout(PATIENCE, watch.next()).await {
            Ok(Some(Ok(WatchEvent::Changes(changes)))) => seen.extend(changes),
            Ok(Some(Ok(WatchEvent::Progress(_)))) => {}
            other => panic!(
                "{case}: {} of {count} changes came, then {other:?}",
                seen.len()
            ),
        }
    }
    seen
}

async fn create_needs_an_absent_key(store: Arc<dyn Store>) {
    let case = "create needs an absent key";
    let revision = create(&store, "/a", "1").await;
    let again = store.put("/a", "2".into(), Expect::Absent, None).await;
    check(
        case,
        matches!(again, Err(Error::AlreadyExists { .. })),
        "a second create succeeded",
    );
    let entry = store.get("/a").await.unwrap().unwrap();
    check(
        case,
        entry.value == "1" && entry.created == revision && entry.modified == revision,
        "the entry is not as created",
    );
    check(
        case,
        store.get("/b").await.unwrap().is_none(),
        "a key that was never written exists",
    );
}

async fn update_needs_the_revision_it_read(store: Arc<dyn Store>) {
    let case = "update needs the revision it read";
    let absent = store.put("/a", "1".into(), Expect::Modified(1), None).await;
    check(
        case,
        matches!(absent, Err(Error::NotFound { .. })),
        "an absent key was updated",
    );
    let first = create(&store, "/a", "1").await;
    let second = store
        .put("/a", "2".into(), Expect::Modified(first), None)
        .await
        .unwrap();
    let stale = store
        .put("/a", "3".into(), Expect::Modified(first), None)
        .await;
    check(
        case,
        matches!(stale, Err(Error::Conflict { actual, .. }) if actual == second),
        "a stale update succeeded",
    );
    let entry = store.get("/a").await.unwrap().unwrap();
    check(
        case,
        (entry.created, entry.modified) == (first, second),
        "the revisions are wrong",
    );
}

async fn delete_needs_what_it_expects(store: Arc<dyn Store>) {
    let case = "delete needs what it expects";
    check(
        case,
        matches!(store.delete("/a", None).await, Err(Error::NotFound { .. })),
        "an absent key was deleted",
    );
    let first = create(&store, "/a", "1").await;
    let stale = store.delete("/a", Some(first + 100)).await;
    check(
        case,
        matches!(stale, Err(Error::Conflict { .. })),
        "a stale delete succeeded",
    );
    let (entry, revision) = store.delete("/a", Some(first)).await.unwrap();
    check(
        case,
        entry.value == "1" && revision > first,
        "the deleted entry is wrong",
    );
    check(
        case,
        store.get("/a").await.unwrap().is_none(),
        "the key is still there",
    );
    let created = create(&store, "/a", "2").await;
    check(
        case,
        store.get("/a").await.unwrap().unwrap().created == created,
        "a key made again keeps its old revision",
    );
}

async fn every_write_takes_the_next_revision(store: Arc<dyn Store>) {
    let case = "every write takes the next revision";
    let start = store.revision().await.unwrap();
    let first = create(&store, "/a", "1").await;
    let second = store
        .put("/a", "1".into(), Expect::Modified(first), None)
        .await
        .unwrap();
    let (_, third) = store.delete("/a", None).await.unwrap();
    check(
        case,
        [first, second, third] == [start + 1, start + 2, start + 3],
        "revisions skip or repeat",
    );
    // What fails takes none.
    let _ = store.delete("/a", None).await;
    check(
        case,
        store.revision().await.unwrap() == third,
        "a failure took a revision",
    );
}

async fn ranges_are_ordered_and_paged(store: Arc<dyn Store>) {
    let case = "ranges are ordered and paged";
    for key in ["/p/b", "/p/a/x", "/p/a", "/q/z", "/p/c"] {
        create(&store, key, key).await;
    }
    let keys = |entries: &[crate::store::Entry]| {
        entries
            .iter()
            .map(|entry| entry.key.to_string())
            .collect::<Vec<_>>()
    };
    let all = store.range(Range::prefix("/p/")).await.unwrap();
    check(
        case,
        keys(&all.entries) == ["/p/a", "/p/a/x", "/p/b", "/p/c"] && all.remaining == 0,
        "the range is wrong",
    );
    let page = store.range(Range::prefix("/p/").limit(3)).await.unwrap();
    check(
        case,
        page.entries.len() == 3 && page.remaining == 1,
        "the first page is wrong",
    );
    let rest = store
        .range(Range::prefix("/p/").after("/p/b").at(page.revision))
        .await
        .unwrap();
    check(
        case,
        keys(&rest.entries) == ["/p/c"],
        "the second page is wrong",
    );
    check(
        case,
        store
            .range(Range::prefix("/none/"))
            .await
            .unwrap()
            .entries
            .is_empty(),
        "an empty prefix has entries",
    );
}

async fn pages_end_where_they_should(store: Arc<dyn Store>) {
    let case = "pages end where they should";
    for key in ["/o", "/p/a", "/p/b", "/p/c", "/q"] {
        create(&store, key, key).await;
    }
    let all = || Range::prefix("/p/");
    for (range, keys, remaining) in [
        (all().limit(0), &[][..], 3),
        (all().limit(3), &["/p/a", "/p/b", "/p/c"], 0),
        (all().limit(1000), &["/p/a", "/p/b", "/p/c"], 0),
        (all().after("/p/a").limit(1), &["/p/b"], 1),
        // A key that is gone, or never was, still says where to go on.
        (all().after("/p/aa"), &["/p/b", "/p/c"], 0),
        (all().after("/p/c"), &[], 0),
        (all().after("/a"), &["/p/a", "/p/b", "/p/c"], 0),
        (all().after("/z"), &[], 0),
        (Range::prefix("").limit(2), &["/o", "/p/a"], 3),
    ] {
        let page = store.range(range.clone()).await.unwrap();
        let found: Vec<&str> = page.entries.iter().map(|entry| &*entry.key).collect();
        let right = found == keys && page.remaining == remaining;
        check(case, right, &format!("{range:?} gives {page:?}"));
    }
}

async fn keys_may_be_any_text(store: Arc<dyn Store>) {
    let case = "keys may be any text";
    let long = format!("/k/{}", "x".repeat(2000));
    // In the order of their bytes.
    let keys = [
        "/k/",
        "/k/\0",
        "/k/\0\0",
        "/k/\n",
        "/k/ ",
        "/k/\"",
        "/k/%2F",
        "/k//",
        "/k/A",
        "/k/a",
        &long,
        "/k/\u{7f}",
        "/k/\u{e9}",
        "/k/\u{ffff}",
        "/k/\u{10ffff}",
        "/k/\u{10ffff}/x",
    ];
    let start = store.revision().await.unwrap();
    let mut watch = store.watch("/k/", start).await.unwrap();
    let mut last = store.watch("/k/\u{10ffff}", start).await.unwrap();
    for key in keys.iter().rev() {
        create(&store, key, key).await;
    }
    create(&store, "/l", "another").await;
    for key in keys {
        let found = store.get(key).await.unwrap();
        let right = found.is_some_and(|entry| &*entry.key == key && entry.value == key);
        check(case, right, &format!("{key:?} is not there"));
    }
    let mut paged: Vec<String> = Vec::new();
    loop {
        let mut range = Range::prefix("/k/").limit(3);
        range.after = paged.last().cloned();
        let page = store.range(range).await.unwrap();
        paged.extend(page.entries.iter().map(|entry| entry.key.to_string()));
        if page.remaining == 0 {
            break;
        }
    }
    check(case, paged == keys, &format!("pages show {paged:?}"));
    let found = store.range(Range::prefix("/k/\u{10ffff}")).await.unwrap();
    check(
        case,
        found.entries.len() == 2,
        "the last prefix is not found",
    );
    let told = changes(case, &mut watch, keys.len()).await;
    let in_order = told.iter().map(|change| &**change.key());
    check(
        case,
        in_order.eq(keys.into_iter().rev()),
        "the watch is wrong",
    );
    changes(case, &mut last, 2).await;
}

async fn ranges_show_the_past(store: Arc<dyn Store>) {
    let case = "ranges show the past";
    let first = create(&store, "/a", "1").await;
    let second = store
        .put("/a", "2".into(), Expect::Modified(first), None)
        .await
        .unwrap();
    let (_, third) = store.delete("/a", None).await.unwrap();
    for (revision, value) in [(first, Some("1")), (second, Some("2")), (third, None)] {
        let page = store.range(Range::prefix("/a").at(revision)).await.unwrap();
        let shown = page.entries.first().map(|entry| entry.value.clone());
        check(
            case,
            shown.as_deref() == value.map(str::as_bytes),
            "a past state is wrong",
        );
        check(
            case,
            page.revision == revision,
            "a page of the past has another revision",
        );
    }
}

async fn the_future_cannot_be_read(store: Arc<dyn Store>) {
    let case = "the future cannot be read";
    let now = create(&store, "/a", "1").await;
    let range = store.range(Range::prefix("/").at(now + 10)).await;
    check(
        case,
        matches!(range, Err(Error::FutureRevision { .. })),
        "a range of the future succeeded",
    );
    let watch = store.watch("/", now + 10).await;
    check(
        case,
        matches!(watch, Err(Error::FutureRevision { .. })),
        "a watch of the future succeeded",
    );
}

async fn values_are_kept_as_they_are(store: Arc<dyn Store>) {
    let case = "values are kept as they are";
    for (key, value) in [
        ("/empty", Bytes::new()),
        ("/zero", Bytes::from_static(&[0, 255, 10])),
        ("/large", Bytes::from(vec![7; 1 << 20])),
    ] {
        store
            .put(key, value.clone(), Expect::Absent, None)
            .await
            .unwrap();
        check(
            case,
            store.get(key).await.unwrap().unwrap().value == value,
            key,
        );
    }
}

async fn one_of_many_writers_wins(store: Arc<dyn Store>) {
    let case = "one of many writers wins";
    let first = create(&store, "/a", "0").await;
    let writes = (0..16).map(|_| store.put("/a", "1".into(), Expect::Modified(first), None));
    let won = join_all(writes).await.into_iter().flatten().count();
    check(case, won == 1, "not exactly one of the writers won");
    let entry = store.get("/a").await.unwrap().unwrap();
    check(
        case,
        entry.modified == store.revision().await.unwrap(),
        "a read after the writes is stale",
    );
}

async fn watches_tell_every_change_in_order(store: Arc<dyn Store>) {
    let case = "watches tell every change in order";
    let start = store.revision().await.unwrap();
    let mut watch = store.watch("/", start).await.unwrap();
    let first = create(&store, "/a", "1").await;
    let second = store
        .put("/a", "2".into(), Expect::Modified(first), None)
        .await
        .unwrap();
    let (_, third) = store.delete("/a", None).await.unwrap();
    let seen = changes(case, &mut watch, 3).await;
    check(
        case,
        seen.iter().map(Change::revision).eq([first, second, third]),
        "the revisions are wrong",
    );
    check(
        case,
        matches!(&seen[0], Change::Put { previous: None, .. }),
        "the creation has a previous value",
    );
    check(
        case,
        matches!(&seen[1], Change::Put { entry, previous: Some(old) } if entry.value == "2" && old.value == "1"),
        "the update is wrong",
    );
    check(
        case,
        matches!(&seen[2], Change::Delete { previous, .. } if previous.value == "2"),
        "the deletion is wrong",
    );
}

async fn watches_tell_of_their_prefix_only(store: Arc<dyn Store>) {
    let case = "watches tell of their prefix only";
    let mut watch = store
        .watch("/p/", store.revision().await.unwrap())
        .await
        .unwrap();
    for key in ["/q/a", "/p/a", "/pp", "/p/b"] {
        create(&store, key, "").await;
    }
    let keys: Vec<_> = changes(case, &mut watch, 2)
        .await
        .iter()
        .map(|change| change.key().to_string())
        .collect();
    check(case, keys == ["/p/a", "/p/b"], "other keys were told of");
}

async fn watches_begin_in_the_past(store: Arc<dyn Store>) {
    let case = "watches begin in the past";
    let first = create(&store, "/a", "1").await;
    let second = create(&store, "/b", "2").await;
    let mut watch = store.watch("/", first).await.unwrap();
    check(
        case,
        changes(case, &mut watch, 1).await[0].revision() == second,
        "the first change is wrong",
    );
}

async fn watches_miss_nothing_of_concurrent_writers(store: Arc<dyn Store>) {
    let case = "watches miss nothing of concurrent writers";
    let start = store.revision().await.unwrap();
    let mut watch = store.watch("/w/", start).await.unwrap();
    let writer = |number: usize| {
        let store = store.clone();
        async move {
            for step in 0..25 {
                create(&store, &format!("/w/{number}/{step}"), "x").await;
            }
        }
    };
    let (seen, _) = futures::join!(changes(case, &mut watch, 200), join_all((0..8).map(writer)));
    let expected = start + 1..=start + 200;
    check(
        case,
        seen.iter().map(Change::revision).eq(expected),
        "a change is missing, repeated or out of order",
    );
}

async fn compaction_forgets(store: Arc<dyn Store>) {
    let case = "compaction forgets";
    let first = create(&store, "/a", "1").await;
    let second = store
        .put("/a", "2".into(), Expect::Modified(first), None)
        .await
        .unwrap();
    let third = store
        .put("/a", "3".into(), Expect::Modified(second), None)
        .await
        .unwrap();
    store.compact(second).await.unwrap();
    let past = store.range(Range::prefix("/").at(first)).await;
    check(
        case,
        matches!(past, Err(Error::Compacted { .. })),
        "a forgotten revision can be read",
    );
    check(
        case,
        store.range(Range::prefix("/").at(second)).await.is_ok(),
        "the compacted revision itself cannot be read",
    );
    let watched = match store.watch("/", first).await {
        Err(Error::Compacted { .. }) => true,
        // A store may also say so on the stream.
        Ok(mut watch) => matches!(watch.next().await, Some(Err(Error::Compacted { .. }))),
        Err(_) => false,
    };
    check(
        case,
        watched,
        "a watch from a forgotten revision does not say so",
    );
    check(
        case,
        store.get("/a").await.unwrap().unwrap().modified == third,
        "the present was forgotten",
    );
}

async fn keys_with_a_time_to_live_go(store: Arc<dyn Store>) {
    let case = "keys with a time to live go";
    let ttl = Some(Duration::from_secs(2));
    let first = store
        .put("/a", "1".into(), Expect::Absent, ttl)
        .await
        .unwrap();
    create(&store, "/b", "stays").await;
    let mut watch = store.watch("/a", first).await.unwrap();
    let seen = changes(case, &mut watch, 1).await;
    check(
        case,
        matches!(&seen[0], Change::Delete { .. }),
        "its end was not told",
    );
    check(
        case,
        store.get("/a").await.unwrap().is_none(),
        "it is still there",
    );
    check(
        case,
        store.get("/b").await.unwrap().is_some(),
        "a key without one is gone",
    );
}

async fn the_last_write_says_how_long(store: Arc<dyn Store>) {
    let case = "the last write says how long";
    let ttl = Some(Duration::from_secs(2));
    let put = async |key: &str, expect, ttl| store.put(key, "1".into(), expect, ttl).await.unwrap();
    let updated = put("/updated", Expect::Absent, ttl).await;
    put("/updated", Expect::Modified(updated), None).await;
    put("/again", Expect::Absent, ttl).await;
    store.delete("/again", None).await.unwrap();
    put("/again", Expect::Absent, None).await;
    put("/long", Expect::Absent, Some(Duration::MAX)).await;
    let last = put("/short", Expect::Absent, ttl).await;
    let mut watch = store.watch("/", last).await.unwrap();
    let seen = changes(case, &mut watch, 1).await;
    check(case, &**seen[0].key() == "/short", "another key went first");
    for key in ["/updated", "/again", "/long"] {
        check(case, store.get(key).await.unwrap().is_some(), key);
    }
}

async fn marks_do_not_answer_writes(store: Arc<dyn Store>) {
    let case = "marks do not answer writes";
    let start = create(&store, "/a", "1").await;
    let mut watch = store.watch("/watched/", start).await.unwrap();
    let writes_on_each_mark = async {
        for step in 0..100 {
            create(&store, &format!("/other/{step}"), "x").await;
            while !matches!(watch.next().await, Some(Ok(WatchEvent::Progress(_)))) {}
        }
    };
    let limit = Duration::from_secs(3);
    check(
        case,
        tokio::time::timeout(limit, writes_on_each_mark)
            .await
            .is_err(),
        "a hundred marks came within three seconds",
    );
}

async fn a_working_store_is_healthy(store: Arc<dyn Store>) {
    let case = "a working store is healthy";
    check(case, store.health().await.is_ok(), "it is not");
    create(&store, "/a", "1").await;
    check(
        case,
        store.health().await.is_ok(),
        "it is not after a write",
    );
}
