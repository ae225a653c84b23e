//! What can go wrong in a runtime.

use std::time::Duration;

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
    /// The sandbox cannot be made.
    #[error("failed to create pod sandbox: {0}")]
    Sandbox(String),
    /// The container cannot be made.
    #[error("failed to create container {name:?}: {why}")]
    Create {
        /// The container's name.
        name: String,
        /// Why.
        why: String,
    },
    /// The container cannot be started.
    #[error("failed to start container {name:?}: {why}")]
    Start {
        /// The container's name, or its id.
        name: String,
        /// Why.
        why: String,
    },
    /// A command took too long.
    #[error("command timed out after {0:?}")]
    Timeout(Duration),
    /// The runtime does not answer: its socket is missing or refuses, or a call took too long. Worth trying again.
    #[error("container runtime is down: {0}")]
    Unavailable(String),
    /// What answers is no runtime of a version that is understood. Trying again does not help.
    #[error("container runtime is not compatible: {0}")]
    Incompatible(String),
    /// The runtime does not know this call.
    #[error("the container runtime does not implement {0}")]
    Unimplemented(&'static str),
    /// The runtime refuses what was asked: it is wrong, or the thing is in the wrong state for it.
    #[error("{call}: {why}")]
    Refused {
        /// The call.
        call: &'static str,
        /// Why, in the runtime's words.
        why: String,
    },
    /// A command could not be run in a container, or its streams broke.
    #[error("{0}")]
    Stream(String),
}

impl Error {
    /// Whether the same call may succeed later although nothing of it changes.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
