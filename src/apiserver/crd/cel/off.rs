//! Rules without the feature `cel`: they are kept, and not enforced.
use super::schema::Props;
use crate::object::field::{Errors, Path};
use serde_json::Value;

/// The rules of a schema.
#[derive(Debug)]
pub(crate) struct Rules;

impl Rules {
    pub(crate) fn compile(_: &Props) -> Option<Self> {
        None
    }
    pub(crate) fn validate(
        &self,
        _: &Props,
        _: &Value,
        _: Option<&Value>,
        _: &mut Errors,
    ) -> Vec<String> {
        Vec::new()
    }
}

pub(crate) fn check_schema(_: &Value, _: bool, _: &Path, _: &mut Errors) {}

pub(crate) fn check_default(_: &Props, _: &Value, _: &Path, _: &mut Errors) {}
