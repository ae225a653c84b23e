//! Event, stored as the core group's.

use std::time::Duration;

use serde_json::Value;

use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::apiserver::schema;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

/// The kind as one of the two groups shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apiserver::kinds) enum Event {
    Core,
    Events,
}

/// Fields that the two groups name differently: core, then events.k8s.io.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

const CORE_FIELDS: [&str; 11] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const EVENTS_FIELDS: [&str; 10] = [
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// What an update of a new event may not change, with the names that messages give it.
const IMMUTABLE: [(&str, &str); 12] = [
    ("reason", "reason"),
    ("message", "message"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("reason", "reason"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

impl Strategy for Event {
    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Value, _old: &Value) {}

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate(object, errors);
        if *self == Self::Core {
            return;
        }
        validate_series(object, errors);
        if object.str_at(&["eventTime"]).is_empty() {
            errors.required(Path::new("eventTime"), "");
        }
        let kind = object.str_at(&["type"]);
        if !matches!(kind, "Normal" | "Warning") {
            let why = format!("has invalid value: {kind}");
            errors.invalid(Path::new("type"), "", &why);
        }
        let is_set = |path: &[&str]| !object.str_at(path).is_empty();
        for (field, is_set) in [
            ("firstTimestamp", is_set(&["firstTimestamp"])),
            ("lastTimestamp", is_set(&["lastTimestamp"])),
            ("count", object.i64_at(&["count"]).unwrap_or(0) != 0),
            (
                "source",
                is_set(&["source", "component"]) || is_set(&["source", "host"]),
            ),
        ] {
            if is_set {
                errors.invalid(Path::new(field), "", "needs to be unset");
            }
        }
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        validate(object, errors);
        if *self == Self::Core {
            return;
        }
        if object.get("series") != old.get("series") {
            validate_series(object, errors);
        }
        let path = Path::default();
        let reference = "api.core.v1.ObjectReference";
        check::immutable_struct(object, old, "involvedObject", reference, &path, errors);
        let source = "api.core.v1.EventSource";
        check::immutable_struct(object, old, "source", source, &path, errors);
        for (field, shown) in IMMUTABLE {
            let value = |object: &Value| object.get(field).cloned().unwrap_or(Value::Null);
            let (new, old) = (value(object), value(old));
            if new != old && field == "related" {
                let why = "field is immutable";
                check::invalid_struct(&new, reference, Path::new(shown), why, errors);
            } else if new != old {
                errors.invalid(Path::new(shown), new, "field is immutable");
            }
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        match self {
            Self::Core => MetadataCheck::None,
            Self::Events => MetadataCheck::Change,
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        match self {
            Self::Core => names::path_segment(name, prefix),
            Self::Events => names::dns_subdomain(name, prefix),
        }
    }

    fn selectable_fields(&self) -> &[&str] {
        match self {
            Self::Core => &CORE_FIELDS,
            Self::Events => &EVENTS_FIELDS,
        }
    }

    fn field(&self, object: &Value, field: &str) -> String {
        let text = match field {
            // Events of the new API have no source.
            "source" => match object.str_at(&["source", "component"]) {
                "" => object.str_at(&["reportingComponent"]),
                component => component,
            },
            other => object.str_at(&other.split('.').collect::<Vec<_>>()),
        };
        text.to_owned()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn ttl(&self) -> Option<Duration> {
        Some(Duration::from_secs(3600))
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) {
        let Some(map) = object.as_object_mut() else {
            return;
        };
        for (core, events) in RENAMED {
            let (old, new) = match (from, to) {
                ("v1", "events.k8s.io/v1") => (core, events),
                ("events.k8s.io/v1", "v1") => (events, core),
                _ => return,
            };
            if let Some(value) = map.remove(old) {
                map.insert(new.to_owned(), value);
            }
        }
        schema::normalise(to, "Event", object);
    }
}

/// The rules of both groups.
fn validate(object: &Value, errors: &mut Errors) {
    let (namespace, of) = (
        object.namespace(),
        object.str_at(&["involvedObject", "namespace"]),
    );
    let is_new = !object.str_at(&["eventTime"]).is_empty();
    let fits = match (is_new, of.is_empty()) {
        (false, true) => namespace == "default",
        (true, true) => matches!(namespace, "default" | "kube-system"),
        (false, false) => of == namespace,
        (true, false) => true,
    };
    if !fits {
        let path = Path::new("involvedObject").child("namespace");
        errors.invalid(path, of, "does not match event.namespace");
    }
    if is_new {
        validate_reporter(object, errors);
    }
    let problems = name::dns_subdomain(namespace);
    check::problems(namespace, problems, &Path::new("namespace"), errors);
}

fn validate_reporter(object: &Value, errors: &mut Errors) {
    let controller = object.str_at(&["reportingComponent"]);
    let path = Path::new("reportingController");
    if controller.is_empty() {
        errors.required(path.clone(), "");
    }
    check::problems(controller, name::qualified(controller), &path, errors);
    for (field, required, longest) in [
        ("reportingInstance", true, 128),
        ("action", true, 128),
        ("reason", true, 128),
        ("message", false, 1024),
    ] {
        let text = object.str_at(&[field]);
        if required && text.is_empty() {
            errors.required(Path::new(field), "");
        }
        if text.len() > longest {
            let why = format!("can have at most {longest} characters");
            errors.invalid(Path::new(field), "", &why);
        }
    }
}

fn validate_series(object: &Value, errors: &mut Errors) {
    let Some(series) = object.get("series").filter(|series| series.is_object()) else {
        return;
    };
    if series.i64_at(&["count"]).unwrap_or(0) < 2 {
        errors.invalid(Path::new("series.count"), "", "should be at least 2");
    }
    if series.str_at(&["lastObservedTime"]).is_empty() {
        errors.required(Path::new("series.lastObservedTime"), "");
    }
}

#[cfg(test)]
mod tests;
