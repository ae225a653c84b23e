//! `admissionregistration.k8s.io`: webhooks and policies, and what binds policies to requests.

mod binding;
mod conditions;
mod expression;
mod mutating_policy;
mod policy;
mod rules;
mod webhook;

#[cfg(test)]
mod tests;

pub(super) use self::binding::Binding;
pub(super) use self::mutating_policy::MutatingAdmissionPolicy;
pub(super) use self::policy::ValidatingAdmissionPolicy;
pub(super) use self::webhook::WebhookConfiguration;

use serde_json::Value;

use crate::object::Document;
use crate::object::field::{Errors, Path};

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

/// The text at `field` is there and one of `allowed`.
fn required_one_of(
    object: &Value,
    field: &str,
    allowed: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    if is_set(object, field) {
        one_of(object, field, allowed, path, errors);
    } else {
        errors.required(path.child(field), "");
    }
}

/// The text at `field`, if there is one, be it empty, is one of `allowed`.
fn one_of(object: &Value, field: &str, allowed: &[&str], path: &Path, errors: &mut Errors) {
    if is_set(object, field) && !allowed.contains(&object.str_at(&[field])) {
        errors.not_supported(path.child(field), object.str_at(&[field]), allowed);
    }
}

fn is_set(object: &Value, field: &str) -> bool {
    object.get(field).is_some_and(|value| !value.is_null())
}

/// The texts of the list at `field`.
fn texts<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    object
        .list_at(&[field])
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// The items of the list at `path`, to fill in what they leave out.
fn items_mut<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut [Value] {
    object
        .at_mut(path)
        .and_then(Value::as_array_mut)
        .map(Vec::as_mut_slice)
        .unwrap_or_default()
}
