//! Deployment.

use serde_json::{Value, json};

use super::{validate_counters, validate_replicas, warnings};
use crate::apiserver::kinds::{check, workload};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Scale, Strategy};
use crate::apiserver::schema::internal;
use crate::object::Document;
use crate::object::field::{ErrorKind, Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Deployment;

const COUNTERS: [&str; 7] = [
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "collisionCount",
];

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        object.default_at(&["spec", "replicas"], 1);
        object.default_at(&["spec", "revisionHistoryLimit"], 10);
        object.default_at(&["spec", "progressDeadlineSeconds"], 600);
        if object.str_at(&["spec", "strategy", "type"]).is_empty() {
            object.set_at(&["spec", "strategy", "type"], "RollingUpdate");
        }
        if object.str_at(&["spec", "strategy", "type"]) == "RollingUpdate" {
            for field in ["maxSurge", "maxUnavailable"] {
                object.default_at(&["spec", "strategy", "rollingUpdate", field], "25%");
            }
        }
        workload::default_template(object, &["spec", "template"]);
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        workload::prepare_create(object, &["spec", "template"]);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        workload::prepare_update(context, object, old, &["spec", "template"]);
        if context.subresource.is_none() {
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

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        check::not_negative(spec, "replicas", &path, errors);
        validate_replicas(spec, &path, errors);
        validate_strategy(
            spec.get("strategy").unwrap_or(&Value::Null),
            &path.child("strategy"),
            errors,
        );
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
        if context.subresource == Some("status") {
            let (status, before) = (&object["status"], &old["status"]);
            let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
            validate_counters(status, &COUNTERS, &parts, errors);
            let path = Path::new("status");
            let ready = "readyReplicas";
            check::at_most(status, "availableReplicas", ready, ready, &path, errors);
            check::not_decremented(status, before, "collisionCount", &path, errors);
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

fn validate_strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let rolling = strategy
        .get("rollingUpdate")
        .filter(|rolling| !rolling.is_null());
    match strategy.str_at(&["type"]) {
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
            let number = check::int_or_percent_value;
            if number(&unavailable) == 0 && number(&surge) == 0 {
                errors.invalid(
                    path.child("maxUnavailable"),
                    unavailable.clone(),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            check::at_most_all(&unavailable, &path.child("maxUnavailable"), errors);
        }
        _ => {
            let shown = internal::text("api.apps.v1.DeploymentStrategy", strategy);
            errors.push(
                ErrorKind::NotSupported,
                path.clone(),
                format!(
                    "Unsupported value: {shown}: supported values: \"Recreate\", \"RollingUpdate\""
                ),
            );
        }
    }
}
