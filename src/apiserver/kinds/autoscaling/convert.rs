//! `autoscaling/v1` and `autoscaling/v2` of an autoscaler: `v1` knows one metric, CPU utilization, and keeps the rest in
//! annotations.

use serde_json::{Map, Value, json};

use crate::apiserver::schema::{self, internal};
use crate::object::Document;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What `v1` keeps in annotations.
pub(super) const ANNOTATIONS: [&str; 4] = [METRICS, CURRENT, CONDITIONS, BEHAVIOR];
const BEHAVIOR_TYPE: &str = "api.autoscaling.v2.HorizontalPodAutoscalerBehavior";

/// Brings a document of `v1` into `v2`.
pub(super) fn from_v1(object: &mut Value) {
    let kept = take_annotations(object);
    let parsed = |name: &str| -> Option<Value> {
        let text = kept.get(name)?.as_str()?;
        serde_json::from_str(text).ok()
    };
    let list = |name: &str| match parsed(name) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let mut metrics = Vec::new();
    if let Some(percent) = object.remove_at(&["spec", "targetCPUUtilizationPercentage"]) {
        metrics.push(json!({
            "type": "Resource",
            "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": percent } },
        }));
    }
    metrics.extend(
        list(METRICS)
            .iter()
            .map(|metric| metric_from_v1(metric, "target")),
    );
    if !metrics.is_empty() {
        object.set_at(&["spec", "metrics"], metrics);
    }
    if let Some(behavior) = parsed(BEHAVIOR).filter(Value::is_object) {
        object.set_at(&["spec", "behavior"], lower(&behavior));
    }
    let percent = object.remove_at(&["status", "currentCPUUtilizationPercentage"]);
    let mut current: Vec<Value> = list(CURRENT)
        .iter()
        .map(|metric| metric_from_v1(metric, "current"))
        .collect();
    if let Some(percent) = percent.filter(|_| current.is_empty()) {
        current.push(json!({
            "type": "Resource", "resource": { "name": "cpu", "current": { "averageUtilization": percent } },
        }));
    }
    if !current.is_empty() {
        object.set_at(&["status", "currentMetrics"], current);
    }
    let conditions = list(CONDITIONS);
    if !conditions.is_empty() {
        object.set_at(&["status", "conditions"], conditions);
    }
}

/// Brings a document of `v2` into `v1`.
pub(super) fn to_v1(object: &mut Value) {
    take_annotations(object);
    let mut kept: Vec<(&str, String)> = Vec::new();
    let metrics = object.remove_at(&["spec", "metrics"]);
    let mut others = Vec::new();
    for metric in items(metrics.as_ref()) {
        match cpu(metric, "target") {
            Some(percent) => {
                if object
                    .at(&["spec", "targetCPUUtilizationPercentage"])
                    .is_none()
                {
                    object.set_at(&["spec", "targetCPUUtilizationPercentage"], percent.clone());
                }
            }
            None => others.push(metric_to_v1(metric, "target")),
        }
    }
    if !others.is_empty() {
        kept.push((METRICS, joined(&others)));
    }
    let current = object.remove_at(&["status", "currentMetrics"]);
    let mut statuses = Vec::new();
    for metric in items(current.as_ref()) {
        if let Some(percent) = cpu(metric, "current") {
            object.set_at(
                &["status", "currentCPUUtilizationPercentage"],
                percent.clone(),
            );
        }
        statuses.push(metric_to_v1(metric, "current"));
    }
    if !statuses.is_empty() {
        kept.push((CURRENT, joined(&statuses)));
    }
    if let Some(behavior) = object
        .remove_at(&["spec", "behavior"])
        .filter(Value::is_object)
    {
        kept.push((BEHAVIOR, internal::text(BEHAVIOR_TYPE, &behavior)));
    }
    let conditions = object.remove_at(&["status", "conditions"]);
    let conditions: Vec<String> = items(conditions.as_ref())
        .map(|condition| {
            ordered(
                "api.autoscaling.v2.HorizontalPodAutoscalerCondition",
                condition,
            )
        })
        .collect();
    if !conditions.is_empty() {
        kept.push((CONDITIONS, format!("[{}]", conditions.join(","))));
    }
    for (name, text) in kept {
        object.set_at(&["metadata", "annotations", name], text);
    }
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn joined(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

fn ordered(definition: &str, value: &Value) -> String {
    schema::in_order(definition, value)
}

/// Takes out the annotations that only `v1` has.
fn take_annotations(object: &mut Value) -> Map<String, Value> {
    let mut taken = Map::new();
    let Some(annotations) = object
        .at_mut(&["metadata", "annotations"])
        .and_then(Value::as_object_mut)
    else {
        return taken;
    };
    for name in ANNOTATIONS {
        if let Some(value) = annotations.remove(name) {
            taken.insert(name.to_owned(), value);
        }
    }
    if annotations.is_empty() {
        object.remove_at(&["metadata", "annotations"]);
    }
    taken
}

/// The utilization of a metric that `v1` has a field for.
fn cpu<'a>(metric: &'a Value, side: &str) -> Option<&'a Value> {
    (metric.str_at(&["type"]) == "Resource" && metric.str_at(&["resource", "name"]) == "cpu")
        .then(|| metric.at(&["resource", side, "averageUtilization"]))?
        .filter(|percent| !percent.is_null())
}

