//! What can go wrong in a store, and so what the caller can do.

use super::Revision;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key does not exist.
    #[error("key {key:?} does not exist")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The key exists already.
    #[error("key {key:?} exists already")]
    AlreadyExists {
        /// The key.
        key: String,
    },
    /// The key was changed meanwhile: read it again and retry.
    #[error("key {key:?} is at revision {actual}, not at {expected}")]
    Conflict {
        /// The key.
        key: String,
        /// The revision the caller expected.
        expected: Revision,
        /// The revision found.
        actual: Revision,
    },
    /// The revision asked for is no longer kept: start again from the newest.
    #[error("revision is compacted; the oldest kept is {oldest}")]
    Compacted {
        /// The oldest revision that can still be read.
        oldest: Revision,
    },
    /// The revision asked for is still to come.
    #[error("revision {asked} is in the future; the newest is {current}")]
    FutureRevision {
        /// The revision asked for.
        asked: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The value is larger than the store takes.
    #[error("value of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// The size of the value in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The store cannot be reached or failed. Whether a write took effect is unknown.
    #[error("store is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
