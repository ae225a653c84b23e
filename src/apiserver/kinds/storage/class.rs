//! StorageClass.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{parameters, provisioner};
use crate::apiserver::kinds::{check, node_selector};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct StorageClass;

const RECLAIM: [&str; 2] = ["Delete", "Retain"];
const BINDING: [&str; 2] = ["Immediate", "WaitForFirstConsumer"];

impl Strategy for StorageClass {
    fn default(&self, object: &mut Value) {
        object.default_at(&["reclaimPolicy"], "Delete");
        object.default_at(&["volumeBindingMode"], "Immediate");
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        provisioner(object, "provisioner", errors);
        parameters(object, false, errors);
        check::one_of(object, "reclaimPolicy", &RECLAIM, &Path::default(), errors);
        let mode = object.str_at(&["volumeBindingMode"]);
        if !BINDING.contains(&mode) {
            errors.not_supported(Path::new("volumeBindingMode"), mode, &BINDING);
        }
        topologies(object.list_at(&["allowedTopologies"]), errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
        for field in [
            "parameters",
            "provisioner",
            "reclaimPolicy",
            "volumeBindingMode",
        ] {
            check::immutable(object, old, field, &Path::default(), errors);
        }
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, term) in object.list_at(&["allowedTopologies"]).iter().enumerate() {
            let path = Path::new("allowedTopologies")
                .index(index)
                .child("matchLabelExpressions");
            let expressions = term.list_at(&["matchLabelExpressions"]);
            for (number, expression) in expressions.iter().enumerate() {
                if let Some(message) = node_selector::old_label(expression.str_at(&["key"])) {
                    let at = path.index(number).child("key");
                    warnings.push(format!("{at}: {message}"));
                }
            }
        }
        warnings
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Where volumes may be.
fn topologies(terms: &[Value], errors: &mut Errors) {
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let path = Path::new("allowedTopologies")
            .index(index)
            .child("matchLabelExpressions");
        let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let expressions = term.list_at(&["matchLabelExpressions"]);
        for (number, expression) in expressions.iter().enumerate() {
            let at = path.index(number);
            let key = expression.str_at(&["key"]);
            let values = expression.list_at(&["values"]);
            if values.is_empty() {
                errors.required(at.child("values"), "");
            }
            let mut set = BTreeSet::new();
            for (place, value) in values.iter().filter_map(Value::as_str).enumerate() {
                if !set.insert(value) {
                    errors.duplicate(at.child("values").index(place), value);
                }
            }
            check::problems(key, name::qualified(key), &at.child("key"), errors);
            if labels.insert(key, set).is_some() {
                errors.duplicate(at.child("key"), key);
            }
        }
        for _ in seen.iter().filter(|other| **other == labels) {
            errors.duplicate(path.clone(), "");
        }
        seen.push(labels);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{defaulted, errors_of, errors_of_update};

    fn class(change: &Value) -> Value {
        let mut class = json!({ "provisioner": "example.com/p" });
        let fields = change.as_object().unwrap().clone();
        class.as_object_mut().unwrap().extend(fields);
        defaulted(&StorageClass, class)
    }

    #[test]
    fn rules() {
        let zone = json!({ "matchLabelExpressions": [{ "key": "zone", "values": ["a"] }] });
        for (change, expected) in [
            (json!({}), ""),
            (json!({ "provisioner": "" }), "provisioner: Required value"),
            (
                json!({ "reclaimPolicy": "Recycle" }),
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            ),
            (
                json!({ "volumeBindingMode": "X" }),
                "volumeBindingMode: Unsupported value: \"X\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            ),
            (
                json!({ "parameters": { "": "x" } }),
                "parameters: Invalid value: \"\": field can not be empty.",
            ),
            (
                json!({ "allowedTopologies": [zone, zone] }),
                "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
            ),
            (
                json!({ "allowedTopologies": [{ "matchLabelExpressions": [{ "key": "a" }, { "key": "a", "values": ["1", "1"] }] }] }),
                "allowedTopologies[0].matchLabelExpressions[0].values: Required value; \
                 allowedTopologies[0].matchLabelExpressions[1].values[1]: Duplicate value: \"1\"; \
                 allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"a\"",
            ),
        ] {
            assert_eq!(errors_of(&StorageClass, &class(&change)), expected);
        }
    }

    #[test]
    fn what_makes_volumes_stays() {
        let old = class(&json!({}));
        for (change, expected) in [
            (json!({ "mountOptions": ["ro"] }), ""),
            (
                json!({ "parameters": { "a": "b" } }),
                "parameters: Invalid value: {\"a\":\"b\"}: field is immutable",
            ),
            (
                json!({ "reclaimPolicy": "Retain" }),
                "reclaimPolicy: Invalid value: \"Retain\": field is immutable",
            ),
        ] {
            let new = class(&change);
            assert_eq!(errors_of_update(&StorageClass, None, &new, &old), expected);
        }
    }

    #[test]
    fn old_labels_are_warned_of() {
        let expression =
            json!({ "key": "failure-domain.beta.kubernetes.io/zone", "values": ["a"] });
        let term = json!({ "matchLabelExpressions": [expression] });
        let object = class(&json!({ "allowedTopologies": [term] }));
        assert_eq!(
            StorageClass.warnings(&object, None),
            [
                "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
            ]
        );
    }
}
