//! The served server from outside: a kube-rs client in a process of its own, over TLS, as the figures of kube-apiserver with etcd
//! in `docs/benchmarks.md` were taken.
//!
//! `cargo build --release --features serve --example standalone && cargo bench --features serve --bench served`; then the same
//! in process. `-- --pods N` (10,000), `-- --memory N` (also measures memory with so many pods).
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
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use homeostat::apiserver::ApiServer;
use homeostat::store::MemoryStore;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

/// Requests in flight.
const FLIGHT: usize = 32;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pods = argument("--pods").unwrap_or(10_000);
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
            let served = Served::start().await;
            let before = served.memory();
            create(&served.client().await, many).await;
            let after = served.memory();
            println!("memory with {many} pods: {after:.0} MB, {before:.0} MB before");
        }
    });
}

fn argument(name: &str) -> Option<usize> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
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
        println!(
            "  boot until the kubeconfig is there: {:.0} ms",
            started.elapsed().as_secs_f64() * 1e3
        );
        Self { child, kubeconfig }
    }

    async fn client(&self) -> Client {
        let config = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(config, &options)
            .await
            .unwrap();
        Client::try_from(config).unwrap()
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

impl Drop for Served {
    fn drop(&mut self) {
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

/// Runs a request for each number, so many at a time, and tells rate and latencies.
async fn each<F: Future<Output = ()>>(
    what: &str,
    count: usize,
    flight: usize,
    request: impl Fn(usize) -> F,
) {
    let started = Instant::now();
    let mut times: Vec<Duration> = futures::stream::iter(0..count)
        .map(|number| {
            let request = request(number);
            async move {
                let started = Instant::now();
                request.await;
                started.elapsed()
            }
        })
        .buffer_unordered(flight)
        .collect()
        .await;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "  {what:38} {rate:8.0}/s   p50 {:7.2} ms  p99 {:7.2} ms",
        at(50),
        at(99)
    );
}

async fn create(client: &Client, count: usize) {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let pods = &pods;
    each("create, 32 in flight", count, FLIGHT, |number| async move {
        pods.create(&PostParams::default(), &pod(number))
            .await
            .unwrap();
    })
    .await;
}

async fn measure(client: &Client, count: usize) {
    create(client, count).await;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let pods = &pods;
    each("get, 32 in flight", count, FLIGHT, |number| async move {
        pods.get(&format!("pod-{number:06}")).await.unwrap();
    })
    .await;
    each("get, one at a time", count / 10, 1, |number| async move {
        pods.get(&format!("pod-{number:06}")).await.unwrap();
    })
    .await;
    each(
        "patch of the status, 32 in flight",
        count,
        FLIGHT,
        |number| async move {
            let patch = Patch::Merge(
                json!({"status": {"phase": "Running", "message": format!("{number}")}}),
            );
            pods.patch_status(&format!("pod-{number:06}"), &PatchParams::default(), &patch)
                .await
                .unwrap();
        },
    )
    .await;
    each("list of all", 5, 1, |_| async move {
        assert_eq!(
            pods.list(&ListParams::default()).await.unwrap().items.len(),
            count
        );
    })
    .await;
    each("list of a tenth by label", 20, 1, |_| async move {
        let tenth = pods
            .list(&ListParams::default().labels("tenth=3"))
            .await
            .unwrap();
        assert_eq!(tenth.items.len(), count / 10);
    })
    .await;
    each("list paged by 500", 5, 1, |_| async move {
        let mut params = ListParams::default().limit(500);
        let mut found = 0;
        loop {
            let page = pods.list(&params).await.unwrap();
            found += page.items.len();
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        assert_eq!(found, count);
    })
    .await;
    for watchers in [100, 1000] {
        fan_out(client, watchers).await;
    }
    each("delete, 32 in flight", count, FLIGHT, |number| async move {
        pods.delete(
            &format!("pod-{number:06}"),
            &DeleteParams::default().grace_period(0),
        )
        .await
        .unwrap();
    })
    .await;
}

/// Events that reach so many watchers of a namespace of their own.
async fn fan_out(client: &Client, watchers: usize) {
    let writes = 100_000 / watchers;
    let name = format!("fan-out-{watchers}");
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &name);
    let from = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let mut watch = pods
            .watch(&WatchParams::default(), &from)
            .await
            .unwrap()
            .boxed();
        tasks.push(tokio::spawn(async move {
            let mut seen = 0;
            while seen < writes {
                match watch.try_next().await.unwrap() {
                    Some(WatchEvent::Added(_)) => seen += 1,
                    Some(WatchEvent::Bookmark(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        }));
    }
    let started = Instant::now();
    let creates = futures::stream::iter(0..writes).map(|number| {
        let pods = &pods;
        async move {
            pods.create(&PostParams::default(), &pod(number))
                .await
                .unwrap()
        }
    });
    creates
        .buffer_unordered(FLIGHT)
        .for_each(|_| futures::future::ready(()))
        .await;
    for task in tasks {
        task.await.unwrap();
    }
    let rate = (writes * watchers) as f64 / started.elapsed().as_secs_f64();
    println!(
        "  {:38} {rate:8.0} events/s, none cut off",
        format!("fan-out to {watchers} watchers")
    );
}
