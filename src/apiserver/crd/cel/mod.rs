//! The rules of custom resources (`x-kubernetes-validations`): checked when they are written, evaluated when objects are.
mod check;
mod declare;
mod rules;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use self::check::check_schema;
pub(crate) use self::rules::Rules;

use super::schema::Props;
use crate::object::field::{Errors, Path};
use serde_json::Value;

/// What writers of a definition are told about its rules: nothing, they are enforced.
pub(crate) fn warning(_: &Value) -> Option<String> {
    None
}

/// Checks a default by the rules of its schema, as a new value and as one that stays.
pub(crate) fn check_default(schema: &Props, default: &Value, path: &Path, errors: &mut Errors) {
    let Some(rules) = Rules::compile(schema) else {
        return;
    };
    let before = errors.0.len();
    rules.validate_at(schema, default, Some(default), Some(path), errors);
    if errors.0.len() == before {
        rules.validate_at(schema, default, None, Some(path), errors);
    }
}
