//! A whole cluster for kubectl and everybody else: API server over TLS, controllers, scheduler, and nodes that pretend.
//!
//! `cargo run --features serve --example standalone -- --kubeconfig /tmp/kubeconfig`, then `kubectl --kubeconfig
//! /tmp/kubeconfig get nodes`. Ctrl-C stops it. `--help` lists the flags.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells where it listens"
)]

#[path = "common/access.rs"]
mod access;
#[path = "common/audit.rs"]
mod audit;
#[path = "common/backups.rs"]
mod backups;
#[path = "common/flags.rs"]
mod flags;
#[cfg(feature = "containerd")]
#[path = "common/machine.rs"]
mod machine;
#[cfg(not(feature = "containerd"))]
mod machine {
    /// Without a machine there is nothing to say of it.
    pub(crate) const FLAGS: &[super::Flag] = &[];
}
#[path = "common/program.rs"]
mod program;
#[path = "common/store.rs"]
mod store;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use flags::{Flag, Flags, flag};
use homeostat::apiserver::ApiServer;
use homeostat::apiserver::serve::{Certificates, ServeConfig, TcpDialer};
use homeostat::clock::Clock;
use homeostat::cluster::Cluster;
use homeostat::controllers::csrsigning::SigningConfig;
use homeostat::reconcile::Leadership;
use homeostat::reconcile::leader::LeaderConfig;
use store::Place;

/// The library chooses no allocator; a server of many small documents does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FLAGS: &[Flag] = &[
    flag(
        "listen",
        "ADDR:PORT",
        "where to listen; port 0 picks a free one (127.0.0.1:6443)",
    ),
    flag(
        "advertise-address",
        "IP",
        "where the service kubernetes leads (the address listened on, unless that is only local)",
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
        "restore-from",
        "FILE",
        "make --data-dir of this backup first; there must be no state in it",
    ),
    flag(
        "backup-to",
        "FILE",
        "back up what is in --data-dir to this file at each SIGUSR1, while serving",
    ),
    flag(
        "etcd-servers",
        "URLS",
        "keep the state in this etcd (needs feature etcd)",
    ),
    flag("nodes", "N", "nodes with a kubelet over a fake runtime (3)"),
    flag(
        "containerd",
        "SOCKET",
        "this machine is the one node, over this CRI socket (needs feature containerd and root)",
    ),
    flag(
        "only-api",
        "",
        "no controllers, scheduler or nodes, as envtest",
    ),
    flag(
        "leader-elect",
        "",
        "of several over one etcd, only one runs controllers and scheduler",
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
        "token-auth-file",
        "FILE",
        "CSV of token,user,uid,\"group,group\"",
    ),
    flag(
        "enable-bootstrap-token-auth",
        "",
        "believe the bootstrap tokens in kube-system, by which machines join",
    ),
    flag(
        "authorization-mode",
        "LIST",
        "who may do what: Node, RBAC, AlwaysAllow, AlwaysDeny (RBAC)",
    ),
    flag(
        "service-account-issuer",
        "URL",
        "who issues tokens of service accounts (https://kubernetes.default.svc.cluster.local)",
    ),
    flag(
        "service-account-signing-key-file",
        "FILE",
        "private key in PEM that signs them (a new one)",
    ),
    flag(
        "service-account-key-file",
        "FILE",
        "further keys in PEM by which they are believed",
    ),
    flag(
        "service-cluster-ip-range",
        "CIDR",
        "where services get their addresses from (10.0.0.0/16)",
    ),
    flag(
        "enable-admission-plugins",
        "LIST",
        "admission plugins to turn on that are off by default",
    ),
    flag(
        "disable-admission-plugins",
        "LIST",
        "admission plugins to leave out",
    ),
];

fn main() -> ExitCode {
    program::main(run())
}

