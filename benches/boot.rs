//! How long a whole cluster takes to boot: API server, controllers, scheduler and three Ready nodes.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use criterion::{Criterion, criterion_group, criterion_main};
use homeostat::testing::Cluster;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

fn boot(criterion: &mut Criterion) {
    criterion.bench_function("boot/three_ready_nodes", |bencher| {
        bencher.iter(|| {
            runtime()
                .block_on(async { Cluster::builder().nodes(3).seed(1).start().await.unwrap() });
        });
    });
    criterion.bench_function("boot/only_api", |bencher| {
        bencher.iter(|| {
            runtime().block_on(async {
                Cluster::builder()
                    .with(homeostat::cluster::ClusterBuilder::only_api)
                    .start()
                    .await
                    .unwrap();
            });
        });
    });
}

criterion_group!(benches, boot);
criterion_main!(benches);
