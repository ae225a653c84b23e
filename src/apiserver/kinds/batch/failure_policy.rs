//! A job's pod failure policy: what becomes of the job when its pods fail in certain ways.

use serde_json::Value;

use super::spec::object_at;
use crate::apiserver::kinds::check;
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, name};

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const MOST_RULES: usize = 20;
const MOST_PATTERNS: usize = 20;
const MOST_VALUES: usize = 255;

/// Fills in the statuses of conditions.
pub(super) fn default(policy: &mut Value) {
    for rule in items(policy, "rules") {
        for pattern in items(rule, "onPodConditions") {
            if pattern.str_at(&["status"]).is_empty() {
                pattern.set_at(&["status"], "True");
            }
        }
    }
}

fn items<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = object.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

/// Checks the policy of a job of this spec.
pub(super) fn validate(policy: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("rules");
    let rules = policy.list_at(&["rules"]);
    if rules.len() > MOST_RULES {
        errors.too_many(path.clone(), rules.len(), MOST_RULES);
    }
    let containers: Vec<&str> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| spec.list_at(&["template", "spec", list]))
        .map(|container| container.str_at(&["name"]))
        .collect();
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(rule, spec, &containers, &path.index(index), errors);
    }
}

fn validate_rule(
    rule: &Value,
    spec: &Value,
    containers: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    required_one_of(rule, "action", &ACTIONS, path, errors);
    if rule.str_at(&["action"]) == "FailIndex" && spec.i64_at(&["backoffLimitPerIndex"]).is_none() {
        let why = "requires the backoffLimitPerIndex to be set";
        errors.invalid(path.child("action"), "FailIndex", why);
    }
    let codes = object_at(rule, "onExitCodes");
    if let Some(codes) = codes {
        validate_codes(codes, containers, &path.child("onExitCodes"), errors);
    }
    let patterns = rule.list_at(&["onPodConditions"]);
    let at = path.child("onPodConditions");
    if patterns.len() > MOST_PATTERNS {
        errors.too_many(at.clone(), patterns.len(), MOST_PATTERNS);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let at = at.index(index);
        let kind = pattern.str_at(&["type"]);
        check::problems(kind, name::qualified(kind), &at.child("type"), errors);
        required_one_of(pattern, "status", &STATUSES, &at, errors);
    }
    let problem = match (codes.is_some(), patterns.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    invalid(path, problem, errors);
}

/// Invalid, without the value.
fn invalid(path: &Path, why: &str, errors: &mut Errors) {
    let message = format!("Invalid value: {why}");
    errors.push(ErrorKind::Invalid, path.clone(), message);
}

/// The text at `field` is there, and one of `supported`.
fn required_one_of(
    object: &Value,
    field: &str,
    supported: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    if object.str_at(&[field]).is_empty() {
        let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let why = format!("valid values: [{}]", quoted.join(" "));
        errors.required(path.child(field), &why);
    } else {
        check::one_of(object, field, supported, path, errors);
    }
}

fn validate_codes(codes: &Value, containers: &[&str], path: &Path, errors: &mut Errors) {
    required_one_of(codes, "operator", &OPERATORS, path, errors);
    if let Some(container) = codes.get("containerName").and_then(Value::as_str)
        && !containers.contains(&container)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(path.child("containerName"), container, why);
    }
    let at = path.child("values");
    let listed = codes.list_at(&["values"]);
    if listed.is_empty() {
        let shown = codes.get("values").cloned().unwrap_or(Value::Null);
        errors.invalid(at.clone(), shown, "at least one value is required");
    } else if listed.len() > MOST_VALUES {
        errors.too_many(at.clone(), listed.len(), MOST_VALUES);
    }
    let values: Vec<i64> = listed.iter().filter_map(Value::as_i64).collect();
    for (index, value) in values.iter().enumerate() {
        if codes.str_at(&["operator"]) == "In" && *value == 0 {
            let why = "must not be 0 for the In operator";
            errors.invalid(at.index(index), *value, why);
        }
        if values
            .get(..index)
            .is_some_and(|before| before.contains(value))
        {
            errors.duplicate(at.index(index), *value);
        }
    }
    if !values.is_sorted() {
        errors.invalid(at, values, "must be ordered");
    }
}
