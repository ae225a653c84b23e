//! Match conditions.

use serde_json::Value;

use super::expression::{Scope, Use};
use crate::apiserver::kinds::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

const MOST: usize = 64;

/// The conditions of a webhook or policy.
pub(super) fn validate(conditions: &[Value], params: bool, path: &Path, errors: &mut Errors) {
    if conditions.len() > MOST {
        errors.too_many(path.clone(), conditions.len(), MOST);
    }
    let mut seen = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let expression = condition.str_at(&["expression"]).trim();
        if expression.is_empty() {
            errors.required(path.child("expression"), "");
        } else {
            let mut scope = Scope::new(params);
            scope.check(
                expression,
                Use::Condition,
                None,
                path.child("expression"),
                errors,
            );
        }
        let name = condition.str_at(&["name"]);
        if name.is_empty() {
            errors.required(path.child("name"), "");
            continue;
        }
        check::problems(name, name::qualified(name), &path.child("name"), errors);
        if seen.contains(&name) {
            errors.duplicate(path.child("name"), name);
        }
        seen.push(name);
    }
}
