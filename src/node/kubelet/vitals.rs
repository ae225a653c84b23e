//! How it stands with the machine of a node, and what it is. Behind a trait, so that tests can say it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use async_trait::async_trait;

/// How much there is of something, and how much of it is free: bytes, inodes, process ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What is free.
    pub available: u64,
    /// All there is.
    pub capacity: u64,
}

/// How it stands with a machine. What is `None` is not known, and nothing is done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Memory in bytes, without what can be given back.
    pub memory: Option<Room>,
    /// What pods may have of it together.
    pub pod_memory: Option<Room>,
    /// The file system of volumes and logs, in bytes.
    pub node_fs: Option<Room>,
    /// The same in inodes.
    pub node_inodes: Option<Room>,
    /// The file system of images and of containers' own layers, in bytes.
    pub image_fs: Option<Room>,
    /// The same in inodes.
    pub image_inodes: Option<Room>,
    /// Whether images have a file system of their own.
    pub own_image_fs: bool,
    /// Process ids.
    pub processes: Option<Room>,
}

/// What a machine is. What is empty is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What it has, by resource: `cpu`, `memory`, `ephemeral-storage`, `hugepages-2Mi`, in place of what the
    /// [`NodeSpec`](crate::node::NodeSpec) says.
    pub capacity: BTreeMap<String, String>,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// The version of the kernel.
    pub kernel: String,
    /// The name of the operating system.
    pub os_image: String,
    /// The id that the operating system was given when it was installed.
    pub machine_id: String,
    /// The id that the hardware has.
    pub system_uuid: String,
    /// The id of this start of the machine.
    pub boot_id: String,
}

/// What is on a disk below some directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

impl DiskUse {
    /// Both added up.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

/// The machine of a node, as far as its kubelet measures it.
#[async_trait]
pub trait Monitor: Debug + Send + Sync + 'static {
    /// What it is. Asked for when the agent starts. `volumes` is where volumes of pods are kept.
    async fn facts(&self, volumes: &Path) -> Facts;

    /// How it stands with it. `images` is a directory on the file system of images, if the runtime names one.
    async fn vitals(&self, volumes: &Path, images: Option<&Path>) -> Vitals;

    /// What is below a directory; `None`: there is none.
    async fn disk_use(&self, directory: &Path) -> Option<DiskUse>;
}
