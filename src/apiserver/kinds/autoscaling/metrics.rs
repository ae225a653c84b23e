//! What metrics an autoscaler may look at.

use serde_json::Value;

use super::autoscaler::{ApiVersion, validate_reference};
use crate::apiserver::kinds::{check, names};
use crate::object::field::{Errors, Path};
use crate::object::{Document, Quantity, name};

const TYPES: [&str; 5] = [
    "ContainerResource",
    "External",
    "Object",
    "Pods",
    "Resource",
];
/// The fields that hold the metric of a type, in the order in which the real server looks at them.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const BOTH: &str = "may not set both a target raw value and a target utilization";
const NEITHER: &str = "must set either a target raw value or a target utilization";

/// Checks the metrics of an autoscaler with this least number of replicas.
pub(super) fn validate(metrics: &[Value], min: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut outside = false;
    for (index, metric) in metrics.iter().enumerate() {
        validate_metric(metric, &path.index(index), errors);
        outside |= matches!(metric.str_at(&["type"]), "Object" | "External");
    }
    if min == Some(0) && !outside {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(path.clone(), why);
    }
}

fn validate_metric(metric: &Value, path: &Path, errors: &mut Errors) {
    let kind = metric.str_at(&["type"]);
    if kind.is_empty() {
        errors.required(path.child("type"), "must specify a metric source type");
    }
    let known = TYPES.contains(&kind);
    if !known {
        errors.not_supported(path.child("type"), kind, &TYPES);
    }
    let present: Vec<&str> = SOURCES
        .into_iter()
        .map(|(_, field)| field)
        .filter(|field| metric.get(*field).is_some_and(Value::is_object))
        .collect();
    // Only the first source is looked into.
    if let Some(field) = present.first()
        && let Some(source) = metric.get(*field)
    {
        validate_source(field, source, &path.child(field), errors);
    }
    let expected = SOURCES.into_iter().find(|(name, _)| *name == kind);
    match expected {
        Some((_, field)) if !present.contains(&field) => errors.required(
            path.child(field),
            "must populate information for the given metric source",
        ),
        Some(_) => {}
        None => errors.not_supported(path.child("type"), kind, &TYPES),
    }
    if present.len() != 1 {
        let expected = expected.map(|(_, field)| field);
        for field in present.into_iter().filter(|field| Some(*field) != expected) {
            let why = "must populate the given metric source only";
            errors.forbidden(path.child(field), why);
        }
    }
}

fn validate_source(field: &str, source: &Value, path: &Path, errors: &mut Errors) {
    match field {
        "object" | "external" | "pods" => {
            if field == "object" {
                let object = source.get("describedObject").unwrap_or(&Value::Null);
                let at = path.child("describedObject");
                validate_reference(object, ApiVersion::Valid, &at, errors);
            }
            let metric = source.str_at(&["metric", "name"]);
            let at = path.child("metric").child("name");
            if metric.is_empty() {
                errors.required(at, "must specify a metric name");
            } else {
                check::problems(metric, names::path_segment(metric, false), &at, errors);
            }
        }
        _ => {
            if source.str_at(&["name"]).is_empty() {
                errors.required(path.child("name"), "must specify a resource name");
            }
            let container = source.str_at(&["container"]);
            if field == "containerResource" && container.is_empty() {
                errors.required(path.child("container"), "must specify a container");
            } else if field == "containerResource" {
                let at = path.child("container");
                check::problems(container, name::dns_label(container), &at, errors);
            }
        }
    }
    let target = source.get("target").unwrap_or(&Value::Null);
    let path = path.child("target");
    validate_target(target, &path, errors);
    let has = |field: &str| target.get(field).is_some_and(|value| !value.is_null());
    let required =
        |field: &str, why: &str, errors: &mut Errors| errors.required(path.child(field), why);
    match field {
        "object" if !has("value") && !has("averageValue") => {
            let why = "must set either a target value or averageValue";
            required("averageValue", why, errors);
        }
        "external" => match (has("value"), has("averageValue")) {
            (false, false) => {
                let why = "must set either a target value for metric or a per-pod target";
                required("averageValue", why, errors);
            }
            (true, true) => {
                let why = "may not set both a target value for metric and a per-pod target";
                errors.forbidden(path.child("value"), why);
            }
            _ => {}
        },
        "pods" if !has("averageValue") => {
            required(
                "averageValue",
                "must specify a positive target averageValue",
                errors,
            );
        }
        "resource" | "containerResource" => {
            match (has("averageUtilization"), has("averageValue")) {
                (false, false) => required("averageUtilization", NEITHER, errors),
                (true, true) => errors.forbidden(path.child("averageValue"), BOTH),
                _ => {}
            }
        }
        _ => {}
    }
}

fn validate_target(target: &Value, path: &Path, errors: &mut Errors) {
    let kind = target.str_at(&["type"]);
    if kind.is_empty() {
        errors.required(path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.invalid(path.child("type"), kind, why);
    }
    for field in ["value", "averageValue"] {
        let text = target.str_at(&[field]);
        let positive = |quantity: Quantity| !quantity.is_negative() && !quantity.is_zero();
        if !text.is_empty() && !Quantity::parse(text).is_ok_and(positive) {
            errors.invalid(path.child(field), text, "must be positive");
        }
    }
    if let Some(percent) = target
        .i64_at(&["averageUtilization"])
        .filter(|percent| *percent < 1)
    {
        let why = "must be greater than 0";
        errors.invalid(path.child("averageUtilization"), percent, why);
    }
}
