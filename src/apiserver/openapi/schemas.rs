//! Definitions of types as OpenAPI v3 schemas: structure and marks from the schema table, words from k8s-openapi.
use super::docs::Docs;
use super::enums;
use crate::apiserver::registry::Resource;
use crate::apiserver::schema::table::{self, Line, Slot};
use crate::object::GroupVersionKind;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where references to definitions point.
pub(super) const PREFIX: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The full name of a type of `meta.k8s.io`.
pub(super) fn meta(kind: &str) -> String {
    format!("{META}.{kind}")
}

/// A reference to a definition.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{PREFIX}{name}") })
}

/// The full name of the definition of a kind.
pub(super) fn name_of(gvk: &GroupVersionKind) -> Option<String> {
    table::kind(&gvk.group, &gvk.version, &gvk.kind).map(|slot| format!("io.k8s.{}", slot.name()))
}

/// The full name of the definition of a custom resource: the group backwards, then version and kind.
pub(super) fn custom_name(gvk: &GroupVersionKind, kind: &str) -> String {
    let mut parts: Vec<&str> = gvk.group.split('.').rev().collect();
    parts.extend([gvk.version.as_str(), kind]);
    parts.join(".")
}

/// Definitions by name; those that are referred to come by themselves.
#[derive(Default)]
pub(super) struct Definitions(BTreeMap<String, Value>);

impl Definitions {
    /// Adds a built-in definition (its full name) and all that it leads to.
    pub(super) fn add(&mut self, name: &str) {
        if self.0.contains_key(name) {
            return;
        }
        let schema = match name.strip_prefix("io.k8s.").and_then(table::definition) {
            Some(slot) if !is_special(name) => definition(slot),
            _ => special(name),
        };
        self.insert(name.to_owned(), schema);
    }
    /// Adds a schema and all built-in definitions that it refers to.
    fn insert(&mut self, name: String, schema: Value) {
        let mut names = Vec::new();
        references(&schema, &mut names);
        self.0.insert(name, schema);
        for name in names {
            self.add(&name);
        }
    }
    /// Adds what describes a resource's objects and lists; gives the names of both.
    pub(super) fn add_resource(&mut self, resource: &Resource) -> (String, String) {
        let gvk = &resource.gvk;
        let name = match name_of(gvk) {
            Some(name) if !resource.strategy.custom() => {
                self.add(&name);
                name
            }
            _ => {
                let name = custom_name(gvk, &gvk.kind);
                self.insert(name.clone(), custom(resource));
                name
            }
        };
        let list = match name.rsplit_once('.') {
            Some((package, _)) => format!("{package}.{}", resource.list_kind),
            None => resource.list_kind.clone(),
        };
        if resource.verbs.iter().any(|verb| verb == "list") {
            self.insert(list.clone(), list_of(resource, &name));
        }
        (name, list)
    }
    pub(super) fn into_value(self) -> Value {
        self.0.into_iter().collect::<Map<_, _>>().into()
    }
}

fn references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            let reference = map.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|reference| reference.strip_prefix(PREFIX)) {
                names.push(name.to_owned());
            }
            map.values().for_each(|value| references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}

/// Whether JSON has the type in a form of its own.
fn is_special(name: &str) -> bool {
    let kind = name.rsplit('.').next().unwrap_or_default();
    matches!(kind, "Quantity" | "IntOrString" | "Time" | "MicroTime") || kind.contains("PropsOr")
}

fn special(name: &str) -> Value {
    let mut schema = match name.rsplit('.').next().unwrap_or_default() {
        "Time" | "MicroTime" => json!({ "type": "string", "format": "date-time" }),
        "Quantity" => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        "IntOrString" => {
            json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
        }
        kind if kind == "JSON" || kind.contains("PropsOr") => json!({}),
        _ => json!({ "type": "object" }),
    };
    describe(
        &mut schema,
        Docs::of(name.strip_prefix("io.k8s.").unwrap_or(name)),
    );
    schema
}

fn describe(schema: &mut Value, docs: Docs) {
    if let Some(description) = docs.description() {
        schema["description"] = description.into();
    }
}

fn definition(slot: &'static Slot) -> Value {
    let docs = Docs::of(slot.name());
    let mut schema = json!({ "type": "object" });
    describe(&mut schema, docs);
    let mut properties = Map::new();
    let mut required = Vec::new();
    for line in slot.lines() {
        if line.is_required() {
            required.push(line.name);
        }
        properties.insert(line.name.to_owned(), property(&line, docs.field(line.name)));
    }
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if slot.is_atomic() {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    let kinds: Vec<Value> = slot.kinds().filter_map(kind_mark).collect();
    if !kinds.is_empty() {
        schema["x-kubernetes-group-version-kind"] = kinds.into();
    }
    schema
}

/// `<group>/<version>/<kind>` as clients look for it.
fn kind_mark(kind: &str) -> Option<Value> {
    let mut parts = kind.split('/');
    let (group, version, kind) = (parts.next()?, parts.next()?, parts.next()?);
    Some(group_version_kind(group, version, kind))
}

/// The mark of a kind.
pub(super) fn group_version_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "kind": kind, "version": version })
}

