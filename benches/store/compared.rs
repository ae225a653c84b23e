//! The durable stores side by side with etcd, in one run on one disk, with values of 1 kB.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use homeostat::store::{DurableStore, EtcdConfig, MemoryConfig};
use stats_alloc::Region;
use tokio::runtime::Runtime;

use crate::contenders::Contender;
use crate::process::{Etcd, programs};
use crate::{ALLOCATOR, KEYS, Temporary, WATCHERS, held, key, value};

/// How long each round of writes or reads takes.
const ROUND: Duration = Duration::from_secs(2);
/// Rounds alternate between the contenders, so that what disturbs disturbs all; the median of each counts.
const ROUNDS: usize = 5;
/// Single reads alternate in blocks of so many, so often.
const BLOCK: usize = 200;
const BLOCKS: usize = 100;
/// Keys that ranges are read from.
const RANGED: usize = 10_000;
/// Changes that all watchers wait for.
const CHANGES: usize = 100;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// The etcd to compare with; without one, only the crate's own stores are measured, and that is said.
fn etcd() -> Option<PathBuf> {
    let [_, (_, program)] = programs();
    let runs = Command::new(&program)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if runs.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    println!(
        "NOT COMPARED WITH ETCD: {} is not there; scripts/test --install brings it",
        program.display()
    );
    None
}

fn start(program: &Path) -> Etcd {
    // Room for a million keys, and values of any age.
    Etcd::start_with(program, &["--quota-backend-bytes=8589934592"])
}

/// A fresh place for each of the contenders. Dropping it stops and removes them.
struct Arena {
    runtime: Runtime,
    contenders: Vec<Contender>,
    durable: Option<DurableStore>,
    _etcd: Option<Etcd>,
    _place: Temporary,
}

impl Arena {
    fn new() -> Self {
        let runtime = runtime();
        let place = Temporary::new("bench");
        let (durable, store) = runtime.block_on(Contender::durable(&place.0));
        let mut contenders = vec![durable];
        let etcd = etcd().map(|program| start(&program));
        if let Some(etcd) = &etcd {
            contenders.push(runtime.block_on(Contender::etcd_store(etcd)));
            contenders.push(runtime.block_on(Contender::client(etcd)));
        }
        Self {
            runtime,
            contenders,
            durable: Some(store),
            _etcd: etcd,
            _place: place,
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.contenders.clear();
        if let Some(store) = self.durable.take() {
            self.runtime.block_on(store.close());
        }
    }
}

fn line(what: &str, contender: &Contender, figure: impl std::fmt::Display) {
    println!("{what:<34} {:<14} {figure}", contender.name());
}

/// Durable writes: so many writers, each waiting for its answer before it writes again.
pub(crate) fn writes() {
    let arena = Arena::new();
    let mut round = 0;
    for writers in [1, 16, 256] {
        let mut rounds = vec![Vec::new(); arena.contenders.len()];
        for _ in 0..ROUNDS {
            for (contender, rounds) in arena.contenders.iter().zip(&mut rounds) {
                round += 1;
                let measured = write_for(contender, writers, round);
                rounds.push(arena.runtime.block_on(measured));
            }
        }
        for (contender, mut rounds) in arena.contenders.iter().zip(rounds) {
            rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
            let (least, most) = (rounds[0].0, rounds[ROUNDS - 1].0);
            let (rate, latencies) = &mut rounds[ROUNDS / 2];
            latencies.sort_unstable();
            let at = |part: usize| latencies[(latencies.len() - 1) * part / 100];
            line(
                &format!("writes by {writers}"),
                contender,
                format!(
                    "{rate:>9.0}/s ({least:.0} to {most:.0})  p50 {:?}  p99 {:?}",
                    at(50),
                    at(99)
                ),
            );
        }
    }
}

async fn write_for(contender: &Contender, writers: usize, round: usize) -> (f64, Vec<Duration>) {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let (contender, stop) = (contender.clone(), stop.clone());
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let key = format!("/registry/r{round}/{writer:03}/{:07}", latencies.len());
                let asked = Instant::now();
                contender.create(&key, value()).await;
                latencies.push(asked.elapsed());
            }
            latencies
        })
    });
    let tasks: Vec<_> = tasks.collect();
    tokio::time::sleep(ROUND).await;
    stop.store(true, Ordering::Relaxed);
    let latencies: Vec<Duration> = join_all(tasks)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    let took = begun.elapsed();
    (latencies.len() as f64 / took.as_secs_f64(), latencies)
}

/// One reader: single keys, a page, and everything.
pub(crate) fn ranges() {
    let arena = Arena::new();
    for contender in without_duplicates(&arena.contenders) {
        arena.runtime.block_on(load(contender, RANGED));
    }
    gets(&arena);
    let cases = [("page of 500 of 10,000", 500), ("range of 10,000", RANGED)];
    for (what, limit) in cases {
        for contender in &arena.contenders {
            let took = (0..ROUNDS).map(|_| {
                arena.runtime.block_on(async {
                    let begun = Instant::now();
                    let mut reads = 0;
                    while begun.elapsed() < ROUND / 4 {
                        let found = contender.range("/registry/pods/", limit).await;
                        assert_eq!(found, limit);
                        reads += 1;
                    }
                    begun.elapsed() / reads
                })
            });
            let took = median(took.collect());
            line(what, contender, format!("{took:.2?}"));
        }
    }
}

fn median<T: Ord + Copy>(mut measured: Vec<T>) -> T {
    measured.sort_unstable();
    measured[measured.len() / 2]
}

