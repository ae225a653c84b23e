//! The one task of a memory store: lets keys expire, and tells watches how far the store has come.

use std::sync::{Arc, Weak};

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::Shared;

/// Runs until it is dropped. While nothing changes and no key has a time to live, it has no timer.
#[derive(Debug)]
pub(super) struct Keeper {
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let shared = Arc::downgrade(shared);
        // The store's own task; aborted when the store is dropped.
        let task = tokio::spawn(async move { keep(shared).await });
        Self { task }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(shared: Weak<Shared>) {
    // When watches are told of progress; set by the first change after the last time.
    let mut announce: Option<Instant> = None;
    let mut announced = 0;
    loop {
        let Some(store) = shared.upgrade() else {
            return;
        };
        let now = Instant::now();
        store.expire(now);
        if announce.is_some_and(|at| at <= now) {
            announce = None;
            store.watchers.mark();
        }
        let (revision, expiry) = {
            let state = store.state.read();
            (state.revision, state.expiry.next())
        };
        if revision != announced {
            announced = revision;
            announce = announce.or(Some(now + store.config.progress));
        }
        let next = announce.into_iter().chain(expiry).min();
        let wanted = store.watchers.keeper_wanted();
        match next {
            None => wanted.await,
            Some(at) => {
                tokio::select! {
                    biased;
                    () = sleep_until(at) => {}
                    () = wanted => {}
                }
            }
        }
    }
}
