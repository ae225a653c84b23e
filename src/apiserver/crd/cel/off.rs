//! Rules without the feature `cel`: they are kept, and not enforced.
use super::schema::Props;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use serde_json::Value;

/// The rules of a schema: there are none.
#[derive(Debug)]
pub(crate) enum Rules {}

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
        match *self {}
    }
}

/// What writers of a definition are told about its rules.
pub(crate) fn warning(definition: &Value) -> Option<String> {
    let mut versions = definition.list_at(&["spec", "versions"]).iter();
    let has_rules = versions.any(|version| {
        let schema = version.at(&["schema", "openAPIV3Schema"]);
        schema.is_some_and(|schema| Props::parse(schema).has_rules())
    });
    let warning = "x-kubernetes-validations are not enforced: this server was built without CEL";
    has_rules.then(|| warning.to_owned())
}

pub(crate) fn check_schema(_: &Value, _: bool, _: &Path, _: &mut Errors) {}

pub(crate) fn check_default(_: &Props, _: &Value, _: &Path, _: &mut Errors) {}
