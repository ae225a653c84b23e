//! The stores: writes, ranges, watches, restarts, and what a key costs. First the memory store alone, then the durable store
//! and etcd side by side on one disk.
//!
//! `cargo bench --features durable,etcd --bench store -- SECTION` runs the sections whose name contains the word: `memory`,
//! `writes`, `ranges`, `watches`, `million`.
#![allow(
    clippy::disallowed_methods,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::panic,
    unreachable_pub,
    reason = "a benchmark"
)]

#[path = "store/compared.rs"]
mod compared;
#[path = "store/contenders.rs"]
mod contenders;
// Finds, starts and stops etcd, as the tests do.
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/store/process.rs"]
mod process;

use std::alloc::System;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use futures::StreamExt;
use homeostat::store::{Expect, MemoryConfig, MemoryStore, Range, Store, WatchEvent};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WATCHERS: usize = 1_000;
const KEYS: usize = 1_000_000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn key(number: usize) -> String {
    format!("/registry/pods/namespace-{}/pod-{number:07}", number % 100)
}

fn value() -> Bytes {
    Bytes::from(vec![b'x'; 1_000])
}

async fn fill(store: &MemoryStore, keys: usize) -> Vec<u64> {
    let mut revisions = Vec::with_capacity(keys);
    for number in 0..keys {
        let key = key(number);
        let put = store.put(&key, value(), Expect::Absent, None);
        revisions.push(put.await.unwrap());
    }
    revisions
}

/// A directory that goes with the run, on the disk that holds the build.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that were allocated in `region` and are still held.
fn held(region: &Region<'_, System>) -> f64 {
    let stats = region.change();
    stats.bytes_allocated as f64 - stats.bytes_deallocated as f64
}

/// A million keys of 1 kB: how much memory, and how fast they were written and then updated, on one core.
fn million() {
    let runtime = runtime();
    let region = Region::new(ALLOCATOR);
    let store = MemoryStore::new(MemoryConfig::default());
    let begun = Instant::now();
    let mut revisions = runtime.block_on(fill(&store, KEYS));
    let created = begun.elapsed();
    let held = held(&region);
    let values: Vec<(String, Bytes)> = (0..KEYS).map(|number| (key(number), value())).collect();
    let begun = Instant::now();
    runtime.block_on(async {
        for ((key, value), revision) in values.into_iter().zip(&mut revisions) {
            let expect = Expect::Modified(*revision);
            *revision = store.put(&key, value, expect, None).await.unwrap();
        }
    });
    let updated = begun.elapsed();
    let rate = |took: Duration| KEYS as f64 / took.as_secs_f64();
    println!(
        "1,000,000 keys of 1 kB: {:.2} GB held, {:.0} creates/s, {:.0} updates/s",
        held / 1e9,
        rate(created),
        rate(updated)
    );
}

fn writes(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("memory/write");
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("create 10,000", |b| {
        b.to_async(&runtime).iter_batched(
            MemoryStore::default,
            |store| async move {
                fill(&store, 10_000).await;
                store
            },
            BatchSize::LargeInput,
        );
    });
    let store = MemoryStore::default();
    let mut revisions = runtime.block_on(fill(&store, 10_000));
    group.bench_function("update 10,000", |b| {
        b.iter(|| {
            runtime.block_on(async {
                for (number, revision) in revisions.iter_mut().enumerate() {
                    let expect = Expect::Modified(*revision);
                    let key = key(number);
                    let put = store.put(&key, value(), expect, None);
                    *revision = put.await.unwrap();
                }
            });
        });
    });
    group.finish();
}

fn reads(c: &mut Criterion) {
    let runtime = runtime();
    let store = MemoryStore::default();
    runtime.block_on(fill(&store, 100_000));
    let mut group = c.benchmark_group("memory/read");
    group.bench_function("get", |b| {
        let key = key(4_711);
        b.to_async(&runtime).iter(|| store.get(&key));
    });
    for (name, range) in [
        (
            "range of 1,000",
            Range::prefix("/registry/pods/namespace-7/"),
        ),
        (
            "page of 500 of 100,000",
            Range::prefix("/registry/pods/").limit(500),
        ),
        ("range of 100,000", Range::prefix("/registry/pods/")),
    ] {
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter(|| store.range(range.clone()));
        });
    }
    group.finish();
}

/// One writer, a thousand watches of everything.
fn fan_out(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("memory/watch");
    group.sample_size(10);
    group.throughput(Throughput::Elements((WATCHERS * 100) as u64));
    group.bench_function("100 changes to 1,000 watchers", |b| {
        b.to_async(&runtime).iter_batched(
            MemoryStore::default,
            |store| async move {
                let mut watches = Vec::new();
                for _ in 0..WATCHERS {
                    watches.push(store.watch("/registry/", 0).await.unwrap());
                }
                fill(&store, 100).await;
                for watch in &mut watches {
                    let mut seen = 0;
                    while seen < 100 {
                        if let WatchEvent::Changes(changes) = watch.next().await.unwrap().unwrap() {
                            seen += changes.len();
                        }
                    }
                }
                drop(watches);
                store
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(memory, writes, reads, fan_out);

/// A name and what it measures.
type Section = (&'static str, fn());

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let sections: [Section; 6] = [
        ("memory million", million),
        ("memory", memory),
        ("writes", compared::writes),
        ("ranges", compared::ranges),
        ("watches", compared::watches),
        ("million", compared::million),
    ];
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            println!("== {name}");
            section();
        }
    }
}
