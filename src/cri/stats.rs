//! What sandboxes and containers use. Everything a runtime does not say is `None`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{FilesystemUsage, Result, SandboxFilter, SandboxMetadata};

/// Processor time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuUsage {
    /// When this was found.
    pub at: Timestamp,
    /// Since the start, in nanoseconds of one core.
    pub core_nanoseconds: Option<u64>,
    /// Lately, in billionths of a core.
    pub nanocores: Option<u64>,
}

/// Memory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryUsage {
    /// When this was found.
    pub at: Timestamp,
    /// What cannot be given back.
    pub working_set: Option<u64>,
    /// What is left until the limit.
    pub available: Option<u64>,
    /// All, caches included.
    pub usage: Option<u64>,
    /// Anonymous memory.
    pub rss: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Page faults that needed a disk.
    pub major_page_faults: Option<u64>,
}

/// Swap, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapUsage {
    /// When this was found.
    pub at: Timestamp,
    /// What is left until the limit.
    pub available: Option<u64>,
    /// What is used.
    pub usage: Option<u64>,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// Its id, with the runtime's scheme.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// How many containers of this name there were before.
    pub attempt: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Processor time.
    pub cpu: Option<CpuUsage>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// Swap.
    pub swap: Option<SwapUsage>,
    /// What it has written to its own layer.
    pub writable_layer: Option<FilesystemUsage>,
}

/// What has passed through a network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceUsage {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: Option<u64>,
    /// Errors in receiving.
    pub rx_errors: Option<u64>,
    /// Bytes sent.
    pub tx_bytes: Option<u64>,
    /// Errors in sending.
    pub tx_errors: Option<u64>,
}

/// The network of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkUsage {
    /// When this was found.
    pub at: Timestamp,
    /// The main interface.
    pub default_interface: Option<InterfaceUsage>,
    /// The others.
    pub interfaces: Vec<InterfaceUsage>,
}

/// What a sandbox and its containers use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxStats {
    /// Its id.
    pub id: String,
    /// Which sandbox of which pod.
    pub metadata: SandboxMetadata,
    /// Processor time of all of it.
    pub cpu: Option<CpuUsage>,
    /// Memory of all of it.
    pub memory: Option<MemoryUsage>,
    /// The network.
    pub network: Option<NetworkUsage>,
    /// How many processes there are.
    pub processes: Option<u64>,
    /// Its running containers.
    pub containers: Vec<ContainerStats>,
}

/// What sandboxes and containers use.
#[async_trait]
pub trait StatsService: Debug + Send + Sync + 'static {
    /// What one container uses.
    async fn container_stats(&self, id: &str) -> Result<ContainerStats>;

    /// What the running containers use.
    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>>;

    /// What one sandbox uses.
    async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats>;

    /// What the sandboxes use that are ready and that the filter lets through (by id or labels).
    async fn list_sandbox_stats(&self, filter: &SandboxFilter) -> Result<Vec<SandboxStats>>;
}
