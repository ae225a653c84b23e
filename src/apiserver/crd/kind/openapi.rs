//! Schemas of custom resources: which keywords there are, and which go together
//! (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).
use super::super::schema::Props;
use super::extras::field_path;
use super::{structural, values};
use crate::object::Document;
use crate::object::field::{Errors, Path};
use serde_json::{Map, Value};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];
/// What may be at the root of a schema whose status is checked by itself, in the order of messages.
const AT_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
const ROOT_FIELDS: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Checks the schema of a version. `unchanged`: it was accepted before.
pub(super) fn validate(
    schema: &Value,
    has_status: bool,
    unchanged: bool,
    path: &Path,
    errors: &mut Errors,
) {
    let before = errors.0.len();
    if has_status {
        root(schema, path, errors);
    }
    if schema.bool_at(&["nullable"]) == Some(true) {
        errors.forbidden(
            path.child("nullable"),
            "nullable cannot be true at the root",
        );
    }
    let mut found = Errors::new();
    structural::validate(schema, path, &mut found);
    if found.is_empty() {
        values::validate(schema, path, &mut found);
    }
    let well_formed = found.is_empty();
    // The real server sorts these.
    found.0.sort_by_cached_key(ToString::to_string);
    errors.0.extend(found.0);
    Walk::default().schema(schema, path, true, errors);
    if well_formed && errors.0.len() == before {
        super::super::cel::check_schema(schema, unchanged, path, errors);
    }
}

