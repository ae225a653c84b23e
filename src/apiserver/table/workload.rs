//! Workloads: apps, batch, autoscaling, disruption budgets.
use super::cells::cells;
use super::core::count;
use super::format::{
    age, containers, human_duration, is_true, labels, number, or, selector, since, time,
};
use crate::object::Document;
use jiff::Timestamp;
use serde_json::Value;

const POD_CONTAINERS: &[&str] = &["spec", "template", "spec", "containers"];

pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, POD_CONTAINERS);
    cells![
        object.name(),
        format!(
            "{}/{}",
            number(object, &["status", "readyReplicas"]),
            number(object, &["spec", "replicas"])
        ),
        number(object, &["status", "updatedReplicas"]),
        number(object, &["status", "availableReplicas"]),
        age(object, now),
        names,
        images,
        selector(object, &["spec", "selector"]),
    ]
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    replicas(object, now, selector(object, &["spec", "selector"]))
}

pub(super) fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    replicas(object, now, labels(object, &["spec", "selector"]))
}

fn replicas(object: &Value, now: Timestamp, selector: String) -> Vec<Value> {
    let (names, images) = containers(object, POD_CONTAINERS);
    cells![
        object.name(),
        number(object, &["spec", "replicas"]),
        number(object, &["status", "replicas"]),
        number(object, &["status", "readyReplicas"]),
        age(object, now),
        names,
        images,
        selector,
    ]
}

pub(super) fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, POD_CONTAINERS);
    let ready = format!(
        "{}/{}",
        number(object, &["status", "readyReplicas"]),
        number(object, &["spec", "replicas"])
    );
    cells![object.name(), ready, age(object, now), names, images]
}

pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, POD_CONTAINERS);
    let status = |field: &str| number(object, &["status", field]);
    cells![
        object.name(),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        labels(object, &["spec", "template", "spec", "nodeSelector"]),
        age(object, now),
        names,
        images,
        selector(object, &["spec", "selector"]),
    ]
}

pub(super) fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owner = object
        .owner_references()
        .iter()
        .find(|owner| owner.bool_at(&["controller"]) == Some(true));
    let controller = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let group = owner
                .api_version()
                .rsplit_once('/')
                .map(|(group, _)| format!(".{group}"))
                .unwrap_or_default();
            format!(
                "{}{group}/{}",
                owner.kind().to_lowercase(),
                owner.str_at(&["name"])
            )
        },
    );
    cells![
        object.name(),
        controller,
        number(object, &["revision"]),
        age(object, now)
    ]
}

pub(super) fn pod_template(object: &Value, _: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, &["template", "spec", "containers"]);
    cells![
        object.name(),
        names,
        images,
        labels(object, &["template", "metadata", "labels"])
    ]
}

pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let conditions = &["status", "conditions"];
    let named = [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("", "Terminating"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ];
    let holds = |type_: &str| {
        if type_.is_empty() {
            object.deletion_timestamp().is_some()
        } else {
            is_true(object, conditions, type_)
        }
    };
    let status = named
        .iter()
        .find(|(type_, _)| holds(type_))
        .map_or("Running", |(_, name)| name);
    let succeeded = number(object, &["status", "succeeded"]);
    let completions = match (
        object.i64_at(&["spec", "completions"]),
        number(object, &["spec", "parallelism"]),
    ) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = time(object, &["status", "startTime"]).map(|start| {
        let end = time(object, &["status", "completionTime"]).unwrap_or(now);
        human_duration(end.as_second() - start.as_second())
    });
    let (names, images) = containers(object, POD_CONTAINERS);
    cells![
        object.name(),
        status,
        completions,
        duration.unwrap_or_default(),
        age(object, now),
        names,
        images,
        selector(object, &["spec", "selector"]),
    ]
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let template = [
        "spec",
        "jobTemplate",
        "spec",
        "template",
        "spec",
        "containers",
    ];
    let (names, images) = containers(object, &template);
    let suspend = match object.bool_at(&["spec", "suspend"]) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = time(object, &["status", "lastScheduleTime"])
        .map(|_| since(object, &["status", "lastScheduleTime"], now));
    cells![
        object.name(),
        object.str_at(&["spec", "schedule"]),
        or(object.str_at(&["spec", "timeZone"]), "<none>"),
        suspend,
        count(object, &["status", "active"]),
        last.unwrap_or_else(|| "<none>".to_owned()),
        age(object, now),
        names,
        images,
        selector(object, &["spec", "jobTemplate", "spec", "selector"]),
    ]
}

pub(super) fn scale(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        number(object, &["spec", "replicas"]),
        number(object, &["status", "replicas"]),
        age(object, now)
    ]
}

pub(super) fn disruption_budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let bound = |field: &str| match object.at(&["spec", field]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    cells![
        object.name(),
        bound("minAvailable"),
        bound("maxUnavailable"),
        number(object, &["status", "disruptionsAllowed"]),
        age(object, now),
    ]
}

pub(super) fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let target = |field: &str| object.str_at(&["spec", "scaleTargetRef", field]);
    let least = object
        .i64_at(&["spec", "minReplicas"])
        .map_or_else(|| "<unset>".to_owned(), |least| least.to_string());
    cells![
        object.name(),
        format!("{}/{}", target("kind"), target("name")),
        metrics(object),
        least,
        number(object, &["spec", "maxReplicas"]),
        number(object, &["status", "currentReplicas"]),
        age(object, now),
    ]
}

/// Current and wanted values of the metrics of an autoscaler of either version.
fn metrics(object: &Value) -> String {
    let percent = |value: Option<i64>, none: &str| {
        value.map_or_else(|| none.to_owned(), |value| format!("{value}%"))
    };
    if let Some(wanted) = object.i64_at(&["spec", "targetCPUUtilizationPercentage"]) {
        let current = object.i64_at(&["status", "currentCPUUtilizationPercentage"]);
        return format!("cpu: {}/{wanted}%", percent(current, "<unknown>"));
    }
    let current = object.list_at(&["status", "currentMetrics"]);
    let shown = object
        .list_at(&["spec", "metrics"])
        .iter()
        .enumerate()
        .map(|(index, metric)| {
            let (source, avg) = match metric.str_at(&["type"]) {
                "External" => ("external", " (avg)"),
                "Object" => ("object", " (avg)"),
                "Pods" => ("pods", ""),
                "Resource" => ("resource", ""),
                "ContainerResource" => ("containerResource", ""),
                _ => return "<unknown type>".to_owned(),
            };
            let now = current.get(index);
            let now_is = |field: &str| {
                or(
                    now.map(|now| now.str_at(&[source, "current", field]))
                        .unwrap_or_default(),
                    "<unknown>",
                )
            };
            let wanted = |field: &str| metric.str_at(&[source, "target", field]);
            let average = wanted("averageValue");
            let name = match source {
                "resource" | "containerResource" => {
                    format!("{}: ", metric.str_at(&[source, "name"]))
                }
                _ => String::new(),
            };
            if !average.is_empty() {
                format!("{name}{}/{average}{avg}", now_is("averageValue"))
            } else if name.is_empty() {
                format!("{}/{}", now_is("value"), wanted("value"))
            } else {
                let used =
                    now.and_then(|now| now.i64_at(&[source, "current", "averageUtilization"]));
                let goal = metric.i64_at(&[source, "target", "averageUtilization"]);
                format!(
                    "{name}{}/{}",
                    percent(used, "<unknown>"),
                    percent(goal, "<auto>")
                )
            }
        });
    super::format::shortened(&shown.collect::<Vec<_>>(), 2, ", ", "<none>")
}
