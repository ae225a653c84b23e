//! Options of a kubelet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::eviction::threshold::Eviction;
use super::garbage::ImageCollection;
use super::host::{Host, Nowhere};
use super::shutdown::Shutdown;
use super::vitals::Monitor;

/// Options of a [`Kubelet`](super::Kubelet). The default touches nothing of the machine: for runtimes that run nothing.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// Name servers of pods that ask the cluster first. Default = none: they resolve as the node does.
    pub cluster_dns: Vec<String>,
    /// The domain of services. Default = `cluster.local`.
    pub cluster_domain: String,
    /// Where logs of pods are written. Default = nowhere; on a machine `/var/log/pods`.
    pub logs: Option<String>,
    /// Where volumes of pods are kept. Default = `/var/lib/kubelet`.
    pub root: String,
    /// A directory of manifests, or one manifest: pods that the node runs by itself, before and without an API server, where
    /// mirrors show them. Default = none.
    pub static_pods: Option<PathBuf>,
    /// How often that is looked at: a change counts after so long. Default = 1 s.
    pub static_pods_period: Duration,
    /// The control group that pods' own are made in; empty: the topmost. Default = the runtime chooses.
    pub cgroup_root: Option<String>,
    /// What measures the machine: without, the node has what its [`NodeSpec`](crate::node::NodeSpec) says, nothing is ever
    /// scarce, and no image is removed. Default = none.
    pub monitor: Option<Arc<dyn Monitor>>,
    /// Kernel parameters that pods may set besides those that are known to harm nobody else: names, or what they begin with
    /// before a `*` (`kernel.msg*`). Default = none.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// When pods are ended because something is scarce. Default = [`Eviction::default`].
    pub eviction: Eviction,
    /// When images are removed. Default = [`ImageCollection::default`].
    pub images: ImageCollection,
    /// How long pods may take when the node shuts down. Default = [`Shutdown::default`].
    pub shutdown: Shutdown,
    /// What is kept for the system, by resource (`cpu`, `memory`, `ephemeral-storage`). Default = nothing.
    pub system_reserved: BTreeMap<String, String>,
    /// What is kept for the agent and the runtime. Default = nothing.
    pub kube_reserved: BTreeMap<String, String>,
    pub(super) host: Arc<dyn Host>,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        Self {
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            logs: None,
            root: "/var/lib/kubelet".to_owned(),
            static_pods: None,
            static_pods_period: Duration::from_secs(1),
            cgroup_root: None,
            monitor: None,
            allowed_unsafe_sysctls: Vec::new(),
            eviction: Eviction::default(),
            images: ImageCollection::default(),
            shutdown: Shutdown::default(),
            system_reserved: BTreeMap::new(),
            kube_reserved: BTreeMap::new(),
            host: Arc::new(Nowhere),
        }
    }
}

#[cfg(feature = "containerd")]
impl KubeletConfig {
    /// For a runtime whose containers are real, on this machine: directories are made, health is asked for over the
    /// network. Not for a paused clock.
    #[must_use]
    pub fn on_this_machine() -> Self {
        Self {
            logs: Some("/var/log/pods".to_owned()),
            cgroup_root: Some(String::new()),
            host: Arc::new(super::machine::Machine),
            monitor: Some(Arc::new(super::this_machine::ThisMachine)),
            ..Self::default()
        }
    }
}
