//! The last changes, in order: what watches deliver and what keeps past versions alive.

use std::collections::VecDeque;

use crate::store::{Change, Revision};

/// What a change costs besides its key and values.
const OVERHEAD: usize = 256;

/// The last changes, by revision. (In etcd one revision may be several changes.)
#[derive(Debug, Default)]
pub(super) struct History {
    changes: VecDeque<Change>,
    bytes: usize,
    /// The newest revision that was dropped; 0: none.
    compacted: Revision,
    /// Whether nobody else holds the values: there is no index of what is present.
    alone: bool,
}

/// What a change counts by its key alone.
pub(super) fn cost(key: usize) -> usize {
    OVERHEAD + key
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

    /// As the only holder of all values.
    #[cfg(feature = "etcd")]
    pub(super) fn alone(self) -> Self {
        Self {
            alone: true,
            ..self
        }
    }

    /// What is kept for this change's sake. A value that is present is kept anyway, and counts once it is superseded.
    fn size(&self, change: &Change) -> usize {
        let (new, previous) = match change {
            Change::Put { entry, previous } => (entry.value.len(), previous.as_ref()),
            Change::Delete { previous, .. } => (0, Some(previous)),
        };
        let past = previous.map_or(0, |entry| entry.value.len());
        cost(change.key().len()) + past + if self.alone { new } else { 0 }
    }

    pub(super) fn push(&mut self, change: Change) {
        self.bytes += self.size(&change);
        self.changes.push_back(change);
    }

    /// Drops the oldest change.
    pub(super) fn pop(&mut self) -> Option<Change> {
        let change = self.changes.pop_front()?;
        self.bytes -= self.size(&change);
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
