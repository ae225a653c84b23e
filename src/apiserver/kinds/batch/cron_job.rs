//! CronJob.

use serde_json::Value;

use super::{schedule, spec, zone};
use crate::apiserver::kinds::{check, workload};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{ErrorKind, Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct CronJob;

/// A job's name has at most 63 characters, 11 of them the time that is appended to the cron job's.
const LONGEST_NAME: usize = 52;
const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        if object.str_at(&["spec", "concurrencyPolicy"]).is_empty() {
            object.set_at(&["spec", "concurrencyPolicy"], "Allow");
        }
        object.default_at(&["spec", "suspend"], false);
        object.default_at(&["spec", "successfulJobsHistoryLimit"], 3);
        object.default_at(&["spec", "failedJobsHistoryLimit"], 1);
        workload::default_template(object, &["spec", "jobTemplate", "spec", "template"]);
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        workload::prepare_create(object, &["spec", "jobTemplate", "spec", "template"]);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        workload::prepare_update(
            context,
            object,
            old,
            &["spec", "jobTemplate", "spec", "template"],
        );
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(object.get("spec").unwrap_or(&Value::Null), None, errors);
        let name = object.name();
        if name.len() > LONGEST_NAME {
            let path = Path::new("metadata").child("name");
            errors.invalid(path, name, "must be no more than 52 characters");
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_none() {
            let spec = object.get("spec").unwrap_or(&Value::Null);
            validate_spec(spec, old.get("spec"), errors);
        }
    }

    fn metadata_check(&self, context: &Context<'_>) -> MetadataCheck {
        match context.subresource {
            None => MetadataCheck::Change,
            Some(_) => MetadataCheck::None,
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() {
            let used = "Job names, Pod names and hostnames";
            warnings.extend(workload::name_warning(object, used));
        }
        if old.is_none_or(|old| old.generation() != object.generation()) {
            let job = object.at(&["spec", "jobTemplate", "spec"]);
            let path = Path::new("spec").child("jobTemplate").child("spec");
            warnings.extend(spec::warnings(job.unwrap_or(&Value::Null), &path));
        }
        if object.str_at(&["spec", "schedule"]).contains("TZ") {
            warnings.push(
                "CRON_TZ or TZ used in spec.schedule is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                    .to_owned(),
            );
        }
        warnings
    }
}

fn validate_spec(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    let text = spec.str_at(&["schedule"]);
    if text.is_empty() {
        errors.required(path.child("schedule"), "");
    } else {
        let had_zone = old.is_some_and(|old| old.str_at(&["schedule"]).contains("TZ"));
        validate_schedule(spec, text, had_zone, &path.child("schedule"), errors);
    }
    check::not_negative(spec, "startingDeadlineSeconds", &path, errors);
    let zone = spec.get("timeZone").filter(|zone| !zone.is_null());
    let before = old
        .and_then(|old| old.get("timeZone"))
        .filter(|zone| !zone.is_null());
    if let Some(zone) = zone.filter(|zone| Some(*zone) != before)
        && let Err(why) = zone::validate(zone.as_str().unwrap_or_default())
    {
        for why in why {
            errors.invalid(path.child("timeZone"), zone.clone(), &why);
        }
    }
    check::required_one_of(spec, "concurrencyPolicy", &POLICIES, &path, errors);
    let at = path.child("jobTemplate").child("spec");
    let job = spec.at(&["jobTemplate", "spec"]).unwrap_or(&Value::Null);
    spec::validate(job, &at, errors);
    if let Some(selector) = job.get("selector").filter(|selector| !selector.is_null()) {
        let definition = "apimachinery.pkg.apis.meta.v1.LabelSelector";
        let why = "`selector` will be auto-generated";
        check::invalid_struct(selector, definition, at.child("selector"), why, errors);
    }
    if job.bool_at(&["manualSelector"]) == Some(true) {
        errors.push(
            ErrorKind::NotSupported,
            at.child("manualSelector"),
            "Unsupported value: true: supported values: \"nil\", \"false\"",
        );
    }
    check::not_negative(spec, "successfulJobsHistoryLimit", &path, errors);
    check::not_negative(spec, "failedJobsHistoryLimit", &path, errors);
}

fn validate_schedule(spec: &Value, text: &str, had_zone: bool, path: &Path, errors: &mut Errors) {
    if let Err(why) = schedule::check(text) {
        errors.invalid(path.clone(), text, &why);
    }
    let has_zone = text.contains("TZ");
    if had_zone && has_zone && !spec.str_at(&["timeZone"]).is_empty() {
        let why = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errors.invalid(path.clone(), text, why);
    } else if !had_zone && has_zone {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(path.clone(), text, why);
    }
}
