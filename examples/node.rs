//! Joins this machine to a cluster, ours or a real one: runs its pods on a container runtime, and lets the API server look
//! into them.
//!
//! With a kubeconfig: `node --kubeconfig /etc/kubernetes/kubelet.conf`. With a bootstrap token, for which a certificate is asked
//! that somebody in the cluster must approve and sign: `node --server https://10.0.0.1:6443 --token abcdef.0123456789abcdef
//! --certificate-authority ca.crt`. `docs/guide/node.md` says how the machine is set up.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells what it does"
)]

#[allow(dead_code, reason = "shared with other programs")]
#[path = "common/flags.rs"]
mod flags;
#[path = "common/machine.rs"]
mod machine;
#[allow(dead_code, reason = "shared with other programs")]
#[path = "common/program.rs"]
mod program;

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flags::{Flag, Flags, flag};
use homeostat::node::request_certificate;
use kube::config::{KubeConfigOptions, Kubeconfig};
use machine::{Machine, Settings};

const FLAGS: &[Flag] = &[
    flag(
        "kubeconfig",
        "FILE",
        "how to reach the cluster, and as whom",
    ),
    flag("server", "URL", "the API server, to join by token"),
    flag("token", "TOKEN", "the bootstrap token"),
    flag(
        "certificate-authority",
        "FILE",
        "who signed the API server's certificate, to join by token",
    ),
    flag(
        "cert-dir",
        "DIR",
        "where a node that joined by token keeps its kubeconfig (/var/lib/homeostat)",
    ),
    flag(
        "container-runtime-endpoint",
        "SOCKET",
        "the CRI socket (/run/containerd/containerd.sock)",
    ),
    flag("node-name", "NAME", "the node's name (that of the machine)"),
    flag(
        "node-ip",
        "IP",
        "where the API server reaches the node (the address this machine reaches it from)",
    ),
    flag("port", "PORT", "where the node's server listens (10250)"),
    flag(
        "client-ca-file",
        "FILE",
        "who signs the certificates of those who look into the node (as the API server's)",
    ),
];

fn main() -> ExitCode {
    program::main(run())
}

async fn run() -> Result<()> {
    let refuse = |name: &str| bail!("unknown flag --{name}; --help lists the flags");
    let known = [FLAGS, machine::FLAGS].concat();
    let Some(flags) = Flags::parse(&known, std::env::args().skip(1), refuse)? else {
        print!("{}", flags::help("node: this machine as a node", &known));
        return Ok(());
    };
    let stopped = program::stopped()?;
    let name = flags
        .get("node-name")
        .map_or_else(machine::hostname, str::to_owned);
    let config = match flags.get("kubeconfig") {
        Some(path) => load(Path::new(path)).await?,
        None => join(&flags, &name).await?,
    };
    let address = match flags.value::<IpAddr>("node-ip")? {
        Some(address) => address,
        None => facing(&config.cluster_url)?,
    };
    let client_authorities = match flags.get("client-ca-file") {
        Some(path) => Some(std::fs::read(path).with_context(|| format!("cannot read {path}"))?),
        None => config.root_cert.as_deref().map(pem),
    };
    let socket = flags
        .get("container-runtime-endpoint")
        .unwrap_or("/run/containerd/containerd.sock");
    let socket = PathBuf::from(socket.strip_prefix("unix://").unwrap_or(socket));
    let settings = Settings {
        name: &name,
        socket: &socket,
        address,
        port: flags.value("port")?.unwrap_or(10_250),
        client_authorities,
        kubelet: machine::kubelet_config(&flags)?,
    };
    let client = kube::Client::try_from(config)?;
    let machine = Machine::start(client, settings).await?;
    println!("{name} has joined");
    stopped.await;
    println!("stopping; containers go on");
    machine.stop().await;
    Ok(())
}

async fn load(path: &Path) -> Result<kube::Config> {
    let read = Kubeconfig::read_from(path).with_context(|| format!("{}", path.display()))?;
    Ok(kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)
}

/// Asks for a certificate by token, and keeps it: a node that comes back needs no token.
async fn join(flags: &Flags, name: &str) -> Result<kube::Config> {
    let directory = PathBuf::from(flags.get("cert-dir").unwrap_or("/var/lib/homeostat"));
    let kept = directory.join("kubeconfig");
    if kept.exists() {
        return load(&kept).await;
    }
    let (Some(server), Some(token)) = (flags.get("server"), flags.get("token")) else {
        bail!("--kubeconfig, or --server and --token are needed");
    };
    let authority = match flags.get("certificate-authority") {
        Some(path) => std::fs::read(path).with_context(|| format!("cannot read {path}"))?,
        None => bail!("--certificate-authority is needed to join by token"),
    };
    let kubeconfig = |user: serde_json::Value| {
        let cluster = serde_json::json!({
            "server": server, "certificate-authority-data": STANDARD.encode(&authority),
        });
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "node",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": "node", "user": user}],
            "contexts": [{"name": "node", "context": {"cluster": "cluster", "user": "node"}}],
        })
    };
    let bootstrap: Kubeconfig =
        serde_json::from_value(kubeconfig(serde_json::json!({"token": token})))?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(bootstrap, &options).await?;
    println!("asking for a certificate");
    let client = kube::Client::try_from(config)?;
    let patience = Duration::from_secs(3600);
    let (certificate, key) = request_certificate(&client, name, patience).await?;
    let own = kubeconfig(serde_json::json!({
        "client-certificate-data": STANDARD.encode(certificate),
        "client-key-data": STANDARD.encode(key),
    }));
    std::fs::create_dir_all(&directory)?;
    program::write_private(&kept, &own.to_string())?;
    load(&kept).await
}

/// The address from which this machine reaches `server`. Nothing is sent.
fn facing(server: &http::Uri) -> Result<IpAddr> {
    let host = server.host().unwrap_or_default();
    let port = server.port_u16().unwrap_or(443);
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket
        .connect((host, port))
        .with_context(|| format!("no way to {server}"))?;
    Ok(socket.local_addr()?.ip())
}

/// Certificates as PEM.
fn pem(certificates: &[Vec<u8>]) -> Vec<u8> {
    let each = certificates.iter().map(|der| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    });
    each.collect::<String>().into_bytes()
}
