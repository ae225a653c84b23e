//! Arbitrary requests to one server: no panic, and every failure is a `Status` or the router's plain 404.
#![no_main]

use arbitrary::Arbitrary;
use homeostat::apiserver::ApiServer;
use homeostat::clock::Clock;
use homeostat::store::{MemoryConfig, MemoryStore};
use http::Request;
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use std::time::Duration;
use tower::Service;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    method: u8,
    base: u8,
    path: &'a str,
    query: &'a str,
    content_type: u8,
    body: &'a [u8],
}

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];
const BASES: [&str; 7] = [
    "/",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/services",
    "/api/v1/namespaces/",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/",
];
const TYPES: [&str; 6] = [
    "application/json",
    "application/yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

async fn ask(inputs: Vec<Input<'_>>) {
    let store = Arc::new(MemoryStore::new(MemoryConfig::default()));
    let mut server = ApiServer::builder(store).clock(Clock::seeded(1)).start().await.expect("starts");
    for input in inputs {
        let pick = |list: &[&'static str], index: u8| list[usize::from(index) % list.len()];
        let target = format!("{}{}?{}", pick(&BASES, input.base), input.path, input.query);
        let request = Request::builder()
            .method(pick(&METHODS, input.method))
            .uri(target)
            .header("content-type", pick(&TYPES, input.content_type));
        let Ok(request) = request.body(Full::new(bytes::Bytes::copy_from_slice(input.body))) else {
            continue;
        };
        let (parts, body) = server.call(request).await.expect("infallible").into_parts();
        let body = tokio::time::timeout(Duration::from_secs(3 * 3600), body.collect()).await;
        let body = body.expect("ends").expect("infallible").to_bytes();
        if parts.status.as_u16() >= 400 && parts.headers["content-type"] == "application/json" && !body.is_empty() {
            let status: serde_json::Value = serde_json::from_slice(&body).expect("is JSON");
            assert_eq!(status["kind"], "Status");
            assert!(!status["message"].as_str().unwrap_or_default().contains("caused apiserver to panic"));
        }
    }
}

fuzz_target!(|inputs: Vec<Input<'_>>| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(ask(inputs));
});
