//! Watches as clients see them.
use super::*;
use crate::apiserver::registry::cacher::fake::{FakeStore, pods, server as server_state};
use crate::apiserver::registry::cacher::made::COUNT;
use crate::apiserver::registry::cacher::{CacherConfig, ListQuery};
use crate::apiserver::request::{Query, User, Verb};
use http_body_util::BodyExt;
use serde_json::Value;

struct Server {
    shared: Shared,
    store: FakeStore,
    pods: Arc<Resource>,
}

fn server(history: usize) -> Server {
    let store = FakeStore::default();
    let config = CacherConfig {
        history,
        ..CacherConfig::default()
    };
    let shared = server_state(&store, config);
    Server {
        shared,
        store,
        pods: pods(),
    }
}

impl Server {
    fn request(&self, namespace: &str, query: &str, accept: &str) -> ResourceRequest {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        ResourceRequest {
            warnings: crate::apiserver::response::Warnings::default(),
            logged: false,
            verb: Verb::Watch,
            resource: self.pods.clone(),
            namespace: namespace.into(),
            name: String::new(),
            subresource: None,
            query: Query(
                pairs
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
            ),
            user: Arc::new(User::default()),
            user_agent: String::new(),
            accept: accept.into(),
            content_type: String::new(),
            body: Bytes::new(),
        }
    }

    async fn watch(&self, query: &str) -> Body {
        handle(&self.shared, &self.request("", query, ""))
            .await
            .unwrap()
            .into_body()
    }
}

/// One frame: one JSON document and a line break.
async fn line(body: &mut Body) -> Option<Value> {
    let data = body.frame().await?.unwrap().into_data().unwrap();
    assert!(data.ends_with(b"}\n") && !data[..data.len() - 1].contains(&b'\n'));
    Some(serde_json::from_slice(&data).unwrap())
}

/// `ADDED a@1` and so on, up to `most` lines or the end.
async fn lines(body: &mut Body, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < most {
        let Some(line) = line(body).await else {
            lines.push("end".to_owned());
            break;
        };
        let (object, text) = (&line["object"], |value: &Value| {
            value.as_str().unwrap_or_default().to_owned()
        });
        let what = if object["kind"] == "Status" {
            object["code"].to_string()
        } else {
            text(&object["metadata"]["name"])
        };
        let revision = text(&object["metadata"]["resourceVersion"]);
        let mark = if object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true" {
            "!"
        } else {
            ""
        };
        lines.push(format!(
            "{} {what}@{revision}{mark}",
            line["type"].as_str().unwrap()
        ));
    }
    lines
}

