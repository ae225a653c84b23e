//! ResourceClaimTemplate.

use serde_json::Value;

use super::request;
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.at_mut(&["spec", "spec"]) {
            request::default(spec);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        let meta = path.child("metadata");
        let at = |field: &str| object.at(&["spec", "metadata", field]);
        check::annotations(at("annotations"), &meta.child("annotations"), errors);
        check::labels(at("labels"), &meta.child("labels"), errors);
        let spec = object.at(&["spec", "spec"]).unwrap_or(&Value::Null);
        request::validate(spec, &path.child("spec"), errors);
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        request::same_spec(
            object,
            old,
            "api.resource.v1.ResourceClaimTemplateSpec",
            errors,
        );
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
