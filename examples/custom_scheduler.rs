//! A scheduler with plugins of one's own, in place of kube-scheduler or beside it, against any cluster: `--kubeconfig FILE` of
//! ours over TLS, or of a real one. Leader election, `/healthz`, `/livez`, `/readyz` and `/metrics`, and an end in good order at
//! Ctrl-C are the library's.
//!
//! `cargo run --features serve --example custom_scheduler -- --kubeconfig /tmp/kubeconfig`. Its pods say
//! `schedulerName: custom-scheduler`. `--help` lists the flags.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

#[path = "common/flags.rs"]
#[allow(dead_code, reason = "shared with programs that use the rest")]
mod flags;
#[path = "common/program.rs"]
#[allow(dead_code, reason = "shared with programs that use the rest")]
mod program;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use flags::{Flag, Flags, flag};
use homeostat::scheduler::Standalone;
use homeostat::scheduler::config::KubeSchedulerConfiguration;
use homeostat::scheduler::framework::{
    CycleState, Filter, Hooks, NodeInfo, Plugin, PodInfo, Registry, Score, Status,
};

/// Keeps pods off nodes that their owner has set aside, and prefers nodes that are cheap: labels say so.
#[derive(Debug)]
struct Budget;

impl Plugin for Budget {
    fn name(&self) -> &'static str {
        "Budget"
    }
}

impl Filter for Budget {
    fn filter(&self, _: &CycleState, _: &PodInfo, node: &NodeInfo) -> Status {
        match node.label("example.com/reserved") {
            Some("true") => Status::unschedulable("node(s) were reserved"),
            _ => Status::success(),
        }
    }
}

impl Score for Budget {
    fn score(&self, _: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let price = node
            .label("example.com/price")
            .and_then(|price| price.parse().ok());
        100 - price.unwrap_or(100_i64).clamp(0, 100)
    }
}

const CONFIG: &str = "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {resourceName: custom-scheduler}
profiles:
- schedulerName: custom-scheduler
  plugins: {multiPoint: {enabled: [{name: Budget, weight: 5}]}}
";

async fn run() -> Result<()> {
    let refuse = |name: &str| bail!("unknown flag --{name}; --help lists the flags");
    let Some(flags) = Flags::parse(FLAGS, std::env::args().skip(1), refuse)? else {
        print!("{}", flags::help("custom_scheduler", FLAGS));
        return Ok(());
    };
    let stopped = program::stopped()?;
    let document = match flags.get("config") {
        Some(path) => std::fs::read_to_string(path)?,
        None => CONFIG.to_owned(),
    };
    let registry = Registry::in_tree().with("Budget", |_, _| {
        let budget = Arc::new(Budget);
        Ok(Hooks::new(&budget).filter(&budget).score(&budget))
    });
    let config = KubeSchedulerConfiguration::parse(&document)?;
    let identity = format!("custom-scheduler_{}", std::process::id());
    let listen = flags
        .value("listen")?
        .unwrap_or_else(|| ([127, 0, 0, 1], 10259).into());
    let client = Standalone::client(flags.get("kubeconfig").map(Path::new)).await?;
    let scheduler = Standalone::from_document(&config, &registry, &identity)?.listen(listen);
    scheduler.run(client, stopped).await?;
    Ok(())
}

const FLAGS: &[Flag] = &[
    flag(
        "kubeconfig",
        "FILE",
        "the cluster (KUBECONFIG, ~/.kube/config, or the pod's service account)",
    ),
    flag(
        "config",
        "FILE",
        "a KubeSchedulerConfiguration (one with the plugin Budget)",
    ),
    flag(
        "listen",
        "ADDR:PORT",
        "health and metrics (127.0.0.1:10259)",
    ),
];

fn main() -> ExitCode {
    program::main(run())
}
