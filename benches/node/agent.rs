//! An agent in a process of its own, with the API server in this one: how soon pods run, and what it takes when they idle.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use homeostat::apiserver::serve::{Certificates, ServeConfig};
use homeostat::clock::Clock;
use homeostat::cluster::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::flags::Flags;
use crate::machine::{self, Settings};
use crate::{Bare, IMAGE, Machine, PODS};

const NODE: &str = "bench";
/// How many pods are started one after the other.
const SINGLE: usize = 20;
/// How long pods idle.
const IDLE: Duration = Duration::from_secs(60);

/// An agent as `examples/node.rs` is one. `arguments`: a kubeconfig, a socket, and flags of nodes.
pub(crate) async fn be(mut arguments: impl Iterator<Item = String>) {
    let kubeconfig = Kubeconfig::read_from(arguments.next().unwrap()).unwrap();
    let socket = PathBuf::from(arguments.next().unwrap());
    let refuse = |name: &str| anyhow::bail!("unknown flag {name}");
    let flags = Flags::parse(machine::FLAGS, arguments, refuse).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let client = Client::try_from(config.unwrap()).unwrap();
    let settings = Settings {
        name: NODE,
        socket: &socket,
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        client_authorities: None,
        kubelet: machine::kubelet_config(&flags.unwrap()).unwrap(),
    };
    let _agent = machine::Machine::start(client, settings).await.unwrap();
    std::future::pending::<()>().await;
}

/// A process that is killed when dropped.
struct Process(Child);

impl Process {
    fn start(machine: &Path, kubeconfig: &Path) -> Self {
        let cgroup = std::fs::read_to_string(machine.join("cgroup")).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .arg("--agent")
            .args([kubeconfig, &machine.join("containerd.sock")])
            .args([Path::new("--root-dir"), &machine.join("kubelet")])
            .args([Path::new("--pod-logs-dir"), &machine.join("pods")])
            .args(["--cgroup-root", cgroup.trim()])
            .spawn();
        Self(child.unwrap())
    }

    /// How long it has run on processors.
    fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // Its name may hold spaces; what counts comes after it.
        let (_, fields) = text.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// A line of its status: `VmRSS` is its memory, `VmHWM` the most it had.
    fn memory(&self, line: &str) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.unwrap().trim_start_matches(':').trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pod(name: &str) -> Pod {
    let container = json!({"name": "c", "image": IMAGE, "command": ["sleep", "100000"]});
    let spec = json!({
        "nodeName": NODE, "containers": [container], "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
    });
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// Waits until so many pods run.
async fn running(pods: &Api<Pod>, count: usize) {
    let watch = watcher(pods.clone(), watcher::Config::default());
    let mut running = std::collections::BTreeSet::new();
    let mut events = std::pin::pin!(watch);
    while running.len() < count {
        let event = events.next().await.unwrap().unwrap();
        if let watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) = event
            && pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref())
                == Some("Running")
        {
            running.insert(pod.name_any());
        }
    }
}

async fn gone(pods: &Api<Pod>) {
    while !pods
        .list(&kube::api::ListParams::default())
        .await
        .unwrap()
        .items
        .is_empty()
    {
        sleep(Duration::from_millis(100)).await;
    }
}

/// Measures an agent beside what the bare calls took.
pub(crate) async fn measure(machine: &Machine, bare: &Bare) {
    let cluster = Cluster::builder().nodes(0).start().await.unwrap();
    let certificates = Certificates::generate(&Clock::system(), &["127.0.0.1"]).unwrap();
    let serving = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)))
        .tls(certificates.server_tls())
        .start(cluster.server().clone())
        .await
        .unwrap();
    let kubeconfig = machine.0.join("kubeconfig");
    std::fs::write(&kubeconfig, certificates.kubeconfig(&serving.url())).unwrap();
    let agent = Process::start(&machine.0, &kubeconfig);
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    // The first pod waits for the node; it is not counted.
    pods.create(&PostParams::default(), &pod("first"))
        .await
        .unwrap();
    running(&pods, 1).await;
    pods.delete("first", &DeleteParams::default())
        .await
        .unwrap();
    gone(&pods).await;
    single(&pods, bare).await;
    many(&pods, bare).await;
    // What follows a start is over.
    sleep(Duration::from_secs(20)).await;
    let before = agent.cpu();
    sleep(IDLE).await;
    let used = agent.cpu().saturating_sub(before);
    println!(
        "{PODS} idle pods: {:.2} % of a core, memory {}, at most {}",
        100.0 * used.as_secs_f64() / IDLE.as_secs_f64(),
        agent.memory("VmRSS"),
        agent.memory("VmHWM"),
    );
    drop(agent);
    cluster.stop_parts().await;
    serving.stop().await;
}

async fn single(pods: &Api<Pod>, bare: &Bare) {
    let mut took = Vec::new();
    for number in 0..SINGLE {
        let name = format!("single-{number}");
        let begun = Instant::now();
        pods.create(&PostParams::default(), &pod(&name))
            .await
            .unwrap();
        running(pods, 1).await;
        took.push(begun.elapsed());
        pods.delete(&name, &DeleteParams::default()).await.unwrap();
        gone(pods).await;
    }
    took.sort();
    let median = took[took.len() / 2];
    println!(
        "one pod, from bound to Running: median {median:.1?}, {:.1?} more than the bare calls",
        median.saturating_sub(bare.one)
    );
}

async fn many(pods: &Api<Pod>, bare: &Bare) {
    let begun = Instant::now();
    let names: Vec<String> = (0..PODS).map(|number| format!("many-{number}")).collect();
    let made = futures::stream::iter(names.iter().map(Ok::<_, kube::Error>));
    made.try_for_each_concurrent(8, |name| async move {
        pods.create(&PostParams::default(), &pod(name))
            .await
            .map(drop)
    })
    .await
    .unwrap();
    running(pods, PODS).await;
    let took = begun.elapsed();
    println!(
        "{PODS} pods at once, until all run: {took:.2?}, {:.2} times the bare calls in sequence",
        took.as_secs_f64() / bare.all.as_secs_f64()
    );
}