#[tokio::test(start_paused = true)]
async fn watches_start_where_they_are_told() {
    let server = server(4);
    for name in ["a", "b", "c", "d"] {
        server.store.pod(name, "web", "");
    }
    server.shared.cacher.kind(&server.pods).await.unwrap();
    for name in ["e", "f"] {
        server.store.pod(name, "db", "");
    }
    server.store.remove("/registry/pods/ns/a");
    for (query, expected) in [
        (
            "",
            vec![
                "ADDED b@2",
                "ADDED c@3",
                "ADDED d@4",
                "ADDED e@5",
                "ADDED f@6",
                "end",
            ],
        ),
        (
            "labelSelector=app=db&allowWatchBookmarks=true",
            vec!["ADDED e@5", "ADDED f@6", "BOOKMARK @7!", "end"],
        ),
        ("resourceVersion=5", vec!["ADDED f@6", "DELETED a@7", "end"]),
        ("resourceVersion=7", vec!["end"]),
        ("resourceVersion=9", vec!["end"]),
        ("resourceVersion=3", vec!["ERROR 410@", "end"]),
        (
            "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=0",
            vec!["end"],
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=9",
            vec!["ERROR 504@", "end"],
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=5&fieldSelector=metadata.name=f",
            vec!["ADDED f@6", "end"],
        ),
    ] {
        let mut body = server.watch(&format!("{query}&timeoutSeconds=1")).await;
        assert_eq!(lines(&mut body, 10).await, expected, "{query}");
    }
    for seconds in [i64::MAX, -1] {
        let mut body = server
            .watch(&format!("resourceVersion=5&timeoutSeconds={seconds}"))
            .await;
        assert_eq!(lines(&mut body, 10).await.last().unwrap(), "end");
    }
    for (query, code, message) in [
        (
            "resourceVersion=abc",
            500,
            "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
        (
            "fieldSelector=spec.x=y",
            400,
            "field label not supported: spec.x",
        ),
    ] {
        let status = handle(&server.shared, &server.request("", query, ""))
            .await
            .unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}

#[tokio::test(start_paused = true)]
async fn objects_enter_and_leave_a_selection() {
    let server = server(100);
    let mut body = server.watch("labelSelector=app=web").await;
    let mut node = server.watch("fieldSelector=spec.nodeName=n1").await;
    server.store.pod("a", "db", "");
    server.store.pod("a", "web", "");
    server.store.pod("a", "web", "n1");
    server.store.pod("a", "db", "n1");
    server.store.pod("a", "web", "n2");
    server.store.remove("/registry/pods/ns/a");
    assert_eq!(
        lines(&mut body, 5).await,
        [
            "ADDED a@2",
            "MODIFIED a@3",
            "DELETED a@4",
            "ADDED a@5",
            "DELETED a@6"
        ]
    );
    let first = line(&mut node).await.unwrap();
    assert_eq!(
        (
            &first["type"],
            &first["object"]["metadata"]["resourceVersion"]
        ),
        (&json!("ADDED"), &json!("3"))
    );
    assert_eq!(lines(&mut node, 1).await, ["MODIFIED a@4"]);
    // What leaves is shown as it last was in the selection, at the revision at which it left.
    let left = line(&mut node).await.unwrap();
    assert_eq!(
        (
            &left["type"],
            &left["object"]["metadata"]["resourceVersion"]
        ),
        (&json!("DELETED"), &json!("5"))
    );
    assert_eq!(
        (
            &left["object"]["spec"]["nodeName"],
            &left["object"]["metadata"]["labels"]["app"]
        ),
        (&json!("n1"), &json!("db"))
    );
}

#[tokio::test(start_paused = true)]
async fn watches_are_gap_free_under_concurrent_writers() {
    let server = server(1000);
    let mut writers = Vec::new();
    for writer in 0..5 {
        let store = server.store.clone();
        writers.push(tokio::spawn(async move {
            for step in 0..20 {
                let name = format!("w{writer}-{}", step % 4);
                if step % 4 == 3 {
                    store.remove(&format!("/registry/pods/ns/w{writer}-{}", (step + 2) % 4));
                } else {
                    store.pod(&name, "", "");
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    tokio::task::yield_now().await;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(server.watch("").await);
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let last = server.shared.cacher.fresh().await.unwrap();
    let expected: Vec<String> = server
        .shared
        .cacher
        .list(&server.pods, &ListQuery::default())
        .await
        .unwrap()
        .items
        .iter()
        .map(|item| item.key.to_string())
        .collect();
    for mut body in bodies {
        let (mut world, mut revisions) = (std::collections::BTreeSet::new(), Vec::new());
        let mut initial = 0;
        while revisions.last() != Some(&last) {
            let event = line(&mut body).await.unwrap();
            let name = event["object"]["metadata"]["name"]
                .as_str()
                .unwrap()
                .to_owned();
            let revision: u64 = event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            match event["type"].as_str().unwrap() {
                "DELETED" => assert!(world.remove(&format!("/registry/pods/ns/{name}"))),
                _ => {
                    world.insert(format!("/registry/pods/ns/{name}"));
                }
            }
            initial = initial.max(if revisions.is_empty() {
                revision
            } else {
                initial
            });
            revisions.push(revision);
        }
        assert_eq!(world.into_iter().collect::<Vec<_>>(), expected);
        // After the initial objects every revision comes, in order, once.
        let live: Vec<u64> = revisions.windows(2).map(|pair| pair[1]).collect();
        let gapless = live
            .iter()
            .rev()
            .zip((0..=last).rev())
            .take_while(|(one, other)| **one == *other)
            .count();
        assert!(gapless > 20, "{revisions:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_is_cut_off() {
    let server = server(4);
    let mut slow = server.watch("").await;
    let mut narrow = server.watch("fieldSelector=spec.nodeName=n1").await;
    for number in 0..10 {
        server.store.pod(&format!("p{number}"), "", "n2");
    }
    server.store.pod("x", "", "n1");
    server.shared.cacher.fresh().await.unwrap();
    assert_eq!(lines(&mut slow, 3).await, ["end"]);
    assert_eq!(lines(&mut narrow, 1).await, ["ADDED x@11"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_before_the_end() {
    let server = server(100);
    server.store.pod("a", "", "");
    let start = Instant::now();
    let mut body = server
        .watch("resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=100")
        .await;
    server.store.write("/registry/other/x", &json!({}));
    let mut seen = Vec::new();
    while let Some(event) = line(&mut body).await {
        seen.push((
            start.elapsed().as_secs(),
            event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .to_owned(),
        ));
    }
    assert_eq!(seen, [(60, "2".to_owned()), (98, "2".to_owned())]);
    assert_eq!(start.elapsed().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn lost_history_ends_watches_with_410() {
    let server = server(100);
    let mut body = server.watch("resourceVersion=0").await;
    server.store.pod("a", "", "");
    assert_eq!(lines(&mut body, 1).await, ["ADDED a@1"]);
    server.store.set_stuck(true);
    server.store.pod("b", "", "");
    server.store.break_watches(true);
    server.store.set_stuck(false);
    assert_eq!(lines(&mut body, 3).await, ["ERROR 410@", "end"]);
    let mut body = server.watch("").await;
    assert_eq!(lines(&mut body, 2).await, ["ADDED a@1", "ADDED b@2"]);
    // The end of the server ends its watches.
    drop(server.shared);
    assert_eq!(lines(&mut body, 1).await, ["end"]);
}

#[tokio::test(start_paused = true)]
async fn frames_are_encoded_once_for_all() {
    let server = server(100);
    let (mut one, mut two) = (
        server.watch("").await,
        server.watch("labelSelector=app=web").await,
    );
    server.store.pod("a", "web", "");
    let one = one.frame().await.unwrap().unwrap().into_data().unwrap();
    let two = two.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(one.as_ptr(), two.as_ptr());
}

#[tokio::test(start_paused = true)]
async fn tables_have_columns_once_and_metadata_is_cut_out() {
    let server = server(100);
    let accept = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");
    let start = |accept: String| {
        let request = server.request("ns", "timeoutSeconds=5&includeObject=None", &accept);
        let server = &server;
        async move { handle(&server.shared, &request).await.unwrap().into_body() }
    };
    let (mut table, mut partial) = (
        start(accept("Table")).await,
        start(accept("PartialObjectMetadata")).await,
    );
    server.store.pod("a", "", "");
    server.store.pod("b", "", "");
    let (first, second) = (
        line(&mut table).await.unwrap(),
        line(&mut table).await.unwrap(),
    );
    assert_eq!(
        first["object"]["columnDefinitions"]
            .as_array()
            .map(Vec::len),
        Some(9)
    );
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
    assert_eq!(
        second["object"]["metadata"],
        json!({ "resourceVersion": "2" })
    );
    assert_eq!(
        (
            &second["object"]["rows"][0]["cells"][0],
            &second["object"]["rows"][0]["object"]
        ),
        (&json!("b"), &Value::Null)
    );
    let cut = line(&mut partial).await.unwrap();
    assert_eq!(
        (&cut["object"]["kind"], cut["object"].get("spec")),
        (&json!("PartialObjectMetadata"), None)
    );
    assert_eq!(cut["object"]["metadata"]["name"], "a");
}

#[tokio::test(start_paused = true)]
async fn what_is_made_does_not_grow_with_the_readers() {
    let meta = "v=v1;g=meta.k8s.io";
    // With what is made: of each of three objects that were there and of each of two changes.
    for (accept, of_object, of_change) in [
        ("application/json".to_owned(), 0, 1),
        (
            format!("application/json;as=PartialObjectMetadata;{meta}"),
            1,
            2,
        ),
        (format!("application/json;as=Table;{meta}"), 2, 3),
        ("application/vnd.kubernetes.protobuf".to_owned(), 1, 2),
        (
            format!("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;{meta}"),
            2,
            3,
        ),
    ] {
        for readers in [1, 7] {
            let server = server(100);
            for name in ["a", "b", "c"] {
                server.store.pod(name, "web", "");
            }
            let made = COUNT.get();
            let mut streams = Vec::new();
            for _ in 0..readers {
                let request = server.request("ns", "timeoutSeconds=5", &accept);
                let answer = handle(&server.shared, &request).await.unwrap();
                streams.push(answer.into_body());
            }
            let mut first = Vec::new();
            for round in 0..2 {
                if round == 1 {
                    server.store.pod("d", "web", "");
                    server.store.remove("/registry/pods/ns/a");
                }
                for stream in &mut streams {
                    for number in 0..3 - round {
                        let frame = stream.frame().await.unwrap().unwrap().into_data().unwrap();
                        let at = round * 3 + number;
                        if first.len() == at {
                            first.push(frame);
                        } else {
                            assert_eq!(first[at], frame, "{accept}");
                        }
                    }
                }
                let expected = 3 * of_object + round * 2 * of_change;
                assert_eq!(COUNT.get() - made, expected, "{accept} for {readers}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn protobuf_streams_are_messages_with_their_lengths() {
    let server = server(100);
    server.store.pod("a", "web", "");
    let request = server.request("ns", "timeoutSeconds=5", protobuf::MEDIA);
    let answer = handle(&server.shared, &request).await.unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "application/vnd.kubernetes.protobuf;stream=watch"
    );
    let frame = answer.into_body().frame().await.unwrap().unwrap();
    let object = server.shared.cacher.get(&server.pods, "ns", "a", "").await;
    let object = object.unwrap().unwrap().document().unwrap();
    let object = protobuf::encode(&object).unwrap();
    assert_eq!(
        frame.into_data().unwrap(),
        protobuf::watch_event("ADDED", &object)
    );
}