fn property(line: &Line<'_>, docs: Docs) -> Value {
    let marks = &line.marks;
    let mut schema = of_type(line.ty, marks.go, docs);
    // A sibling of a reference would be ignored.
    if let Some(reference) = schema
        .as_object_mut()
        .and_then(|schema| schema.remove("$ref"))
    {
        schema["allOf"] = json!([{ "$ref": reference }]);
    }
    describe(&mut schema, docs);
    if let Some(default) = default(line, &schema) {
        schema["default"] = default;
    }
    let texts = [
        ("x-kubernetes-list-type", marks.list),
        ("x-kubernetes-map-type", marks.map),
        ("x-kubernetes-patch-strategy", marks.patch),
        ("x-kubernetes-patch-merge-key", marks.key),
    ];
    for (key, text) in texts {
        if !text.is_empty() {
            schema[key] = text.into();
        }
    }
    if !marks.keys.is_empty() {
        schema["x-kubernetes-list-map-keys"] = marks.keys.split(',').collect();
    }
    schema
}

/// What Go has for a field that was not given, unless it is a pointer, a list or a map.
fn default(line: &Line<'_>, schema: &Value) -> Option<Value> {
    if line.marks.default.is_some() {
        return line.marks.default.clone();
    }
    if matches!(line.presence, "*" | "&") {
        return None;
    }
    let raw = || {
        let reference = schema.pointer("/allOf/0/$ref").and_then(Value::as_str);
        reference.is_some_and(|reference| reference.ends_with(".RawExtension"))
    };
    match line.ty {
        "string" if line.presence == "!" => Some("".into()),
        "bool" if line.presence == "!" => Some(false.into()),
        "int32" | "int64" | "double" if line.presence == "!" => Some(0.into()),
        "any" if raw() => Some(json!({})),
        ty if ty.starts_with('@') => Some(json!({})),
        _ => None,
    }
}

/// The schema of a type as the table writes it.
fn of_type(ty: &str, go: Option<&str>, docs: Docs) -> Value {
    let plain = |ty: &str, format: &str| match format {
        "" => json!({ "type": ty }),
        _ => json!({ "type": ty, "format": format }),
    };
    let item_go = |prefix: &str| {
        go.and_then(|go| go.strip_prefix(prefix))
            .map(|go| go.trim_start_matches('*'))
    };
    match ty {
        "string" => {
            let mut schema = plain("string", "");
            let values = go.map_or(&[][..], enums::values);
            if !values.is_empty() {
                schema["enum"] = values.into();
            }
            schema
        }
        "bool" => plain("boolean", ""),
        "int32" | "int64" => plain("integer", ty),
        "double" => plain("number", "double"),
        "bytes" => plain("string", "byte"),
        "quantity" => reference("io.k8s.apimachinery.pkg.api.resource.Quantity"),
        "intstr" => reference("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
        "time" => reference(&meta("Time")),
        "microtime" => reference(&meta("MicroTime")),
        _ => match ty.split_at_checked(1) {
            Some(("[", item)) => {
                json!({ "type": "array", "items": of_type(item, item_go("[]"), docs.item()) })
            }
            Some(("{", item)) => {
                let go = go.and_then(|go| go.split_once(']')).map(|(_, item)| item);
                json!({ "type": "object", "additionalProperties": of_type(item, go, docs.item()) })
            }
            Some(("@", name)) => reference(&format!("io.k8s.{name}")),
            _ => docs
                .reference()
                .map_or_else(|| plain("object", ""), reference),
        },
    }
}

/// A custom resource, as its definition says, with what every object has.
fn custom(resource: &Resource) -> Value {
    let gvk = &resource.gvk;
    let mut schema = match resource.open_api.as_deref() {
        Some(schema @ Value::Object(_)) => schema.clone(),
        _ => json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
    };
    schema["properties"]["apiVersion"] = json!({ "type": "string", "description": API_VERSION });
    schema["properties"]["kind"] = json!({ "type": "string", "description": KIND });
    schema["properties"]["metadata"] =
        json!({ "allOf": [reference(&meta("ObjectMeta"))], "description": METADATA });
    schema["x-kubernetes-group-version-kind"] =
        json!([group_version_kind(&gvk.group, &gvk.version, &gvk.kind)]);
    schema
}

fn list_of(resource: &Resource, item: &str) -> Value {
    let gvk = &resource.gvk;
    let (about, items) = if resource.strategy.custom() {
        (
            format!("{} is a list of {}", resource.list_kind, gvk.kind),
            format!(
                "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
                resource.plural
            ),
        )
    } else {
        (
            format!("{} is a list of {} objects.", resource.list_kind, gvk.kind),
            format!("items is the list of {} objects.", gvk.kind),
        )
    };
    let mut metadata =
        json!({ "allOf": [reference(&meta("ListMeta"))], "description": LIST_METADATA });
    if !resource.strategy.custom() {
        metadata["default"] = json!({});
    }
    json!({
        "description": about,
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": { "type": "string", "description": API_VERSION },
            "kind": { "type": "string", "description": KIND },
            "metadata": metadata,
            "items": { "type": "array", "description": items, "items": reference(item) },
        },
        "x-kubernetes-group-version-kind": [group_version_kind(&gvk.group, &gvk.version, &resource.list_kind)],
    })
}
