//! The cacher over a store with faults.
use super::fake::{FakeStore, pod, pods};
use super::*;
use crate::object::{FieldSelector, LabelSelector};
use crate::store::Store;
use serde_json::json;
use std::collections::VecDeque;

fn cacher(store: &FakeStore, history: usize) -> Cacher {
    Cacher::new(
        Arc::new(store.clone()),
        CacherConfig {
            history,
            ..CacherConfig::default()
        },
    )
}

fn names(listing: &Listing) -> Vec<String> {
    listing
        .items
        .iter()
        .map(|item| format!("{}@{}", item.name(), item.revision))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn lists_show_the_revision_asked_for() {
    let store = FakeStore::default();
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        store.pod(name, app, "");
    }
    let (cacher, pods) = (cacher(&store, 100), pods());
    cacher.kind(&pods).await.unwrap();
    store.remove("/registry/pods/ns/b");
    store.write(
        "/registry/configmaps/ns/x",
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } }),
    );
    let web = LabelSelector::parse("app=web").unwrap();
    let not_a = FieldSelector::parse("metadata.name!=a").unwrap();
    let query = ListQuery::default;
    for (query, expected) in [
        (query(), Ok((vec!["a@1", "c@3"], 5))),
        (
            ListQuery {
                namespace: "ns",
                ..query()
            },
            Ok((vec!["a@1", "c@3"], 5)),
        ),
        (
            ListQuery {
                namespace: "n",
                ..query()
            },
            Ok((vec![], 5)),
        ),
        (
            ListQuery {
                resource_version: "0",
                limit: Some(1),
                ..query()
            },
            Ok((vec!["a@1", "c@3"], 5)),
        ),
        (
            ListQuery {
                resource_version: "4",
                ..query()
            },
            Ok((vec!["a@1", "c@3"], 5)),
        ),
        (
            ListQuery {
                resource_version: "2",
                resource_version_match: "Exact",
                ..query()
            },
            Ok((vec!["a@1", "b@2"], 2)),
        ),
        (
            ListQuery {
                resource_version: "4",
                resource_version_match: "Exact",
                ..query()
            },
            Ok((vec!["a@1", "c@3"], 4)),
        ),
        (
            ListQuery {
                resource_version: "3",
                limit: Some(2),
                ..query()
            },
            Ok((vec!["a@1", "b@2"], 3)),
        ),
        (
            ListQuery {
                resource_version: "3",
                limit: Some(1),
                resource_version_match: "NotOlderThan",
                ..query()
            },
            Ok((vec!["a@1"], 5)),
        ),
        (
            ListQuery {
                labels: Some(&web),
                fields: Some(&not_a),
                ..query()
            },
            Ok((vec!["c@3"], 5)),
        ),
        (
            ListQuery {
                resource_version: "6",
                ..query()
            },
            Err((504, "Timeout: Too large resource version: 6, current: 5")),
        ),
        (
            ListQuery {
                resource_version: "x",
                ..query()
            },
            Err((
                400,
                "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
            )),
        ),
        (
            ListQuery {
                continue_: Some("!"),
                ..query()
            },
            Err((
                400,
                "invalid continue token: continue key is not valid: illegal base64 data at input byte 0",
            )),
        ),
    ] {
        // A cluster-wide watch delivers what is written only when its task runs.
        let found = cacher.list(&pods, &query).await;
        let found = found
            .as_ref()
            .map(|listing| (names(listing), listing.revision))
            .map_err(|error| (error.status.code, error.status.message.as_str()));
        let expected = expected
            .map(|(names, revision)| (names.into_iter().map(str::to_owned).collect(), revision));
        assert_eq!(found, expected, "{query:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_of_one_revision_until_it_is_compacted() {
    let store = FakeStore::default();
    for name in ["a", "b", "c", "d"] {
        store.pod(name, "", "");
    }
    let (cacher, pods) = (cacher(&store, 100), pods());
    let page = ListQuery {
        limit: Some(2),
        namespace: "ns",
        ..ListQuery::default()
    };
    let first = cacher.list(&pods, &page).await.unwrap();
    assert_eq!(
        (names(&first), first.remaining),
        (vec!["a@1".into(), "b@2".into()], Some(2))
    );
    // As long as nothing changes, pages come from the cache.
    let (next, loads) = (first.next.as_deref(), store.ranges());
    let next = ListQuery {
        continue_: next,
        ..page.clone()
    };
    assert_eq!(cacher.list(&pods, &next).await.unwrap().next, None);
    assert_eq!(store.ranges(), loads);
    store.pod("bb", "", "");
    store.pod("c", "new", "");
    cacher.fresh().await.unwrap();
    let token = first.next.unwrap();
    let next = ListQuery {
        continue_: Some(&token),
        ..page.clone()
    };
    let second = cacher.list(&pods, &next).await.unwrap();
    assert_eq!(
        (names(&second), second.revision, second.next),
        (vec!["c@3".into(), "d@4".into()], 4, None)
    );
    store.compact(6).await.unwrap();
    let expired = cacher.list(&pods, &next).await.unwrap_err();
    assert_eq!(expired.status.code, 410);
    let token = expired.continue_.unwrap();
    let inconsistent = cacher
        .list(
            &pods,
            &ListQuery {
                continue_: Some(&token),
                ..page
            },
        )
        .await
        .unwrap();
    assert_eq!(
        (names(&inconsistent), inconsistent.remaining),
        (vec!["bb@5".into(), "c@6".into()], Some(1))
    );
}

#[tokio::test(start_paused = true)]
async fn gets_wait_for_what_was_written_before() {
    let store = FakeStore::default();
    let (cacher, pods) = (cacher(&store, 100), pods());
    cacher.kind(&pods).await.unwrap();
    store.set_stuck(true);
    store.pod("a", "", "");
    assert!(cacher.get(&pods, "ns", "a", "0").await.unwrap().is_none());
    assert_eq!(
        cacher.get(&pods, "ns", "a", "").await.unwrap_err().code,
        504
    );
    assert_eq!(
        cacher.get(&pods, "ns", "a", "-1").await.unwrap_err().code,
        500
    );
    store.set_stuck(false);
    let found = cacher.get(&pods, "ns", "a", "").await.unwrap().unwrap();
    assert_eq!(
        found.document().unwrap()["metadata"]["resourceVersion"],
        "1"
    );
    assert_eq!(
        (
            found.name(),
            found.namespace(&pods),
            found.label("app"),
            found.field(&pods, "spec.nodeName")
        ),
        ("a", "ns", Some(""), Some(""))
    );
    let (open, item) = found.item();
    assert!(open == b"{" && item.starts_with(b"\"metadata\""));
}

#[tokio::test(start_paused = true)]
async fn a_cache_loaded_among_writes_misses_none() {
    let store = FakeStore::default();
    store.pod("before", "", "");
    let (cacher, pods) = (Arc::new(cacher(&store, 100)), pods());
    // Readers begin the load, some give up, and writes go on all the time.
    let abandoned = tokio::time::timeout(Duration::ZERO, cacher.kind(&pods)).await;
    assert!(abandoned.is_err());
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..20 {
                store.pod(&format!("p{number:02}"), "", "");
                tokio::task::yield_now().await;
            }
            store.remove("/registry/pods/ns/before");
        })
    };
    let kind = cacher.kind(&pods).await.unwrap();
    writer.await.unwrap();
    cacher.fresh().await.unwrap();
    assert_eq!(
        kind.select(&Selection::all("/registry/pods/")).items.len(),
        20
    );
}

