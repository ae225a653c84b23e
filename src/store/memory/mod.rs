//! A store in memory: multi-version, with bounded history. For tests, simulations and control planes that may forget.

mod history;
mod index;
mod keeper;
#[cfg(any(feature = "durable", feature = "etcd"))]
mod mirror;
mod watch;

#[cfg(feature = "durable")]
pub(in crate::store) use self::index::{Expiry, Present};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use self::history::History;
use self::index::Index;
use self::keeper::Keeper;
use self::watch::Watchers;
use super::{Change, Entry, Error, Expect, Page, Range, Result, Revision, Store, WatchStream};

/// How much a [`MemoryStore`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    history_events: usize,
    history_bytes: usize,
    pub(in crate::store) max_value: usize,
    progress: Duration,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            history_events: 100_000,
            history_bytes: 64 << 20,
            max_value: 1536 << 10,
            progress: Duration::from_secs(1),
        }
    }
}

impl MemoryConfig {
    /// How many changes are kept for watches and reads of the past; older ones are compacted. At least 1. Default = 100,000.
    #[must_use]
    pub fn history_events(mut self, events: usize) -> Self {
        self.history_events = events.max(1);
        self
    }

    /// How many bytes of past values, and of what tells of changes, are kept. Default = 64 MiB.
    #[must_use]
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.history_bytes = bytes;
        self
    }

    /// The largest value in bytes. Default = 1.5 MiB, etcd's limit of a request.
    #[must_use]
    pub fn max_value(mut self, bytes: usize) -> Self {
        self.max_value = bytes;
        self
    }

    /// How often a watch is given a progress mark while only other keys change: no sooner and not much later. Default = 1 s.
    #[must_use]
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.progress = interval;
        self
    }
}

/// A store in memory; see [`Store`] for what it promises. Cheap to clone; clones are the same store. When the last one is
/// dropped its watches end.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use homeostat::store::{Expect, MemoryStore, Store};
/// let store = MemoryStore::default();
/// let revision = store.put("/a", "1".into(), Expect::Absent, None).await?;
/// assert_eq!(store.get("/a").await?.unwrap().modified, revision);
/// assert!(store.put("/a", "2".into(), Expect::Absent, None).await.is_err());
/// # Ok::<(), homeostat::store::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// Ends the keeper with the last clone.
    keeper: Arc<Mutex<Option<Keeper>>>,
}

#[derive(Debug)]
struct Shared {
    config: MemoryConfig,
    state: RwLock<State>,
    watchers: Watchers,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Whoever still watches finds the store gone.
        self.watchers.wake_all();
    }
}

struct State {
    revision: Revision,
    index: Index,
    history: History,
    /// When keys with a time to live go.
    expiry: index::Expiry,
}

/// Without what is stored: there are secrets among it.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryConfig::default())
    }
}

impl MemoryStore {
    /// An empty store. May be called outside a tokio runtime.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Self {
        let state = State {
            revision: 0,
            index: Index::default(),
            history: History::default(),
            expiry: index::Expiry::default(),
        };
        let shared = Shared {
            config,
            state: RwLock::new(state),
            watchers: Watchers::default(),
        };
        Self {
            shared: Arc::new(shared),
            keeper: Arc::default(),
        }
    }

    /// Starts the keeper, which needs a runtime, when it is first needed.
    fn keep(&self) {
        self.keeper
            .lock()
            .get_or_insert_with(|| Keeper::start(&self.shared));
    }
}

impl Shared {
    /// Makes a change at the next revision and tells the watchers.
    fn commit(&self, state: &mut State, make: impl FnOnce(Revision) -> Change) -> Revision {
        let change = make(state.revision + 1);
        self.apply(state, change, &mut |_| {});
        state.revision
    }

    /// Makes a change the present and tells the watchers; what history drops for it is given to `forgotten`.
    fn apply(&self, state: &mut State, change: Change, forgotten: &mut dyn FnMut(Change)) {
        state.index.apply(&change);
        self.tell(state, change, forgotten);
    }

    /// Adds a change to the history and tells the watchers.
    fn tell(&self, state: &mut State, change: Change, forgotten: &mut dyn FnMut(Change)) {
        state.revision = change.revision();
        let key = change.key().clone();
        state.history.push(change);
        while state
            .history
            .exceeds(self.config.history_events, self.config.history_bytes)
        {
            state.forget_oldest().map(&mut *forgotten);
        }
        self.watchers.wake(&key);
    }

    fn delete(&self, state: &mut State, entry: Entry) -> Revision {
        state.expiry.clear(&entry.key);
        self.commit(state, |revision| Change::Delete {
            previous: entry,
            revision,
        })
    }

    /// Deletes the keys whose time has come.
    fn expire(&self, now: Instant) {
        let mut state = self.state.write();
        while let Some(key) = state.expiry.due(now) {
            if let Some(entry) = state.index.get(&key) {
                self.delete(&mut state, entry);
            }
        }
    }
}

impl State {
    /// Drops the oldest change, and the version that it superseded.
    fn forget_oldest(&mut self) -> Option<Change> {
        let change = self.history.pop()?;
        self.index.forget(&change);
        Some(change)
    }

    /// Forgets what is before `revision`, and tells what that was.
    fn forget_until(&mut self, revision: Revision) -> Result<Vec<Change>> {
        self.check(revision)?;
        let mut forgotten = Vec::new();
        while self.history.compacted() < revision {
            forgotten.extend(self.forget_oldest());
        }
        Ok(forgotten)
    }

    /// Whether a read or watch at `revision` is possible.
    fn check(&self, revision: Revision) -> Result<()> {
        let oldest = self.history.compacted();
        if revision < oldest {
            return Err(Error::Compacted { oldest });
        }
        if revision > self.revision {
            return Err(Error::FutureRevision {
                asked: revision,
                current: self.revision,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.shared.state.read().index.get(key))
    }

    async fn range(&self, range: Range) -> Result<Page> {
        let state = self.shared.state.read();
        let revision = range.revision.unwrap_or(state.revision);
        state.check(revision)?;
        let (entries, remaining) = state.index.range(&range, revision);
        Ok(Page {
            entries,
            revision,
            remaining,
        })
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Revision> {
        let (size, limit) = (value.len(), self.shared.config.max_value);
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        let mut state = self.shared.state.write();
        let previous = state.index.get(key);
        expect.check(key, previous.as_ref())?;
        let key: Arc<str> = previous
            .as_ref()
            .map_or_else(|| key.into(), |previous| previous.key.clone());
        state.expiry.set(&key, Instant::now(), ttl);
        let revision = self.shared.commit(&mut state, |modified| {
            let created = previous
                .as_ref()
                .map_or(modified, |previous| previous.created);
            Change::Put {
                entry: Entry {
                    key,
                    value,
                    created,
                    modified,
                },
                previous,
            }
        });
        drop(state);
        if ttl.is_some() {
            self.keep();
            self.shared.watchers.tell_keeper();
        }
        Ok(revision)
    }

    async fn delete(&self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)> {
        let mut state = self.shared.state.write();
        let Some(entry) = state.index.get(key) else {
            return Err(Error::NotFound {
                key: key.to_owned(),
            });
        };
        if let Some(expected) = expect {
            Expect::Modified(expected).check(key, Some(&entry))?;
        }
        let revision = self.shared.delete(&mut state, entry.clone());
        Ok((entry, revision))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        self.keep();
        self.shared.state.read().check(after)?;
        Ok(watch::stream(&self.shared, prefix, after).boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.shared.state.write().forget_until(revision).map(drop)
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(self.shared.state.read().revision)
    }
}

#[cfg(test)]
mod tests;
