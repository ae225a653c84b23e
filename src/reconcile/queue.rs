//! A keyed work queue: each key is queued once, worked on by one worker at a time, delayed, and backed off when it fails
//! (`k8s.io/client-go/util/workqueue`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::activity::{Activity, Guard};
use super::{Action, Key};
use crate::clock::Clock;
use crate::metrics::Histogram;

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
    /// How long keys were ready before a worker took them.
    pub(crate) waited: Histogram,
    /// How long they were worked on.
    pub(crate) worked: Histogram,
    /// The same in the buckets of reconciles.
    pub(crate) reconciled: Histogram,
}

/// How urgent a key is that some event woke.
pub const EVENT: i32 = 0;
/// How urgent a key is that merely is there: found when the controller started, or looked after now and then.
pub const HOUSEKEEPING: i32 = -100;

/// The bounds of controller-runtime's work queues: ten nanoseconds to a thousand seconds.
const QUEUE_BOUNDS: &[f64] = &[
    1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3,
];
/// The bounds of controller-runtime's reconciles.
const RECONCILE_BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9,
    1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0,
    25.0, 30.0, 40.0, 50.0, 60.0,
];

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    /// Ready keys: the most urgent first, then in the order in which they became ready.
    ready: BTreeMap<(Reverse<i32>, u64), Key>,
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
    /// Keys that were done and asked to be looked at again.
    pub requeues: u64,
    /// Reconciles that panicked.
    pub panics: u64,
    /// For how long the keys worked on now have been, in all.
    pub unfinished: Duration,
    /// For how long the one of them has been that was begun first.
    pub longest: Duration,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    priority: i32,
    failures: u32,
    cause: Arc<str>,
    /// Present while the key is foreground work.
    guard: Option<Guard>,
}

