//! What is under way, so that a harness can tell when a cluster has settled.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Work under way or scheduled, by component and key. Clones share it.
///
/// Only work that will change something belongs here; heartbeats and resyncs do not, or nothing would ever settle.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    begun: BTreeMap<u64, Work>,
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// Who.
    pub component: Arc<str>,
    /// On what.
    pub key: Arc<str>,
    /// Why, last.
    pub cause: Arc<str>,
    /// When it is due; `None`: now.
    pub due: Option<Instant>,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.component, self.key, self.cause)?;
        match self.due {
            Some(due) => write!(
                f,
                ", due in {:?}",
                due.saturating_duration_since(Instant::now())
            ),
            None => Ok(()),
        }
    }
}

/// Work ends when this is dropped.
#[derive(Debug)]
pub struct Guard {
    inner: Arc<Inner>,
    id: u64,
}

impl Activity {
    /// Notes that `component` works on `key` now (or will at `due`), until the guard is dropped.
    #[must_use]
    pub fn begin(
        &self,
        component: impl Into<Arc<str>>,
        key: impl Into<Arc<str>>,
        cause: impl Into<Arc<str>>,
        due: Option<Instant>,
    ) -> Guard {
        let work = Work {
            component: component.into(),
            key: key.into(),
            cause: cause.into(),
            due,
        };
        let mut state = self.inner.state.lock();
        let id = state.next;
        state.next += 1;
        state.begun.insert(id, work);
        Guard {
            inner: self.inner.clone(),
            id,
        }
    }

    /// Everything under way, in the order in which it began.
    #[must_use]
    pub fn pending(&self) -> Vec<Work> {
        self.inner.state.lock().begun.values().cloned().collect()
    }

    /// How much is under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.state.lock().begun.len()
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pieces of work have begun so far; it grows as long as anything happens.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.inner.state.lock().next
    }

    /// Waits until nothing is under way.
    pub async fn idle(&self) {
        loop {
            let idle = self.inner.idle.notified();
            if self.is_empty() {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        state.begun.remove(&self.id);
        if state.begun.is_empty() {
            self.inner.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_idle_when_all_guards_are_dropped() {
        let activity = Activity::default();
        let (one, two) = (
            activity.begin("a", "x", "new", None),
            activity.begin("b", "y", "old", None),
        );
        let waiting = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle().await }
        });
        drop(one);
        assert_eq!(activity.pending()[0].to_string(), "b y (old)");
        drop(two);
        waiting.await.unwrap();
        assert_eq!(activity.begun(), 2);
    }
}
