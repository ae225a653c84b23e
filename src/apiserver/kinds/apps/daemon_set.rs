//! DaemonSet.

use serde_json::{Value, json};

use super::template_warnings;
use crate::apiserver::kinds::{check, workload};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::apiserver::schema::internal;
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, LabelSelector};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct DaemonSet;

/// Counts the changes of the template; a field of older versions that `apps/v1` shows as an annotation.
const TEMPLATE_GENERATION: [&str; 3] = [
    "metadata",
    "annotations",
    "deprecated.daemonset.template.generation",
];

const COUNTERS: [&str; 9] = [
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

fn template_generation(object: &Value) -> i64 {
    object.str_at(&TEMPLATE_GENERATION).parse().unwrap_or(0)
}

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        if object
            .str_at(&["spec", "updateStrategy", "type"])
            .is_empty()
        {
            object.set_at(&["spec", "updateStrategy", "type"], "RollingUpdate");
        }
        if object.str_at(&["spec", "updateStrategy", "type"]) == "RollingUpdate" {
            let path = |field| ["spec", "updateStrategy", "rollingUpdate", field];
            object.default_at(&path("maxUnavailable"), 1);
            object.default_at(&path("maxSurge"), 0);
        }
        object.default_at(&["spec", "revisionHistoryLimit"], 10);
        workload::default_template(object, &["spec", "template"]);
        object.default_at(&TEMPLATE_GENERATION, "0");
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        workload::prepare_create(object, &["spec", "template"]);
        let generation = template_generation(object).max(1);
        object.set_at(&TEMPLATE_GENERATION, generation.to_string());
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        workload::prepare_update(context, object, old, &["spec", "template"]);
        let mut generation = template_generation(old);
        if context.subresource.is_none() {
            let template = ["spec", "template"];
            if object.at(&template) != old.at(&template) {
                generation += 1;
            }
        }
        object.set_at(&TEMPLATE_GENERATION, generation.to_string());
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(object.get("spec").unwrap_or(&Value::Null), errors);
        if template_generation(object) < 0 {
            errors.invalid(
                Path::new("spec").child("templateGeneration"),
                template_generation(object),
                "must be greater than or equal to 0",
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
            let path = Path::new("status");
            let (status, before) = (&object["status"], &old["status"]);
            for counter in COUNTERS {
                check::not_negative(status, counter, &path, errors);
            }
            check::not_decremented(status, before, "collisionCount", &path, errors);
            return;
        }
        // The real server checks an update as a new object and as a change, and reports what both find.
        self.validate(context, object, errors);
        self.validate(context, object, errors);
        workload::same_selector(object, old, errors);
    }

    fn field_annotations(&self) -> &[&str] {
        TEMPLATE_GENERATION.split_at(2).1
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        template_warnings(object, old)
    }
}

fn validate_spec(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let template_path = path.child("template");
    let template = spec.get("template").unwrap_or(&Value::Null);
    let selector = spec.get("selector").filter(|selector| !selector.is_null());
    if let Some(selector) = selector {
        check::label_selector(selector, &path.child("selector"), errors);
    }
    // Nothing is selected without a selector, everything by an empty one.
    let parsed = selector.map(LabelSelector::from_value).transpose();
    let selects = |parsed| workload::Selector(parsed).selects(template.at(&["metadata", "labels"]));
    if parsed.is_ok_and(|parsed| !selects(parsed)) {
        workload::mismatch(template, &template_path, errors);
    }
    if selector.is_some_and(workload::selects_everything) {
        let why = "empty selector is invalid for daemonset";
        errors.invalid(path.child("selector"), json!({}), why);
    }
    workload::validate_template(template, &template_path, errors);
    workload::runs_forever(template, "DaemonSet", &template_path, errors);
    check::not_negative(spec, "minReadySeconds", &path, errors);
    validate_strategy(
        spec.get("updateStrategy").unwrap_or(&Value::Null),
        &path.child("updateStrategy"),
        errors,
    );
    check::not_negative(spec, "revisionHistoryLimit", &path, errors);
}

fn validate_strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    match strategy.str_at(&["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            let Some(rolling) = strategy
                .get("rollingUpdate")
                .filter(|rolling| !rolling.is_null())
            else {
                errors.required(path, "");
                return;
            };
            let value = |field: &str| rolling.get(field).cloned().unwrap_or_else(|| json!(0));
            let fields =
                ["maxUnavailable", "maxSurge"].map(|field| (value(field), path.child(field)));
            for (value, at) in &fields {
                check::int_or_percent(value, at, errors);
            }
            for (value, at) in &fields {
                check::at_most_all(value, at, errors);
            }
            let [(unavailable, at_unavailable), (surge, at_surge)] = fields;
            let number = check::int_or_percent_value;
            match (number(&unavailable) != 0, number(&surge) != 0) {
                (true, true) => {
                    let why = "may not be set when maxUnavailable is non-zero";
                    errors.invalid(at_surge, surge, why);
                }
                (false, false) => {
                    errors.required(at_unavailable, "cannot be 0 when maxSurge is 0");
                }
                _ => {}
            }
        }
        _ => {
            let shown = internal::text("api.apps.v1.DaemonSetUpdateStrategy", strategy);
            errors.push(
                ErrorKind::NotSupported,
                path.clone(),
                format!(
                    "Unsupported value: {shown}: supported values: \"RollingUpdate\", \"OnDelete\""
                ),
            );
        }
    }
}