async fn run() -> Result<()> {
    let refuse = |name: &str| bail!("unknown flag --{name}; --help lists the flags");
    let known = [FLAGS, machine::FLAGS].concat();
    let Some(flags) = Flags::parse(&known, std::env::args().skip(1), refuse)? else {
        print!(
            "{}",
            flags::help("standalone: a Kubernetes cluster in one process", &known)
        );
        return Ok(());
    };
    // Asked for before anything starts, so that no signal is lost.
    let stopped = program::stopped()?;
    let listen: SocketAddr = flags
        .value("listen")?
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 6443)));
    let nodes: usize = flags.value("nodes")?.unwrap_or(3);
    let only_api = flags.is_on("only-api", false)?;
    let kubeconfig = PathBuf::from(flags.get("kubeconfig").unwrap_or("homeostat.kubeconfig"));

    let range = flags
        .get("service-cluster-ip-range")
        .unwrap_or("10.0.0.0/16");
    let opened = store::open(&Place {
        directory: flags.get("data-dir"),
        backup: flags.get("restore-from"),
        etcd: flags.list("etcd-servers"),
        etcd_tls: [None; 3],
    })
    .await?;
    let backed_up = backups::on_signal(&opened, flags.get("backup-to"))?;
    let server = ApiServer::builder(opened.store.clone()).cluster_ip_range(range);
    let certificates = Certificates::generate(&Clock::system(), &program::names(listen.ip()))?;
    // As whom the API server looks into nodes.
    let (certificate, key) =
        certificates.client_pem("kube-apiserver-kubelet-client", &["system:masters"])?;
    let dialer = TcpDialer::new(certificate.as_bytes(), key.as_bytes(), None)?;
    let server = access::set_up(server, &flags, "RBAC")?.client_ca(certificates.authority_pem());
    let (server, audit_log) = audit::set_up(server, &flags).await?;
    let mut cluster = Cluster::builder()
        .server(server)
        .root_ca(certificates.authority_pem())
        .signing(SigningConfig::new(certificates.authority()?))
        .dialer(Arc::new(dialer));
    cluster = if only_api {
        cluster.only_api()
    } else if flags.get("containerd").is_some() {
        cluster
    } else {
        cluster.nodes(nodes)
    };
    if flags.is_on("leader-elect", false)? {
        cluster = cluster.elect(candidate());
    }
    let cluster = cluster.start().await?;
    let node = match flags.get("containerd") {
        Some(socket) => Some(Machine::start(&cluster, socket, &certificates, &flags).await?),
        None => None,
    };

    let mut config = ServeConfig::new(listen).tls(certificates.server_tls());
    let own = Some(listen.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    if let Some(address) = flags.value("advertise-address")?.or(own) {
        config = config.advertise(address);
    }
    let serving = config
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

    let mut leadership = cluster.manager().leadership();
    let lost = tokio::select! {
        biased;
        () = stopped => false,
        () = backed_up => false,
        _ = leadership.wait_for(|leadership| *leadership == Leadership::Lost) => true,
    };
    println!("stopping");
    remove(&kubeconfig);
    if let Some(node) = node {
        node.stop().await;
    }
    cluster.stop_parts().await;
    serving.stop().await;
    drop((serving, cluster));
    audit_log.finish().await;
    opened.close().await;
    if lost {
        // As kube-controller-manager: whoever started it starts it again.
        bail!("leadership is lost");
    }
    Ok(())
}

/// Runs for the lease of kube-controller-manager, under a name that no other process has.
fn candidate() -> LeaderConfig {
    let clock = Clock::system();
    let identity = format!("standalone_{}", clock.uid());
    LeaderConfig::new("kube-system", "kube-controller-manager", identity)
}

/// This machine as the node of a cluster in the same process.
#[cfg(feature = "containerd")]
struct Machine(machine::Machine);

#[cfg(feature = "containerd")]
impl Machine {
    async fn start(
        cluster: &Cluster,
        socket: &str,
        certificates: &Certificates,
        flags: &Flags,
    ) -> Result<Self> {
        let name = machine::hostname();
        let settings = machine::Settings {
            name: &name,
            socket: Path::new(socket),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 0,
            client_authorities: Some(certificates.authority_pem().into()),
            kubelet: machine::kubelet_config(flags)?,
        };
        let client = cluster
            .server()
            .client_as("kubelet", &format!("system:node:{name}"));
        Ok(Self(machine::Machine::start(client, settings).await?))
    }

    async fn stop(&self) {
        self.0.stop().await;
    }
}

#[cfg(not(feature = "containerd"))]
struct Machine;

#[cfg(not(feature = "containerd"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
impl Machine {
    async fn start(_: &Cluster, _: &str, _: &Certificates, _: &Flags) -> Result<Self> {
        bail!("--containerd needs a build with --features containerd")
    }

    async fn stop(&self) {}
}

/// The certificates in it die with this process.
fn remove(kubeconfig: &Path) {
    if let Err(error) = std::fs::remove_file(kubeconfig) {
        eprintln!("cannot remove {}: {error}", kubeconfig.display());
    }
}
