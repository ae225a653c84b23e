//! Pods: the status column sums up phase, containers and conditions.
use super::cells::cells;
use super::format::{age, is_true, number, or};
use crate::object::{Document, condition};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What the walk over the container statuses finds.
struct Summary {
    reason: String,
    ready: i64,
    total: i64,
    restarts: i64,
    /// When a container last ended and was started again.
    last_restart: Option<Timestamp>,
}

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarize(pod);
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            let ago = super::format::human_duration(now.as_second() - last.as_second());
            format!("{} ({ago} ago)", summary.restarts)
        }
        _ => summary.restarts.to_string(),
    };
    let ip = pod
        .list_at(&["status", "podIPs"])
        .first()
        .map(|ip| ip.str_at(&["ip"]))
        .unwrap_or_default();
    let gates = pod.list_at(&["spec", "readinessGates"]);
    let open = gates.iter().filter(|gate| {
        is_true(
            pod,
            &["status", "conditions"],
            gate.str_at(&["conditionType"]),
        )
    });
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        format!("{}/{}", open.count(), gates.len())
    };
    cells![
        pod.name(),
        format!("{}/{}", summary.ready, summary.total),
        summary.reason,
        restarts,
        age(pod, now),
        or(ip, "<none>"),
        or(pod.str_at(&["spec", "nodeName"]), "<none>"),
        or(pod.str_at(&["status", "nominatedNodeName"]), "<none>"),
        gates
    ]
}

/// The condition of the row of a pod that ended.
pub(super) fn row_condition(pod: &Value) -> Option<Value> {
    let phase = pod.str_at(&["status", "phase"]);
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!({ "type": "Completed", "status": "True", "reason": phase, "message": message }))
}

fn summarize(pod: &Value) -> Summary {
    let conditions = pod.list_at(&["status", "conditions"]);
    let phase = pod.str_at(&["status", "phase"]);
    let gated = condition::find(conditions, "PodScheduled")
        .is_some_and(|scheduled| scheduled.str_at(&["reason"]) == "SchedulingGated");
    let mut summary = Summary {
        reason: if gated {
            "SchedulingGated"
        } else {
            or(pod.str_at(&["status", "reason"]), phase)
        }
        .to_owned(),
        ready: 0,
        total: 0,
        restarts: 0,
        last_restart: None,
    };
    let sidecars = pod
        .list_at(&["spec", "initContainers"])
        .iter()
        .filter(|container| is_sidecar(container));
    let counted = pod.list_at(&["spec", "containers"]).len() + sidecars.count();
    summary.total = i64::try_from(counted).unwrap_or(i64::MAX);
    let (initializing, sidecar_restarts, sidecar_last) = init_containers(pod, &mut summary);
    if !initializing || condition::is_true(conditions, "Initialized") {
        summary.restarts = sidecar_restarts;
        summary.last_restart = sidecar_last;
        containers(pod, &mut summary);
    }
    if pod.deletion_timestamp().is_some() {
        if pod.str_at(&["status", "reason"]) == "NodeLost" {
            "Unknown".clone_into(&mut summary.reason);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut summary.reason);
        }
    }
    summary
}

fn is_sidecar(container: &Value) -> bool {
    container.str_at(&["restartPolicy"]) == "Always"
}

/// When the container last ended before its present run.
fn last_end(status: &Value) -> Option<Timestamp> {
    super::format::time(status, &["lastState", "terminated", "finishedAt"])
}

/// Whether initialization is still going on, and the restarts of sidecars.
fn init_containers(pod: &Value, summary: &mut Summary) -> (bool, i64, Option<Timestamp>) {
    let specs = pod.list_at(&["spec", "initContainers"]);
    let (mut sidecar_restarts, mut sidecar_last) = (0, None);
    for (index, status) in pod
        .list_at(&["status", "initContainerStatuses"])
        .iter()
        .enumerate()
    {
        let restarts = number(status, &["restartCount"]);
        summary.restarts += restarts;
        summary.last_restart = summary.last_restart.max(last_end(status));
        let sidecar = specs
            .iter()
            .any(|spec| is_sidecar(spec) && spec.str_at(&["name"]) == status.str_at(&["name"]));
        if sidecar {
            sidecar_restarts += restarts;
            sidecar_last = sidecar_last.max(last_end(status));
        }
        let terminated = status.at(&["state", "terminated"]);
        if terminated.is_some_and(|end| number(end, &["exitCode"]) == 0) {
            continue;
        }
        if sidecar && status.bool_at(&["started"]) == Some(true) {
            summary.ready += i64::from(status.bool_at(&["ready"]) == Some(true));
            continue;
        }
        let waiting = status.str_at(&["state", "waiting", "reason"]);
        summary.reason = match terminated {
            Some(end) => format!("Init:{}", end_reason(end)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => {
                format!("Init:{waiting}")
            }
            None => format!("Init:{index}/{}", specs.len()),
        };
        return (true, sidecar_restarts, sidecar_last);
    }
    (false, sidecar_restarts, sidecar_last)
}

/// The reason a container ended with, or its signal or exit code.
fn end_reason(terminated: &Value) -> String {
    let reason = terminated.str_at(&["reason"]);
    match number(terminated, &["signal"]) {
        _ if !reason.is_empty() => reason.to_owned(),
        0 => format!("ExitCode:{}", number(terminated, &["exitCode"])),
        signal => format!("Signal:{signal}"),
    }
}

fn containers(pod: &Value, summary: &mut Summary) {
    let mut running = false;
    for status in pod.list_at(&["status", "containerStatuses"]).iter().rev() {
        summary.restarts += number(status, &["restartCount"]);
        summary.last_restart = summary.last_restart.max(last_end(status));
        let waiting = status.str_at(&["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if let Some(end) = status.at(&["state", "terminated"]) {
            summary.reason = end_reason(end);
        } else if status.bool_at(&["ready"]) == Some(true)
            && status.at(&["state", "running"]).is_some()
        {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let ready = is_true(pod, &["status", "conditions"], "Ready");
        if ready { "Running" } else { "NotReady" }.clone_into(&mut summary.reason);
    }
}
