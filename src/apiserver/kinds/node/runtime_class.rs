//! RuntimeClass.

use serde_json::Value;

use crate::apiserver::kinds::{check, core, node_selector};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::apiserver::schema::internal;
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, name};

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
        if let Some(overhead) = object.at(&["overhead", "podFixed"]) {
            core::pod::validate_overhead(overhead, &Path::new("overhead"), errors);
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
        let key = |toleration: &Value| {
            ["key", "operator", "value", "effect"]
                .map(|field| toleration.str_at(&[field]).to_owned())
        };
        let mut seen = Vec::new();
        for (index, toleration) in tolerations.iter().enumerate() {
            let key = key(toleration);
            if seen.contains(&key) {
                let shown = internal::text("api.core.v1.Toleration", toleration);
                let message = format!("Duplicate value: {shown}");
                errors.push(ErrorKind::Duplicate, path.index(index), message);
            }
            seen.push(key);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
        check::immutable(object, old, "handler", &Path::default(), errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let labels = check::map_at(object, &["scheduling", "nodeSelector"]);
        let keys = labels.into_iter().flat_map(serde_json::Map::keys);
        keys.filter_map(|key| node_selector::old_label(key))
            .map(|message| format!("scheduling.nodeSelector: {message}"))
            .collect()
    }

    fn allow_create_on_update(&self) -> bool {
        true
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
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    #[test]
    fn rules() {
        let toleration = json!({"key": "a", "operator": "Exists", "tolerationSeconds": 1, "effect": "NoExecute"});
        let mut longer = toleration.clone();
        longer["tolerationSeconds"] = json!(2);
        for (object, expected) in [
            (json!({"handler": "runc"}), ""),
            (json!({}), "handler: Required value"),
            (
                json!({"handler": "a", "overhead": {"podFixed": {"cpu": "-1"}}}),
                "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
            (
                json!({"handler": "a", "overhead": {"podFixed": {"foo": "1"}}}),
                "overhead.limits[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified; \
                 overhead.limits[foo]: Invalid value: \"foo\": must be a standard resource for containers",
            ),
            // How long it holds makes no other toleration of it.
            (
                json!({"handler": "a", "scheduling": {"tolerations": [toleration, longer]}}),
                "scheduling.tolerations[1]: Duplicate value: {\"Key\":\"a\",\"Operator\":\"Exists\",\"Value\":\"\",\"Effect\":\"NoExecute\",\"TolerationSeconds\":2}",
            ),
        ] {
            assert_eq!(errors_of(&RuntimeClass, &object), expected);
        }
    }

    #[test]
    fn changes_are_checked_whole() {
        let old = json!({"handler": "a"});
        for (object, expected) in [
            (
                json!({"handler": "a", "overhead": {"podFixed": {"cpu": "1"}}}),
                "",
            ),
            (
                json!({"handler": "b"}),
                "handler: Invalid value: \"b\": field is immutable",
            ),
            (
                json!({"handler": "a", "overhead": {"podFixed": {"cpu": "-1"}}}),
                "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
        ] {
            assert_eq!(
                errors_of_update(&RuntimeClass, None, &object, &old),
                expected
            );
        }
        let selector = json!({"beta.kubernetes.io/os": "linux", "other": "x"});
        assert_eq!(
            RuntimeClass.warnings(&json!({"scheduling": {"nodeSelector": selector}}), None),
            ["scheduling.nodeSelector: deprecated since v1.14; use \"kubernetes.io/os\" instead"]
        );
    }
}
