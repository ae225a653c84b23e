//! An API server with kube-apiserver's flags, for test suites that start the Go binary: controller-runtime's envtest and its
//! like in other languages. Put the built binary as `kube-apiserver` where `KUBEBUILDER_ASSETS` points.
//!
//! `cargo build --release --features serve --example kube_apiserver`. Built with `--features serve,etcd` it keeps its state in
//! the etcd that the suite starts; without, in memory, which is faster. Flags that it does not know are taken with a warning.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells what it does with its flags"
)]

#[path = "common/access.rs"]
mod access;
#[path = "common/audit.rs"]
mod audit;
#[path = "common/flags.rs"]
mod flags;
#[path = "common/program.rs"]
mod program;
#[path = "common/store.rs"]
mod store;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use flags::{Flag, Flags, flag};
use homeostat::apiserver::ApiServer;
use homeostat::apiserver::serve::{Certificates, ServeConfig, TlsConfig};
use homeostat::clock::Clock;
use store::Place;

/// The library chooses no allocator; a server of many small documents does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FLAGS: &[Flag] = &[
    flag(
        "advertise-address",
        "IP",
        "where the service kubernetes leads (nowhere)",
    ),
    flag(
        "api-audiences",
        "LIST",
        "as whom tokens of service accounts are taken (the issuer)",
    ),
    flag(
        "service-account-issuer",
        "URL",
        "who issues tokens of service accounts (https://kubernetes.default.svc.cluster.local)",
    ),
    flag(
        "service-account-jwks-uri",
        "URL",
        "where others find their keys",
    ),
    flag(
        "service-account-key-file",
        "FILE",
        "keys in PEM by which they are believed",
    ),
    flag(
        "service-account-signing-key-file",
        "FILE",
        "private key in PEM that signs them (a new one)",
    ),
    flag(
        "allow-privileged",
        "BOOL",
        "taken; privileged pods are allowed",
    ),
    flag(
        "anonymous-auth",
        "BOOL",
        "whether requests without credentials are taken (true)",
    ),
    flag(
        "audit-log-path",
        "FILE",
        "audit events go there, one a line; - is standard output (none)",
    ),
    flag(
        "audit-policy-file",
        "FILE",
        "which requests are audited and how closely (all, without objects)",
    ),
    flag(
        "enable-bootstrap-token-auth",
        "",
        "believe the bootstrap tokens in kube-system, by which machines join",
    ),
    flag(
        "authorization-mode",
        "LIST",
        "who may do what: RBAC, AlwaysAllow, … (AlwaysAllow)",
    ),
    flag("bind-address", "IP", "where to listen (0.0.0.0)"),
    flag(
        "cert-dir",
        "DIR",
        "holds apiserver.crt and apiserver.key; made if absent (/var/run/kubernetes)",
    ),
    flag("client-ca-file", "FILE", "who signs client certificates"),
    flag(
        "disable-admission-plugins",
        "LIST",
        "admission plugins to leave out",
    ),
    flag(
        "enable-admission-plugins",
        "LIST",
        "admission plugins to turn on that are off by default",
    ),
    flag(
        "etcd-servers",
        "URLS",
        "keep the state in this etcd (with feature etcd; else in memory)",
    ),
    flag("etcd-cafile", "FILE", "who signs etcd's certificates"),
    flag("etcd-certfile", "FILE", "the client certificate for etcd"),
    flag("etcd-keyfile", "FILE", "and its key"),
    flag(
        "max-mutating-requests-inflight",
        "N",
        "writes at a time; more are answered with 429 (200)",
    ),
    flag(
        "max-requests-inflight",
        "N",
        "reads at a time; more are answered with 429 (400)",
    ),
    flag("secure-port", "PORT", "where to listen (6443)"),
    flag(
        "service-cluster-ip-range",
        "CIDR",
        "where services get their addresses from (10.0.0.0/24)",
    ),
    flag(
        "service-node-port-range",
        "A-B",
        "where node ports come from (30000-32767)",
    ),
    flag(
        "tls-cert-file",
        "FILE",
        "the serving certificate, instead of the one in the directory",
    ),
    flag("tls-private-key-file", "FILE", "and its key"),
    flag(
        "token-auth-file",
        "FILE",
        "CSV of token,user,uid,\"group,group\"",
    ),
    flag("v", "N", "taken; RUST_LOG says what is logged"),
];