/// Single keys, by turns: the median of each contender, and how the store over etcd compares with the bare client block by block.
fn gets(arena: &Arena) {
    let mut took = vec![Vec::new(); arena.contenders.len()];
    for block in 0..BLOCKS {
        for turn in 0..arena.contenders.len() {
            // Nobody is always first.
            let turn = (turn + block) % arena.contenders.len();
            let each = arena.runtime.block_on(async {
                let mut each = Vec::with_capacity(BLOCK);
                for number in 0..BLOCK {
                    let key = key((block * BLOCK + number) % RANGED);
                    let asked = Instant::now();
                    arena.contenders[turn].get(&key).await;
                    each.push(asked.elapsed());
                }
                each
            });
            took[turn].push(median(each));
        }
    }
    for (contender, took) in arena.contenders.iter().zip(&took) {
        line("get", contender, format!("{:.2?}", median(took.clone())));
    }
    if let [_, store, client] = &took[..] {
        let ratios = store.iter().zip(client);
        let mut ratios: Vec<f64> = ratios
            .map(|(store, client)| store.as_secs_f64() / client.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        let at = |part: usize| ratios[(BLOCKS - 1) * part / 100];
        println!(
            "a get of EtcdStore takes {:.3} of the client's (quartiles {:.3} and {:.3} of {BLOCKS} blocks of {BLOCK})",
            at(50),
            at(25),
            at(75)
        );
    }
}

/// What the last two share is loaded once.
fn without_duplicates(contenders: &[Contender]) -> impl Iterator<Item = &Contender> {
    contenders
        .iter()
        .filter(|contender| contender.name() != "EtcdStore")
}

/// Writes keys, many at once.
async fn load(contender: &Contender, keys: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..512)
        .map(|_| {
            let (contender, next) = (contender.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= keys {
                        return;
                    }
                    contender.create(&key(number), value()).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// A thousand watchers of everything, 16 writers: until all have been told of all changes.
pub(crate) fn watches() {
    let arena = Arena::new();
    for contender in &arena.contenders {
        let took = (0..ROUNDS).map(|round| arena.runtime.block_on(fan_out(contender, round)));
        let took = median(took.collect());
        let rate = (WATCHERS * CHANGES) as f64 / took.as_secs_f64();
        line(
            "100 changes to 1,000 watchers",
            contender,
            format!("{took:.1?}, {rate:.0} events/s"),
        );
    }
}

async fn fan_out(contender: &Contender, round: usize) -> Duration {
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let contender = contender.clone();
        watchers.push(tokio::spawn(async move {
            contender.watch("/watched/", CHANGES, begun).await;
        }));
        begins.await.unwrap();
    }
    let begun = Instant::now();
    let name = contender.name();
    let writes = (0..16).map(|writer| async move {
        for number in (writer..CHANGES).step_by(16) {
            let key = format!("/watched/{name}/{round}/{number}");
            contender.create(&key, value()).await;
        }
    });
    join_all(writes).await;
    for watcher in watchers {
        watcher.await.unwrap();
    }
    begun.elapsed()
}

/// A million keys: memory and disk for each, and how long a restart takes.
pub(crate) fn million() {
    let runtime = runtime();
    let place = Temporary::new("million");
    let region = Region::new(ALLOCATOR);
    let (contender, store) = runtime.block_on(Contender::durable(&place.0));
    let begun = Instant::now();
    runtime.block_on(load(&contender, KEYS));
    let loaded = begun.elapsed();
    let memory = held(&region);
    // What history keeps of values that are still present is shared with them.
    report(&contender, loaded, memory, used(&place.0));
    drop(contender);
    runtime.block_on(store.close());
    drop(store);
    let begun = Instant::now();
    let (contender, store) = runtime.block_on(Contender::durable(&place.0));
    runtime.block_on(contender.get(&key(4_711)));
    line(
        "restart with 1,000,000 keys",
        &contender,
        format!("{:.2?}", begun.elapsed()),
    );
    drop(contender);
    runtime.block_on(store.close());
    drop((store, place));

    let Some(program) = etcd() else { return };
    let mut etcd = start(&program);
    // Waits until it serves.
    runtime.block_on(Contender::etcd_store(&etcd));
    let contender = runtime.block_on(Contender::client(&etcd));
    let begun = Instant::now();
    runtime.block_on(load(&contender, KEYS));
    let loaded = begun.elapsed();
    let (process, directory) = etcd.process(0);
    report(&contender, loaded, resident(process), used(&directory));
    etcd.kill(0);
    let begun = Instant::now();
    etcd.run(0);
    runtime.block_on(async {
        let config = || EtcdConfig::new(etcd.endpoints()).history(MemoryConfig::default());
        while homeostat::store::EtcdStore::connect(config())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    line(
        "restart with 1,000,000 keys",
        &contender,
        format!("{:.2?}", begun.elapsed()),
    );
}

fn report(contender: &Contender, loaded: Duration, memory: f64, disk: f64) {
    let keys = KEYS as f64;
    line(
        "1,000,000 keys written by 512",
        contender,
        format!("{:.0}/s", keys / loaded.as_secs_f64()),
    );
    line(
        "memory for a key of 1 kB",
        contender,
        format!("{:.0} bytes", memory / keys),
    );
    line(
        "disk for a key of 1 kB",
        contender,
        format!("{:.0} bytes", disk / keys),
    );
}

/// Bytes that a directory takes on the disk.
fn used(directory: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                used(&entry.path())
            } else {
                metadata.blocks() as f64 * 512.0
            }
        })
        .sum()
}

/// Bytes of memory that a process has.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024.0
}
