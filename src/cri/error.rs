//! What can go wrong in a runtime.

/// Why a runtime call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such sandbox, container or image.
    #[error("{0} not found")]
    NotFound(String),
    /// The image cannot be pulled.
    #[error("failed to pull and unpack image {image:?}: {why}")]
    Image {
        /// The image.
        image: String,
        /// Why.
        why: String,
    },
    /// The container cannot be started.
    #[error("failed to start container {name:?}: {why}")]
    Start {
        /// The container's name.
        name: String,
        /// Why.
        why: String,
    },
    /// A command took too long.
    #[error("command timed out after {0:?}")]
    Timeout(std::time::Duration),
    /// The runtime does not answer.
    #[error("container runtime is down: {0}")]
    Unavailable(String),
}
