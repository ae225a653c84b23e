//! What a scheduler counts, under the names that kube-scheduler has for it.
//!
//! One [`Metrics`] belongs to one scheduler; clones share it. Counting is cheap, and all durations are of tokio's clock.

mod evaluations;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub(super) use self::evaluations::{Asked, Evaluations};
use crate::metrics::Histogram;

/// 1 ms to 16 s, doubling.
const ATTEMPT: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192, 16.384,
];
/// 0.1 ms to 0.2 s, doubling.
const POINT: &[f64] = &[
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048,
];
/// 10 ms to 1.5 h, doubling.
const WAIT: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68, 655.36, 1310.72, 2621.44, 5242.88,
];
/// 10 µs to 22 ms, by halves.
const PLUGIN: &[f64] = &[
    0.000_01,
    0.000_015,
    0.000_022_5,
    0.000_033_75,
    0.000_050_625,
    0.000_075_937_5,
    0.000_113_906_25,
    0.000_170_859_375,
    0.000_256_289_062_5,
    0.000_384_433_593_75,
    0.000_576_650_390_625,
    0.000_864_975_585_937_5,
    0.001_297_463_378_906_25,
    0.001_946_195_068_359_375,
    0.002_919_292_602_539_062_5,
    0.004_378_938_903_808_594,
    0.006_568_408_355_712_891,
    0.009_852_612_533_569_336,
    0.014_778_918_800_354_004,
    0.022_168_378_200_531_006,
];
/// Of so many attempts the plugins of one are timed.
const SAMPLED: u64 = 10;
const VICTIMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
const ATTEMPTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0];

/// How an attempt to schedule a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The pod is bound.
    Scheduled,
    /// It fits nowhere.
    Unschedulable,
    /// Something failed.
    Error,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

/// The parts of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueuePart {
    /// To be scheduled now.
    Active,
    /// After a backoff.
    Backoff,
    /// When something happens.
    Unschedulable,
    /// When a plugin lets them in.
    Gated,
}

impl QueuePart {
    const ALL: [Self; 4] = [
        Self::Active,
        Self::Backoff,
        Self::Unschedulable,
        Self::Gated,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backoff => "backoff",
            Self::Unschedulable => "unschedulable",
            Self::Gated => "gated",
        }
    }
}

/// What the scheduler holds in its cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// Nodes.
    pub nodes: usize,
    /// Pods that are on nodes.
    pub pods: usize,
    /// Of these, pods whose binding is on its way.
    pub assumed: usize,
}

/// Counts and distributions of one scheduler.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    attempts: Family<(Outcome, Arc<str>)>,
    algorithm: Histogram,
    points: Family<(&'static str, &'static str, Arc<str>)>,
    sli: Family<u32>,
    tries: Histogram,
    /// Pods that were bound in the attempt after nothing had woken them for long.
    flushed: AtomicU64,
    victims: Histogram,
    preemptions: AtomicU64,
    /// How long victims were asked to leave, by whether that went well.
    evictions: Family<&'static str>,
    permits: Family<&'static str>,
    plugins: Family<(String, &'static str, &'static str)>,
    hints: Family<(String, String, &'static str)>,
    handled: Family<String>,
    gangs: Family<(Outcome, Arc<str>)>,
    gang_algorithm: Histogram,
    evaluations: Mutex<BTreeMap<Arc<str>, Arc<Evaluations>>>,
    attempts_begun: AtomicU64,
    incoming: Mutex<BTreeMap<(QueuePart, String), u64>>,
    pending: [AtomicU64; 4],
    unschedulable: Mutex<BTreeMap<(String, Arc<str>), u64>>,
    cache: Mutex<CacheSize>,
    bindings: AtomicU64,
}

/// Distributions by their labels.
struct Family<K> {
    bounds: &'static [f64],
    all: Mutex<BTreeMap<K, Arc<Histogram>>>,
}

