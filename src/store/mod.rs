//! Desired state: versioned keys with watch.
//!
//! The contract is etcd's, reduced to what a control plane needs. There is **one global revision**: every successful write
//! increases it by exactly one and stamps the entry with it. A watch is **gap-free**: it delivers every change of its prefix
//! in revision order, each once, or ends with [`Error::Compacted`].
//!
//! Architecture invariant: a store holds keys, bytes and revisions; it knows no Kubernetes.

#[cfg(feature = "durable")]
mod durable;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod faulty;
mod memory;
mod metered;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

#[cfg(feature = "durable")]
pub use self::durable::{DurableConfig, DurableStore, OpenError};
pub use self::error::Error;
#[cfg(feature = "etcd")]
pub use self::etcd::{EtcdConfig, EtcdStore};
pub use self::faulty::{Faults, FaultyStore};
pub use self::memory::{MemoryConfig, MemoryStore};
pub use self::metered::MeteredStore;

/// A point in the store's history. 0 is before the first write.
pub type Revision = u64;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A key with its value and the revisions that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The value.
    pub value: Bytes,
    /// The revision at which the key was created (again).
    pub created: Revision,
    /// The revision of the last write to the key.
    pub modified: Revision,
}

/// What a write requires of the key's present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist. Otherwise [`Error::AlreadyExists`].
    Absent,
    /// The key was last modified at this revision. Otherwise [`Error::Conflict`], or [`Error::NotFound`] when it is gone.
    Modified(Revision),
}

impl Expect {
    /// Whether the present state of `key` is the expected one.
    ///
    /// # Errors
    /// Those named at the variants.
    pub fn check(self, key: &str, present: Option<&Entry>) -> Result<()> {
        let key = || key.to_owned();
        match (self, present) {
            (Self::Absent, Some(_)) => Err(Error::AlreadyExists { key: key() }),
            (Self::Modified(_), None) => Err(Error::NotFound { key: key() }),
            (Self::Modified(expected), Some(entry)) if entry.modified != expected => {
                Err(Error::Conflict {
                    key: key(),
                    expected,
                    actual: entry.modified,
                })
            }
            _ => Ok(()),
        }
    }
}

/// Which entries to read. Build with [`Range::prefix`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Range {
    /// Keys that begin with this. Empty: all keys.
    pub prefix: String,
    /// Only keys that sort strictly after this one (a page's last key).
    pub after: Option<String>,
    /// Read as of this revision. Default: now.
    pub revision: Option<Revision>,
    /// At most this many entries. Default: no limit.
    pub limit: Option<usize>,
}

impl Range {
    /// All entries whose key begins with `prefix`, as of now.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            after: None,
            revision: None,
            limit: None,
        }
    }
    /// Starts after `key`.
    #[must_use]
    pub fn after(mut self, key: impl Into<String>) -> Self {
        self.after = Some(key.into());
        self
    }
    /// Reads as of `revision`.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }
    /// Returns at most `limit` entries.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// Entries in key order, and what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in ascending byte order of their keys.
    pub entries: Vec<Entry>,
    /// The revision that the page shows: the one asked for, or the newest.
    pub revision: Revision,
    /// How many matching entries come after the last one here.
    pub remaining: usize,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was created (`previous` is `None`) or updated.
    Put {
        /// The entry as written.
        entry: Entry,
        /// The entry before.
        previous: Option<Entry>,
    },
    /// The key was deleted, or its time to live passed.
    Delete {
        /// The entry before.
        previous: Entry,
        /// The revision of the deletion.
        revision: Revision,
    },
}

impl Change {
    /// The revision at which the change happened.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put { entry, .. } => entry.modified,
            Self::Delete { revision, .. } => *revision,
        }
    }
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put { entry, .. } => &entry.key,
            Self::Delete { previous, .. } => &previous.key,
        }
    }
}

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// Changes in revision order.
    Changes(Vec<Change>),
    /// Every change up to and including this revision has been delivered. Told now and then (in the stores of this crate
    /// once a second) while only other keys change, so that a reader knows how fresh it is; never as the immediate answer to
    /// a write, or a reader that writes on each mark would spin.
    Progress(Revision),
}

/// The stream of a watch. It ends after the first error: [`Error::Compacted`] when the watcher fell behind the kept history,
/// [`Error::Unavailable`] when the store was lost; the caller reads a range again and watches from its revision.
pub type WatchStream = BoxStream<'static, Result<WatchEvent>>;

/// Desired state: versioned keys with watch. See the [module](self) for the contract and
/// `testing::conformance::store` for the suite that every implementation passes.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The entry at `key` as of now (linearizable).
    async fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// The entries of `range`.
    ///
    /// # Errors
    /// [`Error::Compacted`] or [`Error::FutureRevision`] when the revision asked for cannot be read.
    async fn range(&self, range: Range) -> Result<Page>;

    /// Writes `value` at `key` if `expect` holds, and returns the new entry's revision. With `ttl` the key is deleted that
    /// long after its last write.
    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Revision>;

    /// Deletes `key` if it was last modified at `expect` (any revision when `None`); returns the entry that was deleted and
    /// the revision of the deletion.
    async fn delete(&self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)>;

    /// Watches the keys that begin with `prefix`, from the first change **after** revision `after`.
    ///
    /// # Errors
    /// [`Error::Compacted`] when changes after that revision are no longer kept, [`Error::FutureRevision`] when it is still to come.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream>;

    /// Forgets history before `revision`: reads before it and watches that start before it fail with [`Error::Compacted`].
    async fn compact(&self, revision: Revision) -> Result<()>;

    /// The newest revision (linearizable): every write acknowledged before this call is at or below it.
    async fn revision(&self) -> Result<Revision>;

    /// Whether the store works, as far as it can tell without a write of the caller's: what an API server's `/readyz` shows.
    /// Default: whether [`Store::revision`] answers.
    ///
    /// # Errors
    /// What is wrong.
    async fn health(&self) -> Result<()> {
        self.revision().await.map(drop)
    }
}
