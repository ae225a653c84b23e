//! The last changes, in order: what watches deliver and what keeps past versions alive.

use std::collections::VecDeque;

use crate::store::{Change, Revision};

/// What a change costs besides its key and value.
const OVERHEAD: usize = 256;

/// The last changes, by revision. (In etcd one revision may be several changes.)
#[derive(Debug, Default)]
pub(super) struct History {
    changes: VecDeque<Change>,
    bytes: usize,
    /// The newest revision that was dropped; 0: none.
    compacted: Revision,
}

fn size(change: &Change) -> usize {
    let value = match change {
        Change::Put { entry, .. } => entry.value.len(),
        Change::Delete { .. } => 0,
    };
    cost(change.key().len(), value)
}

/// What a change with a key and a value of these sizes counts.
pub(super) fn cost(key: usize, value: usize) -> usize {
    OVERHEAD + key + value
}

impl History {
    /// An empty history, for a store that has forgotten what is up to `revision`.
    #[cfg(any(feature = "durable", feature = "etcd"))]
    pub(super) fn beginning_after(revision: Revision) -> Self {
        Self {
            compacted: revision,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, change: Change) {
        self.bytes += size(&change);
        self.changes.push_back(change);
    }

    /// Drops the oldest change.
    pub(super) fn pop(&mut self) -> Option<Change> {
        let change = self.changes.pop_front()?;
        self.bytes -= size(&change);
        self.compacted = change.revision();
        Some(change)
    }

    /// Whether more is kept than allowed. The last change is always kept.
    pub(super) fn exceeds(&self, events: usize, bytes: usize) -> bool {
        self.changes.len() > 1 && (self.changes.len() > events || self.bytes > bytes)
    }

    /// Watches may start after this revision, and reads be as of it.
    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The changes after `revision`; `None` when some of them were dropped.
    pub(super) fn after(&self, revision: Revision) -> Option<impl Iterator<Item = &Change>> {
        if revision < self.compacted {
            return None;
        }
        let from = self
            .changes
            .partition_point(|change| change.revision() <= revision);
        Some(self.changes.range(from..))
    }
}