fn root(schema: &Value, path: &Path, errors: &mut Errors) {
    let type_ = schema.str_at(&["type"]);
    if !type_.is_empty() && type_ != "object" {
        errors.invalid(
            path.child("type"),
            type_,
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled",
        );
        return;
    }
    let fields = schema.as_object().into_iter().flat_map(Map::keys);
    if fields
        .into_iter()
        .any(|field| !ROOT_FIELDS.contains(&field.as_str()))
    {
        let why = format!(
            "only {AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.invalid(path.clone(), schema.clone(), &why);
    }
}

/// What is known of a place from those around it.
#[derive(Clone, Default)]
struct Walk {
    /// Why there may be no defaults.
    no_defaults: Option<String>,
    in_meta: bool,
}

impl Walk {
    fn schema(&self, schema: &Value, path: &Path, is_root: bool, errors: &mut Errors) {
        self.keywords(schema, path, errors);
        let flag = |name: &str| schema.bool_at(&[name]) == Some(true);
        if flag("uniqueItems") {
            errors.forbidden(
                path.child("uniqueItems"),
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            );
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let has_properties = properties.is_some_and(|properties| !properties.is_empty());
        if let Some(additional) = schema
            .get("additionalProperties")
            .filter(|value| !value.is_null())
        {
            let at = path.child("additionalProperties");
            if has_properties && *additional != Value::Bool(true) {
                let why = "additionalProperties and properties are mutual exclusive";
                errors.forbidden(at.clone(), why);
            }
            if additional.is_object() {
                let mut inner = self.clone();
                if self.in_meta {
                    inner.forbid("inside additionalProperties applying to object metadata");
                }
                inner.schema(additional, &at, false, errors);
            }
        }
        for (name, property) in properties.into_iter().flatten() {
            let mut inner = self.clone();
            let meta = matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
            if meta && (is_root || flag("x-kubernetes-embedded-resource")) {
                inner.in_meta = true;
                if is_root {
                    inner.forbid(&format!("in top-level {name}"));
                }
            }
            inner.schema(property, &path.child("properties").key(name), false, errors);
        }
        for field in ["not", "items"] {
            if let Some(inner) = schema.get(field).filter(|inner| inner.is_object()) {
                self.schema(inner, &path.child(field), false, errors);
            }
        }
        for field in ["allOf", "oneOf", "anyOf", "items"] {
            for (index, inner) in schema.list_at(&[field]).iter().enumerate() {
                self.schema(inner, &path.child(field).index(index), false, errors);
            }
        }
        extensions(schema, path, errors);
        map_list(schema, path, errors);
        rules(schema, path, errors);
    }

    fn forbid(&mut self, why: &str) {
        self.no_defaults = Some(why.to_owned());
    }

    fn keywords(&self, schema: &Value, path: &Path, errors: &mut Errors) {
        let there = |field: &str| schema.get(field).is_some_and(|value| !value.is_null());
        let some = |field: &str| match schema.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(_) => true,
        };
        let type_ = schema.str_at(&["type"]);
        if !type_.is_empty() && !TYPES.contains(&type_) {
            errors.not_supported(path.child("type"), type_, &TYPES);
        }
        if let Some(why) = self.no_defaults.as_ref().filter(|_| there("default")) {
            errors.forbidden(path.child("default"), &format!("must not be set {why}"));
        }
        for (field, set) in [
            ("id", some("id")),
            ("additionalItems", there("additionalItems")),
            ("patternProperties", some("patternProperties")),
            ("definitions", some("definitions")),
            ("dependencies", there("dependencies")),
            ("$ref", there("$ref")),
        ] {
            if set {
                errors.forbidden(path.child(field), &format!("{field} is not supported"));
            }
        }
        if type_ == "null" {
            errors.forbidden(
                path.child("type"),
                "type cannot be set to null, use nullable as an alternative",
            );
        }
        if !schema.list_at(&["items"]).is_empty() {
            errors.forbidden(
                path.child("items"),
                "items must be a schema object and not an array",
            );
        }
        if self.in_meta && schema.bool_at(&["x-kubernetes-embedded-resource"]) == Some(true) {
            errors.forbidden(
                path.child("x-kubernetes-embedded-resource"),
                "must not be used inside of resource meta",
            );
        }
    }
}

fn extensions(schema: &Value, path: &Path, errors: &mut Errors) {
    let type_ = schema.str_at(&["type"]);
    let text = |field: &str| schema.get(field).and_then(Value::as_str);
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        errors.invalid(
            path.child("x-kubernetes-preserve-unknown-fields"),
            false,
            "must be true or undefined",
        );
    }
    let mut of_type = |field: &str, wanted: &str| {
        if text(field).is_none() || type_ == wanted {
            return;
        }
        let why = format!("must be {wanted} if {field} is specified");
        if type_.is_empty() {
            errors.required(path.child("type"), &why);
        } else {
            errors.invalid(path.child("type"), type_, &why);
        }
    };
    of_type("x-kubernetes-map-type", "object");
    of_type("x-kubernetes-list-type", "array");
    if let Some(map_type) = text("x-kubernetes-map-type")
        && !matches!(map_type, "atomic" | "granular")
    {
        errors.not_supported(
            path.child("x-kubernetes-map-type"),
            map_type,
            &["atomic", "granular"],
        );
    }
    let list_type = text("x-kubernetes-list-type");
    if list_type == Some("set") && type_ == "array" {
        set_items(schema, path, errors);
    }
    if let Some(list_type) = list_type
        && !matches!(list_type, "atomic" | "set" | "map")
    {
        errors.not_supported(
            path.child("x-kubernetes-list-type"),
            list_type,
            &["atomic", "set", "map"],
        );
    }
}

/// The items of a set merge as one value.
fn set_items(schema: &Value, path: &Path, errors: &mut Errors) {
    let Some(items) = schema.get("items").filter(|items| items.is_object()) else {
        return;
    };
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let shown = items
        .get("x-kubernetes-list-type")
        .cloned()
        .unwrap_or_default();
    let list_type = items.str_at(&["x-kubernetes-list-type"]);
    let map_type = items.str_at(&["x-kubernetes-map-type"]);
    match items.str_at(&["type"]) {
        "array" if !matches!(list_type, "" | "atomic") => {
            errors.invalid(
                path.child("items").child("x-kubernetes-list-type"),
                shown,
                why,
            );
        }
        "object" if map_type != "atomic" => {
            errors.invalid(
                path.child("items").child("x-kubernetes-map-type"),
                shown,
                why,
            );
        }
        _ => {}
    }
}

