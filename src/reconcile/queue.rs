//! A keyed work queue: each key is queued once, worked on by one worker at a time, delayed, and backed off when it fails
//! (`k8s.io/client-go/util/workqueue`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::activity::{Activity, Guard};
use super::{Action, Key};
use crate::clock::Clock;

/// How keys that fail are delayed: from `first`, doubling up to `most`, lengthened by up to a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub first: Duration,
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(5),
            most: Duration::from_secs(1000),
        }
    }
}

/// The queue. It holds at most one entry per key, so it is bounded by the number of keys.
#[derive(Debug)]
pub(crate) struct Queue {
    name: Arc<str>,
    backoff: Backoff,
    clock: Clock,
    activity: Activity,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    ready: VecDeque<Key>,
    /// Ready keys of housekeeping, taken when no other is ready.
    background: VecDeque<Key>,
    delayed: BTreeMap<(Instant, u64), Key>,
    sequence: u64,
    closed: bool,
    metrics: Metrics,
}

/// Counts of a queue since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Keys ready now.
    pub depth: usize,
    /// Keys delayed now.
    pub delayed: usize,
    /// Keys worked on now.
    pub running: usize,
    /// Keys that became ready.
    pub adds: u64,
    /// Keys that were done.
    pub done: u64,
    /// Keys that failed and were backed off.
    pub retries: u64,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    failures: u32,
    cause: Arc<str>,
    /// Present while the key is foreground work.
    guard: Option<Guard>,
}

#[derive(Debug)]
enum Place {
    Ready,
    Delayed(Instant, u64),
    /// A worker has it. What came meanwhile: once more at once, or at a time.
    Running {
        again: bool,
        later: Option<Instant>,
    },
}

/// How work on a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done(Action),
    Failed,
}

impl Queue {
    pub(crate) fn new(name: &str, backoff: Backoff, clock: Clock, activity: Activity) -> Self {
        let (state, changed) = (Mutex::default(), Notify::new());
        Self {
            name: name.into(),
            backoff,
            clock,
            activity,
            state,
            changed,
        }
    }

