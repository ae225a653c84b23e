//! Deployment.

use serde_json::{Value, json};

use super::{default_template, scale, validate_template};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Scale, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        object.default_at(&["spec", "replicas"], 1);
        object.default_at(&["spec", "revisionHistoryLimit"], 10);
        object.default_at(&["spec", "progressDeadlineSeconds"], 600);
        if object.str_at(&["spec", "strategy", "type"]).is_empty() {
            object.set_at(&["spec", "strategy", "type"], "RollingUpdate");
        }
        if object.str_at(&["spec", "strategy", "type"]) == "RollingUpdate" {
            object.default_at(&["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
            object.default_at(
                &["spec", "strategy", "rollingUpdate", "maxUnavailable"],
                "25%",
            );
        }
        default_template(object);
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_none() {
            object["status"] = old["status"].clone();
            // Annotations carry the change cause of a rollout, so they count as well.
            let annotations = ["metadata", "annotations"];
            if object.at(&annotations) != old.at(&annotations) {
                object.set_at(&["metadata", "generation"], old.generation() + 1);
            }
        }
    }

    fn status_keeps(&self) -> &[&[&str]] {
        &[&["metadata", "labels"]]
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
        check::workload_selector(spec, &path, errors);
        validate_template(spec, &path, errors);
        strategy(spec, &path.child("strategy"), errors);
        for field in [
            "minReadySeconds",
            "revisionHistoryLimit",
            "progressDeadlineSeconds",
        ] {
            check::not_negative(spec, field, &path, errors);
        }
        if let Some(deadline) = spec.i64_at(&["progressDeadlineSeconds"])
            && deadline <= spec.i64_at(&["minReadySeconds"]).unwrap_or(0)
        {
            errors.invalid(
                path.child("progressDeadlineSeconds"),
                deadline,
                "must be greater than minReadySeconds",
            );
        }
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
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "collisionCount",
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

    fn scale(&self) -> Option<Scale> {
        Some(scale())
    }
}

fn strategy(spec: &Value, path: &Path, errors: &mut Errors) {
    let rolling = spec
        .at(&["strategy", "rollingUpdate"])
        .filter(|rolling| !rolling.is_null());
    match spec.str_at(&["strategy", "type"]) {
        "Recreate" => {
            if rolling.is_some() {
                errors.forbidden(
                    path.child("rollingUpdate"),
                    "may not be specified when strategy `type` is 'Recreate'",
                );
            }
        }
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            let Some(rolling) = rolling else {
                errors.required(path, "this should be defaulted and never be nil");
                return;
            };
            let value = |field: &str| rolling.get(field).cloned().unwrap_or_else(|| json!(0));
            let (unavailable, surge) = (value("maxUnavailable"), value("maxSurge"));
            check::int_or_percent(&unavailable, &path.child("maxUnavailable"), errors);
            check::int_or_percent(&surge, &path.child("maxSurge"), errors);
            let is_zero = |value: &Value| value == 0 || value == "0%";
            if is_zero(&unavailable) && is_zero(&surge) {
                errors.invalid(
                    path.child("maxUnavailable"),
                    unavailable.clone(),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            let percent = unavailable
                .as_str()
                .and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
            if percent.is_some_and(|percent| percent > 100) {
                errors.invalid(
                    path.child("maxUnavailable"),
                    unavailable,
                    "must not be greater than 100%",
                );
            }
        }
        other => errors.not_supported(
            path.clone(),
            json!({"type": other}),
            &["Recreate", "RollingUpdate"],
        ),
    }
}
