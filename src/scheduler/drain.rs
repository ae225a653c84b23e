//! An end in good order: nothing new is begun, and what is on its way is finished.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Has a scheduler finish: give it to [`SchedulerConfig::drained_by`](super::SchedulerConfig::drained_by) and call
/// [`Drain::drain`] before its manager is stopped. Otherwise bindings that are on their way are cut off, and whoever takes over must
/// find out about them. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked: watch::Sender<bool>,
    /// Whether a loop runs that has not finished yet.
    busy: watch::Sender<bool>,
}

impl Drain {
    /// Has the scheduler decide about no more pods, and waits until those on their way to a node have arrived, for `patience` at
    /// most. Whether they have.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.0.asked.send_replace(true);
        let mut busy = self.0.busy.subscribe();
        // The sender is ours.
        timeout(patience, busy.wait_for(|busy| !busy)).await.is_ok()
    }

    /// Whether the scheduler is to finish.
    pub(super) fn is_asked(&self) -> bool {
        *self.0.asked.borrow()
    }

    /// Completes when the scheduler is to finish; never when it was already.
    pub(super) async fn asked(&self) {
        if self.is_asked() {
            return std::future::pending().await;
        }
        let mut asked = self.0.asked.subscribe();
        let _ = asked.wait_for(|asked| *asked).await;
    }

    /// A loop runs until the guard is dropped.
    pub(super) fn running(&self) -> Running {
        self.0.busy.send_replace(true);
        Running(self.clone())
    }
}

/// A loop runs.
#[derive(Debug)]
pub(super) struct Running(Drain);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.busy.send_replace(false);
    }
}
