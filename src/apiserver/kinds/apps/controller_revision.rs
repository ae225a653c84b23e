//! ControllerRevision.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        match object.get("data").unwrap_or(&Value::Null) {
            Value::Null => errors.required(Path::new("data"), "data is mandatory"),
            Value::Object(_) => {}
            _ => errors.required(Path::new("data"), "data must be a valid JSON object"),
        }
        check::not_negative(object, "revision", &Path::default(), errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
        check::immutable(object, old, "data", &Path::default(), errors);
    }

    fn has_generation(&self) -> bool {
        false
    }
}