    /// Makes `key` ready, unless it is.
    pub(crate) fn add(&self, key: Key, cause: &str) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        self.ready(&mut state, key, cause.into(), false);
        drop(state);
        self.changed.notify_one();
    }

    /// Makes `key` ready after `delay`; an earlier time that is set already is kept.
    pub(crate) fn add_after(&self, key: Key, delay: Duration, cause: &str) {
        if delay.is_zero() {
            return self.add(key, cause);
        }
        let mut state = self.state.lock();
        if !state.closed {
            self.delay(&mut state, key, Instant::now() + delay, cause.into(), true);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn ready(&self, state: &mut State, key: Key, cause: Arc<str>, background: bool) {
        let guard = || {
            self.activity
                .begin(self.name.clone(), key.to_string(), cause.clone(), None)
        };
        match state.entries.get_mut(&key) {
            Some(Entry {
                place: Place::Running { again, .. },
                cause: last,
                ..
            }) => {
                *again = true;
                *last = cause;
                return;
            }
            Some(Entry {
                place: Place::Ready,
                cause: last,
                ..
            }) => {
                *last = cause;
                return;
            }
            Some(entry) => {
                if let Place::Delayed(due, sequence) = entry.place {
                    state.delayed.remove(&(due, sequence));
                }
                entry.guard = Some(guard());
                (entry.place, entry.cause) = (Place::Ready, cause);
            }
            None => {
                let entry = Entry {
                    place: Place::Ready,
                    failures: 0,
                    guard: Some(guard()),
                    cause,
                };
                state.entries.insert(key.clone(), entry);
            }
        }
        state.metrics.adds += 1;
        if background {
            state.background.push_back(key);
        } else {
            state.ready.push_back(key);
        }
    }

    fn delay(&self, state: &mut State, key: Key, due: Instant, cause: Arc<str>, foreground: bool) {
        let guard = || {
            foreground.then(|| {
                self.activity
                    .begin(self.name.clone(), key.to_string(), cause.clone(), Some(due))
            })
        };
        state.sequence += 1;
        let sequence = state.sequence;
        match state.entries.get_mut(&key) {
            Some(Entry {
                place: Place::Running { later, .. },
                ..
            }) => {
                *later = Some(later.map_or(due, |have| have.min(due)));
            }
            Some(Entry {
                place: Place::Ready,
                ..
            }) => (),
            Some(entry) => {
                let Place::Delayed(have, number) = entry.place else {
                    return;
                };
                if have <= due && entry.guard.is_some() {
                    return;
                }
                let due = have.min(due);
                state.delayed.remove(&(have, number));
                state.delayed.insert((due, sequence), key.clone());
                let guard = guard();
                (entry.place, entry.cause) = (Place::Delayed(due, sequence), cause);
                entry.guard = entry.guard.take().or(guard);
            }
            None => {
                let guard = guard();
                let entry = Entry {
                    place: Place::Delayed(due, sequence),
                    failures: 0,
                    guard,
                    cause,
                };
                state.delayed.insert((due, sequence), key.clone());
                state.entries.insert(key, entry);
            }
        }
    }

    /// Waits for the next key; `None` once the queue is closed.
    pub(crate) async fn next(&self) -> Option<Key> {
        loop {
            let changed = self.changed.notified();
            let due = match self.take() {
                Take::Key(key) => return Some(key),
                Take::Closed => return None,
                Take::Wait(due) => due,
            };
            match due {
                None => changed.await,
                Some(due) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(due) => {}
                    }
                }
            }
        }
    }

    fn take(&self) -> Take {
        let mut state = self.state.lock();
        if state.closed {
            return Take::Closed;
        }
        let now = Instant::now();
        while let Some(((due, _), _)) = state.delayed.first_key_value() {
            if *due > now {
                break;
            }
            let Some((_, key)) = state.delayed.pop_first() else {
                break;
            };
            let Some(entry) = state.entries.get_mut(&key) else {
                continue;
            };
            let background = entry.guard.is_none();
            let cause = entry.cause.clone();
            entry.guard =
                Some(
                    self.activity
                        .begin(self.name.clone(), key.to_string(), cause, None),
                );
            entry.place = Place::Ready;
            state.metrics.adds += 1;
            if background {
                state.background.push_back(key);
            } else {
                state.ready.push_back(key);
            }
        }
        let key = state
            .ready
            .pop_front()
            .or_else(|| state.background.pop_front());
        let Some(key) = key else {
            return Take::Wait(state.delayed.first_key_value().map(|((due, _), _)| *due));
        };
        if let Some(entry) = state.entries.get_mut(&key) {
            entry.place = Place::Running {
                again: false,
                later: None,
            };
        }
        state.metrics.running += 1;
        let more = !state.ready.is_empty() || !state.background.is_empty();
        drop(state);
        // One notice may stand for several keys: pass it on.
        if more {
            self.changed.notify_one();
        }
        Take::Key(key)
    }

    /// Ends work on a key.
    pub(crate) fn done(&self, key: Key, outcome: Outcome) {
        let mut state = self.state.lock();
        state.metrics.running = state.metrics.running.saturating_sub(1);
        state.metrics.done += 1;
        let Some(entry) = state.entries.remove(&key) else {
            return;
        };
        let Place::Running { again, later } = entry.place else {
            return;
        };
        let cause = entry.cause.clone();
        let now = Instant::now();
        let failures = if outcome == Outcome::Failed {
            entry.failures.saturating_add(1)
        } else {
            0
        };
        if state.closed {
            return;
        }
        if again {
            self.ready(&mut state, key.clone(), cause.clone(), false);
        }
        if let Some(later) = later {
            self.delay(&mut state, key.clone(), later, cause.clone(), true);
        }
        match outcome {
            Outcome::Failed => {
                state.metrics.retries += 1;
                let due = now + self.pause(failures);
                self.delay(&mut state, key.clone(), due, cause, true);
            }
            Outcome::Done(Action::Done) => {}
            Outcome::Done(Action::After(pause)) if pause.is_zero() => {
                self.ready(&mut state, key.clone(), cause, false);
            }
            Outcome::Done(Action::After(pause)) => {
                self.delay(&mut state, key.clone(), now + pause, cause, true);
            }
            Outcome::Done(Action::Background(pause)) => {
                self.delay(&mut state, key.clone(), now + pause, cause, false);
            }
        }
        if let Some(entry) = state.entries.get_mut(&key) {
            entry.failures = failures;
        }
        drop(state);
        // Only now may the finished work stop counting: what follows it counts already.
        drop(entry.guard);
        self.changed.notify_one();
    }

    fn pause(&self, failures: u32) -> Duration {
        let doubled = 1_u32
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let pause = self
            .backoff
            .first
            .checked_mul(doubled)
            .unwrap_or(self.backoff.most);
        self.clock.jitter(pause.min(self.backoff.most), 0.1)
    }

    /// Hands out no more keys.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.ready.clear();
        state.background.clear();
        state.delayed.clear();
        state
            .entries
            .retain(|_, entry| matches!(entry.place, Place::Running { .. }));
        drop(state);
        self.changed.notify_waiters();
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let state = self.state.lock();
        let depth = state.ready.len() + state.background.len();
        Metrics {
            depth,
            delayed: state.delayed.len(),
            ..state.metrics
        }
    }
}