#[tokio::test(start_paused = true)]
async fn hints_spare_the_decoding_and_are_bounded() {
    let store = FakeStore::default();
    let (cacher, pods) = (
        Cacher::new(
            Arc::new(store.clone()),
            CacherConfig {
                hints: 2,
                ..CacherConfig::default()
            },
        ),
        pods(),
    );
    let kind = cacher.kind(&pods).await.unwrap();
    store.set_stuck(true);
    let mut answers = Vec::new();
    for name in ["a", "b", "c"] {
        let revision = store.pod(name, "x", "");
        let key = pods.key("ns", name);
        let answer = Bytes::from(pod(name, "x", "").to_string());
        cacher.hint(&pods, &key, revision, &pod(name, "x", ""), answer.clone());
        answers.push(answer);
    }
    assert_eq!(cacher.inner.hints.lock().len(), 2);
    store.set_stuck(false);
    cacher.fresh().await.unwrap();
    let used = |name: &str, answer: &Bytes| {
        kind.get(&pods.key("ns", name)).unwrap().bytes.as_ptr() == answer.as_ptr()
    };
    assert_eq!(
        ["a", "b", "c"]
            .iter()
            .zip(&answers)
            .map(|(name, answer)| used(name, answer))
            .collect::<Vec<_>>(),
        [false, true, true]
    );
    assert!(cacher.inner.hints.lock().is_empty());
    cacher.hint(
        &pods,
        &pods.key("ns", "a"),
        1,
        &pod("a", "", ""),
        Bytes::new(),
    );
    assert!(cacher.inner.hints.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_the_store_that_breaks_is_taken_up_again() {
    let store = FakeStore::default();
    store.pod("a", "", "");
    let (cacher, pods) = (cacher(&store, 100), pods());
    let kind = cacher.kind(&pods).await.unwrap();
    let mut watch = kind
        .watch_after("", &FieldSelector::default(), 1)
        .unwrap()
        .subscription;
    let mut events = VecDeque::new();
    // Continued without a gap when the history is there.
    store.set_down(true);
    store.break_watches(false);
    store.pod("b", "", "");
    tokio::time::sleep(Duration::from_secs(30)).await;
    store.set_down(false);
    while cacher.fresh().await.is_err() {}
    watch.reader.take(10, &mut events).unwrap();
    assert_eq!(events.pop_front().unwrap().object.name(), "b");
    // Listed again when it is not: the watch ends, and what is new is there.
    store.set_stuck(true);
    store.pod("c", "", "");
    store.remove("/registry/pods/ns/a");
    store.break_watches(true);
    store.set_stuck(false);
    cacher.fresh().await.unwrap();
    let listing = cacher.list(&pods, &ListQuery::default()).await.unwrap();
    assert_eq!(names(&listing), ["b@2", "c@3"]);
    assert_eq!(watch.reader.take(10, &mut events), Err(Stop::Gap));
    assert!(matches!(
        kind.watch_after("", &FieldSelector::default(), 2),
        Err(4)
    ));
}

#[tokio::test(start_paused = true)]
async fn narrow_watches_have_channels_of_their_own_while_they_last() {
    let store = FakeStore::default();
    let (cacher, pods) = (cacher(&store, 4), pods());
    let kind = cacher.kind(&pods).await.unwrap();
    let on_n1 = FieldSelector::parse("spec.nodeName=n1").unwrap();
    let start = || kind.watch_after("", &on_n1, 0).unwrap().subscription;
    let (mut one, two) = (start(), start());
    let named = kind
        .watch_after("ns", &FieldSelector::parse("metadata.name=x").unwrap(), 0)
        .unwrap();
    let mut all = kind
        .watch_after("", &FieldSelector::default(), 0)
        .unwrap()
        .subscription;
    assert_eq!(kind.narrow_channels(), 2);
    store.pod("x", "", "n1");
    for number in 0..20 {
        store.pod(&format!("other{number}"), "", "n2");
    }
    store.pod("x", "", "n2");
    cacher.fresh().await.unwrap();
    // The narrow watch sees what enters and leaves, however much else happens; the wide one was too slow.
    let mut events = VecDeque::new();
    one.reader.take(10, &mut events).unwrap();
    assert_eq!(
        events
            .iter()
            .map(|event| event.revision)
            .collect::<Vec<_>>(),
        [1, 22]
    );
    assert_eq!(all.reader.take(10, &mut events), Err(Stop::Slow));
    drop((one, named));
    assert_eq!(kind.narrow_channels(), 1);
    drop(two);
    assert_eq!(kind.narrow_channels(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_resource_gets_a_new_cache() {
    let store = FakeStore::default();
    store.pod("a", "", "");
    let cacher = cacher(&store, 4);
    let (old, new) = (pods(), pods());
    let kind = cacher.kind(&old).await.unwrap();
    let mut watch = kind
        .watch_after("", &FieldSelector::default(), 1)
        .unwrap()
        .subscription;
    let replaced = cacher.kind(&new).await.unwrap();
    assert_eq!(watch.reader.take(1, &mut VecDeque::new()), Err(Stop::Ended));
    assert!(replaced.get("/registry/pods/ns/a").is_some());
    let mut watch = replaced
        .watch_after("", &FieldSelector::default(), 1)
        .unwrap()
        .subscription;
    drop(cacher);
    assert_eq!(watch.reader.take(1, &mut VecDeque::new()), Err(Stop::Ended));
}
