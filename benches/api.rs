//! The API server in process: time, allocations and bytes allocated for each request.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::alloc::System;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use homeostat::apiserver::ApiServer;
use homeostat::store::MemoryStore;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;
use tower::Service;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PODS: usize = 10_000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn pod(name: &str) -> Vec<u8> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web", "shard": name.len().to_string()}},
        "spec": {"containers": [{
            "name": "web", "image": "registry.example/web:v1", "ports": [{"containerPort": 8080}],
            "env": [{"name": "A", "value": "1"}], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }]},
    });
    serde_json::to_vec(&pod).unwrap()
}

/// One request straight to the service, as a served one would come; the size of its answer.
async fn send(server: &mut ApiServer, method: &str, path: &str, body: Vec<u8>) -> usize {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    let response = server
        .call(request.body(Body::from(body)).unwrap())
        .await
        .unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .len()
}

async fn server() -> ApiServer {
    ApiServer::builder(Arc::new(MemoryStore::default()))
        .start()
        .await
        .unwrap()
}

/// Prints what one request allocates, on average of `times`.
fn count(runtime: &Runtime, what: &str, times: usize, mut run: impl FnMut(&Runtime, usize)) {
    run(runtime, 0);
    let region = Region::new(ALLOCATOR);
    (1..=times).for_each(|number| run(runtime, number));
    let change = region.change();
    println!(
        "{what}: {} allocations, {} bytes allocated",
        change.allocations / times,
        change.bytes_allocated / times
    );
}

fn api(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut server = runtime.block_on(server());
    let pods = "/api/v1/namespaces/default/pods";
    count(&runtime, "create", 1000, |runtime, number| {
        runtime.block_on(send(
            &mut server,
            "POST",
            pods,
            pod(&format!("counted-{number}")),
        ));
    });
    count(&runtime, "get", 1000, |runtime, number| {
        runtime.block_on(send(
            &mut server,
            "GET",
            &format!("{pods}/counted-{number}"),
            Vec::new(),
        ));
    });
    let mut next = 0;
    criterion.bench_function("api/create", |bencher| {
        bencher.iter(|| {
            next += 1;
            runtime.block_on(send(&mut server, "POST", pods, pod(&format!("p-{next}"))))
        });
    });
    criterion.bench_function("api/get", |bencher| {
        bencher.iter(|| {
            runtime.block_on(send(&mut server, "GET", &format!("{pods}/p-1"), Vec::new()))
        });
    });
    list(criterion, &runtime);
    fan_out(criterion, &runtime);
}

fn list(criterion: &mut Criterion, runtime: &Runtime) {
    let mut server = runtime.block_on(server());
    runtime.block_on(async {
        for number in 0..PODS {
            send(
                &mut server,
                "POST",
                "/api/v1/namespaces/default/pods",
                pod(&format!("p-{number}")),
            )
            .await;
        }
    });
    let bytes = runtime.block_on(send(&mut server, "GET", "/api/v1/pods", Vec::new()));
    count(runtime, "list of 10,000", 10, |runtime, _| {
        runtime.block_on(send(&mut server, "GET", "/api/v1/pods", Vec::new()));
    });
    let mut group = criterion.benchmark_group("api/list_10000");
    group
        .sample_size(20)
        .throughput(Throughput::Bytes(bytes as u64));
    for (name, path) in [
        ("whole", "/api/v1/pods"),
        ("by_label", "/api/v1/pods?labelSelector=shard%3D3"),
        ("page_of_500", "/api/v1/pods?limit=500"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(send(&mut server, "GET", path, Vec::new())));
        });
    }
    group.finish();
}

/// One write, told to 100 watchers.
fn fan_out(criterion: &mut Criterion, runtime: &Runtime) {
    const WATCHERS: usize = 100;
    let mut server = runtime.block_on(server());
    let mut watches = runtime.block_on(async {
        let mut watches = Vec::new();
        for _ in 0..WATCHERS {
            let request = http::Request::get("/api/v1/pods?watch=true&resourceVersion=0")
                .body(Body::empty())
                .unwrap();
            watches.push(server.call(request).await.unwrap().into_body());
        }
        watches
    });
    let mut next = 0;
    let mut group = criterion.benchmark_group("api/watch_fan_out");
    group.throughput(Throughput::Elements(WATCHERS as u64));
    group.bench_function("100_watchers", |bencher| {
        bencher.iter(|| {
            next += 1;
            runtime.block_on(async {
                send(
                    &mut server,
                    "POST",
                    "/api/v1/namespaces/default/pods",
                    pod(&format!("w-{next}")),
                )
                .await;
                for watch in &mut watches {
                    watch.frame().await.unwrap().unwrap();
                }
            });
        });
    });
    group.finish();
}

criterion_group!(benches, api);
criterion_main!(benches);
