//! CSIStorageCapacity: how much of a class there is where.

use serde_json::Value;

use crate::apiserver::kinds::{check, node_selector, resource_name};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let selector = object.get("nodeTopology").unwrap_or(&Value::Null);
        check::label_selector(selector, &Path::new("nodeTopology"), errors);
        let class = object.str_at(&["storageClassName"]);
        let problems = name::dns_subdomain(class);
        check::problems(class, problems, &Path::new("storageClassName"), errors);
        for field in ["capacity", "maximumVolumeSize"] {
            let amount = object.get(field).filter(|value| !value.is_null());
            if let Some(amount) = amount {
                resource_name::amount("storage", amount, &Path::new(field), errors);
            }
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
        for field in ["nodeTopology", "storageClassName"] {
            check::immutable(object, old, field, &Path::default(), errors);
        }
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let selector = object.get("nodeTopology").unwrap_or(&Value::Null);
        node_selector::label_selector_warnings(selector, &Path::new("nodeTopology"))
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
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
        let capacity = json!({ "storageClassName": "sc", "capacity": "1Gi" });
        assert_eq!(errors_of(&CsiStorageCapacity, &capacity), "");
        let bad = json!({ "storageClassName": "sc", "capacity": "-1", "nodeTopology": { "matchLabels": { "a b": "" } } });
        let found = errors_of(&CsiStorageCapacity, &bad);
        assert!(
            found.starts_with("nodeTopology.matchLabels: Invalid value: \"a b\""),
            "{found}"
        );
        assert!(
            found.ends_with("capacity: Invalid value: \"-1\": must be greater than or equal to 0"),
            "{found}"
        );
        let mut changed = capacity.clone();
        changed["storageClassName"] = "other".into();
        assert_eq!(
            errors_of_update(&CsiStorageCapacity, None, &changed, &capacity),
            "storageClassName: Invalid value: \"other\": field is immutable"
        );
    }
}
