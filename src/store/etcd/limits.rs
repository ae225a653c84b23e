//! Time limits of requests, without a timer for each.
//!
//! A timer that is set before all others makes the runtime's driver wake up, which adds a third to the time of a read. So one
//! task ticks while there are requests, and each request that still waits looks at its time then.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Limits are kept as exactly as this.
const TICK: Duration = Duration::from_millis(50);
/// It ticks on for so long without requests, for a pause between two is the common case.
const IDLE: u32 = 20;

/// Ticks until it is dropped.
#[derive(Debug)]
pub(super) struct Limits {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests under way.
    waiting: AtomicUsize,
    ticks: AtomicBool,
    /// Starts the ticks again.
    wanted: Notify,
    tick: Notify,
}

/// A request took too long.
#[derive(Debug)]
pub(super) struct Late;

impl Drop for Limits {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request under way.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        if !shared.ticks.load(Ordering::SeqCst) {
            shared.wanted.notify_one();
        }
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Limits {
    pub(super) fn start() -> Self {
        let shared = Arc::<Shared>::default();
        // Aborted when the limits are dropped.
        let task = tokio::spawn(tick(shared.clone()));
        Self { shared, task }
    }

    /// The answer to a request, if it comes within `limit` or a tick later.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = T>,
    ) -> Result<T, Late> {
        let deadline = Instant::now() + limit;
        let _waiting = Waiting::begin(&self.shared);
        let mut request = pin!(request);
        loop {
            tokio::select! {
                biased;
                answer = &mut request => return Ok(answer),
                () = self.shared.tick.notified() => {
                    if Instant::now() >= deadline {
                        return Err(Late);
                    }
                }
            }
        }
    }
}

async fn tick(shared: Arc<Shared>) {
    let mut idle = IDLE;
    loop {
        if idle >= IDLE {
            shared.ticks.store(false, Ordering::SeqCst);
            // Whoever came meanwhile has seen it tick.
            if shared.waiting.load(Ordering::SeqCst) == 0 {
                shared.wanted.notified().await;
            }
            shared.ticks.store(true, Ordering::SeqCst);
            idle = 0;
        }
        sleep(TICK).await;
        shared.tick.notify_waiters();
        let waiting = shared.waiting.load(Ordering::SeqCst);
        idle = if waiting == 0 { idle + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_end_in_time() {
        let limits = Limits::start();
        for pause in [0, 10, 10_000] {
            sleep(Duration::from_millis(pause)).await;
            let second = Duration::from_secs(1);
            assert!(matches!(limits.within(second, ready(1)).await, Ok(1)));
            let slow = limits.within(second, sleep(Duration::from_millis(900)));
            assert!(slow.await.is_ok());
            let begun = Instant::now();
            assert!(limits.within(second, pending::<()>()).await.is_err());
            let took = begun.elapsed();
            assert!(took >= second && took <= second + TICK * 2, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ticks_without_requests() {
        let limits = Limits::start();
        let second = Duration::from_secs(1);
        assert!(limits.within(second, ready(())).await.is_ok());
        sleep(TICK * (IDLE + 2)).await;
        assert!(!limits.shared.ticks.load(Ordering::SeqCst));
    }
}
