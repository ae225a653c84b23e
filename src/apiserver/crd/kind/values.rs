//! Defaults in schemas: each is a value that the schema itself accepts
//! (`apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go`).
use super::super::schema::Props;
use super::super::{cel, embedded, value};
use crate::apiserver::schema::Schema;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use serde_json::{Map, Value};

/// Checks the defaults in a schema.
pub(super) fn validate(schema: &Value, path: &Path, errors: &mut Errors) {
    walk(schema, true, false, path, errors);
}

fn walk(schema: &Value, root: bool, in_meta: bool, path: &Path, errors: &mut Errors) {
    let own = root || schema.bool_at(&["x-kubernetes-embedded-resource"]) == Some(true);
    let in_meta = in_meta && !own;
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        check(schema, default, in_meta, &path.child("default"), errors);
    }
    // Below additionalProperties there may be none.
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        walk(items, false, in_meta, &path.child("items"), errors);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flat_map(Map::iter) {
        let meta = own && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        let path = path.child("properties").key(name);
        walk(property, false, in_meta || meta, &path, errors);
    }
}

fn check(schema: &Value, default: &Value, in_meta: bool, path: &Path, errors: &mut Errors) {
    if !in_meta {
        let mut pruned = default.clone();
        Schema::of_value(schema).prune(&mut pruned);
        if pruned != *default {
            errors.invalid(
                path.clone(),
                default.clone(),
                "must not have unknown fields",
            );
        }
    }
    let props = Props::parse(schema);
    let mut found = Errors::new();
    embedded::validate(&props, default, path, &mut found);
    if found.is_empty() {
        value::validate(&props, default, None, Some(path), &mut found);
    }
    if found.is_empty() {
        cel::check_default(&props, default, path, &mut found);
    }
    errors.0.extend(found.0);
}
