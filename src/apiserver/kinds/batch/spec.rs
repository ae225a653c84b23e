//! What a job must be, by itself and in a cron job.

use serde_json::Value;

use super::{failure_policy, indexes};
use crate::apiserver::kinds::{check, workload};
use crate::object::Document;
use crate::object::field::{Errors, Path};
use crate::object::name;

/// Beyond this an indexed job has bounds on what it may track.
const MANY_COMPLETIONS: i64 = 100_000;
const MOST_PARALLEL: i64 = 100_000;
const MOST_PARALLEL_OF_MANY: i64 = 10_000;
const MOST_FAILED: i64 = 100_000;
const MOST_FAILED_OF_MANY: i64 = 10_000;
const LONGEST_MANAGER: usize = 63;
const MOST_RULES: usize = 20;
const LONGEST_INDEXES: usize = 64 << 10;

/// Checks a job's spec but for its selector.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        check::not_negative(spec, field, path, errors);
    }
    let number = |field: &str| spec.i64_at(&[field]);
    if number("maxFailedIndexes").is_some() && number("backoffLimitPerIndex").is_none() {
        let why = "when maxFailedIndexes is specified";
        errors.required(path.child("backoffLimitPerIndex"), why);
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        validate_manager(manager, &path.child("managedBy"), errors);
    }
    match spec.get("completionMode").and_then(Value::as_str) {
        Some("Indexed") => validate_indexed(spec, path, errors),
        None | Some("NonIndexed") => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(limit) = number(field) {
                    let why = "requires indexed completion mode";
                    errors.invalid(path.child(field), limit, why);
                }
            }
        }
        Some(other) => errors.not_supported(
            path.child("completionMode"),
            other,
            &["NonIndexed", "Indexed"],
        ),
    }
    if let Some(policy) = object_at(spec, "podFailurePolicy") {
        failure_policy::validate(policy, spec, &path.child("podFailurePolicy"), errors);
    }
    if let Some(policy) = object_at(spec, "successPolicy") {
        let at = path.child("successPolicy");
        if is_indexed(spec) {
            validate_success_policy(policy, spec, &at, errors);
        } else {
            let why = "requires indexed completion mode";
            check::invalid_struct(policy, "api.batch.v1.SuccessPolicy", at, why, errors);
        }
    }
    if let Some(policy) = spec.get("podReplacementPolicy").and_then(Value::as_str) {
        let supported: &[&str] = if object_at(spec, "podFailurePolicy").is_some() {
            &["Failed"]
        } else {
            &["Failed", "TerminatingOrFailed"]
        };
        if !supported.contains(&policy) {
            errors.not_supported(path.child("podReplacementPolicy"), policy, supported);
        }
    }
    validate_template(spec, &path.child("template"), errors);
}

/// The struct at `field`.
pub(super) fn object_at<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| value.is_object())
}

pub(super) fn is_indexed(spec: &Value) -> bool {
    spec.str_at(&["completionMode"]) == "Indexed"
}

fn validate_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let template = spec.get("template").unwrap_or(&Value::Null);
    workload::validate_template(template, path, errors);
    let at = path.child("spec").child("restartPolicy");
    match template.str_at(&["spec", "restartPolicy"]) {
        "Always" | "" => errors.required(at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" => {
            if object_at(spec, "podFailurePolicy").is_some() {
                let why = "only \"Never\" is supported when podFailurePolicy is specified";
                errors.invalid(at, "OnFailure", why);
            }
        }
        "Never" => {}
        other => errors.not_supported(at, other, &["OnFailure", "Never"]),
    }
}

