//! Joins this machine to a cluster, ours or a real one: runs its pods on a container runtime, and lets the API server look
//! into them.
//!
//! With a kubeconfig: `node --kubeconfig /etc/kubernetes/kubelet.conf`. With a bootstrap token, for which a certificate is asked
//! that somebody in the cluster must approve and sign: `node --server https://10.0.0.1:6443 --token abcdef.0123456789abcdef
//! --certificate-authority ca.crt`, or `--bootstrap-kubeconfig FILE`. The certificate is renewed before it ends.
//! `docs/guide/node.md` says how the machine is set up.

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
use homeostat::client::Replaceable;
use homeostat::clock::Clock;
use homeostat::node::{renew_after, request_certificate};
use kube::config::{KubeConfigOptions, Kubeconfig};
use machine::{Machine, Settings};

const FLAGS: &[Flag] = &[
    flag(
        "kubeconfig",
        "FILE",
        "how to reach the cluster, and as whom",
    ),
    flag(
        "bootstrap-kubeconfig",
        "FILE",
        "how to reach the cluster to ask for a certificate",
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

/// How long is waited for a certificate.
const PATIENCE: Duration = Duration::from_secs(3600);
/// A certificate that could not be renewed is asked for again after this.
const AGAIN: Duration = Duration::from_secs(60);

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
    let clock = Clock::system();
    let (config, own) = if let Some(path) = flags.get("kubeconfig") {
        (load(Path::new(path)).await?, None)
    } else {
        let own = Own::new(&flags, &name, clock.clone())?;
        (own.join().await?, Some(own))
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
    let client = Replaceable::new(kube::Client::try_from(config)?);
    let machine = Machine::start(client.client(), settings).await?;
    println!("{name} has joined");
    let renewal = async {
        match &own {
            Some(own) => own.keep_fresh(&client).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = stopped => {}
        () = renewal => {}
    }
    println!("stopping; containers go on");
    machine.stop().await;
    Ok(())
}

async fn load(path: &Path) -> Result<kube::Config> {
    let read = Kubeconfig::read_from(path).with_context(|| format!("{}", path.display()))?;
    Ok(kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)
}

/// The certificate of a node that asks for one itself, and where it is kept.
struct Own<'a> {
    name: &'a str,
    clock: Clock,
    /// How the cluster is reached to ask for the first one.
    bootstrap: Kubeconfig,
    directory: PathBuf,
}

impl<'a> Own<'a> {
    fn new(flags: &Flags, name: &'a str, clock: Clock) -> Result<Self> {
        let bootstrap = match flags.get("bootstrap-kubeconfig") {
            Some(path) => Kubeconfig::read_from(path).with_context(|| path.to_owned())?,
            None => by_token(flags)?,
        };
        Ok(Self {
            name,
            clock,
            bootstrap,
            directory: PathBuf::from(flags.get("cert-dir").unwrap_or("/var/lib/homeostat")),
        })
    }

    fn kept(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// The certificate that is kept, in PEM.
    fn certificate(&self) -> Option<String> {
        let kept = Kubeconfig::read_from(self.kept()).ok()?;
        let user = kept.auth_infos.into_iter().next()?.auth_info?;
        let data = STANDARD.decode(user.client_certificate_data?).ok()?;
        String::from_utf8(data).ok()
    }

    /// How the cluster is reached: with the certificate that is kept, or a new one. A node that comes back needs no token.
    async fn join(&self) -> Result<kube::Config> {
        let certificate = self.certificate();
        if certificate.is_none_or(|text| renew_after(&text, &self.clock).is_none()) {
            let options = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(self.bootstrap.clone(), &options);
            println!("asking for a certificate");
            self.ask(&kube::Client::try_from(config.await?)?).await?;
        }
        load(&self.kept()).await
    }

    /// Asks for a certificate, and keeps it.
    async fn ask(&self, client: &kube::Client) -> Result<()> {
        let (certificate, key) = request_certificate(client, self.name, PATIENCE).await?;
        let mut own = serde_json::to_value(&self.bootstrap)?;
        for user in own["users"].as_array_mut().into_iter().flatten() {
            user["user"] = serde_json::json!({
                "client-certificate-data": STANDARD.encode(&certificate),
                "client-key-data": STANDARD.encode(&key),
            });
        }
        std::fs::create_dir_all(&self.directory)?;
        // Whoever reads meanwhile sees the old or the new one.
        let next = self.directory.join("kubeconfig.new");
        program::write_private(&next, &own.to_string())?;
        Ok(std::fs::rename(next, self.kept())?)
    }

    /// Renews the certificate before it ends, for ever.
    async fn keep_fresh(&self, client: &Replaceable) {
        loop {
            let text = self.certificate().unwrap_or_default();
            let after = renew_after(&text, &self.clock).unwrap_or_default();
            tokio::time::sleep(after).await;
            let renewed = async {
                self.ask(&client.client()).await?;
                client.replace(kube::Client::try_from(load(&self.kept()).await?)?);
                anyhow::Ok(())
            };
            match renewed.await {
                Ok(()) => println!("the certificate was renewed"),
                Err(error) => {
                    eprintln!("the certificate could not be renewed: {error:#}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

/// How the cluster is reached by token, as the flags say.
fn by_token(flags: &Flags) -> Result<Kubeconfig> {
    let (Some(server), Some(token)) = (flags.get("server"), flags.get("token")) else {
        bail!("--kubeconfig, --bootstrap-kubeconfig, or --server and --token are needed");
    };
    let authority = match flags.get("certificate-authority") {
        Some(path) => std::fs::read(path).with_context(|| format!("cannot read {path}"))?,
        None => bail!("--certificate-authority is needed to join by token"),
    };
    let cluster = serde_json::json!({
        "server": server, "certificate-authority-data": STANDARD.encode(&authority),
    });
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "node",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "node", "user": {"token": token}}],
        "contexts": [{"name": "node", "context": {"cluster": "cluster", "user": "node"}}],
    });
    Ok(serde_json::from_value(config)?)
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
