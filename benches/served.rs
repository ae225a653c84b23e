//! The served server from outside: a kube-rs client in a process of its own, over TLS, as the figures of kube-apiserver with etcd
//! in `docs/benchmarks.md` were taken.
//!
//! `cargo build --profile bench --features serve --example standalone && cargo bench --features serve --bench served`; then the same
//! in process. `-- --pods N` (10,000), `-- --memory N` (also measures memory with so many pods), `-- --only requests|lists|fan-out`,
//! `-- --kubeconfig FILE --pids N,M` (measures the server that the file leads to and that is these processes, and nothing of ours).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark, which reads the real clock and starts a process"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use homeostat::apiserver::ApiServer;
use homeostat::store::MemoryStore;
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, Request, WatchEvent, WatchParams,
};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::task::JoinSet;

/// kube-apiserver and etcd bring their own allocator, and so do our programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests in flight.
const FLIGHT: usize = 32;
/// Events that reach watchers in one measurement of fan-out. A watcher may be a thousand behind before it is cut off.
const EVENTS: usize = 100_000;
/// Measurements of fan-out, of which the median is told.
const ROUNDS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pods = argument("--pods").unwrap_or(10_000);
        if let Some(kubeconfig) = argument::<PathBuf>("--kubeconfig") {
            println!("the server of {}", kubeconfig.display());
            let pids = argument::<String>("--pids").unwrap_or_default();
            let pids = pids.split(',').filter_map(|pid| pid.parse::<u32>().ok());
            SERVER.lock().unwrap().extend(pids);
            return measure(&client(&kubeconfig).await, pods).await;
        }
        println!("over TLS, the server in a process of its own");
        {
            let served = Served::start().await;
            measure(&served.client().await, pods).await;
        }
        println!("in process");
        {
            let store = Arc::new(MemoryStore::default());
            let server = ApiServer::builder(store).start().await.unwrap();
            measure(&server.client(), pods).await;
        }
        if let Some(many) = argument("--memory") {
            println!("memory");
            let served = Served::start().await;
            let before = served.memory();
            create(&Api::default_namespaced(served.client().await), many).await;
            let after = served.memory();
            println!("memory with {many} pods: {after:.0} MB, {before:.0} MB before");
        }
    });
}

/// The processes of the server; what they cost does not depend on the client.
static SERVER: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The processor time that the server has taken so far, in seconds; 0 in process.
fn spent() -> f64 {
    let server = SERVER.lock().unwrap();
    let ticks = server.iter().map(|process| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        // After the name: the state, ten others, time in user mode and in the kernel.
        let after = stat.rsplit(')').next().unwrap().split_whitespace();
        after
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<f64>().unwrap())
            .sum::<f64>()
    });
    // Linux counts 100 ticks a second.
    ticks.sum::<f64>() / 100.0
}

fn argument<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

/// Whether a part of the measurements is wanted.
fn is_wanted(part: &str) -> bool {
    argument::<String>("--only").is_none_or(|only| only == part)
}

/// `standalone --only-api` as a child.
struct Served {
    child: Child,
    kubeconfig: PathBuf,
}

impl Served {
    async fn start() -> Self {
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/examples/standalone");
        let kubeconfig =
            std::env::temp_dir().join(format!("homeostat-bench-{}", std::process::id()));
        let started = Instant::now();
        let child = Command::new(&program)
            .args(["--only-api", "--listen", "127.0.0.1:0", "--kubeconfig"])
            .arg(&kubeconfig)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; build it first", program.display()));
        while !kubeconfig.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        *SERVER.lock().unwrap() = vec![child.id()];
        println!(
            "  boot until the kubeconfig is there: {:.0} ms",
            started.elapsed().as_secs_f64() * 1e3
        );
        Self { child, kubeconfig }
    }

    async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }

    /// Resident memory in MB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
            / 1024.0
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let config = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(config, &options)
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

