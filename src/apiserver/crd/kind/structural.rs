//! Structural schemas: every value has one type, said outside of `allOf`, `anyOf`, `oneOf` and `not`
//! (`apiextensions-apiserver/pkg/apiserver/schema/validation.go`).
use super::pattern;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use serde_json::{Map, Value, json};

/// Where in a schema a place is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks that a schema is structural.
pub(super) fn validate(schema: &Value, path: &Path, errors: &mut Errors) {
    invariants(schema, Level::Root, path, errors);
    junctors(schema, &mut |nested, at| {
        complete(nested, Some(schema), path, &below(path, at), errors);
    });
}

/// A path below another: `allOf[0]`.
fn below(path: &Path, rest: &str) -> Path {
    path.child(rest)
}

/// Shows the schemas under the junctors of `schema`, with their names.
fn junctors<'a>(schema: &'a Value, see: &mut dyn FnMut(&'a Value, &str)) {
    if let Some(not) = schema.get("not").filter(|not| not.is_object()) {
        see(not, "not");
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        for (index, nested) in schema.list_at(&[field]).iter().enumerate() {
            see(nested, &format!("{field}[{index}]"));
        }
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.bool_at(&[name]) == Some(true)
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let map = schema.get("properties").and_then(Value::as_object);
    map.into_iter().flat_map(Map::iter)
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let type_ = schema.str_at(&["type"]);
    let at = |field: &str| path.child(field);
    match schema.get("items") {
        Some(items @ Value::Object(_)) => invariants(items, Level::Item, &at("items"), errors),
        _ if type_ == "array" => errors.required(at("items"), "must be specified"),
        _ => {}
    }
    for (name, property) in properties(schema) {
        invariants(property, Level::Field, &at("properties").key(name), errors);
    }
    let additional = schema
        .get("additionalProperties")
        .filter(|value| !value.is_null());
    if let Some(additional) = additional {
        if level == Level::Root {
            errors.forbidden(at("additionalProperties"), "must not be used at the root");
        }
        if additional.is_object() {
            invariants(
                additional,
                Level::Field,
                &at("additionalProperties"),
                errors,
            );
        }
    }
    let (embedded, preserve, int_or_string) = (
        flag(schema, EMBEDDED),
        flag(schema, PRESERVE),
        flag(schema, INT_OR_STRING),
    );
    if int_or_string {
        let why = "must be false if x-kubernetes-int-or-string is true";
        for (set, field) in [(preserve, PRESERVE), (embedded, EMBEDDED)] {
            if set {
                errors.invalid(at(field), true, why);
            }
        }
    }
    let either = json!([{ "type": "integer" }, { "type": "string" }]);
    let skip_any = schema.get("anyOf") == Some(&either);
    let first_of_all = schema.list_at(&["allOf"]).first();
    let skip_first = first_of_all.is_some_and(|first| first.get("anyOf") == Some(&either));
    values(schema, skip_any, skip_first, path, errors);
    types(schema, level, path, errors);
    if embedded && additional.is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(at("additionalProperties"), why);
    }
    let own_metadata = level == Level::Root || embedded;
    for field in ["kind", "apiVersion"] {
        if let Some(property) = schema.at(&["properties", field]).filter(|_| own_metadata) {
            let found = property.str_at(&["type"]);
            if found != "string" {
                let path = at("properties").key(field).child("type");
                errors.invalid(path, found, "must be string");
            }
        }
    }
    if let Some(metadata) = schema.at(&["properties", "metadata"]) {
        self::metadata(
            metadata,
            own_metadata,
            level,
            &at("properties").key("metadata"),
            errors,
        );
    }
    if embedded && !preserve && properties(schema).next().is_none() {
        errors.required(
            at("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        );
    }
}

fn types(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let type_ = schema.str_at(&["type"]);
    let at = || path.child("type");
    if flag(schema, EMBEDDED) && type_ != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        if type_.is_empty() {
            errors.required(at(), why);
        } else {
            errors.invalid(at(), type_, why);
        }
    } else if type_.is_empty() && !flag(schema, INT_OR_STRING) && !flag(schema, PRESERVE) {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(at(), why);
    }
    if level == Level::Root && !type_.is_empty() && type_ != "object" {
        errors.invalid(at(), type_, "must be object at the root");
    }
}

/// At the root only the names can be restricted.
fn metadata(metadata: &Value, own: bool, level: Level, path: &Path, errors: &mut Errors) {
    let type_ = metadata.str_at(&["type"]);
    if own && type_ != "object" {
        errors.invalid(path.child("type"), type_, "must be object");
    }
    // As upstream has it, level counts where the metadata's parent is.
    if level != Level::Root {
        return;
    }
    let allowed = |(name, value): (&String, &Value)| match name.as_str() {
        "type" | "default" | "description" => true,
        "properties" => value.as_object().is_some_and(|properties| {
            properties
                .keys()
                .all(|name| matches!(name.as_str(), "name" | "generateName"))
        }),
        _ => false,
    };
    let described = metadata.get("description").is_some();
    if described || !metadata.as_object().into_iter().flatten().all(allowed) {
        errors.forbidden(
            path.clone(),
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        );
    }
}

/// What a value must fulfil, besides its type.
fn values(schema: &Value, skip_any: bool, skip_first: bool, path: &Path, errors: &mut Errors) {
    for field in ["anyOf", "allOf", "oneOf"] {
        if field == "anyOf" && skip_any {
            continue;
        }
        for (index, part) in schema.list_at(&[field]).iter().enumerate() {
            let skip = field == "allOf" && index == 0 && skip_first;
            nested(part, skip, &path.child(field).index(index), errors);
        }
    }
    if let Some(not) = schema.get("not").filter(|not| not.is_object()) {
        nested(not, false, &path.child("not"), errors);
    }
    let text = schema.str_at(&["pattern"]);
    if !text.is_empty()
        && let Some(problem) = pattern::problem(text)
    {
        let why = format!("must be a valid regular expression, but isn't: {problem}");
        errors.invalid(path.child("pattern"), text, &why);
    }
}

/// A schema under a junctor: it says nothing of types.
fn nested(schema: &Value, skip_any: bool, path: &Path, errors: &mut Errors) {
    const MUST_BE: [(&str, &str); 12] = [
        ("type", "empty"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        ("externalDocs", "undefined"),
        (PRESERVE, "false"),
        (EMBEDDED, "false"),
        (INT_OR_STRING, "false"),
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
    ];
    values(schema, skip_any, false, path, errors);
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        nested(items, false, &path.child("items"), errors);
    }
    for (name, property) in properties(schema) {
        nested(property, false, &path.child("properties").key(name), errors);
    }
    let set = |field: &str| match schema.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    for (field, wanted) in MUST_BE.into_iter().filter(|(field, _)| set(field)) {
        let why = format!("must be {wanted} to be structural");
        errors.forbidden(path.child(field), &why);
    }
    if schema
        .get("additionalProperties")
        .is_some_and(|value| !value.is_null())
    {
        let why = "must be undefined to be structural";
        errors.forbidden(path.child("additionalProperties"), why);
    }
    if set("x-kubernetes-validations") {
        let why = "must be empty to be structural";
        errors.forbidden(path.child("x-kubernetes-validations"), why);
    }
    if schema.at(&["properties", "metadata"]).is_some() {
        let why = "must not be specified in a nested context";
        errors.forbidden(path.child("properties").key("metadata"), why);
    }
}

/// What is said of a field under a junctor must have a schema outside of it.
fn complete(
    nested: &Value,
    schema: Option<&Value>,
    schema_path: &Path,
    nested_path: &Path,
    errors: &mut Errors,
) {
    let Some(schema) = schema else {
        let why = format!("because it is defined in {nested_path}");
        errors.required(schema_path.clone(), &why);
        return;
    };
    junctors(nested, &mut |inner, at| {
        complete(
            inner,
            Some(schema),
            schema_path,
            &nested_path.child(at),
            errors,
        );
    });
    if let Some(items) = nested.get("items").filter(|items| items.is_object()) {
        complete(
            items,
            schema.get("items").filter(|items| items.is_object()),
            &schema_path.child("items"),
            &nested_path.child("items"),
            errors,
        );
    }
    for (name, property) in properties(nested) {
        complete(
            property,
            schema.at(&["properties", name]),
            &schema_path.child("properties").key(name),
            &nested_path.child("properties").key(name),
            errors,
        );
    }
}
