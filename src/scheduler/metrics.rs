//! What a scheduler counts, under the names that kube-scheduler has for it.
//!
//! One [`Metrics`] belongs to one scheduler; clones share it. Counting is cheap, and all durations are of tokio's clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::metrics::{Histogram, Kind, Labels, Text};

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
    victims: Histogram,
    preemptions: AtomicU64,
    permits: Family<&'static str>,
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
        let histogram = {
            let mut all = self.all.lock();
            let entry = all.entry(key);
            entry
                .or_insert_with(|| Arc::new(Histogram::new(self.bounds)))
                .clone()
        };
        histogram.observe(duration);
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
            victims: Histogram::new(VICTIMS),
            preemptions: AtomicU64::new(0),
            permits: Family::new(ATTEMPT),
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

    /// A pod is bound after this many attempts, this long after it came into the queue.
    pub fn bound(&self, attempts: u32, since_queued: Duration) {
        // More than 15 are one label.
        self.0.sli.observe(attempts.min(16), since_queued);
        self.0.tries.observe(number(attempts as usize));
    }

    /// Pods were chosen to make room.
    pub fn preempted(&self, victims: usize) {
        self.0.victims.observe(number(victims));
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

    /// Everything as Prometheus text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Text::default();
        self.attempts_text(&mut text);
        self.queue_text(&mut text);
        self.preemption_text(&mut text);
        let name = "scheduler_framework_extension_point_duration_seconds";
        text.family(
            name,
            Kind::Histogram,
            "How long the plugins of an extension point took.",
        );
        self.0.points.each(|(point, status, profile), histogram| {
            let labels: Labels<'_> = &[
                ("extension_point", point),
                ("profile", profile),
                ("status", status),
            ];
            text.histogram(name, labels, histogram);
        });
        let name = "scheduler_permit_wait_duration_seconds";
        text.family(name, Kind::Histogram, "How long pods waited at permit.");
        self.0.permits.each(|result, histogram| {
            text.histogram(name, &[("result", result)], histogram);
        });
        let name = "scheduler_scheduler_cache_size";
        text.family(name, Kind::Gauge, "What is in the scheduler's cache.");
        let size = *self.0.cache.lock();
        for (kind, count) in [
            ("assumed_pods", size.assumed),
            ("nodes", size.nodes),
            ("pods", size.pods),
        ] {
            text.count(name, &[("type", kind)], whole(count));
        }
        let name = "scheduler_goroutines";
        text.family(
            name,
            Kind::Gauge,
            "What is under way beside the scheduler's loop.",
        );
        let bindings = self.0.bindings.load(Ordering::Relaxed);
        text.count(name, &[("operation", "binding")], bindings);
        text.finish()
    }

    fn attempts_text(&self, text: &mut Text) {
        let inner = &self.0;
        let name = "scheduler_schedule_attempts_total";
        text.family(name, Kind::Counter, "Attempts to schedule pods, by result.");
        inner.attempts.each(|(outcome, profile), histogram| {
            let labels: Labels<'_> = &[("profile", profile), ("result", outcome.label())];
            text.count(name, labels, histogram.count());
        });
        let name = "scheduler_scheduling_attempt_duration_seconds";
        let help = "How long an attempt took: the decision and the binding.";
        text.family(name, Kind::Histogram, help);
        inner.attempts.each(|(outcome, profile), histogram| {
            let labels: Labels<'_> = &[("profile", profile), ("result", outcome.label())];
            text.histogram(name, labels, histogram);
        });
        let name = "scheduler_scheduling_algorithm_duration_seconds";
        text.family(name, Kind::Histogram, "How long a decision took.");
        text.histogram(name, &[], &inner.algorithm);
        let name = "scheduler_pod_scheduling_sli_duration_seconds";
        let help = "How long a pod took from the queue to its node, by the number of attempts.";
        text.family(name, Kind::Histogram, help);
        inner.sli.each(|attempts, histogram| {
            let label = match attempts {
                16.. => "16+".to_owned(),
                few => few.to_string(),
            };
            text.histogram(name, &[("attempts", &label)], histogram);
        });
        let name = "scheduler_pod_scheduling_attempts";
        let help = "How many attempts it took to schedule a pod.";
        text.family(name, Kind::Histogram, help);
        text.histogram(name, &[], &inner.tries);
    }

    fn queue_text(&self, text: &mut Text) {
        let inner = &self.0;
        let name = "scheduler_pending_pods";
        text.family(
            name,
            Kind::Gauge,
            "Pods that wait, by the part of the queue.",
        );
        for part in QueuePart::ALL {
            text.count(name, &[("queue", part.label())], self.pending_pods(part));
        }
        let name = "scheduler_queue_incoming_pods_total";
        let help = "Pods that came into a part of the queue, by what brought them there.";
        text.family(name, Kind::Counter, help);
        for ((part, event), count) in inner.incoming.lock().iter() {
            text.count(name, &[("event", event), ("queue", part.label())], *count);
        }
        let name = "scheduler_unschedulable_pods";
        let help = "Pods that cannot be scheduled, by the plugins that keep them from it.";
        text.family(name, Kind::Gauge, help);
        for ((plugin, profile), count) in inner.unschedulable.lock().iter() {
            text.count(name, &[("plugin", plugin), ("profile", profile)], *count);
        }
    }

    fn preemption_text(&self, text: &mut Text) {
        let inner = &self.0;
        let name = "scheduler_preemption_attempts_total";
        text.family(name, Kind::Counter, "How often preemption was tried.");
        text.count(name, &[], inner.preemptions.load(Ordering::Relaxed));
        let name = "scheduler_preemption_victims";
        let help = "How many pods had to leave for one.";
        text.family(name, Kind::Histogram, help);
        text.histogram(name, &[], &inner.victims);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_upstreams_names() {
        let metrics = Metrics::default();
        let profile: Arc<str> = "default-scheduler".into();
        metrics.attempt(Outcome::Scheduled, &profile, Duration::from_millis(3));
        metrics.attempt(Outcome::Unschedulable, &profile, Duration::from_millis(1));
        metrics.decided(Duration::from_millis(2));
        metrics.extension_point("Filter", "Success", &profile, Duration::from_micros(150));
        metrics.bound(2, Duration::from_secs(1));
        metrics.bound(20, Duration::from_secs(60));
        metrics.preemption_attempted();
        metrics.preempted(3);
        metrics.permitted("Success", Duration::from_secs(1));
        metrics.incoming(QueuePart::Active, "UnscheduledPodAdd");
        metrics.incoming(QueuePart::Active, "UnscheduledPodAdd");
        metrics.pending(QueuePart::Gated, 4);
        metrics.rejected("NodeResourcesFit", &profile);
        metrics.cache(CacheSize {
            nodes: 5,
            pods: 2,
            assumed: 1,
        });
        metrics.bindings(1);
        let text = metrics.text();
        for line in [
            "# TYPE scheduler_schedule_attempts_total counter",
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 1",
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"unschedulable\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"scheduled\",le=\"0.004\"} 1",
            "scheduler_scheduling_algorithm_duration_seconds_count 1",
            "scheduler_framework_extension_point_duration_seconds_bucket{extension_point=\"Filter\",profile=\"default-scheduler\",status=\"Success\",le=\"0.0002\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_sum{attempts=\"2\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_sum{attempts=\"16+\"} 60",
            "scheduler_pod_scheduling_attempts_bucket{le=\"2\"} 1",
            "scheduler_preemption_attempts_total 1",
            "scheduler_preemption_victims_bucket{le=\"2\"} 0",
            "scheduler_preemption_victims_bucket{le=\"4\"} 1",
            "scheduler_permit_wait_duration_seconds_count{result=\"Success\"} 1",
            "scheduler_queue_incoming_pods_total{event=\"UnscheduledPodAdd\",queue=\"active\"} 2",
            "scheduler_pending_pods{queue=\"gated\"} 4",
            "scheduler_pending_pods{queue=\"active\"} 0",
            "scheduler_unschedulable_pods{plugin=\"NodeResourcesFit\",profile=\"default-scheduler\"} 1",
            "scheduler_scheduler_cache_size{type=\"nodes\"} 5",
            "scheduler_goroutines{operation=\"binding\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