impl Drop for Served {
    fn drop(&mut self) {
        SERVER.lock().unwrap().clear();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

fn pod(number: usize) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("pod-{number:06}"), "labels": {"app": "web", "tenth": (number % 10).to_string()}},
        "spec": {"containers": [{
            "name": "web", "image": "registry.example/web:v1", "ports": [{"containerPort": 8080}],
            "env": [{"name": "A", "value": "1"}], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }]},
    }))
    .unwrap()
}

/// Runs a request for each number, so many at a time, each of those in a task of its own; how long each took.
async fn run<F: Future<Output = ()> + Send + 'static>(
    count: usize,
    flight: usize,
    request: impl Fn(usize) -> F + Send + Sync + 'static,
) -> Vec<Duration> {
    let request = Arc::new(request);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..flight {
        let (request, next) = (request.clone(), next.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return times;
                }
                let started = Instant::now();
                request(number).await;
                times.push(started.elapsed());
            }
        });
    }
    tasks.join_all().await.concat()
}

/// [`run`], and tells rate and latencies.
async fn each<F: Future<Output = ()> + Send + 'static>(
    what: &str,
    count: usize,
    flight: usize,
    request: impl Fn(usize) -> F + Send + Sync + 'static,
) {
    let (started, before) = (Instant::now(), spent());
    let mut times = run(count, flight, request).await;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    let cost = (spent() - before) / count as f64 * 1e6;
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "  {what:44} {rate:8.0}/s   p50 {:7.2} ms  p99 {:7.2} ms  the server {cost:6.0} µs each",
        at(50),
        at(99)
    );
}

async fn create(pods: &Api<Pod>, count: usize) {
    let pods = pods.clone();
    each("create, 32 in flight", count, FLIGHT, move |number| {
        let pods = pods.clone();
        async move {
            pods.create(&PostParams::default(), &pod(number))
                .await
                .unwrap();
        }
    })
    .await;
}

async fn measure(client: &Client, count: usize) {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    create(&pods, count).await;
    if is_wanted("requests") {
        requests(&pods, count).await;
    }
    if is_wanted("lists") {
        lists(client, &pods, count).await;
    }
    if is_wanted("fan-out") {
        for watchers in [100, 1000] {
            for decoded in [true, false] {
                let (mut rates, before) = (Vec::new(), spent());
                for round in 0..ROUNDS {
                    rates.push(fan_out(client, watchers, decoded, round).await);
                }
                rates.sort_unstable_by(f64::total_cmp);
                println!(
                    "  fan-out to {watchers} watchers, {:24} {:8.0} events/s ({:.0} to {:.0}), none cut off, the server {:6.2} µs each",
                    if decoded { "decoded" } else { "bytes" },
                    rates[ROUNDS / 2],
                    rates[0],
                    rates[ROUNDS - 1],
                    (spent() - before) / (ROUNDS * EVENTS) as f64 * 1e6,
                );
            }
        }
    }
    each("delete, 32 in flight", count, FLIGHT, move |number| {
        let pods = pods.clone();
        async move {
            let now = DeleteParams::default().grace_period(0);
            pods.delete(&format!("pod-{number:06}"), &now)
                .await
                .unwrap();
        }
    })
    .await;
}

async fn requests(pods: &Api<Pod>, count: usize) {
    for (what, count, flight) in [
        ("get, 32 in flight", count, FLIGHT),
        ("get, one at a time", count / 10, 1),
    ] {
        let pods = pods.clone();
        each(what, count, flight, move |number| {
            let pods = pods.clone();
            async move { drop(pods.get(&format!("pod-{number:06}")).await.unwrap()) }
        })
        .await;
    }
    let pods = pods.clone();
    each(
        "patch of the status, 32 in flight",
        count,
        FLIGHT,
        move |number| {
            let (pods, status) = (
                pods.clone(),
                json!({"phase": "Running", "message": format!("{number}")}),
            );
            async move {
                let patch = Patch::Merge(json!({"status": status}));
                pods.patch_status(&format!("pod-{number:06}"), &PatchParams::default(), &patch)
                    .await
                    .unwrap();
            }
        },
    )
    .await;
}

