//! The names of a kind: what they may look like.
use super::label_problems;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use serde_json::Value;

/// Checks the names that are there.
pub(super) fn validate(names: &Value, path: &Path, errors: &mut Errors) {
    for (field, mixed) in [
        ("plural", false),
        ("singular", false),
        ("kind", true),
        ("listKind", true),
    ] {
        let text = names.str_at(&[field]);
        if text.is_empty() {
            continue;
        }
        if mixed {
            if let Some(problem) = label_problems(&text.to_lowercase()) {
                let why = format!("may have mixed case, but should otherwise match: {problem}");
                errors.invalid(path.child(field), text, &why);
            }
        } else if let Some(problem) = label_problems(text) {
            errors.invalid(path.child(field), text, &problem);
        }
    }
    let mut list = |field: &str| {
        for (index, item) in names.list_at(&[field]).iter().enumerate() {
            let text = item.as_str().unwrap_or_default();
            if let Some(problem) = label_problems(text) {
                errors.invalid(path.child(field).index(index), text, &problem);
            }
        }
    };
    list("shortNames");
    list("categories");
    let kind = names.str_at(&["kind"]);
    if !kind.is_empty() && kind == names.str_at(&["listKind"]) {
        errors.invalid(
            path.child("listKind"),
            kind,
            "kind and listKind may not be the same",
        );
    }
}

/// Names that every definition has.
pub(super) fn required(names: &Value, path: &Path, errors: &mut Errors) {
    for field in ["plural", "singular", "kind", "listKind"] {
        if names.str_at(&[field]).is_empty() {
            errors.required(path.child(field), "");
        }
    }
}
