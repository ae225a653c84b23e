//! ReplicaSet.

use serde_json::{Value, json};

use super::{default_template, scale, validate_template};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Scale, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        object.default_at(&["spec", "replicas"], 1);
        default_template(object);
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({"replicas": 0});
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        let Some(spec) = object.get("spec") else {
            return;
        };
        check::not_negative(spec, "replicas", &path, errors);
        check::not_negative(spec, "minReadySeconds", &path, errors);
        check::workload_selector(spec, &path, errors);
        validate_template(spec, &path, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_some() {
            let status = Path::new("status");
            for field in [
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "observedGeneration",
            ] {
                check::not_negative(&object["status"], field, &status, errors);
            }
            return;
        }
        self.validate(context, object, errors);
        check::immutable(
            &object["spec"],
            &old["spec"],
            "selector",
            &Path::new("spec"),
            errors,
        );
    }

    fn selectable_fields(&self) -> &[&str] {
        &["status.replicas"]
    }

    fn field(&self, object: &Value, _field: &str) -> String {
        object
            .i64_at(&["status", "replicas"])
            .unwrap_or(0)
            .to_string()
    }

    fn scale(&self) -> Option<Scale> {
        Some(scale())
    }
}
