//! Watches: each reads the shared history by a cursor of its own, so a slow one costs nothing but its own lag.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use futures::Stream;
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::Shared;
use crate::store::{Change, Error, Result, Revision, WatchEvent};

/// How many changes are delivered at once.
const BATCH: usize = 1000;
/// How many changes are looked at in one go, so that a watch of a rare prefix does not hold the lock for long.
const LOOK: usize = 10_000;

/// Who waits for changes of which prefix.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    by_prefix: RwLock<Prefixes>,
    keeper: Notify,
    /// How often the keeper has called for progress marks.
    marks: AtomicU64,
}

#[derive(Debug, Default)]
struct Prefixes {
    /// By length and prefix: a key is looked up once for each length there is.
    watchers: BTreeMap<usize, BTreeMap<String, Vec<Arc<Notify>>>>,
    /// How many watchers there are.
    count: usize,
}

impl Watchers {
    /// Wakes those whose prefix `key` has, in the order in which they began.
    pub(super) fn wake(&self, key: &str) {
        let prefixes = self.by_prefix.read();
        for (length, of_length) in &prefixes.watchers {
            let Some(prefix) = key.get(..*length) else {
                continue;
            };
            for watcher in of_length.get(prefix).into_iter().flatten() {
                watcher.notify_one();
            }
        }
        if prefixes.count > 0 {
            self.keeper.notify_one();
        }
    }

    /// Calls for a progress mark of each watch.
    pub(super) fn mark(&self) {
        self.marks.fetch_add(1, Ordering::Relaxed);
        self.wake_all();
    }

    /// Wakes all, so that each looks what became of the store.
    pub(super) fn wake_all(&self) {
        let prefixes = self.by_prefix.read();
        for watcher in prefixes
            .watchers
            .values()
            .flat_map(BTreeMap::values)
            .flatten()
        {
            watcher.notify_one();
        }
    }

    pub(super) fn tell_keeper(&self) {
        self.keeper.notify_one();
    }

    /// Waits until a change was made or a time to live was set.
    pub(super) async fn keeper_wanted(&self) {
        self.keeper.notified().await;
    }

    fn add(&self, prefix: &str) -> Arc<Notify> {
        let watcher = Arc::new(Notify::new());
        let mut prefixes = self.by_prefix.write();
        let of_length = prefixes.watchers.entry(prefix.len()).or_default();
        of_length
            .entry(prefix.to_owned())
            .or_default()
            .push(watcher.clone());
        prefixes.count += 1;
        watcher
    }

    fn remove(&self, prefix: &str, watcher: &Arc<Notify>) {
        let mut prefixes = self.by_prefix.write();
        prefixes.count -= 1;
        let Some(of_length) = prefixes.watchers.get_mut(&prefix.len()) else {
            return;
        };
        let Some(of_prefix) = of_length.get_mut(prefix) else {
            return;
        };
        of_prefix.retain(|other| !Arc::ptr_eq(other, watcher));
        if of_prefix.is_empty() {
            of_length.remove(prefix);
        }
        if of_length.is_empty() {
            prefixes.watchers.remove(&prefix.len());
        }
    }
}

/// One watch under way.
struct Watch {
    shared: Weak<Shared>,
    prefix: String,
    wake: Arc<Notify>,
    /// Everything up to here has been looked at.
    cursor: Revision,
    /// Everything up to here has been told of.
    told: Revision,
    /// The call for marks that it answered last. The first mark needs no call: a watch that begins in the past says at once
    /// that it has nothing to tell.
    marked: Option<u64>,
    ended: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.watchers.remove(&self.prefix, &self.wake);
        }
    }
}

/// The changes of `prefix` after revision `after`.
pub(super) fn stream(
    shared: &Arc<Shared>,
    prefix: &str,
    after: Revision,
) -> impl Stream<Item = Result<WatchEvent>> + use<> {
    let watch = Watch {
        shared: Arc::downgrade(shared),
        prefix: prefix.to_owned(),
        wake: shared.watchers.add(prefix),
        cursor: after,
        told: after,
        marked: None,
        ended: false,
    };
    futures::stream::unfold(watch, |mut watch| async move {
        let next = watch.next().await?;
        Some((next, watch))
    })
}

enum Step {
    Deliver(WatchEvent),
    Again,
    Wait,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<WatchEvent>> {
        if self.ended {
            return None;
        }
        let wake = self.wake.clone();
        loop {
            // The store is gone: nothing will come.
            let step = self.step(&*self.shared.upgrade()?);
            match step {
                Ok(Step::Deliver(event)) => return Some(Ok(event)),
                Ok(Step::Again) => tokio::task::yield_now().await,
                Ok(Step::Wait) => wake.notified().await,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    fn step(&mut self, shared: &Shared) -> Result<Step> {
        let state = shared.state.read();
        let compacted = Error::Compacted {
            oldest: state.history.compacted(),
        };
        let changes = state.history.after(self.cursor).ok_or(compacted)?;
        let mut found: Vec<Change> = Vec::new();
        for (looked, change) in changes.enumerate() {
            // The changes of one revision are told together.
            let enough = looked >= LOOK || found.len() >= BATCH;
            if enough && change.revision() > self.cursor {
                break;
            }
            self.cursor = change.revision();
            if change.key().starts_with(&self.prefix) {
                found.push(change.clone());
            }
        }
        if let Some(last) = found.last() {
            self.told = last.revision();
            return Ok(Step::Deliver(WatchEvent::Changes(found)));
        }
        if self.cursor < state.revision {
            return Ok(Step::Again);
        }
        // One mark for each call: a reader that answers every mark with a write does not spin.
        let marks = shared.watchers.marks.load(Ordering::Relaxed);
        if self.told < self.cursor && self.marked.is_none_or(|marked| marked < marks) {
            self.marked = Some(marks);
            self.told = self.cursor;
            return Ok(Step::Deliver(WatchEvent::Progress(self.cursor)));
        }
        Ok(Step::Wait)
    }
}
