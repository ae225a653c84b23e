//! A whole cluster for kubectl and everybody else: API server over TLS, controllers, scheduler, and nodes that pretend.
//!
//! `cargo run --features serve --example standalone -- --kubeconfig /tmp/kubeconfig`, then `kubectl --kubeconfig
//! /tmp/kubeconfig get nodes`. Ctrl-C stops it. `--help` lists the flags.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells where it listens"
)]

#[path = "common/flags.rs"]
mod flags;
#[path = "common/program.rs"]
mod program;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use flags::{Flag, Flags};
use homeostat::apiserver::serve::{Certificates, ServeConfig};
use homeostat::apiserver::{ApiServer, AuthorizationMode, StaticTokens};
use homeostat::clock::Clock;
use homeostat::cluster::Cluster;
use homeostat::store::{MemoryStore, Store};

const FLAGS: &[Flag] = &[
    flag(
        "listen",
        "ADDR:PORT",
        "where to listen; port 0 picks a free one (127.0.0.1:6443)",
    ),
    flag(
        "kubeconfig",
        "FILE",
        "written once the cluster is ready (homeostat.kubeconfig)",
    ),
    flag(
        "data-dir",
        "DIR",
        "keep the state here; in memory otherwise (needs feature durable)",
    ),
    flag(
        "etcd-servers",
        "URLS",
        "keep the state in this etcd (needs feature etcd)",
    ),
    flag("nodes", "N", "nodes with a kubelet over a fake runtime (3)"),
    flag(
        "only-api",
        "",
        "no controllers, scheduler or nodes, as envtest",
    ),
    flag(
        "token-auth-file",
        "FILE",
        "CSV of token,user,uid,\"group,group\"",
    ),
    flag(
        "authorization-mode",
        "RBAC|AlwaysAllow",
        "who may do what (RBAC)",
    ),
    flag(
        "service-cluster-ip-range",
        "CIDR",
        "where services get their addresses from (10.0.0.0/16)",
    ),
    flag(
        "disable-admission-plugins",
        "LIST",
        "admission plugins to leave out",
    ),
];

const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value, help }
}

fn main() -> ExitCode {
    program::main(run())
}

async fn run() -> Result<()> {
    let refuse = |name: &str| bail!("unknown flag --{name}; --help lists the flags");
    let Some(flags) = Flags::parse(FLAGS, std::env::args().skip(1), refuse)? else {
        print!(
            "{}",
            flags::help("standalone: a Kubernetes cluster in one process", FLAGS)
        );
        return Ok(());
    };
    // Asked for before anything starts, so that no signal is lost.
    let stopped = program::stopped()?;
    let listen: SocketAddr = flags
        .value("listen")?
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 6443)));
    let nodes: usize = flags.value("nodes")?.unwrap_or(3);
    let only_api = flags.is_on("only-api")?;
    let kubeconfig = PathBuf::from(flags.get("kubeconfig").unwrap_or("homeostat.kubeconfig"));

    let range = flags
        .get("service-cluster-ip-range")
        .unwrap_or("10.0.0.0/16");
    let mut server = ApiServer::builder(store(&flags).await?).cluster_ip_range(range);
    if let Some(path) = flags.get("token-auth-file") {
        server = server.tokens(tokens(path)?);
    }
    server = server.authorization(modes(&flags)?);
    for plugin in flags.list("disable-admission-plugins") {
        server = server.without_admission(plugin);
    }
    let mut cluster = Cluster::builder().server(server);
    cluster = if only_api {
        cluster.only_api()
    } else {
        cluster.nodes(nodes)
    };
    let cluster = cluster.start().await?;

    let certificates = Certificates::generate(&Clock::system(), &program::names(listen.ip()))?;
    let serving = ServeConfig::new(listen)
        .tls(certificates.server_tls())
        .start(cluster.server().clone())
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    program::write_private(
        &kubeconfig,
        &certificates.kubeconfig(&program::reachable(&serving)),
    )?;
    println!(
        "serving {}; kubectl --kubeconfig {} get all -A",
        serving.url(),
        kubeconfig.display()
    );

    stopped.await;
    println!("stopping");
    remove(&kubeconfig);
    cluster.stop_parts().await;
    serving.stop().await;
    Ok(())
}

/// Who may do what.
fn modes(flags: &Flags) -> Result<Vec<AuthorizationMode>> {
    let names = flags.get("authorization-mode").unwrap_or("RBAC");
    let modes = names.split(',').map(|name| name.parse());
    modes
        .collect::<Result<_, String>>()
        .map_err(|error| anyhow!("--authorization-mode: {error}"))
}

fn tokens(path: &str) -> Result<StaticTokens> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    StaticTokens::from_csv(&text).with_context(|| path.to_owned())
}

/// Where the state is kept.
#[expect(
    clippy::unused_async,
    reason = "other stores are opened asynchronously"
)]
async fn store(flags: &Flags) -> Result<Arc<dyn Store>> {
    if flags.get("data-dir").is_some() {
        bail!("--data-dir needs the feature durable");
    }
    if flags.get("etcd-servers").is_some() {
        bail!("--etcd-servers needs the feature etcd");
    }
    Ok(Arc::new(MemoryStore::default()))
}

/// The certificates in it die with this process.
fn remove(kubeconfig: &Path) {
    if let Err(error) = std::fs::remove_file(kubeconfig) {
        eprintln!("cannot remove {}: {error}", kubeconfig.display());
    }
}
