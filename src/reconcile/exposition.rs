//! The metrics of a manager, under controller-runtime's names.

use super::queue::Queue;
use crate::metrics::{Kind, Text};

/// A controller and its queue.
pub(super) struct Controller<'a> {
    pub name: &'a str,
    pub workers: usize,
    pub queue: &'a Queue,
}

/// The text; `lease` is the name of the lease that the manager runs for, and whether it holds it.
pub(super) fn text(controllers: &[Controller<'_>], lease: Option<(&str, bool)>) -> String {
    let mut text = Text::default();
    let name = "workqueue_depth";
    text.family(
        name,
        Kind::Gauge,
        "Current depth of workqueue by workqueue and priority",
    );
    for Controller {
        name: of, queue, ..
    } in controllers
    {
        for (priority, depth) in queue.depths() {
            let labels = [
                ("controller", *of),
                ("name", of),
                ("priority", &priority.to_string()),
            ];
            text.count(name, &labels, depth);
        }
    }
    queues(&mut text, controllers);
    reconciles(&mut text, controllers);
    if let Some((lease, leads)) = lease {
        let name = "leader_election_master_status";
        let help = "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master.";
        text.family(name, Kind::Gauge, help);
        text.count(name, &[("name", lease)], u64::from(leads));
    }
    text.finish()
}

fn queues(text: &mut Text, controllers: &[Controller<'_>]) {
    let mut each = |name: &str, kind: Kind, help: &str, value: fn(&Queue) -> f64| {
        text.family(name, kind, help);
        for Controller {
            name: of, queue, ..
        } in controllers
        {
            text.sample(name, &[("controller", of), ("name", of)], value(queue));
        }
    };
    each(
        "workqueue_adds_total",
        Kind::Counter,
        "Total number of adds handled by workqueue",
        |queue| float(queue.metrics().adds),
    );
    each(
        "workqueue_retries_total",
        Kind::Counter,
        "Total number of retries handled by workqueue",
        |queue| float(queue.metrics().retries),
    );
    each(
        "workqueue_unfinished_work_seconds",
        Kind::Gauge,
        "How many seconds of work has been done that is in progress and hasn't been observed by work_duration.",
        |queue| queue.metrics().unfinished.as_secs_f64(),
    );
    each(
        "workqueue_longest_running_processor_seconds",
        Kind::Gauge,
        "How many seconds has the longest running processor for workqueue been running.",
        |queue| queue.metrics().longest.as_secs_f64(),
    );
    let name = "workqueue_queue_duration_seconds";
    let help = "How long in seconds an item stays in workqueue before being requested";
    text.family(name, Kind::Histogram, help);
    for Controller {
        name: of, queue, ..
    } in controllers
    {
        text.histogram(name, &[("controller", of), ("name", of)], &queue.waited);
    }
    let name = "workqueue_work_duration_seconds";
    let help = "How long in seconds processing an item from workqueue takes.";
    text.family(name, Kind::Histogram, help);
    for Controller {
        name: of, queue, ..
    } in controllers
    {
        text.histogram(name, &[("controller", of), ("name", of)], &queue.worked);
    }
}

fn reconciles(text: &mut Text, controllers: &[Controller<'_>]) {
    let name = "controller_runtime_reconcile_total";
    text.family(
        name,
        Kind::Counter,
        "Total number of reconciliations per controller",
    );
    for Controller {
        name: of, queue, ..
    } in controllers
    {
        let metrics = queue.metrics();
        let rest = metrics
            .done
            .saturating_sub(metrics.retries + metrics.requeues);
        for (result, count) in [
            ("error", metrics.retries),
            ("requeue_after", metrics.requeues),
            ("success", rest),
        ] {
            text.count(name, &[("controller", of), ("result", result)], count);
        }
    }
    let mut each = |name: &str, kind: Kind, help: &str, value: &dyn Fn(&Controller<'_>) -> u64| {
        text.family(name, kind, help);
        for controller in controllers {
            text.count(name, &[("controller", controller.name)], value(controller));
        }
    };
    each(
        "controller_runtime_reconcile_errors_total",
        Kind::Counter,
        "Total number of reconciliation errors per controller",
        &|controller| controller.queue.metrics().retries,
    );
    each(
        "controller_runtime_reconcile_panics_total",
        Kind::Counter,
        "Total number of reconciliation panics per controller",
        &|controller| controller.queue.metrics().panics,
    );
    each(
        "controller_runtime_max_concurrent_reconciles",
        Kind::Gauge,
        "Maximum number of concurrent reconciles per controller",
        &|controller| whole(controller.workers),
    );
    each(
        "controller_runtime_active_workers",
        Kind::Gauge,
        "Number of currently used workers per controller",
        &|controller| whole(controller.queue.metrics().running),
    );
    let name = "controller_runtime_reconcile_time_seconds";
    text.family(
        name,
        Kind::Histogram,
        "Length of time per reconciliation per controller",
    );
    for Controller {
        name: of, queue, ..
    } in controllers
    {
        text.histogram(name, &[("controller", of)], &queue.reconciled);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' numbers are floating point"
)]
fn float(count: u64) -> f64 {
    count as f64
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
