//! Anything at all as a request: never a panic, and every failure is a well-formed `Status`.

#[path = "../../fuzz/body.rs"]
mod body;

use std::sync::Arc;

use crate::support::{Answer, Api, api};
use homeostat::apiserver::ApiServer;
use homeostat::clock::Clock;
use homeostat::store::MemoryStore;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use proptest::prelude::*;

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE"]).prop_map(str::to_owned),
        1 => "[A-Z]{1,8}",
    ]
}

/// Paths near real ones, and wild ones.
fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => prop::sample::select(vec![
            "api", "apis", "v1", "apps", "namespaces", "default", "pods", "configmaps", "deployments", "services", "x", "status",
            "scale", "binding", "eviction", "watch", "proxy", "finalize", "healthz", "version", "openapi", "", "%2F", "..", "%00",
        ]).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9%._~-]{0,12}",
    ];
    let near = prop::sample::select(vec![
        "/api/v1/namespaces/default/configmaps/x",
        "/api/v1/namespaces/default/configmaps",
        "/api/v1/namespaces/default/pods/x/status",
        "/api/v1/namespaces/default/pods/x/binding",
        "/api/v1/namespaces/default/pods/x/eviction",
        "/api/v1/namespaces/default/services",
        "/apis/apps/v1/namespaces/default/deployments/x/scale",
        "/api/v1/namespaces/x",
        "/api/v1/namespaces/x/finalize",
    ]);
    prop_oneof![
        2 => near.prop_map(str::to_owned),
        1 => prop::collection::vec(segment, 0..8).prop_map(|segments| format!("/{}", segments.join("/"))),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "labelSelector",
        "fieldSelector",
        "limit",
        "continue",
        "resourceVersion",
        "resourceVersionMatch",
        "timeoutSeconds",
        "dryRun",
        "fieldManager",
        "fieldValidation",
        "force",
        "gracePeriodSeconds",
        "propagationPolicy",
        "orphanDependents",
        "sendInitialEvents",
        "allowWatchBookmarks",
        "pretty",
        "timeout",
        "includeObject",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "",
            "All",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "Strict",
            "Exact",
            "NotOlderThan",
            "a%3Db",
            "metadata.name%3Dx",
            "%zz",
            "99999999999999999999"
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9%=,!()+._-]{0,16}",
    ];
    prop::collection::vec((key, value), 0..4).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join("&")
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[a-zA-Z0-9./ -]{0,12}".prop_map(Into::into),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "apiVersion",
            "kind",
            "metadata",
            "name",
            "namespace",
            "labels",
            "annotations",
            "finalizers",
            "ownerReferences",
            "uid",
            "resourceVersion",
            "deletionTimestamp",
            "spec",
            "status",
            "data",
            "replicas",
            "target",
            "op",
            "path",
            "value",
            "ports",
            "clusterIP",
            "type",
            "nodePort",
            "preconditions",
            "dryRun",
            "$patch",
            "generateName",
            "deleteOptions",
        ])
        .prop_map(str::to_owned),
        "[a-z$./]{0,6}",
    ];
    let json = leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    let pointer = prop::sample::select(vec![
        "",
        "/metadata",
        "/metadata/labels/a",
        "/data/a",
        "/spec",
        "/spec/ports/-",
        "/spec/containers/0",
        "/metadata/finalizers/-1",
        "/kind",
        "x",
        "/~2",
    ]);
    let operation = (prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "nope"]), pointer.clone(), pointer, json.clone())
        .prop_map(|(op, path, from, value)| serde_json::json!({"op": op, "path": path, "from": from, "value": value}));
    let patch = prop::collection::vec(operation, 0..5)
        .prop_map(|operations| serde_json::Value::from(operations).to_string().into_bytes());
    let kinds = prop::sample::select(vec![
        ("v1", "ConfigMap"),
        ("v1", "Pod"),
        ("v1", "Service"),
        ("v1", "Binding"),
        ("autoscaling/v1", "Scale"),
        ("v1", "Namespace"),
        ("policy/v1", "Eviction"),
    ]);
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => patch,
        2 => json.clone().prop_map(|json| json.to_string().into_bytes()),
        4 => (json.clone(), json.clone(), json, kinds).prop_map(|(metadata, spec, status, (version, kind))| {
            let mut metadata = if metadata.is_object() { metadata } else { serde_json::json!({}) };
            metadata["name"] = "x".into();
            serde_json::json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, "status": status, "target": spec, "data": status}).to_string().into_bytes()
        }),
    ]
}

