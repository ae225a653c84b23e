//! A store in one file, for control planes on one machine that may not forget. Feature `durable`.
//!
//! All keys and the history are in memory, as those of [`MemoryStore`]: reads and watches are served from there. Writes go
//! through one task, which checks a batch of them, appends it to the file's log in one commit (writers that wait share the
//! sync), shows it to readers, and only then answers. What readers see is always on disk. Beside the log a witness keeps the
//! newest revision, by which a log that lost its end is known.

mod backup;
mod log;
mod queue;
mod record;
mod witness;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redb::Durability;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use self::log::{Contents, Log, Opener};
use self::queue::Operation;
use self::witness::Witness;
use self::writer::Writer;
use super::{
    Entry, Error, Expect, MemoryConfig, MemoryStore, Page, Range, Result, Revision, Store,
    WatchStream,
};

/// The file in the store's directory.
const FILE: &str = "homeostat.redb";
/// So many writes may wait for the file.
const QUEUE: usize = 4096;

/// How a [`DurableStore`] works.
#[derive(Clone, Copy, Debug, Default)]
pub struct DurableConfig {
    memory: MemoryConfig,
    relaxed: Option<Duration>,
}

impl DurableConfig {
    /// How much history is kept, and how large values may be. Default = that of [`MemoryConfig`].
    #[must_use]
    pub fn memory(mut self, memory: MemoryConfig) -> Self {
        self.memory = memory;
        self
    }

    /// Acknowledges writes before they are safe: a crash may lose those of the last `interval`, never more, and never one
    /// without all after it. For tests. Default = every acknowledged write survives a power loss.
    #[must_use]
    pub fn relaxed(mut self, interval: Duration) -> Self {
        self.relaxed = Some(interval);
        self
    }
}

/// Why a store's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another store, here or in another process, has it open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A checksum does not fit, or what is there makes no sense. Nothing of it is served.
    #[error("{} is damaged: {what}; restore a backup that is whole", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// It was written by a version that this one does not know.
    #[error("{} is of another version", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A backup is not restored over a store.
    #[error("{} exists; restore into an empty directory", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    /// What was found out about `copy` is true of `original`.
    fn of(self, copy: &Path, original: &Path) -> Self {
        let original = || original.to_owned();
        match self {
            Self::Damaged { path, what } if path == copy => Self::Damaged {
                path: original(),
                what,
            },
            Self::Format { path } if path == copy => Self::Format { path: original() },
            other => other,
        }
    }
}

fn io(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        source,
    }
}