impl<K: Ord> Family<K> {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            all: Mutex::default(),
        }
    }

    fn observe(&self, key: K, duration: Duration) {
        self.of(key).observe(duration);
    }

    fn of(&self, key: K) -> Arc<Histogram> {
        let mut all = self.all.lock();
        let entry = all.entry(key);
        entry
            .or_insert_with(|| Arc::new(Histogram::new(self.bounds)))
            .clone()
    }

    fn each(&self, mut show: impl FnMut(&K, &Histogram)) {
        for (key, histogram) in self.all.lock().iter() {
            show(key, histogram);
        }
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            attempts: Family::new(ATTEMPT),
            algorithm: Histogram::new(ATTEMPT),
            points: Family::new(POINT),
            sli: Family::new(WAIT),
            tries: Histogram::new(ATTEMPTS),
            flushed: AtomicU64::new(0),
            victims: Histogram::new(VICTIMS),
            preemptions: AtomicU64::new(0),
            evictions: Family::new(WAIT),
            permits: Family::new(ATTEMPT),
            plugins: Family::new(PLUGIN),
            hints: Family::new(PLUGIN),
            handled: Family::new(POINT),
            gangs: Family::new(ATTEMPT),
            gang_algorithm: Histogram::new(ATTEMPT),
            evaluations: Mutex::default(),
            attempts_begun: AtomicU64::new(0),
            incoming: Mutex::default(),
            pending: Default::default(),
            unschedulable: Mutex::default(),
            cache: Mutex::default(),
            bindings: AtomicU64::new(0),
        }
    }
}

