//! A reconciler and what drives it: sources -> keyed queue -> workers.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::Instrument;

use super::queue::{Backoff, Outcome, Queue};
use super::source::Source;
use super::{Activity, Error, Key};
use crate::clock::Clock;

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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no reconciler",
    note = "write `async fn reconcile(&self, key: Key) -> Result<Action, Error>`"
)]
pub trait Reconciler: Send + Sync + 'static {
    /// Reconciles `key`, whose object may be gone.
    ///
    /// # Errors
    /// An error (or a panic) retries the key with per-key exponential backoff.
    fn reconcile(&self, key: Key) -> impl Future<Output = Result<Action, Error>> + Send;
}

type Reconcile = Arc<dyn Fn(Key) -> BoxFuture<'static, Result<Action, Error>> + Send + Sync>;

/// A controller to be run by a [`Manager`](super::Manager).
pub struct Controller {
    pub(super) name: String,
    pub(super) sources: Vec<Source>,
    pub(super) workers: usize,
    backoff: Backoff,
    reconcile: Reconcile,
}

impl Controller {
    /// A controller of this name.
    pub fn new(name: impl Into<String>, reconciler: impl Reconciler) -> Self {
        let reconciler = Arc::new(reconciler);
        let reconcile: Reconcile = Arc::new(move |key| {
            let reconciler = reconciler.clone();
            async move { reconciler.reconcile(key).await }.boxed()
        });
        Self {
            name: name.into(),
            sources: Vec::new(),
            workers: 1,
            backoff: Backoff::default(),
            reconcile,
        }
    }

    /// Is woken by `source`.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// How many keys are reconciled at once; at least one. Default = 1.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// A key that fails is backed off from `first`, doubling up to `most`. Default = 5 ms to 1000 s, as client-go's.
    #[must_use]
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.backoff = Backoff { first, most };
        self
    }

    pub(super) fn queue(&self, clock: &Clock, activity: &Activity) -> Arc<Queue> {
        Arc::new(Queue::new(
            &self.name,
            self.backoff,
            clock.fork(&self.name),
            activity.clone(),
        ))
    }

    /// One worker; runs until the queue is closed.
    pub(super) fn worker(&self, queue: Arc<Queue>) -> impl Future<Output = ()> + Send + use<> {
        let (name, reconcile) = (self.name.clone(), self.reconcile.clone());
        async move {
            while let Some(key) = queue.next().await {
                let span = tracing::debug_span!("reconcile", controller = %name, %key);
                let outcome = run(&*reconcile, &queue, key.clone()).instrument(span).await;
                if let Err(error) = &outcome {
                    tracing::warn!(controller = %name, %key, %error, "reconciling failed; it is tried again");
                }
                queue.done(key, outcome.map_or(Outcome::Failed, Outcome::Done));
            }
        }
    }
}

/// Runs a reconcile; a panic in it is its error and nobody else's trouble.
async fn run(
    reconcile: &(dyn Fn(Key) -> BoxFuture<'static, Result<Action, Error>> + Send + Sync),
    queue: &Queue,
    key: Key,
) -> Result<Action, Error> {
    let result = AssertUnwindSafe(async { reconcile(key).await })
        .catch_unwind()
        .await;
    result.unwrap_or_else(|panic| {
        queue.panicked();
        Err(format!("panicked: {}", panic_text(&*panic)).into())
    })
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("name", &self.name)
            .field("sources", &self.sources)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
