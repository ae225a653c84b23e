//! What is under way, so that a harness can tell when a cluster has settled.
use std::sync::Arc;
use tokio::time::Instant;

/// Work under way or scheduled, by component and key. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    _inner: Arc<()>,
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// Who.
    pub component: String,
    /// On what.
    pub key: String,
    /// Why, last.
    pub cause: String,
    /// When it is due; `None`: now.
    pub due: Option<Instant>,
}

/// Work ends when this is dropped.
#[derive(Debug)]
pub struct Guard {}

impl Activity {
    /// Notes that `component` works on `key` now (or will at `due`), until the guard is dropped.
    #[must_use]
    pub fn begin(
        &self,
        _component: &str,
        _key: &str,
        _cause: &str,
        _due: Option<Instant>,
    ) -> Guard {
        todo!()
    }
    /// Everything under way, ordered.
    #[must_use]
    pub fn pending(&self) -> Vec<Work> {
        todo!()
    }
    /// Waits until nothing is under way.
    pub async fn idle(&self) {
        todo!()
    }
}
