//! Node agents: what makes a node run the pods that are bound to it.
//!
//! A [`Kubelet`] runs pods on a [`ContainerRuntime`](crate::cri::ContainerRuntime); [`Hollow`] pretends to, for thousands of
//! nodes in one task. Both register their nodes and keep their leases through `driver`.

#[cfg(feature = "serve")]
mod bootstrap;
mod driver;
mod hollow;
mod kubelet;
mod log_directory;
mod mirror;
mod server;
mod stage;
mod usage;

use async_trait::async_trait;

#[cfg(feature = "serve")]
pub use self::bootstrap::{BootstrapError, renew_after, request_certificate};
pub use self::driver::NodeSpec;
pub use self::hollow::Hollow;
pub use self::kubelet::{
    DiskUse, Eviction, Facts, ImageCollection, Kubelet, KubeletConfig, Monitor, Room, Shutdown,
    ThresholdError, Vitals,
};
pub use self::server::{LogRotation, NodeServer};
#[cfg(feature = "serve")]
pub use self::server::{NodeServerConfig, NodeServing, NodeServingError, ServingCertificate};
pub use self::stage::{Stage, StageError};
use crate::reconcile::Error;

/// Makes a node (or several) run the pods that are bound to it.
///
/// An agent sees the API alone: it registers its node ([`NodeSpec::register`]), keeps the lease ([`NodeSpec::keep_alive`]),
/// watches the pods whose `spec.nodeName` is its own, makes them run, and writes their status. A pod with a deletion time it
/// ends within its grace period and then deletes with a grace of zero. `examples/process_node.rs` is one whose containers are
/// plain processes. Where there is a container runtime, implement [`ContainerRuntime`](crate::cri::ContainerRuntime) instead
/// and leave the rest to [`Kubelet`].
#[async_trait]
pub trait NodeAgent: std::fmt::Debug + Send + Sync + 'static {
    /// Registers the node and begins to run its pods. May be called again after [`NodeAgent::stop`].
    ///
    /// # Errors
    /// When the node cannot be registered.
    async fn start(&self) -> Result<(), Error>;

    /// Ends the agent, as when its process is killed: nothing is reported any more, and containers go on.
    async fn stop(&self);
}