enum Take {
    Key(Key),
    Wait(Option<Instant>),
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(
            "test",
            Backoff::default(),
            Clock::seeded(1),
            Activity::default(),
        )
    }

    fn key(name: &str) -> Key {
        Key::cluster(name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once_and_again_while_it_runs() {
        let queue = queue();
        queue.add(key("a"), "new");
        queue.add(key("b"), "new");
        queue.add(key("a"), "changed");
        assert_eq!(queue.next().await, Some(key("a")));
        assert_eq!(queue.next().await, Some(key("b")));
        queue.add(key("a"), "changed");
        assert_eq!(queue.metrics().depth, 0);
        queue.done(key("a"), Outcome::Done(Action::Done));
        assert_eq!(queue.next().await, Some(key("a")));
        queue.done(key("a"), Outcome::Done(Action::Done));
        queue.done(key("b"), Outcome::Done(Action::Done));
        assert!(queue.activity.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_success_forgets_them() {
        let queue = queue();
        queue.add(key("a"), "new");
        let start = Instant::now();
        for _ in 0..4 {
            let taken = queue.next().await.unwrap();
            queue.done(taken, Outcome::Failed);
        }
        let taken = queue.next().await.unwrap();
        // 5 + 10 + 20 + 40 ms and at most a tenth more, each rounded up to a millisecond.
        let passed = start.elapsed().as_millis();
        assert!((75..=87).contains(&passed), "{passed}");
        queue.done(taken, Outcome::Done(Action::Done));
        assert!(queue.state.lock().entries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_counts_and_add_overrides_both() {
        let queue = queue();
        queue.add_after(key("a"), Duration::from_secs(60), "later");
        queue.add_after(key("a"), Duration::from_secs(10), "sooner");
        queue.add_after(key("a"), Duration::from_secs(30), "later");
        let start = Instant::now();
        let taken = queue.next().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 10);
        queue.done(taken, Outcome::Done(Action::After(Duration::from_secs(60))));
        queue.add(key("a"), "now");
        queue.next().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn background_delays_are_no_activity() {
        let queue = queue();
        queue.add(key("a"), "new");
        let taken = queue.next().await.unwrap();
        assert!(!queue.activity.is_empty());
        queue.done(
            taken,
            Outcome::Done(Action::Background(Duration::from_secs(5))),
        );
        assert!(queue.activity.is_empty());
        queue.next().await.unwrap();
        assert!(!queue.activity.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_the_workers() {
        let queue = Arc::new(queue());
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert_eq!(worker.await.unwrap(), None);
        queue.add(key("a"), "late");
        assert_eq!(queue.metrics().depth, 0);
    }
}