#[derive(Debug)]
enum Place {
    /// Since when, and its number among the ready keys.
    Ready(Instant, u64),
    Delayed(Instant, u64),
    /// A worker has it. What came meanwhile: once more at once, how urgently, or at a time.
    Running {
        since: Instant,
        again: Option<i32>,
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
            waited: Histogram::new(QUEUE_BOUNDS),
            worked: Histogram::new(QUEUE_BOUNDS),
            reconciled: Histogram::new(RECONCILE_BOUNDS),
        }
    }

    /// Makes `key` ready, unless it is.
    #[cfg(test)]
    pub(crate) fn add(&self, key: Key, cause: &str) {
        self.add_at(key, EVENT, cause);
    }

    /// Makes `key` ready with this priority; if it is ready, the higher priority counts.
    pub(crate) fn add_at(&self, key: Key, priority: i32, cause: &str) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        self.ready(&mut state, key, priority, cause.into());
        drop(state);
        self.changed.notify_one();
    }

    /// Makes `key` ready after `delay`; an earlier time that is set already is kept.
    pub(crate) fn add_after(&self, key: Key, delay: Duration, priority: i32, cause: &str) {
        if delay.is_zero() {
            return self.add_at(key, priority, cause);
        }
        let mut state = self.state.lock();
        if !state.closed {
            let due = after(Instant::now(), delay);
            self.delay(&mut state, key, due, priority, cause.into(), true);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn ready(&self, state: &mut State, key: Key, priority: i32, cause: Arc<str>) {
        let guard = || {
            self.activity
                .begin(self.name.clone(), key.to_string(), cause.clone(), None)
        };
        let now = Instant::now();
        let place = Place::Ready(now, state.sequence + 1);
        let priority = match state.entries.get_mut(&key) {
            Some(Entry {
                place: Place::Running { again, .. },
                cause: last,
                ..
            }) => {
                *again = Some(again.map_or(priority, |have| have.max(priority)));
                *last = cause;
                return;
            }
            Some(Entry {
                place: Place::Ready(_, number),
                cause: last,
                priority: have,
                ..
            }) => {
                *last = cause;
                if *have < priority {
                    // It moves up, and keeps its place among its new equals.
                    state.ready.remove(&(Reverse(*have), *number));
                    state.ready.insert((Reverse(priority), *number), key);
                    *have = priority;
                }
                return;
            }
            Some(entry) => {
                if let Place::Delayed(due, sequence) = entry.place {
                    state.delayed.remove(&(due, sequence));
                }
                entry.guard = Some(guard());
                // What it was delayed with was as urgent then as it is now.
                entry.priority = priority;
                (entry.place, entry.cause) = (place, cause);
                priority
            }
            None => {
                let entry = Entry {
                    place,
                    priority,
                    failures: 0,
                    guard: Some(guard()),
                    cause,
                };
                state.entries.insert(key.clone(), entry);
                priority
            }
        };
        state.sequence += 1;
        state.metrics.adds += 1;
        state.ready.insert((Reverse(priority), state.sequence), key);
    }

    fn delay(
        &self,
        state: &mut State,
        key: Key,
        due: Instant,
        priority: i32,
        cause: Arc<str>,
        foreground: bool,
    ) {
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
                place: Place::Ready(..),
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
                entry.priority = entry.priority.max(priority);
                entry.guard = entry.guard.take().or(guard);
            }
            None => {
                let guard = guard();
                let entry = Entry {
                    place: Place::Delayed(due, sequence),
                    priority,
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
        while let Some((&(due, _), _)) = state.delayed.first_key_value() {
            if due > now {
                break;
            }
            let Some((_, key)) = state.delayed.pop_first() else {
                break;
            };
            let number = state.sequence + 1;
            let Some(entry) = state.entries.get_mut(&key) else {
                continue;
            };
            let cause = entry.cause.clone();
            entry.guard =
                Some(
                    self.activity
                        .begin(self.name.clone(), key.to_string(), cause, None),
                );
            // It has been ready since it was due, however late that is noticed.
            entry.place = Place::Ready(due, number);
            let place = (Reverse(entry.priority), number);
            state.sequence = number;
            state.metrics.adds += 1;
            state.ready.insert(place, key);
        }
        let Some((_, key)) = state.ready.pop_first() else {
            return Take::Wait(state.delayed.first_key_value().map(|((due, _), _)| *due));
        };
        if let Some(entry) = state.entries.get_mut(&key) {
            if let Place::Ready(since, _) = entry.place {
                self.waited.observe(now.saturating_duration_since(since));
            }
            entry.place = Place::Running {
                since: now,
                again: None,
                later: None,
            };
        }
        state.metrics.running += 1;
        let more = !state.ready.is_empty();
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
        let Place::Running {
            since,
            again,
            later,
        } = entry.place
        else {
            return;
        };
        let cause = entry.cause.clone();
        let now = Instant::now();
        for histogram in [&self.worked, &self.reconciled] {
            histogram.observe(now - since);
        }
        let failures = if outcome == Outcome::Failed {
            entry.failures.saturating_add(1)
        } else {
            0
        };
        if state.closed {
            return;
        }
        let priority = entry.priority;
        if let Some(again) = again {
            self.ready(&mut state, key.clone(), again, cause.clone());
        }
        if let Some(later) = later {
            self.delay(&mut state, key.clone(), later, EVENT, cause.clone(), true);
        }
        if matches!(
            outcome,
            Outcome::Done(Action::After(_) | Action::Background(_))
        ) {
            state.metrics.requeues += 1;
        }
        match outcome {
            Outcome::Failed => {
                state.metrics.retries += 1;
                let due = after(now, self.pause(failures));
                self.delay(&mut state, key.clone(), due, priority, cause, true);
            }
            Outcome::Done(Action::Done) => {}
            Outcome::Done(Action::After(pause)) if pause.is_zero() => {
                self.ready(&mut state, key.clone(), priority, cause);
            }
            Outcome::Done(Action::After(pause)) => {
                let due = after(now, pause);
                self.delay(&mut state, key.clone(), due, priority, cause, true);
            }
            Outcome::Done(Action::Background(pause)) => {
                let due = after(now, pause);
                self.delay(&mut state, key.clone(), due, HOUSEKEEPING, cause, false);
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
        state.delayed.clear();
        state
            .entries
            .retain(|_, entry| matches!(entry.place, Place::Running { .. }));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Counts a reconcile that panicked.
    pub(crate) fn panicked(&self) {
        self.state.lock().metrics.panics += 1;
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let state = self.state.lock();
        let now = Instant::now();
        let running = state
            .entries
            .values()
            .filter_map(|entry| match entry.place {
                Place::Running { since, .. } => Some(now.saturating_duration_since(since)),
                _ => None,
            });
        let (unfinished, longest) = running
            .fold((Duration::ZERO, Duration::ZERO), |(sum, longest), age| {
                (sum + age, longest.max(age))
            });
        Metrics {
            depth: state.ready.len(),
            delayed: state.delayed.len(),
            unfinished,
            longest,
            ..state.metrics
        }
    }

    /// How many keys are ready, by priority.
    pub(crate) fn depths(&self) -> BTreeMap<i32, u64> {
        let mut depths = BTreeMap::new();
        for (Reverse(priority), _) in self.state.lock().ready.keys() {
            *depths.entry(*priority).or_default() += 1;
        }
        depths
    }
}

enum Take {
    Key(Key),
    Wait(Option<Instant>),
    Closed,
}

/// When a pause is over. One that is too long to be told ends in thirty years, as a sleep of tokio's does.
fn after(now: Instant, pause: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    now.checked_add(pause).unwrap_or_else(|| now + FAR)
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
    async fn a_pause_may_be_as_long_as_one_likes() {
        let queue = queue();
        queue.add_after(key("a"), Duration::MAX, EVENT, "much later");
        queue.add(key("a"), "new");
        assert_eq!(queue.next().await, Some(key("a")));
        let action = Action::After(Duration::MAX);
        queue.done(key("a"), Outcome::Done(action));
        queue.add(key("a"), "new");
        assert_eq!(queue.next().await, Some(key("a")));
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
        queue.add_after(key("a"), Duration::from_secs(60), EVENT, "later");
        queue.add_after(key("a"), Duration::from_secs(10), EVENT, "sooner");
        queue.add_after(key("a"), Duration::from_secs(30), EVENT, "later");
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

    #[tokio::test(start_paused = true)]
    async fn urgent_keys_go_first_and_others_move_up() {
        let queue = queue();
        for (name, priority) in [
            ("a", HOUSEKEEPING),
            ("b", HOUSEKEEPING),
            ("c", EVENT),
            ("d", 10),
        ] {
            queue.add_at(key(name), priority, "new");
        }
        assert_eq!(
            queue.depths(),
            BTreeMap::from([(HOUSEKEEPING, 2), (EVENT, 1), (10, 1)])
        );
        // An event makes what was found at the start as urgent as any other event, in its turn.
        queue.add(key("b"), "changed");
        // What is urgent already is not put back.
        queue.add_at(key("d"), HOUSEKEEPING, "looked after");
        let mut order = Vec::new();
        for _ in 0..4 {
            let taken = queue.next().await.unwrap();
            order.push(taken.name.to_string());
            queue.done(taken, Outcome::Done(Action::Done));
        }
        assert_eq!(order, ["d", "b", "c", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn housekeeping_waits_for_events() {
        let queue = queue();
        queue.add(key("a"), "new");
        let taken = queue.next().await.unwrap();
        let again = Action::Background(Duration::from_secs(5));
        queue.done(taken, Outcome::Done(again));
        tokio::time::sleep(Duration::from_secs(10)).await;
        queue.add(key("b"), "new");
        assert_eq!(queue.next().await, Some(key("b")));
        // A key that is urgent while it runs is urgent afterwards.
        assert_eq!(queue.next().await, Some(key("a")));
        queue.add_at(key("a"), EVENT, "changed");
        queue.add_at(key("c"), HOUSEKEEPING, "found");
        queue.done(key("a"), Outcome::Done(Action::Done));
        assert_eq!(queue.next().await, Some(key("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn times_are_counted() {
        let queue = queue();
        queue.add(key("a"), "new");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let taken = queue.next().await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let metrics = queue.metrics();
        assert_eq!(
            (metrics.running, metrics.unfinished, metrics.longest),
            (1, Duration::from_secs(3), Duration::from_secs(3))
        );
        queue.done(taken, Outcome::Failed);
        assert_eq!(
            (queue.waited.count(), queue.waited.sum()),
            (1, Duration::from_secs(2))
        );
        assert_eq!(
            (queue.worked.count(), queue.worked.sum()),
            (1, Duration::from_secs(3))
        );
        let metrics = queue.metrics();
        assert_eq!(
            (metrics.running, metrics.retries, metrics.delayed),
            (0, 1, 1)
        );
    }
}
