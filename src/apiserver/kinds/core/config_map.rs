//! ConfigMap.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

/// The largest config map or secret, in bytes.
pub(super) const MOST_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ConfigMap;

impl Strategy for ConfigMap {
    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Value, _old: &Value) {}

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let data = Path::new("data");
        let mut size = 0;
        for (key, value) in check::map_at(object, &["data"]).into_iter().flatten() {
            check::config_key(key, &data.key(key), errors);
            if object.at(&["binaryData", key]).is_some() {
                let why = "duplicate of key present in binaryData";
                errors.invalid(data.key(key), key.as_str(), why);
            }
            size += value.as_str().map_or(0, str::len);
        }
        for (key, value) in check::map_at(object, &["binaryData"]).into_iter().flatten() {
            check::config_key(key, &Path::new("binaryData").key(key), errors);
            size += check::base64_size(value);
        }
        if size > MOST_BYTES {
            errors.too_long(Path::default(), MOST_BYTES);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        immutable(object, old, &["data", "binaryData"], errors);
        self.validate(context, object, errors);
    }

    fn has_generation(&self) -> bool {
        false
    }
}

/// What was declared immutable stays so, with its content.
pub(super) fn immutable(object: &Value, old: &Value, content: &[&str], errors: &mut Errors) {
    if old.bool_at(&["immutable"]) != Some(true) {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if object.bool_at(&["immutable"]) != Some(true) {
        errors.forbidden(Path::new("immutable"), why);
    }
    for field in content {
        if object.get(field) != old.get(field) {
            errors.forbidden(Path::new(*field), why);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    #[test]
    fn rules() {
        for (object, expected) in [
            (
                json!({ "data": { "a": "b" }, "binaryData": { "b": "YQ==" } }),
                "",
            ),
            (
                json!({ "data": { "a": "b" }, "binaryData": { "a": "YQ==" } }),
                "data[a]: Invalid value: \"a\": duplicate of key present in binaryData",
            ),
            (
                json!({ "data": { "..a": "" } }),
                "data[..a]: Invalid value: \"..a\": must not start with '..'",
            ),
            (
                json!({ "data": { "a": "x".repeat(MOST_BYTES + 1) } }),
                ": Too long: may not be more than 1048576 bytes",
            ),
        ] {
            assert_eq!(errors_of(&ConfigMap, &object), expected);
        }
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({ "immutable": true, "data": { "a": "b" } });
        assert_eq!(errors_of_update(&ConfigMap, None, &old, &old), "");
        let new = json!({ "data": { "a": "c" }, "binaryData": { "b": "YQ==" } });
        let why = "Forbidden: field is immutable when `immutable` is set";
        assert_eq!(
            errors_of_update(&ConfigMap, None, &new, &old),
            format!("immutable: {why}; data: {why}; binaryData: {why}")
        );
    }
}
