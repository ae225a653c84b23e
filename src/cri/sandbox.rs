//! Sandboxes: what the containers of one pod share.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Container, LinuxResources, SandboxSecurity};

/// Which sandbox of which pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SandboxMetadata {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
}

/// How names are resolved in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Resolver options: `ndots:5`.
    pub options: Vec<String>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the node that leads to a port of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMapping {
    /// The protocol.
    pub protocol: Protocol,
    /// The pod's port.
    pub container_port: u16,
    /// The node's port.
    pub host_port: u16,
    /// The node's address; empty: all.
    pub host_ip: String,
}

/// What a sandbox is made for: one pod's shared namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Which sandbox of which pod.
    pub metadata: SandboxMetadata,
    /// The host name; empty on the node's network.
    pub hostname: String,
    /// Where its containers' logs are written; empty: nowhere.
    pub log_directory: String,
    /// How names are resolved; `None`: as on the node.
    pub dns: Option<DnsConfig>,
    /// Ports of the node that lead to it.
    pub port_mappings: Vec<PortMapping>,
    /// Labels, by which it is found. Runtimes add those of [`labels`](super::labels).
    pub labels: BTreeMap<String, String>,
    /// Annotations, which are kept.
    pub annotations: BTreeMap<String, String>,
    /// The control group that its own is made in; empty: the runtime's choice.
    pub cgroup_parent: String,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Rights.
    pub security: SandboxSecurity,
    /// What running the pod costs besides its containers.
    pub overhead: Option<LinuxResources>,
    /// The sum of what its containers may use.
    pub resources: Option<LinuxResources>,
    /// The runtime handler; empty: the default one.
    pub runtime_handler: String,
}

/// A sandbox, as a list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxEntry {
    /// Its id.
    pub id: String,
    /// Which sandbox of which pod.
    pub metadata: SandboxMetadata,
    /// Whether its namespaces are up.
    pub ready: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The runtime handler; empty: the default one.
    pub runtime_handler: String,
}

/// A pod's sandbox and its containers, as the runtime has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// Which sandbox of which pod.
    pub metadata: SandboxMetadata,
    /// Whether its namespaces are up.
    pub ready: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Its address; empty when it has none of its own.
    pub ip: String,
    /// Further addresses, of the other family.
    pub additional_ips: Vec<String>,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The runtime handler; empty: the default one.
    pub runtime_handler: String,
    /// Its containers, oldest first. Only [`ContainerRuntimeExt`](super::ContainerRuntimeExt) fills this in.
    pub containers: Vec<Container>,
}

/// Which sandboxes to list; everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxFilter {
    /// That of this id.
    pub id: Option<String>,
    /// Those that are ready, or are not.
    pub ready: Option<bool>,
    /// Those of the pod of this uid.
    pub uid: Option<String>,
    /// Those with all these labels.
    pub labels: BTreeMap<String, String>,
}