fn media_type() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "application/json", "application/yaml", "application/merge-patch+json", "application/json-patch+json",
            "application/strategic-merge-patch+json", "application/apply-patch+yaml", "",
        ]).prop_map(str::to_owned),
        1 => "[a-z/+;=*., ]{0,20}",
    ]
}

/// Whether a failure is what clients can read.
fn check(answer: &Answer, line: &str) {
    if answer.code < 400 || answer.text.is_empty() {
        return;
    }
    let plain = answer.headers["content-type"]
        .to_str()
        .unwrap()
        .starts_with("text/plain");
    if plain {
        assert!(matches!(answer.code, 404 | 500), "{line}: {}", answer.text);
        return;
    }
    let yaml = answer.headers["content-type"] == "application/yaml";
    if yaml {
        assert!(
            answer.text.contains("kind: Status"),
            "{line}: {}",
            answer.text
        );
        return;
    }
    let status = &answer.body;
    assert_eq!(status["kind"], "Status", "{line}: {}", answer.text);
    assert_eq!(status["status"], "Failure", "{line}");
    assert_eq!(status["code"], answer.code, "{line}");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{line}");
    assert!(
        !message.contains("caused apiserver to panic"),
        "{line}: {message}"
    );
}

async fn ask(
    api: &Api,
    method: &str,
    target: &str,
    content_type: &str,
    accept: &str,
    body: Vec<u8>,
) {
    let line = format!(
        "{method} {target} [{content_type}] {}",
        String::from_utf8_lossy(&body)
    );
    let (Ok(method), Ok(uri)) = (
        Method::from_bytes(method.as_bytes()),
        target.parse::<http::Uri>(),
    ) else {
        return;
    };
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (name, value) in [("content-type", content_type), ("accept", accept)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().insert(name, value);
        }
    }
    // A watch does not end by itself soon: an hour of virtual time is enough for all of them.
    let answer =
        tokio::time::timeout(std::time::Duration::from_secs(3 * 3600), api.send(request)).await;
    check(
        &answer.unwrap_or_else(|_| panic!("{line} is not answered")),
        &line,
    );
}

#[test]
fn any_request_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let api = runtime.block_on(api());
    let requests = prop::collection::vec(
        (
            method(),
            path(),
            query(),
            media_type(),
            media_type(),
            body(),
        ),
        1..6,
    );
    // `PROPTEST_CASES` asks for more than 256.
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(requests in requests)| {
        for (method, path, query, content_type, accept, body) in requests {
            runtime.block_on(ask(&api, &method, &format!("{path}?{query}"), &content_type, &accept, body));
        }
    });
}

/// What the fuzz target does, with seeded bytes instead of a fuzzer's. `FUZZ_REQUESTS` asks for more than 3,000 requests.
#[test]
fn arbitrary_bytes_are_answered() {
    const FOR_EACH_SERVER: u64 = 2_000;
    let wanted = std::env::var("FUZZ_REQUESTS").ok();
    let wanted: u64 = wanted.map_or(3_000, |number| number.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (mut asked, mut seed) = (0, 0);
    while asked < wanted {
        seed += 1;
        let chance = Clock::seeded(seed);
        asked += runtime.block_on(async {
            let store = Arc::new(MemoryStore::default());
            let server = ApiServer::builder(store).clock(Clock::seeded(seed));
            let mut server = server.start().await.unwrap();
            let mut asked = 0;
            while asked < FOR_EACH_SERVER.min(wanted) {
                let bytes: Vec<u8> = (0..48)
                    .flat_map(|_| chance.random().to_le_bytes())
                    .collect();
                for input in body::inputs(&bytes) {
                    let answered = body::ask(&mut server, input).await;
                    asked +=
                        u64::from(answered.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}")));
                }
            }
            asked
        });
    }
    assert!(asked >= wanted);
}