/// A store in one file; see [`Store`] for what it promises. Revisions, history and watches go on after a restart. A key's
/// time to live begins anew with it, as etcd's leases do. Cheap to clone; clones are the same store.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use homeostat::store::{DurableConfig, DurableStore, Expect, Store};
/// # let directory = std::env::temp_dir().join(format!("homeostat-doc-{}", std::process::id()));
/// let store = DurableStore::open(&directory, DurableConfig::default()).await?;
/// let revision = store.put("/a", "1".into(), Expect::Absent, None).await?;
/// store.close().await;
///
/// let store = DurableStore::open(&directory, DurableConfig::default()).await?;
/// assert_eq!(store.get("/a").await?.unwrap().modified, revision);
/// # store.close().await; std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct DurableStore {
    memory: MemoryStore,
    operations: mpsc::Sender<Operation>,
    max_value: usize,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl DurableStore {
    /// Opens the store in `directory`, which is made if it is not there. Reads the whole file and verifies its checksums.
    ///
    /// # Errors
    /// [`OpenError`]: in use, damaged, of another version, or a failure of the file system.
    pub async fn open(
        directory: impl Into<PathBuf>,
        config: DurableConfig,
    ) -> Result<Self, OpenError> {
        Self::open_with(directory.into(), config, log::from_path).await
    }

    async fn open_with(
        directory: PathBuf,
        config: DurableConfig,
        open: Opener,
    ) -> Result<Self, OpenError> {
        let durability = match config.relaxed {
            Some(_) => Durability::None,
            None => Durability::Immediate,
        };
        let opened = blocking(move || {
            std::fs::create_dir_all(&directory).map_err(|error| io(&directory, error))?;
            let (log, contents) = open_vouched(&directory.join(FILE), durability, open)?;
            let loaded = writer::load(config.memory, contents);
            Ok((log, loaded))
        });
        let (log, loaded) = opened.await?;
        let (operations, queue) = mpsc::channel(QUEUE);
        let memory = loaded.memory.clone();
        let writer = Writer::new(log, loaded, config.relaxed);
        // The store's own task: it ends when the last clone is dropped or the store is closed.
        let writer = tokio::spawn(writer.run(queue));
        Ok(Self {
            memory,
            operations,
            max_value: config.memory.max_value,
            writer: Arc::new(Mutex::new(Some(writer))),
        })
    }

    /// Writes what is still to be written and closes the file. Later writes fail; other clones can still read.
    pub async fn close(&self) {
        let Some(writer) = self.writer.lock().take() else {
            return;
        };
        let _closed_already = self.operations.send(Operation::Close).await;
        // It does not panic, and nobody cancels it.
        let _ended = writer.await;
    }

    /// Writes a copy of the store, as it is now, to one file while the store goes on serving: all that was acknowledged before
    /// the call, with its history. [`DurableStore::restore`] makes a store of it again. The file is there whole or not at all,
    /// and takes the place of an older one of its name; until it is finished its name ends with `.part`.
    ///
    /// # Errors
    /// When the copy cannot be written, or the store is closed before it is finished.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<(), OpenError> {
        let to = to.into();
        let (answer, answered) = oneshot::channel();
        let closed = || std::io::Error::other("the store is closed");
        if self
            .operations
            .send(Operation::Snapshot(answer))
            .await
            .is_err()
        {
            return Err(io(&to, closed()));
        }
        let snapshot = answered
            .await
            .unwrap_or_else(|_| Err(closed()))
            .map_err(|error| io(&to, error))?;
        blocking(move || snapshot.copy(&to)).await
    }

    /// Makes a store in `directory` from a backup, which is only read: entries, revisions and history are as they were when it
    /// was made. Every checksum is verified. What was written after it is gone: whoever knows later revisions (watches,
    /// caches) has to begin anew.
    ///
    /// # Errors
    /// When the backup is damaged, the directory holds a store already, or there is no room. The directory can then be
    /// restored into again.
    pub async fn restore(
        backup: impl Into<PathBuf>,
        directory: impl Into<PathBuf>,
    ) -> Result<(), OpenError> {
        let (backup, directory) = (backup.into(), directory.into());
        blocking(move || backup::restore(&backup, &directory)).await
    }

    async fn ask<T>(
        &self,
        operation: impl FnOnce(oneshot::Sender<Result<T>>) -> Operation,
    ) -> Result<T> {
        let closed = || Error::Unavailable("the store is closed".into());
        let (answer, answered) = oneshot::channel();
        let sent = self.operations.send(operation(answer)).await;
        sent.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Opens the log, and checks that it holds all that was acknowledged.
fn open_vouched(
    path: &Path,
    durability: Durability,
    open: Opener,
) -> Result<(Log, Contents), OpenError> {
    let is_new = !path.exists();
    let (mut log, contents) = Log::open(path, durability, open)?;
    let witness = Witness::open(path)?;
    if let Err(lost) = witness.vouch(path, contents.newest) {
        drop(log);
        if is_new {
            // The log is gone, and an empty one would be in the way of a backup.
            std::fs::remove_file(path).map_err(|error| io(path, error))?;
        }
        return Err(lost);
    }
    log.witnessed(witness);
    Ok((log, contents))
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // The engine panics on some damaged files.
        Err(error) => Err(OpenError::Damaged {
            path: PathBuf::from(FILE),
            what: error.to_string(),
        }),
    }
}

#[async_trait]
impl Store for DurableStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.memory.get(key).await
    }

    async fn range(&self, range: Range) -> Result<Page> {
        self.memory.range(range).await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Revision> {
        let (size, limit) = (value.len(), self.max_value);
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        let key = key.to_owned();
        self.ask(|answer| Operation::Put {
            key,
            value,
            expect,
            ttl,
            answer,
        })
        .await
    }

    async fn delete(&self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)> {
        let key = key.to_owned();
        self.ask(|answer| Operation::Delete {
            key,
            expect,
            answer,
        })
        .await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        self.memory.watch(prefix, after).await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.ask(|answer| Operation::Compact { revision, answer })
            .await
    }

    async fn revision(&self) -> Result<Revision> {
        self.memory.revision().await
    }

    /// Whether the last commit succeeded; after one that failed, whether one succeeds now.
    async fn health(&self) -> Result<()> {
        self.ask(|answer| Operation::Check { answer }).await
    }
}

#[cfg(test)]
mod tests;