/// Lists, with the client's decoding into typed objects, and as bytes: the client's share is the same for every server.
async fn lists(client: &Client, pods: &Api<Pod>, count: usize) {
    let path = "/api/v1/namespaces/default/pods";
    for (what, params, found) in [
        ("list of all", ListParams::default(), count),
        (
            "list of a tenth by label",
            ListParams::default().labels("tenth=3"),
            count / 10,
        ),
    ] {
        let (api, query) = (pods.clone(), params.clone());
        each(&format!("{what}, decoded"), 10, 1, move |_| {
            let (pods, params) = (api.clone(), query.clone());
            async move { assert_eq!(pods.list(&params).await.unwrap().items.len(), found) }
        })
        .await;
        let client = client.clone();
        each(&format!("{what}, its bytes"), 20, 1, move |_| {
            let request = Request::new(path).list(&params).unwrap();
            let client = client.clone();
            async move { assert!(client.request_text(request).await.unwrap().len() > found * 100) }
        })
        .await;
    }
    for decoded in [true, false] {
        let (client, pods) = (client.clone(), pods.clone());
        let what = format!(
            "list paged by 500, {}",
            if decoded { "decoded" } else { "its bytes" }
        );
        each(&what, 10, 1, move |_| {
            let (client, pods) = (client.clone(), pods.clone());
            async move {
                let mut params = ListParams::default().limit(500);
                loop {
                    let token = if decoded {
                        pods.list(&params).await.unwrap().metadata.continue_
                    } else {
                        let request = Request::new(path).list(&params).unwrap();
                        let page = client.request_text(request).await.unwrap();
                        let token = page.split("\"continue\":\"").nth(1);
                        token.map(|rest| rest.split('"').next().unwrap().to_owned())
                    };
                    match token.filter(|token| !token.is_empty()) {
                        Some(token) => params = params.continue_token(&token),
                        None => break,
                    }
                }
            }
        })
        .await;
    }
}

/// Events that reach so many watchers of a namespace of their own, who decode them or only count the lines.
async fn fan_out(client: &Client, watchers: usize, decoded: bool, round: usize) -> f64 {
    let writes = EVENTS / watchers;
    let name = format!("fan-out-{watchers}-{decoded}-{round}");
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &name);
    let list = pods.list(&ListParams::default()).await.unwrap();
    let from = list.metadata.resource_version.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..watchers {
        if decoded {
            let watch = pods.watch(&WatchParams::default(), &from).await.unwrap();
            tasks.spawn(async move {
                let (mut watch, mut seen) = (watch.boxed(), 0);
                while seen < writes {
                    match watch.try_next().await.unwrap() {
                        Some(WatchEvent::Added(_)) => seen += 1,
                        Some(WatchEvent::Bookmark(_)) => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        } else {
            let path = format!("/api/v1/namespaces/{name}/pods");
            let params = WatchParams::default();
            let request = Request::new(path).watch(&params, &from).unwrap();
            let answer = client.send(request.map(Body::from)).await.unwrap();
            assert!(answer.status().is_success());
            tasks.spawn(async move {
                let (mut body, mut seen) = (answer.into_body(), 0);
                while seen < writes {
                    let frame = body.frame().await.unwrap().unwrap();
                    let bytes = frame.into_data().unwrap_or_default();
                    seen += memchr::memchr_iter(b'\n', &bytes).count();
                }
            });
        }
    }
    let started = Instant::now();
    run(writes, FLIGHT, move |number| {
        let pods = pods.clone();
        async move {
            pods.create(&PostParams::default(), &pod(number))
                .await
                .unwrap();
        }
    })
    .await;
    tasks.join_all().await;
    (writes * watchers) as f64 / started.elapsed().as_secs_f64()
}
