//! What all handlers share.
use super::registry::{Registry, cacher::Cacher};
use crate::clock::Clock;
use crate::store::Store;
use std::sync::Arc;

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Decoded once, for all readers.
    pub cacher: Cacher,
    /// Which resources are served.
    pub registry: Registry,
    /// Wall time, uids and suffixes.
    pub clock: Clock,
}
