//! A memory store that shows what another store keeps: changes come decided, with their revisions.

use std::sync::Arc;

use parking_lot::RwLock;

use super::history::History;
#[cfg(feature = "durable")]
use super::index::Present;
use super::watch::Watchers;
use super::{MemoryConfig, MemoryStore, Shared, State, index};
#[cfg(feature = "durable")]
use crate::store::Entry;
use crate::store::{Change, Result, Revision};

#[cfg(feature = "durable")]
impl MemoryConfig {
    /// How many changes history keeps at most of those whose keys are of these sizes, the newest first.
    pub(in crate::store) fn kept(&self, keys: impl Iterator<Item = usize>) -> usize {
        let mut bytes = 0;
        let fits = keys.take(self.history_events).take_while(|key| {
            bytes += super::history::cost(*key);
            bytes <= self.history_bytes
        });
        fits.count().max(1)
    }
}

impl MemoryStore {
    /// An empty mirror of a store whose history begins after `compacted`.
    #[cfg(feature = "etcd")]
    pub(in crate::store) fn mirror(config: MemoryConfig, compacted: Revision) -> Self {
        let history = History::beginning_after(compacted).alone();
        Self::of(config, index::Index::default(), history)
    }

    /// A mirror of a store that holds this, and whose history begins after `compacted`.
    #[cfg(feature = "durable")]
    pub(in crate::store) fn filled(
        config: MemoryConfig,
        compacted: Revision,
        present: Present,
    ) -> Self {
        let history = History::beginning_after(compacted);
        Self::of(config, present.index(), history)
    }

    fn of(config: MemoryConfig, index: index::Index, history: History) -> Self {
        let state = State {
            revision: history.compacted(),
            index,
            history,
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

    /// The entry at `key`.
    #[cfg(feature = "durable")]
    pub(in crate::store) fn present(&self, key: &str) -> Option<Entry> {
        self.shared.state.read().index.get(key)
    }

    /// The newest revision.
    pub(in crate::store) fn newest(&self) -> Revision {
        self.shared.state.read().revision
    }

    /// History begins after this revision.
    #[cfg(feature = "durable")]
    pub(in crate::store) fn compacted(&self) -> Revision {
        self.shared.state.read().history.compacted()
    }

    /// Shows changes, which follow what is there, and tells what history has dropped for them.
    #[cfg(feature = "durable")]
    pub(in crate::store) fn apply(&self, changes: Vec<Change>) -> Vec<Change> {
        let mut forgotten = Vec::new();
        let mut state = self.shared.state.write();
        for change in changes {
            self.shared
                .apply(&mut state, change, &mut |change| forgotten.push(change));
        }
        forgotten
    }

    /// Tells watches of changes, and keeps their history only: what the keys are is kept elsewhere.
    #[cfg(feature = "etcd")]
    pub(in crate::store) fn tell(&self, changes: Vec<Change>) {
        let mut state = self.shared.state.write();
        for change in changes {
            // What a broken watch told already is told once.
            if change.revision() >= state.revision {
                self.shared.tell(&mut state, change, &mut |_| {});
            }
        }
    }

    /// Begins anew at `revision`: of what was before, nothing is known any more.
    #[cfg(feature = "etcd")]
    pub(in crate::store) fn restart(&self, revision: Revision) {
        {
            let mut state = self.shared.state.write();
            state.history = History::beginning_after(revision).alone();
            state.revision = revision;
        }
        self.shared.watchers.wake_all();
    }

    /// The newest revision is at least this: what it wrote may be gone.
    #[cfg(feature = "durable")]
    pub(in crate::store) fn catch_up(&self, revision: Revision) {
        let mut state = self.shared.state.write();
        state.revision = state.revision.max(revision);
    }

    /// Forgets what is before `revision`, and tells what that was.
    ///
    /// # Errors
    /// When the revision was forgotten already, or is still to come.
    pub(in crate::store) fn forget(&self, revision: Revision) -> Result<Vec<Change>> {
        self.shared.state.write().forget_until(revision)
    }
}
