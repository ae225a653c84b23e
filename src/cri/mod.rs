//! The container runtime: images, sandboxes and containers, in plain types shaped by the Kubernetes Container Runtime
//! Interface (CRI v1).
//!
//! Architecture invariant: nothing here knows pods, nodes or the API; a runtime is told what to run and says what it runs.

mod error;
pub mod fake;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

pub use self::error::Error;
pub use self::fake::FakeRuntime;

/// The result of a runtime call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a sandbox is made for: one pod's shared namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// Labels, by which tools find it.
    pub labels: BTreeMap<String, String>,
    /// Whether it shares the node's network.
    pub host_network: bool,
}

/// What a container is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Its name in the pod.
    pub name: String,
    /// How many containers of this name the pod had before.
    pub attempt: u32,
    /// The image, as the pod names it.
    pub image: String,
    /// Overrides the image's entry point.
    pub command: Vec<String>,
    /// Overrides the image's arguments.
    pub args: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The working directory; empty: the image's.
    pub working_dir: String,
}

/// A pod's sandbox and its containers, as the runtime has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// What it was made from.
    pub config: SandboxConfig,
    /// Whether its namespaces are up.
    pub ready: bool,
    /// Its address; empty when it has none of its own.
    pub ip: String,
    /// Its containers, oldest first.
    pub containers: Vec<Container>,
}

/// A container, as the runtime has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id, with the runtime's scheme: `fake://…`.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// How many containers of this name there were before.
    pub attempt: u32,
    /// The image, as the pod names it.
    pub image: String,
    /// The image's digest.
    pub image_id: String,
    /// What it does.
    pub state: ContainerState,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// It was made and not started.
    Created,
    /// It runs.
    Running {
        /// Since when.
        started: Timestamp,
    },
    /// It has ended.
    Exited {
        /// When it was started.
        started: Timestamp,
        /// When it ended.
        finished: Timestamp,
        /// Its exit code.
        code: i32,
        /// `Completed`, `Error`, `OOMKilled`, …
        reason: String,
        /// What it left as its termination message; often empty.
        message: String,
    },
}

/// Something happened to a pod's containers: look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

/// What a command gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained.
    pub stderr: Vec<u8>,
}

/// How a container's health is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A command in the container that must exit with 0.
    Exec(Vec<String>),
    /// A request that must be answered with a status from 200 to 399.
    Http {
        /// `http` or `https`.
        scheme: String,
        /// The host; empty: the pod.
        host: String,
        /// The port.
        port: u16,
        /// The path.
        path: String,
    },
    /// A port that must accept connections.
    Tcp {
        /// The host; empty: the pod.
        host: String,
        /// The port.
        port: u16,
    },
    /// A gRPC health service that must answer `SERVING`.
    Grpc {
        /// The port.
        port: u16,
        /// The service's name.
        service: String,
    },
}

/// Images.
#[async_trait]
pub trait ImageService: Debug + Send + Sync + 'static {
    /// Pulls an image; gives its id (digest).
    ///
    /// # Errors
    /// [`Error::Image`] when there is no such image or it may not be pulled.
    async fn pull(&self, image: &str) -> Result<String>;

    /// The id of an image that is present.
    async fn image(&self, image: &str) -> Result<Option<String>>;
}

/// Sandboxes and containers. All calls are idempotent where CRI says so: stopping or removing what is gone succeeds.
#[async_trait]
pub trait ContainerRuntime: ImageService {
    /// Makes and starts a sandbox; gives its id.
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String>;

    /// Stops a sandbox and everything in it, and removes it.
    async fn remove_sandbox(&self, id: &str) -> Result<()>;

    /// Makes and starts a container; gives its id. The image must be present.
    async fn start_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String>;

    /// Asks a container to end, and kills it after `grace`. Returns when it has ended.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;

    /// Removes a container that has ended.
    async fn remove_container(&self, id: &str) -> Result<()>;

    /// Everything there is.
    async fn list(&self) -> Result<Vec<Sandbox>>;

    /// Runs a command in a container, for `timeout` at most; zero: for as long as it takes.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the command was still running then.
    async fn exec(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput>;

    /// Asks whether a container is healthy, from the node's side.
    async fn check(&self, id: &str, check: &Check, timeout: Duration) -> Result<bool>;

    /// What happens, as it happens. An event may be missed: look at [`ContainerRuntime::list`] now and then.
    fn events(&self) -> BoxStream<'static, RuntimeEvent>;
}
