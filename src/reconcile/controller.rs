//! A reconciler and what drives it: sources -> keyed queue -> workers.
use super::{Error, Key, Source};
use std::future::Future;
use std::time::Duration;

/// What to do with a key after a successful reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until a source wakes it.
    Done,
    /// Again after this long, which `settle()` waits for.
    After(Duration),
    /// Again after this long, as housekeeping that `settle()` does not wait for.
    Background(Duration),
}

/// Level-triggered: brings the actual state of one key nearer to the desired one. Called for one key at a time.
pub trait Reconciler: Send + Sync + 'static {
    /// Reconciles `key`, whose object may be gone. An error (or a panic) retries the key with per-key exponential backoff.
    fn reconcile(&self, key: Key) -> impl Future<Output = Result<Action, Error>> + Send;
}

/// A controller to be run by a [`Manager`](super::Manager).
#[derive(Debug)]
pub struct Controller {}

impl Controller {
    /// A controller of this name.
    pub fn new(_name: impl Into<String>, _reconciler: impl Reconciler) -> Self {
        todo!()
    }
    /// Is woken by `source`.
    #[must_use]
    pub fn source(self, _source: Source) -> Self {
        todo!()
    }
    /// How many keys are reconciled at once. Default = 1.
    #[must_use]
    pub fn workers(self, _workers: usize) -> Self {
        todo!()
    }
    /// Every key is backed off from `first`, doubling up to `most`. Default = 5 ms to 1000 s, as client-go's.
    #[must_use]
    pub fn backoff(self, _first: Duration, _most: Duration) -> Self {
        todo!()
    }
}
