//! Counts and distributions, and the Prometheus text in which they are shown.
//!
//! Architecture invariant: pure. Everybody may count; nobody here asks the time.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How durations are distributed over buckets. Cheap to add to; all threads may.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// How many fell into each bucket, and, last, beyond all of them.
    counts: Vec<AtomicU64>,
    nanos: AtomicU64,
}

impl Histogram {
    /// An empty one with these upper bounds, in seconds, ascending.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
        }
    }

    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        self.observe_all(1, duration);
    }

    /// Counts so many of the same duration, which add up to `total`.
    pub fn observe_all(&self, times: u64, total: Duration) {
        let nanos = u64::try_from(total.as_nanos()).unwrap_or(u64::MAX);
        let each = Duration::from_nanos(nanos.checked_div(times).unwrap_or(0));
        let seconds = each.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(times, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// What they add up to.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Prometheus text under construction: families, each with its samples.
#[derive(Clone, Debug, Default)]
pub struct Text {
    text: String,
}

/// The labels of a sample.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}");
        let _ = writeln!(self.text, "# TYPE {name} {}", kind.as_str());
    }

    /// Adds a number.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        let _ = writeln!(self.text, "{name}{} {value}", braces(labels, None));
    }

    /// Adds a count.
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus' numbers are floating point"
    )]
    pub fn count(&mut self, name: &str, labels: Labels<'_>, value: u64) {
        self.sample(name, labels, value as f64);
    }

    /// Adds a distribution.
    pub fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let mut sum = 0;
        let bounds = histogram.bounds.iter().map(ToString::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            sum += count.load(Ordering::Relaxed);
            let labels = braces(labels, Some(&bound));
            let _ = writeln!(self.text, "{name}_bucket{labels} {sum}");
        }
        let labels = braces(labels, None);
        let seconds = histogram.sum().as_secs_f64();
        let _ = writeln!(self.text, "{name}_sum{labels} {seconds}");
        let _ = writeln!(self.text, "{name}_count{labels} {sum}");
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

fn braces(labels: Labels<'_>, bound: Option<&str>) -> String {
    let bound = bound.map(|bound| ("le", bound));
    let all = labels.iter().copied().chain(bound);
    let pairs = all.map(|(name, value)| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    });
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_as_prometheus_reads_it() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for millis in [50, 100, 500, 5000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut text = Text::default();
        text.family("jobs_total", Kind::Counter, "Jobs.");
        text.count("jobs_total", &[("name", "a \"b\"\\")], 3);
        text.family("job_seconds", Kind::Histogram, "How long jobs took.");
        text.histogram("job_seconds", &[("name", "a")], &histogram);
        assert_eq!(
            text.finish(),
            r#"# HELP jobs_total Jobs.
# TYPE jobs_total counter
jobs_total{name="a \"b\"\\"} 3
# HELP job_seconds How long jobs took.
# TYPE job_seconds histogram
job_seconds_bucket{name="a",le="0.1"} 2
job_seconds_bucket{name="a",le="1"} 3
job_seconds_bucket{name="a",le="+Inf"} 4
job_seconds_sum{name="a"} 5.65
job_seconds_count{name="a"} 4
"#
        );
    }
}
