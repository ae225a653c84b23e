//! PriorityClass.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct PriorityClass;

const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

impl Strategy for PriorityClass {
    fn keeps(&self, name: &str) -> Option<&'static str> {
        SYSTEM
            .iter()
            .any(|(system, _)| *system == name)
            .then_some("this is a system priority class and cannot be deleted")
    }

    fn default(&self, object: &mut Value) {
        object.default_at(&["preemptionPolicy"], "PreemptLowerPriority");
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object.set_at(&["metadata", "generation"], 1);
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let (name, value) = (object.name(), object.i64_at(&["value"]).unwrap_or(0));
        if name.starts_with("system-") {
            if let Some(problem) = not_of_the_system(object) {
                let why = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
                );
                errors.forbidden(Path::new("metadata").child("name"), &why);
            }
        } else if value > HIGHEST {
            let why = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.forbidden(Path::new("value"), &why);
        }
        check::one_of(
            object,
            "preemptionPolicy",
            &["PreemptLowerPriority", "Never"],
            &Path::default(),
            errors,
        );
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let value = |object: &Value| object.i64_at(&["value"]).unwrap_or(0);
        if value(object) != value(old) {
            errors.forbidden(Path::new("value"), "may not be changed in an update.");
        }
        check::immutable(object, old, "preemptionPolicy", &Path::default(), errors);
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    /// It has one, but nothing counts it up.
    fn has_generation(&self) -> bool {
        false
    }
}

/// Why a class that is named as the system's are is none of them.
fn not_of_the_system(object: &Value) -> Option<String> {
    let name = object.name();
    let Some((_, value)) = SYSTEM.into_iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if object.i64_at(&["value"]) != Some(value) {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    (object.bool_at(&["globalDefault"]) == Some(true))
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules() {
        let context = Context {
            now: "",
            subresource: None,
            user: "",
        };
        for (name, value, policy, expected) in [
            ("a", 1, "Never", ""),
            (
                "a",
                1,
                "X",
                "preemptionPolicy: Unsupported value: \"X\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ),
            (
                "a",
                1_000_000_001,
                "Never",
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            ),
            (
                "system-x",
                1,
                "Never",
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
            ),
            (
                "system-node-critical",
                1,
                "Never",
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000",
            ),
            ("system-node-critical", 2_000_001_000, "Never", ""),
        ] {
            let object =
                json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": policy});
            let mut errors = Errors::new();
            PriorityClass.validate(&context, &object, &mut errors);
            let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(texts.join("\n"), expected);
        }
        assert!(PriorityClass.keeps("system-node-critical").is_some());
        assert_eq!(PriorityClass.keeps("a"), None);
        let (old, mut errors) = (
            json!({"value": 1, "preemptionPolicy": "Never"}),
            Errors::new(),
        );
        PriorityClass.validate_update(&context, &json!({"value": 2}), &old, &mut errors);
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: null: field is immutable",
            ]
        );
    }
}
