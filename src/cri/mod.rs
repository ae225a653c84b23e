//! The container runtime: images, sandboxes and containers, in plain types shaped by the Kubernetes Container Runtime
//! Interface (CRI v1).
//!
//! [`ContainerRuntime`] is what an agent needs of a runtime. [`FakeRuntime`] runs nothing and does what its script says;
//! `containerd` (feature `containerd`) speaks to any CRI runtime on this machine. Both pass
//! `testing::conformance::cri`.
//!
//! Architecture invariant: nothing here knows pods, nodes or the API; a runtime is told what to run and says what it runs.

mod container;
#[cfg(feature = "containerd")]
pub mod containerd;
mod error;
mod ext;
pub mod fake;
mod health;
mod image;
pub mod labels;
mod runtime;
mod sandbox;
mod security;
mod stats;
mod stream;

pub use self::container::{
    Container, ContainerConfig, ContainerEntry, ContainerFilter, ContainerPhase, ContainerState,
    ContainerUser, Device, LinuxResources, Mount, Propagation,
};
pub use self::error::Error;
pub use self::ext::{ContainerRuntimeExt, bare_id};
pub use self::fake::FakeRuntime;
pub use self::health::Check;
pub use self::image::{FilesystemUsage, Image, ImageAuth, ImageFsInfo, ImageService, ImageSpec};
pub use self::runtime::{
    CgroupDriver, ContainerRuntime, EventKind, ExecOutput, RuntimeCondition, RuntimeEvent,
    RuntimeHandler, RuntimeStatus, Version,
};
pub use self::sandbox::{
    DnsConfig, PortMapping, Protocol, Sandbox, SandboxConfig, SandboxEntry, SandboxFilter,
    SandboxMetadata,
};
pub use self::security::{
    ContainerSecurity, IdMapping, NamespaceMode, NamespaceOptions, SandboxSecurity,
    SecurityProfile, SelinuxOptions, SupplementalGroupsPolicy, User,
};
pub use self::stats::{
    ContainerStats, CpuUsage, InterfaceUsage, MemoryUsage, NetworkUsage, SandboxStats,
    StatsService, SwapUsage,
};
pub use self::stream::{
    AttachRequest, Duplex, ExecRequest, Session, SessionEnd, StreamService, TerminalSize,
};

/// The result of a runtime call.
pub type Result<T, E = Error> = std::result::Result<T, E>;
