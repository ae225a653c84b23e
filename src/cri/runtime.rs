//! The contract of a container runtime.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{
    Check, Container, ContainerConfig, ContainerEntry, ContainerFilter, Error, ImageService,
    LinuxResources, Result, Sandbox, SandboxConfig, SandboxEntry, SandboxFilter, StatsService,
    StreamService,
};

/// Who the runtime is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Its name, the scheme of container ids: `containerd`.
    pub runtime_name: String,
    /// Its version.
    pub runtime_version: String,
    /// The version of the interface: `v1`.
    pub api_version: String,
}

/// Something that holds of the runtime, or does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeCondition {
    /// `RuntimeReady` and `NetworkReady` are required; others are its own.
    pub type_: String,
    /// Whether it holds.
    pub status: bool,
    /// Why not, in a word.
    pub reason: String,
    /// Why not.
    pub message: String,
}

/// A way of running pods that can be asked for by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeHandler {
    /// Its name; empty: the default one.
    pub name: String,
    /// Whether what is mounted below a read-only mount can be made read-only.
    pub recursive_readonly_mounts: bool,
    /// Whether pods may have users of their own.
    pub user_namespaces: bool,
}

/// How the runtime is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeStatus {
    /// What holds.
    pub conditions: Vec<RuntimeCondition>,
    /// The handlers; empty: the runtime does not say.
    pub handlers: Vec<RuntimeHandler>,
}

impl RuntimeStatus {
    /// Whether a condition is told and holds.
    #[must_use]
    pub fn holds(&self, type_: &str) -> bool {
        self.conditions
            .iter()
            .any(|condition| condition.type_ == type_ && condition.status)
    }
}

/// Who makes the control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    /// systemd, by slices.
    Systemd,
    /// The runtime, as directories.
    Cgroupfs,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A container was made.
    Created,
    /// A container was started.
    Started,
    /// A container has ended, or a sandbox is not ready any more.
    Stopped,
    /// A container was removed.
    Deleted,
    /// Something may have changed.
    Changed,
}

/// Something happened to a pod's containers: look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// The container it happened to; empty: the sandbox.
    pub container: String,
    /// What happened.
    pub kind: EventKind,
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

/// Sandboxes and containers. Calls are idempotent where CRI says so: stopping or removing what is gone succeeds. A call
/// that is dropped may still take effect.
#[async_trait]
pub trait ContainerRuntime: ImageService + StatsService + StreamService {
    /// Who the runtime is.
    async fn version(&self) -> Result<Version>;

    /// How the runtime is.
    async fn status(&self) -> Result<RuntimeStatus>;

    /// Tells it the addresses of this node's pods. Runtimes that are configured otherwise ignore it.
    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()>;

    /// Who makes the control groups; `None`: the runtime does not say. Default = it does not.
    async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>> {
        Ok(None)
    }

    /// Makes and starts a sandbox; gives its id.
    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String>;

    /// Kills everything in a sandbox and frees its network. It is listed, not ready, until it is removed.
    async fn stop_sandbox(&self, id: &str) -> Result<()>;

    /// Removes a sandbox and its containers; what still runs is killed.
    async fn remove_sandbox(&self, id: &str) -> Result<()>;

    /// A sandbox, without its containers.
    async fn sandbox_status(&self, id: &str) -> Result<Sandbox>;

    /// The sandboxes there are, oldest first.
    async fn list_sandboxes(&self, filter: &SandboxFilter) -> Result<Vec<SandboxEntry>>;

    /// Makes a container in a sandbox that was made from `sandbox_config`; gives its id. The image must be present.
    async fn create_container(
        &self,
        sandbox: &str,
        config: &ContainerConfig,
        sandbox_config: &SandboxConfig,
    ) -> Result<String>;

    /// Starts a container.
    ///
    /// # Errors
    /// [`Error::Start`] when it cannot be started; it has then ended.
    async fn start_container(&self, id: &str) -> Result<()>;

    /// Asks a container to end, and kills it after `grace`. Returns when it has ended.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;

    /// Removes a container; one that still runs is killed.
    async fn remove_container(&self, id: &str) -> Result<()>;

    /// A container.
    async fn container_status(&self, id: &str) -> Result<Container>;

    /// The containers there are, oldest first.
    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerEntry>>;

    /// Changes what a container may use, while it runs or before.
    async fn update_container(&self, id: &str, resources: &LinuxResources) -> Result<()>;

    /// Goes on writing a container's log to a new file, after the old one was moved away.
    async fn reopen_log(&self, id: &str) -> Result<()>;

    /// Runs a command in a container, for `timeout` at most; zero: for as long as it takes. Output beyond some megabytes
    /// is lost.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the command was still running then.
    async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput>;

    /// What happens, as it happens, from now on; and `Changed` of every pod after anything may have been missed. Never
    /// ends, and outlives the runtime's restarts.
    fn events(&self) -> BoxStream<'static, RuntimeEvent>;

    /// The log of a container, in the format of log files (`TIME stdout F text`), of a runtime that writes no files; `None`:
    /// read the file. Default = read the file.
    async fn log(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let _ = id;
        Ok(None)
    }

    /// Answers a health check for a runtime whose containers have no real network and no real processes; `None`: they
    /// have, ask them. Default = ask them.
    async fn check(
        &self,
        id: &str,
        check: &Check,
        timeout: Duration,
    ) -> Result<Option<bool>, Error> {
        let _ = (id, check, timeout);
        Ok(None)
    }
}
