//! Which requests are meant: rules of groups, versions, resources and operations, and what is around them.

use serde_json::{Value, json};

use super::{MATCH_POLICIES, items_mut, one_of, required_one_of, texts};
use crate::apiserver::kinds::{check, names};
use crate::object::Document;
use crate::object::field::{Errors, Path};

const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// A policy cannot change what is deleted.
const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// The rules of a list say for which scope they are.
pub(super) fn default(object: &mut Value, path: &[&str]) {
    for rule in items_mut(object, path) {
        rule.default_at(&["scope"], "*");
    }
}

/// What `matchConstraints` and `matchResources` leave out.
pub(super) fn default_match(spec: &mut Value, field: &str) {
    if spec.get(field).is_none_or(Value::is_null) {
        return;
    }
    spec.default_at(&[field, "matchPolicy"], "Equivalent");
    spec.default_at(&[field, "namespaceSelector"], json!({}));
    spec.default_at(&[field, "objectSelector"], json!({}));
    default(spec, &[field, "resourceRules"]);
    default(spec, &[field, "excludeResourceRules"]);
}

/// A `MatchResources`.
pub(super) fn validate_match(resources: &Value, path: &Path, errors: &mut Errors) {
    required_one_of(resources, "matchPolicy", &MATCH_POLICIES, path, errors);
    for field in ["namespaceSelector", "objectSelector"] {
        match resources.get(field) {
            Some(selector) if !selector.is_null() => {
                check::label_selector(selector, &path.child(field), errors);
            }
            _ => errors.required(path.child(field), ""),
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in resources.list_at(&[field]).iter().enumerate() {
            let path = path.child(field).index(index);
            let mut seen = Vec::new();
            for (index, name) in texts(rule, "resourceNames").into_iter().enumerate() {
                let path = path.child("resourceNames").index(index);
                check::problems(name, names::path_segment(name, false), &path, errors);
                if seen.contains(&name) {
                    errors.duplicate(path, name);
                }
                seen.push(name);
            }
            validate(rule, &path, errors);
        }
    }
}

/// Policies that change objects are not asked about deletions.
pub(super) fn validate_mutating(resources: &Value, path: &Path, errors: &mut Errors) {
    for rule in resources.list_at(&["resourceRules"]) {
        for operation in texts(rule, "operations") {
            if !MUTATING_OPERATIONS.contains(&operation) {
                let path = path.child("resourceRules").child("operations");
                errors.not_supported(path, operation, &MUTATING_OPERATIONS);
            }
        }
    }
}

/// A rule with its operations.
pub(super) fn validate(rule: &Value, path: &Path, errors: &mut Errors) {
    let operations = texts(rule, "operations");
    wildcard(rule, "operations", "operations", path, errors);
    for (index, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(operation) {
            errors.not_supported(
                path.child("operations").index(index),
                *operation,
                &OPERATIONS,
            );
        }
    }
    wildcard(rule, "apiGroups", "API groups", path, errors);
    wildcard(rule, "apiVersions", "API versions", path, errors);
    for (index, version) in texts(rule, "apiVersions").iter().enumerate() {
        if version.is_empty() {
            errors.required(path.child("apiVersions").index(index), "");
        }
    }
    resources(rule, &path.child("resources"), errors);
    one_of(rule, "scope", &SCOPES, path, errors);
}

/// The list is not empty, and `*` stands alone in it.
fn wildcard(rule: &Value, field: &str, what: &str, path: &Path, errors: &mut Errors) {
    let items = texts(rule, field);
    if items.is_empty() {
        errors.required(path.child(field), "");
    }
    if items.len() > 1 && items.contains(&"*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.invalid(path.child(field), items, &why);
    }
}

fn resources(rule: &Value, path: &Path, errors: &mut Errors) {
    let resources = texts(rule, "resources");
    if resources.is_empty() {
        errors.required(path.clone(), "");
    }
    let (mut whole, mut everywhere): (Vec<&str>, Vec<&str>) = Default::default();
    // As upstream: the last one without a subresource decides.
    let mut plain = false;
    for (index, resource) in resources.iter().enumerate() {
        if resource.is_empty() {
            errors.required(path.index(index), "");
            continue;
        }
        let Some((name, subresource)) = resource.split_once('/') else {
            plain = *resource != "*";
            continue;
        };
        if whole.contains(&name) {
            let why = format!("if '{name}/*' is present, must not specify {resource}");
            errors.invalid(path.index(index), *resource, &why);
        }
        if everywhere.contains(&subresource) {
            let why = format!("if '*/{subresource}' is present, must not specify {resource}");
            errors.invalid(path.index(index), *resource, &why);
        }
        if subresource == "*" {
            whole.push(name);
        }
        if name == "*" {
            everywhere.push(subresource);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.invalid(path.clone(), resources.clone(), why);
    }
    if resources.contains(&"*") && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path.clone(), resources, why);
    }
}