/// The names of `v1` for a value of each source, on either side: value, average value, utilization.
fn names(source: &str, side: &str) -> [&'static str; 3] {
    match (source, side) {
        ("object", "target") => ["targetValue", "averageValue", ""],
        ("object", _) => ["currentValue", "averageValue", ""],
        (_, "target") => [
            "targetValue",
            "targetAverageValue",
            "targetAverageUtilization",
        ],
        _ => [
            "currentValue",
            "currentAverageValue",
            "currentAverageUtilization",
        ],
    }
}

const SOURCES: [&str; 5] = [
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
];
const VALUES: [&str; 3] = ["value", "averageValue", "averageUtilization"];

fn metric_from_v1(metric: &Value, side: &str) -> Value {
    let mut converted = json!({ "type": metric.str_at(&["type"]) });
    for source in SOURCES {
        let Some(old) = metric.get(source).filter(|old| old.is_object()) else {
            continue;
        };
        let mut new = Map::new();
        for field in ["name", "container"] {
            if let Some(value) = old.get(field) {
                new.insert(field.to_owned(), value.clone());
            }
        }
        let selector = if source == "external" {
            "metricSelector"
        } else {
            "selector"
        };
        if let Some(name) = old.get("metricName") {
            let mut identifier = json!({ "name": name });
            if let Some(selector) = old.get(selector).filter(|selector| !selector.is_null()) {
                identifier["selector"] = selector.clone();
            }
            new.insert("metric".to_owned(), identifier);
        }
        if let Some(object) = old.get("target") {
            new.insert("describedObject".to_owned(), object.clone());
        }
        let mut values = Map::new();
        for (name, value) in names(source, side).into_iter().zip(VALUES) {
            if let Some(amount) = old.get(name).filter(|amount| !amount.is_null()) {
                values.insert(value.to_owned(), amount.clone());
            }
        }
        if side == "target" {
            let kind = if values.contains_key("averageUtilization") {
                "Utilization"
            } else if values.contains_key("averageValue") {
                "AverageValue"
            } else {
                "Value"
            };
            values.insert("type".to_owned(), kind.into());
        }
        new.insert(side.to_owned(), values.into());
        converted[source] = new.into();
    }
    converted
}

/// A metric as `v1` wrote it in an annotation, its fields in their order.
fn metric_to_v1(metric: &Value, side: &str) -> String {
    let mut parts = vec![format!("\"type\":{}", json!(metric.str_at(&["type"])))];
    for source in SOURCES {
        let Some(old) = metric.get(source).filter(|old| old.is_object()) else {
            continue;
        };
        parts.push(format!(
            "\"{source}\":{{{}}}",
            source_to_v1(source, old, side)
        ));
    }
    format!("{{{}}}", parts.join(","))
}

fn source_to_v1(source: &str, old: &Value, side: &str) -> String {
    let none = json!({});
    let values = old.get(side).unwrap_or(&none);
    let [value, average, utilization] = names(source, side);
    let text = |name: &str| {
        values
            .get(name)
            .filter(|value| !value.is_null())
            .map(Value::to_string)
    };
    let metric = json!(old.str_at(&["metric", "name"])).to_string();
    let selector = old
        .at(&["metric", "selector"])
        .filter(|selector| !selector.is_null());
    let selector =
        selector.map(|selector| ordered("apimachinery.pkg.apis.meta.v1.LabelSelector", selector));
    let zero = || Some("\"0\"".to_owned());
    let target = || {
        Some(ordered(
            "api.autoscaling.v2.CrossVersionObjectReference",
            &old["describedObject"],
        ))
    };
    let name = || Some(json!(old.str_at(&["name"])).to_string());
    let container = || Some(json!(old.str_at(&["container"])).to_string());
    let fields: Vec<(&str, Option<String>)> = match (source, side) {
        ("object", _) => vec![
            ("target", target()),
            ("metricName", Some(metric)),
            (value, text("value").or_else(zero)),
            ("selector", selector),
            (average, text("averageValue")),
        ],
        ("pods", _) => vec![
            ("metricName", Some(metric)),
            (average, text("averageValue").or_else(zero)),
            ("selector", selector),
        ],
        ("external", "target") => vec![
            ("metricName", Some(metric)),
            ("metricSelector", selector),
            (value, text("value")),
            (average, text("averageValue")),
        ],
        ("external", _) => vec![
            ("metricName", Some(metric)),
            ("metricSelector", selector),
            (value, text("value").or_else(zero)),
            (average, text("averageValue")),
        ],
        (_, "target") => vec![
            ("name", name()),
            (utilization, text("averageUtilization")),
            (average, text("averageValue")),
            (
                "container",
                container().filter(|_| source == "containerResource"),
            ),
        ],
        _ => vec![
            ("name", name()),
            (utilization, text("averageUtilization")),
            (average, text("averageValue").or_else(zero)),
            (
                "container",
                container().filter(|_| source == "containerResource"),
            ),
        ],
    };
    let fields: Vec<String> = fields
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| format!("\"{name}\":{value}")))
        .collect();
    fields.join(",")
}

/// A value that was written with Go's field names, with those of JSON: `{"ScaleUp":{"SelectPolicy":…}}`.
fn lower(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|first| first.to_ascii_lowercase());
                (first.into_iter().chain(letters).collect(), lower(value))
            })
            .collect::<Map<String, Value>>()
            .into(),
        Value::Array(items) => items.iter().map(lower).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}