fn map_list(schema: &Value, path: &Path, errors: &mut Errors) {
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    let keys = schema.list_at(&["x-kubernetes-list-map-keys"]);
    let at_keys = || path.child("x-kubernetes-list-map-keys");
    if !keys.is_empty() && list_type != Some("map") {
        let at = path.child("x-kubernetes-list-type");
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => errors.required(at, why),
            Some(other) => errors.invalid(at, other, why),
        }
    }
    let Some(list_type @ ("set" | "map")) = list_type else {
        return;
    };
    let items = schema.get("items").filter(|items| items.is_object());
    let at_items = path.child("items");
    if let Some(items) = items
        && items.bool_at(&["nullable"]) == Some(true)
    {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.forbidden(at_items.child("nullable"), &why);
    }
    if list_type == "set" {
        return;
    }
    if keys.is_empty() {
        errors.required(
            at_keys(),
            "must not be empty if x-kubernetes-list-type is map",
        );
    }
    let Some(items) = items else {
        if schema.get("items").is_none_or(Value::is_null) {
            errors.required(
                at_items,
                "must have a schema if x-kubernetes-list-type is map",
            );
        }
        return;
    };
    let type_ = items.str_at(&["type"]);
    if type_ != "object" {
        errors.invalid(
            at_items.child("type"),
            type_,
            "must be object if parent array's x-kubernetes-list-type is map",
        );
    }
    let required = items.list_at(&["required"]);
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        let property = items.at(&["properties", name]);
        let at = at_items.child("properties").key(name);
        if type_ == "object" {
            match property.map(|property| property.str_at(&["type"])) {
                None => errors.invalid(
                    at_keys(),
                    keys.to_vec(),
                    "entries must all be names of item properties",
                ),
                Some("array" | "object") => errors.invalid(
                    at.child("type"),
                    type_,
                    "must be a scalar type if parent array's x-kubernetes-list-type is map",
                ),
                Some(_) => {}
            }
            if keys.iter().take(index).any(|before| before == key) {
                errors.invalid(
                    at_keys(),
                    keys.to_vec(),
                    "must not contain duplicate entries",
                );
            }
        }
        let Some(property) = property else {
            continue;
        };
        if !required.contains(key) && property.get("default").is_none_or(Value::is_null) {
            errors.required(
                at.child("default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            );
        }
        if property.bool_at(&["nullable"]) == Some(true) {
            errors.forbidden(
                at.child("nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            );
        }
    }
}

/// What can be said of rules without reading their expressions.
fn rules(schema: &Value, path: &Path, errors: &mut Errors) {
    let breaks = |text: &str| text.contains(['\n', '\r']);
    for (index, rule) in schema
        .list_at(&["x-kubernetes-validations"])
        .iter()
        .enumerate()
    {
        let path = path.child("x-kubernetes-validations").index(index);
        let text = |field: &str| rule.str_at(&[field]);
        let (expression, message) = (text("rule").trim(), text("message"));
        let trimmed = message.trim();
        if expression.is_empty() {
            errors.required(path.child("rule"), "rule is not specified");
        } else if !message.is_empty() && trimmed.is_empty() {
            let why = "message must be non-empty if specified";
            errors.invalid(path.child("message"), message, why);
        } else if breaks(trimmed) {
            errors.invalid(
                path.child("message"),
                message,
                "message must not contain line breaks",
            );
        } else if breaks(expression) && trimmed.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.required(path.child("message"), why);
        }
        let expression = text("messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.required(path.child("messageExpression"), why);
        }
        if let Some(reason) = rule.get("reason").and_then(Value::as_str)
            && !REASONS.contains(&reason)
        {
            errors.not_supported(path.child("reason"), reason, &REASONS);
        }
        let (field, at) = (text("fieldPath"), path.child("fieldPath"));
        if field.is_empty() {
            continue;
        }
        if field.trim().is_empty() {
            errors.invalid(
                at.clone(),
                field,
                "fieldPath must be non-empty if specified",
            );
        }
        if breaks(field) {
            errors.invalid(at.clone(), field, "fieldPath must not contain line breaks");
        }
        if field_path(field, &Props::parse(schema), true).is_err() {
            errors.invalid(at, field, "fieldPath must be a valid path");
        }
    }
}
