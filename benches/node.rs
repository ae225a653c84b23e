//! What pods cost on containerd: the bare calls of the runtime's interface, which an agent cannot undercut, then an agent that
//! runs pods of an API server, as a process of its own.
//! Needs root and what `scripts/containerd` needs. Run by hand: `cargo bench --features containerd,serve --bench node`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark says what it measured, and starts real programs"
)]

#[path = "node/agent.rs"]
mod agent;
#[allow(dead_code, reason = "shared with programs")]
#[path = "../examples/common/flags.rs"]
mod flags;
#[allow(dead_code, reason = "shared with programs")]
#[path = "../examples/common/machine.rs"]
mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use homeostat::cri::containerd::{Containerd, ContainerdConfig};
use homeostat::cri::{
    ContainerConfig, ContainerRuntime, ContainerRuntimeExt, ImageService, SandboxConfig,
    SandboxMetadata,
};
use tokio::time::Instant;

const IMAGE: &str = "homeostat.local/busybox:1";
/// As many pods as a node runs by default.
const PODS: usize = 110;

/// A private containerd; gone when dropped.
struct Machine(PathBuf);

impl Machine {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("hs-bench-{}", std::process::id()));
        let machine = Self(dir);
        machine.script("up");
        machine
    }

    fn script(&self, command: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/containerd");
        let output = Command::new(script).arg(command).arg(&self.0).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.script("down");
    }
}

/// How long the calls for one pod took.
#[derive(Default)]
struct Took {
    image: Duration,
    sandbox: Duration,
    create: Duration,
    start: Duration,
    status: Duration,
}

impl Took {
    fn all(&self) -> Duration {
        self.image + self.sandbox + self.create + self.start + self.status
    }
}

/// The calls that any agent must make to see a pod of one container run.
async fn pod(runtime: &Containerd, number: usize) -> Took {
    let sandbox = SandboxConfig {
        metadata: SandboxMetadata {
            namespace: "bench".to_owned(),
            name: format!("pod-{number}"),
            uid: format!("uid-{number}"),
            attempt: 0,
        },
        hostname: format!("pod-{number}"),
        ..SandboxConfig::default()
    };
    let container = ContainerConfig {
        name: "c".to_owned(),
        image: IMAGE.to_owned(),
        command: vec!["sleep".to_owned(), "100000".to_owned()],
        ..ContainerConfig::default()
    };
    let mut took = Took::default();
    let begun = Instant::now();
    runtime.image_status(&IMAGE.into()).await.unwrap().unwrap();
    took.image = begun.elapsed();
    let begun = Instant::now();
    let id = runtime.run_sandbox(&sandbox).await.unwrap();
    took.sandbox = begun.elapsed();
    let begun = Instant::now();
    let made = runtime.create_container(&id, &container, &sandbox).await;
    let made = made.unwrap();
    took.create = begun.elapsed();
    let begun = Instant::now();
    runtime.start_container(&made).await.unwrap();
    took.start = begun.elapsed();
    let begun = Instant::now();
    runtime.pod(&sandbox.metadata.uid).await.unwrap();
    took.status = begun.elapsed();
    took
}

fn median(all: &[Took], of: impl Fn(&Took) -> Duration) -> Duration {
    let mut all: Vec<Duration> = all.iter().map(of).collect();
    all.sort();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--agent") {
        return agent::be(arguments).await;
    }
    let machine = Machine::start();
    let bare = bare(&machine).await;
    agent::measure(&machine, &bare).await;
}

/// What the runtime's calls alone took.
struct Bare {
    /// All pods, one after the other.
    all: Duration,
    /// The median of one.
    one: Duration,
}

async fn bare(machine: &Machine) -> Bare {
    let config = ContainerdConfig::new(machine.0.join("containerd.sock"));
    let runtime = Containerd::connect(config).await.unwrap();
    let begun = Instant::now();
    let mut all = Vec::new();
    for number in 0..PODS {
        all.push(pod(&runtime, number).await);
    }
    let total = begun.elapsed();
    println!("bare calls, one pod after the other, {PODS} pods: {total:.2?}");
    println!("median of one pod: {:.1?}", median(&all, Took::all));
    println!("  image status     {:.1?}", median(&all, |took| took.image));
    println!(
        "  run sandbox      {:.1?}",
        median(&all, |took| took.sandbox)
    );
    println!(
        "  create container {:.1?}",
        median(&all, |took| took.create)
    );
    println!("  start container  {:.1?}", median(&all, |took| took.start));
    println!(
        "  status of both   {:.1?}",
        median(&all, |took| took.status)
    );
    let begun = Instant::now();
    let pods = runtime.pods().await.unwrap();
    println!("status of all {}: {:.1?}", pods.len(), begun.elapsed());
    let begun = Instant::now();
    for pod in pods {
        runtime.stop_sandbox(&pod.id).await.unwrap();
        runtime.remove_sandbox(&pod.id).await.unwrap();
    }
    println!("stopping and removing all: {:.2?}", begun.elapsed());
    Bare {
        all: total,
        one: median(&all, Took::all),
    }
}
