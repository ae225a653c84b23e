//! VolumeAttributesClass.

use serde_json::Value;

use super::{parameters, provisioner};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        provisioner(object, "driverName", errors);
        parameters(object, true, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        for field in ["driverName", "parameters"] {
            check::immutable(object, old, field, &Path::default(), errors);
        }
        self.validate(context, object, errors);
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    #[test]
    fn rules() {
        let class = json!({ "driverName": "d.example.com", "parameters": { "iops": "1" } });
        assert_eq!(errors_of(&VolumeAttributesClass, &class), "");
        assert_eq!(
            errors_of(&VolumeAttributesClass, &json!({})),
            "driverName: Required value; parameters: Required value: must contain at least one key/value pair"
        );
        let mut changed = class.clone();
        changed["parameters"] = json!({ "iops": "2" });
        assert_eq!(
            errors_of_update(&VolumeAttributesClass, None, &changed, &class),
            "parameters: Invalid value: {\"iops\":\"2\"}: field is immutable"
        );
    }
}
