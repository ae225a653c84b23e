//! Events in order, kept for as long as there is room; read by cursor.
use super::event::Event;
use crate::signal::{Signal, Waiter};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// How a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Events follow.
    Open,
    /// Events were missed: readers must list again.
    Gap,
    /// The resource is no longer served, or the server stops.
    Ended,
}

/// Why a reader gets nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The reader was so slow that events it had not read were dropped.
    Slow,
    /// Events were missed.
    Gap,
    /// Nothing follows.
    Ended,
}

/// A bounded ring of events with any number of readers, none of which is ever waited for.
#[derive(Debug)]
pub(crate) struct Channel {
    ring: Mutex<Ring>,
    wake: Signal<()>,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number of the first event that is kept.
    first: u64,
    capacity: usize,
    standing: Standing,
}

impl Channel {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ring: Mutex::new(Ring {
                events: VecDeque::new(),
                first: 0,
                capacity: capacity.max(1),
                standing: Standing::Open,
            }),
            wake: Signal::new(()),
        }
    }

    /// Adds an event; the revision of the event that had to go for it, if any.
    pub(crate) fn push(&self, event: Arc<Event>) -> Option<u64> {
        let dropped = {
            let mut ring = self.ring.lock();
            let dropped = if ring.events.len() >= ring.capacity {
                ring.first += 1;
                ring.events.pop_front().map(|event| event.revision)
            } else {
                None
            };
            ring.events.push_back(event);
            dropped
        };
        self.wake.set(());
        dropped
    }

    /// Ends the channel for its readers, once they have read what is kept.
    pub(crate) fn close(&self, standing: Standing) {
        self.ring.lock().standing = standing;
        self.wake.set(());
    }

    /// The events after `revision` that are kept.
    pub(crate) fn after(&self, revision: u64) -> Vec<Arc<Event>> {
        let ring = self.ring.lock();
        let from = ring
            .events
            .partition_point(|event| event.revision <= revision);
        ring.events.iter().skip(from).cloned().collect()
    }

    /// A reader of what comes from now on.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        let ring = self.ring.lock();
        Reader {
            next: ring.first + ring.events.len() as u64,
            wake: self.wake.waiter(),
            channel: self.clone(),
        }
    }
}

/// Reads a channel by cursor.
#[derive(Debug)]
pub(crate) struct Reader {
    channel: Arc<Channel>,
    next: u64,
    wake: Waiter<()>,
}

impl Reader {
    /// Whether it reads `channel`.
    pub(crate) fn reads(&self, channel: &Arc<Channel>) -> bool {
        Arc::ptr_eq(&self.channel, channel)
    }

    /// Up to `limit` further events without waiting; none when there are none yet.
    pub(crate) fn take(
        &mut self,
        limit: usize,
        out: &mut VecDeque<Arc<Event>>,
    ) -> Result<(), Stop> {
        // Seen before looking, so that whatever is pushed after the look wakes the reader.
        self.wake.look();
        let ring = self.channel.ring.lock();
        let Some(skip) = self.next.checked_sub(ring.first) else {
            return Err(Stop::Slow);
        };
        let before = out.len();
        out.extend(
            ring.events
                .iter()
                .skip(usize::try_from(skip).unwrap_or(usize::MAX))
                .take(limit)
                .cloned(),
        );
        self.next += (out.len() - before) as u64;
        match ring.standing {
            _ if out.len() > before => Ok(()),
            Standing::Open => Ok(()),
            Standing::Gap => Err(Stop::Gap),
            Standing::Ended => Err(Stop::Ended),
        }
    }

    /// Waits until there may be more to take.
    pub(crate) async fn changed(&mut self) {
        self.wake.changed().await;
    }
}
