//! ReplicaSet.

use serde_json::Value;

use super::{validate_counters, validate_replicas, warnings};
use crate::apiserver::kinds::{check, workload};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Scale, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ReplicaSet;

/// The counters of the status of a replica set or a replication controller.
pub(in crate::apiserver::kinds) const COUNTERS: [&str; 5] = [
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
];

/// Checks the status of a replica set or a replication controller.
pub(in crate::apiserver::kinds) fn validate_status(status: &Value, errors: &mut Errors) {
    let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    validate_counters(status, &COUNTERS, &parts, errors);
    let (path, ready) = (Path::new("status"), "readyReplicas");
    check::at_most(status, "availableReplicas", ready, ready, &path, errors);
}

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        object.default_at(&["spec", "replicas"], 1);
        workload::default_template(object, &["spec", "template"]);
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        workload::prepare_create(object, &["spec", "template"]);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        workload::prepare_update(context, object, old, &["spec", "template"]);
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        check::not_negative(spec, "replicas", &path, errors);
        check::not_negative(spec, "minReadySeconds", &path, errors);
        validate_replicas(spec, &path, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource == Some("status") {
            validate_status(&object["status"], errors);
            return;
        }
        self.validate(context, object, errors);
        workload::same_selector(object, old, errors);
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        warnings(object, old)
    }

    fn scale(&self) -> Option<Scale> {
        Some(workload::scale())
    }
}
