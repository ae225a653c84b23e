//! What a kubelet needs of the machine besides the runtime. A test on a paused clock has none.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::cri::Check;

/// A file of a volume: its content and mode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "containerd"),
    allow(dead_code, reason = "only a real machine has files")
)]
pub(super) struct File {
    pub data: Vec<u8>,
    pub mode: u32,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "containerd"),
    allow(dead_code, reason = "only a real machine has files")
)]
pub(super) enum Kind {
    Directory,
    File,
    Socket,
    CharDevice,
    BlockDevice,
}

/// The memory that holds files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "containerd"),
    allow(dead_code, reason = "only a real machine has memory")
)]
pub(super) enum Memory {
    /// So many bytes at most; `None`: what there is.
    Plain(Option<u64>),
    /// Pages of so many bytes.
    HugePages(u64),
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "containerd"),
    allow(dead_code, reason = "only a real machine has a network")
)]
pub(super) enum Answer {
    /// It is well.
    Well,
    /// It is well, but …
    Warning(String),
    /// It answered that it is not; empty: it does not say why.
    Unwell(String),
}

/// Files and the network of a machine.
#[async_trait]
pub(super) trait Host: Debug + Send + Sync + 'static {
    /// Whether what is written is kept: without, volumes are not made.
    fn keeps_files(&self) -> bool {
        true
    }

    /// Makes a directory, with those above it.
    async fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Makes an empty file if there is none.
    async fn make_file(&self, path: &Path) -> io::Result<()>;

    /// What is at a path; `None`: nothing.
    async fn kind(&self, path: &Path) -> io::Result<Option<Kind>>;

    /// Makes a directory show exactly these files, all at once; who reads meanwhile sees the old or the new ones. `version`
    /// is a name that no earlier content had.
    async fn publish(
        &self,
        directory: &Path,
        files: &BTreeMap<String, File>,
        group: Option<u32>,
        version: &str,
    ) -> io::Result<()>;

    /// Writes a file anew.
    async fn write(&self, path: &Path, data: &[u8], mode: u32) -> io::Result<()>;

    /// Shows a part of a volume at a path outside of it, and makes the directories that are missing.
    ///
    /// # Errors
    /// When the part is not in the volume, whatever links say.
    async fn part(&self, volume: &Path, below: &Path, shown: &Path) -> io::Result<()>;

    /// Makes a directory hold its files in memory; whether it did not before.
    async fn memory(&self, place: &Path, memory: Memory) -> io::Result<bool>;

    /// The names in a directory; none where there is none.
    async fn entries(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// The control groups in another, and the files in it.
    async fn groups(&self, parent: &str) -> io::Result<Vec<String>>;

    /// Removes a control group in which no process is left.
    async fn remove_group(&self, group: &str) -> io::Result<()>;

    /// Gives a directory to a group, which may write to it.
    async fn give(&self, directory: &Path, group: u32) -> io::Result<()>;

    /// Gives a directory and all that is in it to a group, which may write to it; with `unless_given` not if the directory
    /// itself is the group's already.
    async fn give_all(&self, directory: &Path, group: u32, unless_given: bool) -> io::Result<()>;

    /// The last bytes of a file; `None`: there is no such file.
    async fn tail(&self, path: &Path, bytes: u64) -> io::Result<Option<Vec<u8>>>;

    /// Removes a directory and what is in it.
    async fn remove(&self, path: &Path) -> io::Result<()>;

    /// Asks over the network whether a pod of this address is well.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn ask(&self, address: &str, check: &Check, timeout: Duration) -> Result<Answer, String>;
}

/// No machine: every file can be made and none is there.
#[derive(Debug)]
pub(super) struct Nowhere;

#[async_trait]
impl Host for Nowhere {
    fn keeps_files(&self) -> bool {
        false
    }

    async fn make_dir(&self, _: &Path, _: u32) -> io::Result<()> {
        Ok(())
    }

    async fn make_file(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn kind(&self, _: &Path) -> io::Result<Option<Kind>> {
        Ok(None)
    }

    async fn publish(
        &self,
        _: &Path,
        _: &BTreeMap<String, File>,
        _: Option<u32>,
        _: &str,
    ) -> io::Result<()> {
        Ok(())
    }

    async fn write(&self, _: &Path, _: &[u8], _: u32) -> io::Result<()> {
        Ok(())
    }

    async fn part(&self, _: &Path, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn memory(&self, _: &Path, _: Memory) -> io::Result<bool> {
        Ok(true)
    }

    async fn entries(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn groups(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn remove_group(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    async fn give(&self, _: &Path, _: u32) -> io::Result<()> {
        Ok(())
    }

    async fn give_all(&self, _: &Path, _: u32, _: bool) -> io::Result<()> {
        Ok(())
    }

    async fn tail(&self, _: &Path, _: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    async fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn ask(&self, _: &str, _: &Check, _: Duration) -> Result<Answer, String> {
        Err("there is no network".to_owned())
    }
}
