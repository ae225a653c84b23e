//! Containers: what they are made of, and what they do.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};

use jiff::Timestamp;

use super::{ContainerSecurity, IdMapping, ImageSpec};

/// How mounts that are made later pass between the node and a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They do not.
    #[default]
    Private,
    /// The node's appear in the container.
    HostToContainer,
    /// The node's appear in the container, and the container's on the node.
    Bidirectional,
}

/// Something of the node, or an image, that is seen in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where it is seen.
    pub container_path: String,
    /// What is seen. Must exist. Ignored for an image.
    pub host_path: String,
    /// Whether it cannot be written.
    pub readonly: bool,
    /// Whether what is mounted below it cannot be written either.
    pub recursive_readonly: bool,
    /// Whether the container's SELinux label is put on it.
    pub selinux_relabel: bool,
    /// How later mounts pass.
    pub propagation: Propagation,
    /// Who owns what: uids and gids; empty: as on the node.
    pub id_mappings: (Vec<IdMapping>, Vec<IdMapping>),
    /// An image whose files are seen.
    pub image: Option<ImageSpec>,
}

/// A device of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its path in the container.
    pub container_path: String,
    /// Its path on the node.
    pub host_path: String,
    /// What may be done with it, of `r`, `w` and `m`.
    pub permissions: String,
}

/// What a container may use. Zero and empty mean: not limited, or as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinuxResources {
    /// The period of the CPU quota, in microseconds.
    pub cpu_period: i64,
    /// The CPU time in each period, in microseconds; negative: as much as there is.
    pub cpu_quota: i64,
    /// The weight against others; 1024 for one CPU.
    pub cpu_shares: i64,
    /// Memory, in bytes.
    pub memory_limit: i64,
    /// Memory and swap together, in bytes.
    pub memory_swap_limit: i64,
    /// How soon the kernel kills it when memory runs out, from -1000 (never) to 1000.
    pub oom_score_adj: i64,
    /// The CPUs it may run on: `0-2,4`.
    pub cpuset_cpus: String,
    /// The memory nodes it may use.
    pub cpuset_mems: String,
    /// Huge pages, in bytes by page size: `2MB`.
    pub hugepage_limits: BTreeMap<String, u64>,
    /// Files of cgroup v2 and what is written to them.
    pub unified: BTreeMap<String, String>,
}

/// What a container is made of. Its `Debug` names environment variables but shows no value: they may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Its name in the pod.
    pub name: String,
    /// How many containers of this name the pod had before.
    pub attempt: u32,
    /// The image, as the pod names it.
    pub image: String,
    /// What [`pull_image`](super::ImageService::pull_image) gave for it, or an id; empty: `image`.
    pub image_ref: String,
    /// Overrides the image's entry point.
    pub command: Vec<String>,
    /// Overrides the image's arguments.
    pub args: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The working directory; empty: the image's.
    pub working_dir: String,
    /// What of the node is seen in it.
    pub mounts: Vec<Mount>,
    /// Devices of the node.
    pub devices: Vec<Device>,
    /// Devices by name of the Container Device Interface.
    pub cdi_devices: Vec<String>,
    /// Labels, by which it is found. Runtimes add those of [`labels`](super::labels).
    pub labels: BTreeMap<String, String>,
    /// Annotations, which are kept.
    pub annotations: BTreeMap<String, String>,
    /// Where its log is written, below the sandbox's log directory; empty: nowhere.
    pub log_path: String,
    /// Whether its standard input is kept open, for those who attach.
    pub stdin: bool,
    /// Whether its standard input ends with the first who attaches.
    pub stdin_once: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// What it may use.
    pub resources: LinuxResources,
    /// Rights.
    pub security: ContainerSecurity,
}

impl Debug for ContainerConfig {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let env: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ContainerConfig")
            .field("name", &self.name)
            .field("attempt", &self.attempt)
            .field("image", &self.image)
            .field("image_ref", &self.image_ref)
            .field("command", &self.command)
            .field("args", &self.args)
            .field("env", &env)
            .field("working_dir", &self.working_dir)
            .field("mounts", &self.mounts)
            .field("devices", &self.devices)
            .field("cdi_devices", &self.cdi_devices)
            .field("labels", &self.labels)
            .field("annotations", &self.annotations)
            .field("log_path", &self.log_path)
            .field("stdin", &self.stdin)
            .field("stdin_once", &self.stdin_once)
            .field("tty", &self.tty)
            .field("resources", &self.resources)
            .field("security", &self.security)
            .finish()
    }
}

/// What a container does, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerPhase {
    /// It was made and not started.
    Created,
    /// It runs.
    Running,
    /// It has ended.
    Exited,
    /// The runtime has lost track of it.
    Unknown,
}

/// A container, as a list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEntry {
    /// Its id, with the runtime's scheme: `containerd://…`.
    pub id: String,
    /// The sandbox it is in.
    pub sandbox: String,
    /// Its name in the pod.
    pub name: String,
    /// How many containers of this name there were before.
    pub attempt: u32,
    /// The image, as the pod names it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// What it does.
    pub phase: ContainerPhase,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A container, as the runtime has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id, with the runtime's scheme: `containerd://…`, `fake://…`. All calls take it so, or bare.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// How many containers of this name there were before.
    pub attempt: u32,
    /// The image, as the pod names it.
    pub image: String,
    /// The image's digest, or its id where it has none.
    pub image_id: String,
    /// What it does.
    pub state: ContainerState,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What of the node is seen in it.
    pub mounts: Vec<Mount>,
    /// The whole path of its log; empty: none is written.
    pub log_path: String,
    /// What it may use; `None`: the runtime does not say.
    pub resources: Option<LinuxResources>,
    /// Whom its first process runs as; `None`: the runtime does not say.
    pub user: Option<ContainerUser>,
}

impl Default for Container {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            attempt: 0,
            image: String::new(),
            image_id: String::new(),
            state: ContainerState::Created,
            created: Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            mounts: Vec::new(),
            log_path: String::new(),
            resources: None,
            user: None,
        }
    }
}

/// Whom a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUser {
    /// The user.
    pub uid: i64,
    /// The group.
    pub gid: i64,
    /// More groups.
    pub supplemental_groups: Vec<i64>,
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
        /// Its exit code; 128 and the signal's number when a signal ended it.
        code: i32,
        /// `Completed`, `Error`, `OOMKilled`, …
        reason: String,
        /// What the runtime says of its end; often empty. What it left itself is in the file that was mounted for it; a
        /// runtime without files tells it here.
        message: String,
    },
    /// The runtime has lost track of it.
    Unknown,
}

impl ContainerState {
    /// The state in a word.
    #[must_use]
    pub fn phase(&self) -> ContainerPhase {
        match self {
            Self::Created => ContainerPhase::Created,
            Self::Running { .. } => ContainerPhase::Running,
            Self::Exited { .. } => ContainerPhase::Exited,
            Self::Unknown => ContainerPhase::Unknown,
        }
    }
}

/// Which containers to list; everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFilter {
    /// That of this id.
    pub id: Option<String>,
    /// Those in this sandbox.
    pub sandbox: Option<String>,
    /// Those that do this.
    pub phase: Option<ContainerPhase>,
    /// Those of the pod of this uid.
    pub uid: Option<String>,
    /// Those with all these labels.
    pub labels: BTreeMap<String, String>,
}
