//! What is counted, as Prometheus text.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Family, Metrics, Outcome, QueuePart, whole};
use crate::metrics::{Kind, Labels, Text};

impl Metrics {
    /// Everything as Prometheus text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Text::default();
        self.attempts_text(&mut text);
        self.queue_text(&mut text);
        self.preemption_text(&mut text);
        self.plugins_text(&mut text);
        self.gangs_text(&mut text);
        let name = "scheduler_cache_size";
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

    fn plugins_text(&self, text: &mut Text) {
        let inner = &self.0;
        let name = "scheduler_framework_extension_point_duration_seconds";
        text.family(
            name,
            Kind::Histogram,
            "How long the plugins of an extension point took.",
        );
        inner.points.each(|(point, status, profile), histogram| {
            let labels: Labels<'_> = &[
                ("extension_point", point),
                ("profile", profile),
                ("status", status),
            ];
            text.histogram(name, labels, histogram);
        });
        let name = "scheduler_permit_wait_duration_seconds";
        text.family(name, Kind::Histogram, "How long pods waited at permit.");
        inner.permits.each(|result, histogram| {
            text.histogram(name, &[("result", result)], histogram);
        });
        let name = "scheduler_plugin_execution_duration_seconds";
        let help = "How long one plugin took at an extension point; of every tenth attempt.";
        text.family(name, Kind::Histogram, help);
        inner.plugins.each(|(plugin, point, status), histogram| {
            let labels: Labels<'_> = &[
                ("extension_point", point),
                ("plugin", plugin),
                ("status", status),
            ];
            text.histogram(name, labels, histogram);
        });
        let name = "scheduler_plugin_evaluation_total";
        let help = "In how many attempts to schedule a pod each plugin was asked.";
        text.family(name, Kind::Counter, help);
        for (profile, evaluations) in inner.evaluations.lock().iter() {
            evaluations.each(|asked, plugin, count| {
                let labels: Labels<'_> = &[
                    ("extension_point", asked.label()),
                    ("plugin", plugin),
                    ("profile", profile),
                ];
                text.count(name, labels, count);
            });
        }
        let name = "scheduler_queueing_hint_execution_duration_seconds";
        let help = "How long queueing hints took; the hints of a plugin on one event take equally long here.";
        text.family(name, Kind::Histogram, help);
        inner.hints.each(|(plugin, event, hint), histogram| {
            let labels: Labels<'_> = &[("event", event), ("hint", hint), ("plugin", plugin)];
            text.histogram(name, labels, histogram);
        });
        let name = "scheduler_event_handling_duration_seconds";
        text.family(name, Kind::Histogram, "How long events took to handle.");
        inner.handled.each(|event, histogram| {
            text.histogram(name, &[("event", event)], histogram);
        });
    }

    fn gangs_text(&self, text: &mut Text) {
        let inner = &self.0;
        let (name, help) = (
            "scheduler_podgroup_schedule_attempts_total",
            "Attempts to schedule groups of pods, by result.",
        );
        outcomes(text, Kind::Counter, name, help, &inner.gangs);
        let (name, help) = (
            "scheduler_podgroup_scheduling_attempt_duration_seconds",
            "How long an attempt to schedule a group of pods took, without the bindings.",
        );
        outcomes(text, Kind::Histogram, name, help, &inner.gangs);
        let name = "scheduler_podgroup_scheduling_algorithm_duration_seconds";
        let help = "How long the decision about a group of pods took.";
        text.family(name, Kind::Histogram, help);
        text.histogram(name, &[], &inner.gang_algorithm);
    }

    fn attempts_text(&self, text: &mut Text) {
        let inner = &self.0;
        let (name, help) = (
            "scheduler_schedule_attempts_total",
            "Attempts to schedule pods, by result.",
        );
        outcomes(text, Kind::Counter, name, help, &inner.attempts);
        let (name, help) = (
            "scheduler_scheduling_attempt_duration_seconds",
            "How long an attempt took: the decision and the binding.",
        );
        outcomes(text, Kind::Histogram, name, help, &inner.attempts);
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
        let name = "scheduler_pod_scheduled_after_flush_total";
        let help =
            "Pods that were bound in the attempt they got because nothing had woken them for long.";
        text.family(name, Kind::Counter, help);
        text.count(name, &[], inner.flushed.load(Ordering::Relaxed));
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
        let name = "scheduler_preemption_goroutines_duration_seconds";
        let help = "How long it took to ask the victims of a preemption to leave.";
        text.family(name, Kind::Histogram, help);
        inner.evictions.each(|result, histogram| {
            text.histogram(name, &[("result", result)], histogram);
        });
        let name = "scheduler_preemption_goroutines_execution_total";
        let help = "How often the victims of a preemption were asked to leave.";
        text.family(name, Kind::Counter, help);
        inner.evictions.each(|result, histogram| {
            text.count(name, &[("result", result)], histogram.count());
        });
    }
}

/// How often attempts ended so, or how long they took.
fn outcomes(
    text: &mut Text,
    kind: Kind,
    name: &str,
    help: &str,
    all: &Family<(Outcome, Arc<str>)>,
) {
    text.family(name, kind, help);
    all.each(|(outcome, profile), histogram| {
        let labels: Labels<'_> = &[("profile", profile), ("result", outcome.label())];
        if kind == Kind::Counter {
            text.count(name, labels, histogram.count());
        } else {
            text.histogram(name, labels, histogram);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Asked, CacheSize, Evaluations};
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
        metrics.bound_after_flush();
        metrics.evicted(true, Duration::from_millis(20));
        metrics.plugin("NodePorts", "Filter", "Success", Duration::from_micros(12));
        let asked = metrics.evaluations(&profile, || {
            Evaluations::default().with(Asked::Score, ["ImageLocality", "Fit"].into_iter())
        });
        asked.count(Asked::Score, 1);
        metrics.hinted("NodeName", "NodeAdd", (3, 0), Duration::from_micros(36));
        metrics.handled("NodeAdd".to_owned(), Duration::from_micros(50));
        metrics.gang_attempt(Outcome::Scheduled, &profile, Duration::from_millis(3));
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
            "scheduler_cache_size{type=\"nodes\"} 5",
            "scheduler_goroutines{operation=\"binding\"} 1",
            "scheduler_pod_scheduled_after_flush_total 1",
            "scheduler_preemption_goroutines_execution_total{result=\"success\"} 1",
            "scheduler_preemption_goroutines_duration_seconds_bucket{result=\"success\",le=\"0.02\"} 1",
            "scheduler_plugin_execution_duration_seconds_bucket{extension_point=\"Filter\",plugin=\"NodePorts\",status=\"Success\",le=\"0.000015\"} 1",
            "scheduler_plugin_evaluation_total{extension_point=\"Score\",plugin=\"Fit\",profile=\"default-scheduler\"} 1",
            "scheduler_plugin_evaluation_total{extension_point=\"Score\",plugin=\"ImageLocality\",profile=\"default-scheduler\"} 0",
            "scheduler_queueing_hint_execution_duration_seconds_bucket{event=\"NodeAdd\",hint=\"Queue\",plugin=\"NodeName\",le=\"0.000015\"} 3",
            "scheduler_queueing_hint_execution_duration_seconds_sum{event=\"NodeAdd\",hint=\"Queue\",plugin=\"NodeName\"} 0.000036",
            "scheduler_event_handling_duration_seconds_count{event=\"NodeAdd\"} 1",
            "scheduler_podgroup_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 1",
            "scheduler_podgroup_scheduling_attempt_duration_seconds_bucket{profile=\"default-scheduler\",result=\"scheduled\",le=\"0.004\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
