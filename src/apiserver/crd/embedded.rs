//! Objects within custom resources: they have a type and proper metadata (`apiextensions-apiserver/pkg/apiserver/schema/objectmeta`).
use super::schema::Props;
use crate::apiserver::kinds::{meta, names};
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupVersion, name};
use serde_json::{Map, Value};

/// Checks the embedded objects in `value` and below it.
pub(crate) fn validate(schema: &Props, value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                object(map, value, path, errors);
            }
            for (key, value) in map {
                if let Some(property) = schema.properties.get(key) {
                    validate(property, value, &path.child(key), errors);
                } else if let Some(additional) = schema.additional_schema() {
                    validate(additional, value, &path.key(key), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    validate(schema, item, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn object(map: &Map<String, Value>, whole: &Value, path: &Path, errors: &mut Errors) {
    for field in ["apiVersion", "kind"] {
        let at = path.child(field);
        match map.get(field) {
            None => errors.required(at, ""),
            Some(Value::String(text)) if text.is_empty() => errors.required(at, ""),
            Some(Value::String(text)) if field == "kind" => {
                let problems = name::dns_1035_label(&text.to_lowercase());
                if !problems.is_empty() {
                    let why = format!(
                        "may have mixed case, but should otherwise match: {}",
                        problems.join(",")
                    );
                    errors.invalid(at, text.as_str(), &why);
                }
            }
            Some(Value::String(text)) => {
                if let Err(why) = GroupVersion::parse(text) {
                    errors.invalid(at, text.as_str(), &why);
                }
            }
            Some(other) => errors.invalid(at, other.clone(), "must be a string"),
        }
    }
    let Some(metadata) = map.get("metadata").filter(|metadata| metadata.is_object()) else {
        return;
    };
    let mut metadata = metadata.clone();
    if metadata.str_at(&["name"]).is_empty() {
        // An embedded object need not have a name.
        metadata["name"] = "fakename".into();
    }
    let rules = meta::Rules {
        namespaced: !whole.namespace().is_empty(),
        name: &names::path_segment,
        known_finalizers: false,
    };
    meta::validate(&metadata, rules, &path.child("metadata"), errors);
}
