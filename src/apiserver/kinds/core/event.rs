//! Event, of the core group and of `events.k8s.io`, which are one kind in two dresses.

use std::time::Duration;

use serde_json::Value;

use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::apiserver::schema;
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Event;

/// Fields that the two groups name differently: core, then events.k8s.io.
const RENAMED: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

impl Strategy for Event {
    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Value, _old: &Value) {}

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let about = ["involvedObject", "namespace"];
        let (namespace, of) = (object.namespace(), object.str_at(&about));
        // Events of cluster-scoped objects are in namespace default (or, of old, kube-system).
        let fits = if of.is_empty() {
            matches!(namespace, "default" | "kube-system")
        } else {
            of == namespace
        };
        if !fits {
            let path = Path::new("involvedObject").child("namespace");
            errors.invalid(path, of, "does not match event.namespace");
        }
    }

    fn selectable_fields(&self) -> &[&str] {
        &[
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
        ]
    }

    fn field(&self, object: &Value, field: &str) -> String {
        let text = match field {
            "source" => object.str_at(&["source", "component"]),
            "reportingComponent" => object.str_at(&["reportingComponent"]),
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
