//! This machine as a node: a kubelet over a CRI socket, and its server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use homeostat::clock::Clock;
use homeostat::cri::ContainerRuntime;
use homeostat::cri::containerd::{Containerd, ContainerdConfig};
use homeostat::node::{
    Eviction, ImageCollection, Kubelet, KubeletConfig, LogRotation, NodeAgent, NodeServer,
    NodeServerConfig, NodeServing, NodeSpec, ServingCertificate,
};
use homeostat::reconcile::Manager;

use super::flags::{Flag, Flags, flag};

/// The flags that say where and how a node runs its pods, as both programs that have one take them.
pub(crate) const FLAGS: &[Flag] = &[
    flag(
        "root-dir",
        "DIR",
        "where volumes of pods are kept (/var/lib/kubelet)",
    ),
    flag(
        "pod-logs-dir",
        "DIR",
        "where logs of pods are written (/var/log/pods)",
    ),
    flag(
        "cgroup-root",
        "GROUP",
        "the control group that those of pods are made in (the topmost)",
    ),
    flag(
        "cluster-dns",
        "IPS",
        "name servers of pods that ask the cluster first (none: they resolve as the node does)",
    ),
    flag(
        "cluster-domain",
        "DOMAIN",
        "the domain of services (cluster.local)",
    ),
    flag(
        "pod-manifest-path",
        "PATH",
        "a directory of manifests, or one, of pods that the node runs by itself (none)",
    ),
    flag(
        "allowed-unsafe-sysctls",
        "LIST",
        "kernel parameters that pods may set besides the harmless ones (none; kernel.msg*,...)",
    ),
    flag(
        "eviction-hard",
        "LIST",
        "when pods are ended because the machine runs short (memory.available<100Mi,nodefs.available<10%,...)",
    ),
    flag(
        "image-gc-high-threshold",
        "PERCENT",
        "the use of the images' disk from which unused images are removed; 100: never (85)",
    ),
];

/// How pods run, as the flags say.
pub(crate) fn kubelet_config(flags: &Flags) -> Result<KubeletConfig> {
    let mut config = KubeletConfig::on_this_machine();
    if let Some(root) = flags.get("root-dir") {
        root.clone_into(&mut config.root);
    }
    if let Some(logs) = flags.get("pod-logs-dir") {
        config.logs = Some(logs.to_owned());
    }
    if let Some(group) = flags.get("cgroup-root") {
        config.cgroup_root = Some(group.trim_end_matches('/').to_owned());
    }
    config.static_pods = flags.get("pod-manifest-path").map(PathBuf::from);
    if let Some(domain) = flags.get("cluster-domain") {
        domain.clone_into(&mut config.cluster_domain);
    }
    let servers = flags.list("cluster-dns").into_iter();
    config.cluster_dns = servers.map(str::to_owned).collect();
    let sysctls = flags.list("allowed-unsafe-sysctls").into_iter();
    config.allowed_unsafe_sysctls = sysctls.map(str::to_owned).collect();
    if flags.get("eviction-hard").is_some() {
        let mut eviction = Eviction::none();
        for threshold in flags.list("eviction-hard") {
            let (signal, value) = threshold
                .split_once('<')
                .with_context(|| format!("--eviction-hard: `{threshold}` is not SIGNAL<VALUE"))?;
            eviction = eviction
                .hard(signal.trim(), value.trim())
                .context("--eviction-hard")?;
        }
        config.eviction = eviction;
    }
    if let Some(percent) = flags.get("image-gc-high-threshold") {
        let high = percent
            .parse::<u8>()
            .ok()
            .filter(|percent| *percent <= 100)
            .with_context(|| format!("--image-gc-high-threshold: `{percent}` is no percentage"))?;
        config.images = ImageCollection::default()
            .high_percent(high)
            .low_percent(high.min(80));
    }
    Ok(config)
}

/// What a machine is told.
pub(crate) struct Settings<'a> {
    /// The node's name.
    pub(crate) name: &'a str,
    /// The socket of the container runtime.
    pub(crate) socket: &'a Path,
    /// Where the API server reaches the node.
    pub(crate) address: IpAddr,
    /// The port of the node's server; 0 picks a free one.
    pub(crate) port: u16,
    /// Who signs the certificates of those who look into the node, in PEM.
    pub(crate) client_authorities: Option<Vec<u8>>,
    /// How its pods run.
    pub(crate) kubelet: KubeletConfig,
}

/// A node that runs.
pub(crate) struct Machine {
    manager: Manager,
    /// What needs no API server.
    upkeep: Manager,
    kubelet: Kubelet,
    serving: NodeServing,
}

impl Machine {
    /// Connects to the runtime, registers the node, and runs what is bound to it.
    pub(crate) async fn start(client: kube::Client, settings: Settings<'_>) -> Result<Self> {
        let clock = Clock::system();
        let socket = settings.socket;
        let runtime = Containerd::connect(ContainerdConfig::new(socket)).await;
        let runtime: Arc<dyn ContainerRuntime> =
            Arc::new(runtime.with_context(|| format!("no runtime at {}", socket.display()))?);
        let manager = Manager::new(client.clone(), clock.clone());
        let server = NodeServer::of_this_kubelet(
            &manager,
            settings.name,
            runtime.clone(),
            &settings.kubelet,
        );
        let names = [settings.name.to_owned(), settings.address.to_string()];
        let certificate = ServingCertificate::self_signed(settings.name, &names)?;
        let listen = if settings.address.is_loopback() {
            settings.address
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        let mut config = NodeServerConfig::new(SocketAddr::new(listen, settings.port), certificate);
        if let Some(authorities) = settings.client_authorities {
            config = config.client_authorities(authorities);
        }
        let serving = config.start(server).await?;
        let spec = NodeSpec::new(settings.name)
            .address(settings.address.to_string())
            .agent_port(serving.address().port())
            .of_this_machine();
        let runs_own = settings.kubelet.static_pods.is_some();
        let kubelet = Kubelet::with_config(&manager, spec, runtime.clone(), settings.kubelet);
        let upkeep = Manager::new(client, clock.clone());
        upkeep.add_task("log rotation", move || {
            let rotation = LogRotation::default().run(runtime.clone(), clock.clone());
            async move {
                rotation.await;
                Ok(())
            }
        });
        upkeep.start().await.map_err(anyhow::Error::from_boxed)?;
        if runs_own {
            // They run before the API server is reached: they may be what makes one.
            let manager = manager.clone();
            tokio::spawn(async move {
                if let Err(error) = manager.start().await {
                    tracing::warn!(%error, "the API server is not reached yet");
                }
            });
        } else {
            manager.start().await.map_err(anyhow::Error::from_boxed)?;
        }
        kubelet.start().await.map_err(anyhow::Error::from_boxed)?;
        Ok(Self {
            manager,
            upkeep,
            kubelet,
            serving,
        })
    }

    /// Ends the agent. Containers go on, and are taken over when it comes back.
    pub(crate) async fn stop(&self) {
        self.kubelet.stop().await;
        self.upkeep.stop().await;
        self.serving.stop().await;
        self.manager.stop().await;
    }
}

/// The name of this machine.
pub(crate) fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_ascii_lowercase()
}
