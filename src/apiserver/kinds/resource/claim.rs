//! ResourceClaim.

use serde_json::{Value, json};

use super::{allocation, request};
use crate::apiserver::registry::strategy::{CLIENT_METADATA, Context, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            request::default(spec);
        }
        if let Some(status) = object.get_mut("status") {
            allocation::default(status);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_none() {
            object["status"] = old.get("status").cloned().unwrap_or_else(|| json!({}));
        } else if let Some(status) = object.get_mut("status") {
            // What is said of devices goes with the allocation.
            if status.get("allocation").is_none_or(Value::is_null)
                && let Some(status) = status.as_object_mut()
            {
                status.remove("devices");
            }
        }
    }

    fn status_keeps(&self) -> &[&[&str]] {
        CLIENT_METADATA
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        request::validate(spec, &Path::new("spec"), errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource == Some("status") {
            allocation::validate_update(object, old, errors);
        } else {
            request::same_spec(object, old, "api.resource.v1.ResourceClaimSpec", errors);
        }
    }

    fn metadata_check(&self, context: &Context<'_>) -> MetadataCheck {
        match context.subresource {
            None => MetadataCheck::Whole,
            Some(_) => MetadataCheck::Change,
        }
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
