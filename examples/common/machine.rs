//! This machine as a node: a kubelet over a CRI socket, and its server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use homeostat::clock::Clock;
use homeostat::cri::ContainerRuntime;
use homeostat::cri::containerd::{Containerd, ContainerdConfig};
use homeostat::node::{
    Kubelet, LogRotation, NodeAgent, NodeServer, NodeServerConfig, NodeServing, NodeSpec,
    ServingCertificate,
};
use homeostat::reconcile::Manager;

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
}

/// A node that runs.
pub(crate) struct Machine {
    manager: Manager,
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
        let manager = Manager::new(client, clock.clone());
        let server = NodeServer::of_this_machine(&manager, settings.name, runtime.clone());
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
        let kubelet = Kubelet::new(&manager, spec, runtime.clone());
        manager.add_task("log rotation", move || {
            let rotation = LogRotation::default().run(runtime.clone(), clock.clone());
            async move {
                rotation.await;
                Ok(())
            }
        });
        manager.start().await.map_err(anyhow::Error::from_boxed)?;
        kubelet.start().await.map_err(anyhow::Error::from_boxed)?;
        Ok(Self {
            manager,
            kubelet,
            serving,
        })
    }

    /// Ends the agent. Containers go on, and are taken over when it comes back.
    pub(crate) async fn stop(&self) {
        self.kubelet.stop().await;
        self.serving.stop().await;
        self.manager.stop().await;
    }
}

/// The name of this machine.
pub(crate) fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_ascii_lowercase()
}
