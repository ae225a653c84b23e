//! Ends the pods of a node that is about to be switched off.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::Inner;
use super::admit::Rejection;
use super::eviction::Ousting;
use super::{Kubelet, limits};
use crate::reconcile::Key;

/// How often it is looked whether pods have ended.
const LOOK: Duration = Duration::from_millis(100);

/// How long pods may take when the node shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    pub(super) all: Duration,
    pub(super) critical: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            all: Duration::from_secs(30),
            critical: Duration::from_secs(10),
        }
    }
}

impl Shutdown {
    /// All pods together may take `all`, of which the last `critical` are for critical ones. Default = 30 s and 10 s.
    #[must_use]
    pub fn new(all: Duration, critical: Duration) -> Self {
        Self {
            all,
            critical: critical.min(all),
        }
    }
}

impl Kubelet {
    /// Ends all pods, because the machine is about to be switched off: the node is no longer ready and takes no more pods; the
    /// ordinary ones end first, then the critical ones, all within the time of [`KubeletConfig`](super::KubeletConfig).
    /// Returns when they have ended or the time is over. The agent goes on until it is stopped, and takes pods again
    /// when it is started again.
    pub async fn shutdown(&self) {
        self.inner.shut_down().await;
    }
}

impl Inner {
    async fn shut_down(&self) {
        *self.shutdown.lock() = true;
        self.node_changed.notify_one();
        let Shutdown { all, critical } = self.config.shutdown;
        for (is_critical, period) in [(false, all.saturating_sub(critical)), (true, critical)] {
            let pods = self.active_pods();
            let group = pods.iter().filter(|pod| {
                let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
                (priority.unwrap_or(0) >= limits::CRITICAL) == is_critical
            });
            let keys: Vec<Key> = group.map(|pod| Key::of(&**pod)).collect();
            for key in &keys {
                let message =
                    "Pod was terminated in response to imminent node shutdown.".to_owned();
                let ousting = Ousting {
                    reason: "Terminated",
                    message: message.clone(),
                    grace: period,
                    disrupted: Some(message),
                };
                self.oust(key, ousting);
            }
            let begun = Instant::now();
            let ends = keys.iter().map(|key| self.end_of(key));
            if timeout(period, join_all(ends)).await.is_err() {
                tracing::warn!(
                    after = ?begun.elapsed(), node = %self.spec.name,
                    "pods have not ended in time for the shutdown"
                );
            }
        }
    }

    /// Waits until a pod has ended.
    pub(super) async fn end_of(&self, key: &Key) {
        loop {
            let ended = {
                let states = self.state.lock();
                states.get(key).is_none_or(|state| state.finished)
            };
            if ended {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Why a pod is not let in while the node shuts down.
    pub(super) fn closing(&self) -> Option<Rejection> {
        let closing = *self.shutdown.lock();
        closing.then(|| Rejection {
            reason: "NodeShutdown".to_owned(),
            message: "Pod was rejected as the node is shutting down.".to_owned(),
        })
    }
}
