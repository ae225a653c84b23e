//! RuntimeClass.

use serde_json::Value;

use crate::apiserver::kinds::{check, core};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, Quantity, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let handler = object.str_at(&["handler"]);
        if handler.is_empty() {
            errors.required(Path::new("handler"), "");
        } else {
            let problems = name::dns_label(handler);
            check::problems(handler, problems, &Path::new("handler"), errors);
        }
        if let Some(overhead) = check::map_at(object, &["overhead", "podFixed"]) {
            let path = Path::new("overhead").child("limits");
            for (resource, amount) in overhead {
                let amount = amount.as_str().unwrap_or_default();
                if Quantity::parse(amount).is_ok_and(|amount| amount.is_negative()) {
                    let why = "must be greater than or equal to 0";
                    errors.invalid(path.key(resource), amount, why);
                }
            }
        }
        let scheduling = object.get("scheduling").unwrap_or(&Value::Null);
        let path = Path::new("scheduling");
        check::labels(
            scheduling.get("nodeSelector"),
            &path.child("nodeSelector"),
            errors,
        );
        let (path, tolerations) = (
            path.child("tolerations"),
            scheduling.list_at(&["tolerations"]),
        );
        core::pod::validate_tolerations(tolerations, &path, errors);
        for (index, toleration) in tolerations.iter().enumerate() {
            if tolerations
                .get(..index)
                .is_some_and(|before| before.contains(toleration))
            {
                errors.duplicate(path.index(index), toleration.clone());
            }
        }
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        check::immutable(object, old, "handler", &Path::default(), errors);
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
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
        let toleration = json!({"key": "a", "operator": "Exists"});
        for (object, expected) in [
            (json!({"handler": "runc"}), vec![]),
            (json!({}), vec!["handler: Required value"]),
            (
                json!({"handler": "a", "overhead": {"podFixed": {"cpu": "-1"}}}),
                vec![
                    "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                ],
            ),
            (
                json!({"handler": "a", "scheduling": {"tolerations": [toleration, toleration]}}),
                vec![
                    "scheduling.tolerations[1]: Duplicate value: {\"key\":\"a\",\"operator\":\"Exists\"}",
                ],
            ),
        ] {
            let mut errors = Errors::new();
            RuntimeClass.validate(&context, &object, &mut errors);
            let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected);
        }
        let mut errors = Errors::new();
        let (new, old) = (json!({"handler": "b"}), json!({"handler": "a"}));
        RuntimeClass.validate_update(&context, &new, &old, &mut errors);
        assert_eq!(
            errors.0[0].to_string(),
            "handler: Invalid value: \"b\": field is immutable"
        );
    }
}