fn main() -> ExitCode {
    program::main(run())
}

async fn run() -> Result<()> {
    let warn = |name: &str| {
        eprintln!("warning: --{name} is not known here and has no effect");
        Ok(())
    };
    let Some(flags) = Flags::parse(FLAGS, std::env::args().skip(1), warn)? else {
        print!("{}", flags::help("kube-apiserver, by homeostat", FLAGS));
        return Ok(());
    };
    // Asked for before anything starts, so that no signal is lost.
    let stopped = program::stopped()?;
    let address: IpAddr = flags
        .value("bind-address")?
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let listen = SocketAddr::new(address, flags.value("secure-port")?.unwrap_or(6443));
    let tls = tls(&flags, address)?;
    let opened = store::open(&place(&flags)).await?;

    let range = flags
        .get("service-cluster-ip-range")
        .unwrap_or("10.0.0.0/24");
    let mut server = ApiServer::builder(opened.store.clone())
        .cluster_ip_range(range)
        .with_admission("ServiceAccount")
        .max_in_flight(
            flags.value("max-requests-inflight")?.unwrap_or(400),
            flags
                .value("max-mutating-requests-inflight")?
                .unwrap_or(200),
        );
    if let Some(ports) = flags.get("service-node-port-range") {
        let (from, until) = ports
            .split_once('-')
            .and_then(|(from, until)| Some((from.parse().ok()?, until.parse().ok()?)))
            .ok_or_else(|| {
                anyhow!("--service-node-port-range={ports}: not of the form 30000-32767")
            })?;
        server = server.node_ports(from..=until);
    }
    if !flags.is_on("anonymous-auth", true)? {
        server = server.without_anonymous();
    }
    if let Some(path) = flags.get("client-ca-file") {
        let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        server = server.client_ca(pem);
    }
    let server = access::set_up(server, &flags, "AlwaysAllow")?;
    let (server, audit_log) = audit::set_up(server, &flags).await?;
    let server = server.start().await?;
    let mut config = ServeConfig::new(listen).tls(tls);
    if let Some(address) = flags.value::<IpAddr>("advertise-address")?
        && !address.is_loopback()
    {
        config = config.advertise(address);
    }
    let serving = config
        .start(server)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    println!("serving {}", program::reachable(&serving));

    stopped.await;
    serving.stop().await;
    drop(serving);
    audit_log.finish().await;
    opened.close().await;
    Ok(())
}

fn place(flags: &Flags) -> Place<'_> {
    let mut etcd = flags.list("etcd-servers");
    if !etcd.is_empty() && cfg!(not(feature = "etcd")) {
        eprintln!(
            "warning: built without the feature etcd, so --etcd-servers has no effect: the state is kept in memory"
        );
        etcd.clear();
    }
    Place {
        directory: None,
        backup: None,
        etcd,
        etcd_tls: ["etcd-cafile", "etcd-certfile", "etcd-keyfile"].map(|name| flags.get(name)),
    }
}

/// The certificate named, or the one in the directory, which is made when it is not there.
fn tls(flags: &Flags, address: IpAddr) -> Result<TlsConfig> {
    let directory = Path::new(flags.get("cert-dir").unwrap_or("/var/run/kubernetes"));
    let files = match (
        flags.get("tls-cert-file"),
        flags.get("tls-private-key-file"),
    ) {
        (Some(certificate), Some(key)) => [certificate, key].map(PathBuf::from),
        (None, None) => ["apiserver.crt", "apiserver.key"].map(|name| directory.join(name)),
        _ => {
            return Err(anyhow!(
                "--tls-cert-file and --tls-private-key-file go together"
            ));
        }
    };
    let [certificate, key] = &files;
    if !certificate.exists() && flags.get("tls-cert-file").is_none() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let made = Certificates::generate(&Clock::system(), &program::names(address))?;
        let (pem, secret) = made.server_pem();
        program::write_private(key, secret)?;
        program::write_private(certificate, pem)?;
    }
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let authority = flags
        .get("client-ca-file")
        .map(|path| read(Path::new(path)));
    let tls = TlsConfig::from_pem(
        &read(certificate)?,
        &read(key)?,
        authority.transpose()?.as_deref(),
    );
    tls.with_context(|| format!("{}, {}", certificate.display(), key.display()))
}
