//! Kinds of the group `flowcontrol.apiserver.k8s.io`.

mod flow_schema;
mod priority_level;
mod shuffle;

use serde_json::Value;

pub(super) use self::flow_schema::FlowSchema;
pub(super) use self::priority_level::PriorityLevelConfiguration;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

/// An update is checked as a creation, one of the status by its conditions alone.
fn validate_update(
    kind: &dyn Strategy,
    context: &Context<'_>,
    object: &Value,
    errors: &mut Errors,
) {
    if context.subresource == Some("status") {
        validate_conditions(object, errors);
    } else {
        kind.validate(context, object, errors);
    }
}

/// Of a status the metadata are not checked.
fn metadata_check(context: &Context<'_>) -> MetadataCheck {
    match context.subresource {
        None => MetadataCheck::Whole,
        Some(_) => MetadataCheck::None,
    }
}

/// The conditions of a status: each has a type, and no two have the same.
fn validate_conditions(object: &Value, errors: &mut Errors) {
    let path = Path::new("status").child("conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in object.list_at(&["status", "conditions"]).iter().enumerate() {
        let kind = condition.str_at(&["type"]);
        let at = path.index(index).child("type");
        if seen.contains(&kind) {
            errors.duplicate(at.clone(), kind);
        }
        seen.push(kind);
        if kind.is_empty() {
            errors.required(at, "must not be empty");
        }
    }
}

#[cfg(test)]
mod tests;