/// `domain/path`.
fn validate_manager(manager: &str, path: &Path, errors: &mut Errors) {
    if manager.is_empty() {
        errors.required(path.clone(), "");
        return;
    }
    match manager.split_once('/') {
        None => errors.invalid(
            path.clone(),
            manager,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        Some((domain, rest)) => {
            check::problems(domain, name::dns_subdomain(domain), path, errors);
            let is_path =
                |byte: u8| byte.is_ascii_alphanumeric() || b"/%:@-._~!$&'()*+,;=".contains(&byte);
            if rest.is_empty() {
                errors.invalid(
                    path.clone(),
                    manager,
                    "must be a domain-prefixed path (such as \"acme.io/foo\")",
                );
            } else if !rest.bytes().all(is_path) {
                errors.invalid(
                    path.clone(),
                    rest,
                    "Invalid path (e.g. 'foo.com/bar', regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
                );
            }
        }
    }
    if manager.len() > LONGEST_MANAGER {
        errors.too_long(path.clone(), LONGEST_MANAGER);
    }
}

fn validate_indexed(spec: &Value, path: &Path, errors: &mut Errors) {
    let number = |field: &str| spec.i64_at(&[field]);
    let most = |field: &str, limit: i64, why: String, errors: &mut Errors| {
        if let Some(value) = number(field).filter(|value| *value > limit) {
            errors.invalid(path.child(field), value, &why);
        }
    };
    let (completions, failed) = (number("completions"), number("maxFailedIndexes"));
    if completions.is_none() {
        let why = "when completion mode is Indexed";
        errors.required(path.child("completions"), why);
    }
    let why =
        format!("must be less than or equal to {MOST_PARALLEL} when completion mode is Indexed");
    most("parallelism", MOST_PARALLEL, why, errors);
    if let Some(completions) = completions {
        let why = "must be less than or equal to completions".to_owned();
        most("maxFailedIndexes", completions, why, errors);
    }
    let why = format!("must be less than or equal to {MOST_FAILED}");
    most("maxFailedIndexes", MOST_FAILED, why, errors);
    let many = completions.is_some_and(|completions| completions > MANY_COMPLETIONS);
    if many && number("backoffLimitPerIndex").is_some() {
        if failed.is_none() {
            let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.required(path.child("maxFailedIndexes"), &why);
        }
        for (field, limit) in [
            ("parallelism", MOST_PARALLEL_OF_MANY),
            ("maxFailedIndexes", MOST_FAILED_OF_MANY),
        ] {
            let why = format!(
                "must be less than or equal to {limit} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
            );
            most(field, limit, why, errors);
        }
    }
}

fn validate_success_policy(policy: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("rules");
    let rules = policy.list_at(&["rules"]);
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.required(path.clone(), why);
    }
    if rules.len() > MOST_RULES {
        errors.too_many(path.clone(), rules.len(), MOST_RULES);
    }
    let completions = spec.i64_at(&["completions"]).unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let wanted = rule.get("succeededIndexes").and_then(Value::as_str);
        let count = rule.i64_at(&["succeededCount"]);
        if wanted.is_none() && count.is_none() {
            let why = "at least one of succeededCount or succeededIndexes must be specified";
            errors.required(path.clone(), why);
        }
        let mut total = 0;
        if let Some(wanted) = wanted {
            let at = path.child("succeededIndexes");
            if wanted.len() > LONGEST_INDEXES {
                errors.too_long(at.clone(), LONGEST_INDEXES);
            }
            match indexes::parse(wanted, completions) {
                Ok(intervals) => total = indexes::count(&intervals),
                Err(why) => {
                    let why = format!("error parsing succeededIndexes: {why}");
                    errors.invalid(at, wanted, &why);
                }
            }
        }
        if let Some(count) = count {
            check::not_negative(rule, "succeededCount", &path, errors);
            let at = path.child("succeededCount");
            if count > completions {
                let why = format!(
                    "must be less than or equal to {completions} (the number of specified completions)"
                );
                errors.invalid(at.clone(), count, &why);
            }
            if wanted.is_some() && count > total {
                let why = format!(
                    "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
                );
                errors.invalid(at, count, &why);
            }
        }
    }
}

/// What works but should not be done.
pub(super) fn warnings(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let number = |field: &str| spec.i64_at(&[field]).unwrap_or(0);
    if is_indexed(spec)
        && number("completions") > MANY_COMPLETIONS
        && number("parallelism") > MOST_PARALLEL_OF_MANY
    {
        warnings.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes \
             might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    let template = path.child("template");
    warnings.extend(workload::template_warnings(spec.get("template"), &template));
    warnings
}