/// A plain number in the place of seconds.
fn number(count: usize) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(u64::MAX))
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Metrics {
    /// An attempt to schedule a pod of `profile` ended, this long after it began (decision and binding).
    pub fn attempt(&self, outcome: Outcome, profile: &Arc<str>, took: Duration) {
        self.0.attempts.observe((outcome, profile.clone()), took);
    }

    /// A decision took this long.
    pub fn decided(&self, took: Duration) {
        self.0.algorithm.observe(took);
    }

    /// All plugins of an extension point (`PreFilter`, …) ran this long, with this code as the result.
    pub fn extension_point(
        &self,
        point: &'static str,
        status: &'static str,
        profile: &Arc<str>,
        took: Duration,
    ) {
        let key = (point, status, profile.clone());
        self.0.points.observe(key, took);
    }

    /// One plugin ran this long at an extension point, with this code as the result.
    pub fn plugin(&self, plugin: &str, point: &'static str, status: &'static str, took: Duration) {
        let key = (plugin.to_owned(), point, status);
        self.0.plugins.observe(key, took);
    }

    /// Runs a plugin at an extension point, and counts how long that took where plugins are timed.
    pub(super) fn timed<T>(
        metrics: Option<&Self>,
        (plugin, point): (&str, &'static str),
        run: impl FnOnce() -> T,
        status: impl FnOnce(&T) -> &'static str,
    ) -> T {
        let Some(metrics) = metrics else {
            return run();
        };
        let since = Instant::now();
        let result = run();
        metrics.plugin(plugin, point, status(&result), since.elapsed());
        result
    }

    /// For every tenth attempt: itself, to time the attempt's plugins one by one. That of all would cost too much.
    #[must_use]
    pub fn sampled(&self) -> Option<Self> {
        let attempt = self.0.attempts_begun.fetch_add(1, Ordering::Relaxed);
        attempt.is_multiple_of(SAMPLED).then(|| self.clone())
    }

    /// A pod is bound after this many attempts, this long after it came into the queue.
    pub fn bound(&self, attempts: u32, since_queued: Duration) {
        // More than 15 are one label.
        self.0.sli.observe(attempts.min(16), since_queued);
        self.0.tries.observe(number(attempts as usize));
    }

    /// A pod was bound in the attempt that it got because nothing had woken it for long: some event may have been overlooked.
    pub fn bound_after_flush(&self) {
        self.0.flushed.fetch_add(1, Ordering::Relaxed);
    }

    /// The queueing hints of a plugin on an event took this long together; so many pods it queues, and so many it skips.
    pub fn hinted(&self, plugin: &str, event: &str, (queued, skipped): (u64, u64), took: Duration) {
        let each = took.as_nanos() / u128::from((queued + skipped).max(1));
        for (hint, pods) in [("Queue", queued), ("QueueSkip", skipped)] {
            if pods > 0 {
                let total = u64::try_from(each * u128::from(pods)).unwrap_or(u64::MAX);
                let key = (plugin.to_owned(), event.to_owned(), hint);
                let histogram = self.0.hints.of(key);
                histogram.observe_all(pods, Duration::from_nanos(total));
            }
        }
    }

    /// An event was handled in this time.
    pub fn handled(&self, event: String, took: Duration) {
        self.0.handled.observe(event, took);
    }

    /// The decision about a gang took this long.
    pub fn gang_decided(&self, took: Duration) {
        self.0.gang_algorithm.observe(took);
    }

    /// An attempt to schedule a gang ended, this long after it began.
    pub fn gang_attempt(&self, outcome: Outcome, profile: &Arc<str>, took: Duration) {
        self.0.gangs.observe((outcome, profile.clone()), took);
    }

    /// What counts how often the plugins of a profile are asked; made the first time.
    pub(super) fn evaluations(
        &self,
        profile: &Arc<str>,
        make: impl FnOnce() -> Evaluations,
    ) -> Arc<Evaluations> {
        let mut all = self.0.evaluations.lock();
        let entry = all.entry(profile.clone());
        entry.or_insert_with(|| Arc::new(make())).clone()
    }

    /// Pods were chosen to make room.
    pub fn preempted(&self, victims: usize) {
        self.0.victims.observe(number(victims));
    }

    /// Victims were asked to leave, which took this long; `is_ok`: none of the requests failed.
    pub fn evicted(&self, is_ok: bool, took: Duration) {
        let result = if is_ok { "success" } else { "error" };
        self.0.evictions.observe(result, took);
    }

    /// Preemption was tried.
    pub fn preemption_attempted(&self) {
        self.0.preemptions.fetch_add(1, Ordering::Relaxed);
    }

    /// A pod waited at permit; `result` is the code of how that ended.
    pub fn permitted(&self, result: &'static str, waited: Duration) {
        self.0.permits.observe(result, waited);
    }

    /// A pod came into a part of the queue, because of this.
    pub fn incoming(&self, part: QueuePart, event: &str) {
        let mut incoming = self.0.incoming.lock();
        // Most often the event is known; then no name is copied.
        if let Some((_, count)) = incoming
            .iter_mut()
            .find(|((known, name), _)| *known == part && name == event)
        {
            *count += 1;
        } else {
            incoming.insert((part, event.to_owned()), 1);
        }
    }

    /// This many pods are in a part of the queue.
    pub fn pending(&self, part: QueuePart, pods: usize) {
        if let Some(gauge) = self.0.pending.get(part as usize) {
            gauge.store(whole(pods), Ordering::Relaxed);
        }
    }

    /// A plugin keeps one more pod of `profile` from being scheduled.
    pub fn rejected(&self, plugin: &str, profile: &Arc<str>) {
        let mut all = self.0.unschedulable.lock();
        *all.entry((plugin.to_owned(), profile.clone())).or_default() += 1;
    }

    /// It no longer does.
    pub fn released(&self, plugin: &str, profile: &Arc<str>) {
        let mut all = self.0.unschedulable.lock();
        if let Some(count) = all.get_mut(&(plugin.to_owned(), profile.clone())) {
            *count = count.saturating_sub(1);
        }
    }

    /// The cache holds this much.
    pub fn cache(&self, size: CacheSize) {
        *self.0.cache.lock() = size;
    }

    /// This many bindings are under way.
    pub fn bindings(&self, bindings: usize) {
        self.0.bindings.store(whole(bindings), Ordering::Relaxed);
    }

    /// How many attempts ended so, over all profiles.
    #[must_use]
    pub fn attempts(&self, outcome: Outcome) -> u64 {
        let mut sum = 0;
        self.0.attempts.each(|(of, _), histogram| {
            if *of == outcome {
                sum += histogram.count();
            }
        });
        sum
    }

    /// How many pods are in a part of the queue.
    #[must_use]
    pub fn pending_pods(&self, part: QueuePart) -> u64 {
        let gauge = self.0.pending.get(part as usize);
        gauge.map_or(0, |gauge| gauge.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("scheduled", &self.attempts(Outcome::Scheduled))
            .field("unschedulable", &self.attempts(Outcome::Unschedulable))
            .field("error", &self.attempts(Outcome::Error))
            .finish_non_exhaustive()
    }
}
