//! Kinds that are never stored: reviews, bindings, and what is only read.

use crate::apiserver::registry::strategy::Strategy;

/// A kind that only a handler of its own knows.
#[derive(Debug)]
pub(super) struct Generic {
    /// What its users are told.
    pub(super) deprecation: Option<&'static str>,
}

impl Strategy for Generic {
    fn deprecation(&self) -> Option<&'static str> {
        self.deprecation
    }
}
