//! Schemas of custom resources: from structural OpenAPI v3 documents with the `x-kubernetes-` extensions.
use super::types::{
    Field, List, ListKind, Node, Presence, Scalar, Strategy, Struct, StructRef, Type,
};
use super::{Schema, normal};
use serde_json::{Map, Value};
use std::sync::Arc;

impl Schema {
    /// The schema of a custom resource, from the `openAPIV3Schema` of a version. What is not understood accepts anything.
    pub(crate) fn structural(document: &Value) -> Self {
        let mut node = node(document);
        // The object itself is one with type and object metadata, whatever the document says of them.
        let object = match node.ty {
            Type::Struct(StructRef::Own(def)) => Arc::unwrap_or_clone(def),
            _ => Struct {
                open: true,
                rest: Some(Box::new(deduced())),
                ..Struct::default()
            },
        };
        node.ty = Type::Struct(StructRef::Own(Arc::new(with_metadata(object))));
        node.atomic = None;
        Self {
            root: node,
            custom: true,
        }
    }
    /// The schema of a value within a custom resource.
    pub(crate) fn of_value(document: &Value) -> Self {
        Self {
            root: node(document),
            custom: true,
        }
    }
    /// Takes out what the schema does not know, at every depth.
    pub(crate) fn prune(&self, value: &mut Value) {
        prune(&self.root, value);
    }
    /// Fills in what is absent and has a default, at every depth.
    pub(crate) fn apply_defaults(&self, object: &mut Value) {
        default(&self.root, object);
    }
}

fn default(node: &Node, value: &mut Value) {
    match (&node.ty, value) {
        (Type::Struct(StructRef::Own(def)), Value::Object(map)) => {
            for field in &*def.fields {
                let Some(default) = &field.node.default else {
                    continue;
                };
                match map.get(&*field.name) {
                    Some(Value::Null) if !field.node.nullable => {}
                    Some(_) => continue,
                    None => {}
                }
                map.insert(field.name.to_string(), default.clone());
            }
            map.retain(|name, value| {
                let known = def.field(name).map(|field| &field.node);
                let own =
                    def.embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
                own || keeps_null(known.or(def.rest.as_deref()), value)
            });
            for (name, value) in map {
                if let Some(node) = def.field(name).map(|field| &field.node) {
                    self::default(node, value);
                } else if let Some(node) = &def.rest {
                    self::default(node, value);
                }
            }
        }
        (Type::Map(item), Value::Object(map)) => {
            for value in map.values_mut() {
                instead_of_null(item, value);
                default(item, value);
            }
            map.retain(|_, value| keeps_null(Some(item), value));
        }
        (Type::List(list), Value::Array(items)) => {
            for value in items {
                instead_of_null(&list.item, value);
                default(&list.item, value);
            }
        }
        _ => {}
    }
}

/// Puts the default where null is and may not be.
fn instead_of_null(node: &Node, value: &mut Value) {
    if let (Value::Null, Some(default), false) = (&*value, &node.default, node.nullable) {
        *value = default.clone();
    }
}

/// Whether a value is anything but a null that may not be there.
fn keeps_null(node: Option<&Node>, value: &Value) -> bool {
    !value.is_null() || node.is_none_or(|node| node.nullable)
}

fn prune(node: &Node, value: &mut Value) {
    match (&node.ty, value) {
        (Type::Struct(StructRef::Own(def)), Value::Object(map)) => {
            map.retain(|name, value| {
                if let Some(field) = def.field(name) {
                    prune(&field.node, value);
                    return true;
                }
                if let Some(rest) = &def.rest {
                    prune(rest, value);
                }
                def.open || def.rest.is_some()
            });
        }
        (Type::Map(item), Value::Object(map)) => {
            map.values_mut().for_each(|value| prune(item, value));
        }
        (Type::List(list), Value::Array(items)) => {
            for value in items {
                prune(&list.item, value);
            }
        }
        _ => {}
    }
}

/// Any JSON whose maps merge key by key.
fn deduced() -> Node {
    Node {
        atomic: Some(false),
        nullable: true,
        ..Node::any()
    }
}

fn node(schema: &Value) -> Node {
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool) == Some(true);
    let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
    let open = flag("x-kubernetes-preserve-unknown-fields");
    let ty = match text("type") {
        _ if flag("x-kubernetes-int-or-string") => Type::Scalar(Scalar::IntOrString),
        "object" => object(schema, open),
        "array" => Type::List(Box::new(List {
            item: schema.get("items").map_or_else(deduced, node),
            kind: match text("x-kubernetes-list-type") {
                "set" => ListKind::Set,
                "map" => ListKind::Map(
                    schema
                        .get("x-kubernetes-list-map-keys")
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .map(Into::into)
                        .collect(),
                ),
                _ => ListKind::Atomic,
            },
        })),
        "string" => Type::Scalar(Scalar::String),
        "boolean" => Type::Scalar(Scalar::Bool),
        "integer" if text("format") == "int32" => Type::Scalar(Scalar::Int32),
        "integer" => Type::Scalar(Scalar::Int64),
        "number" => Type::Scalar(Scalar::Double),
        _ => Type::Scalar(Scalar::Any),
    };
    Node {
        atomic: match text("x-kubernetes-map-type") {
            "atomic" => Some(true),
            "granular" => Some(false),
            _ => matches!(ty, Type::Scalar(Scalar::Any)).then_some(false),
        },
        nullable: flag("nullable"),
        default: schema.get("default").cloned(),
        ..Node::new(ty)
    }
}

fn object(schema: &Value, open: bool) -> Type {
    let embedded = schema
        .get("x-kubernetes-embedded-resource")
        .and_then(Value::as_bool)
        == Some(true);
    let properties = schema.get("properties").and_then(Value::as_object);
    let rest = match schema.get("additionalProperties") {
        Some(Value::Bool(true)) => Some(deduced()),
        Some(schema @ Value::Object(_)) => Some(node(schema)),
        _ if open => Some(deduced()),
        _ => None,
    };
    match (properties, rest) {
        (None, Some(rest)) if !embedded => Type::Map(Box::new(rest)),
        (properties, rest) => {
            let fields = properties.into_iter().flatten();
            let def = Struct {
                fields: fields
                    .map(|(name, schema)| field(name, node(schema)))
                    .collect(),
                open,
                rest: rest.map(Box::new),
                ..Struct::default()
            };
            let def = if embedded {
                with_metadata(def)
            } else {
                def.finish()
            };
            Type::Struct(StructRef::Own(Arc::new(def)))
        }
    }
}

fn field(name: &str, node: Node) -> Field {
    Field {
        name: name.into(),
        order: 0,
        presence: Presence::Set,
        node,
        patch: Strategy::default(),
    }
}

/// Makes a struct that of an object of its own.
fn with_metadata(def: Struct) -> Struct {
    let metadata =
        Schema::of_definition("apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap_or_else(Node::any);
    let own = ["apiVersion", "kind", "metadata"];
    let mut fields: Vec<Field> = def
        .fields
        .into_iter()
        .filter(|field| !own.contains(&&*field.name))
        .collect();
    let text = || Node::new(Type::Scalar(Scalar::String));
    fields.push(field("apiVersion", text()));
    fields.push(field("kind", text()));
    fields.push(field("metadata", metadata));
    Struct {
        fields: fields.into(),
        embedded: true,
        ..def
    }
    .finish()
}

/// Whether a document of a custom resource has only known fields; its metadata become canonical.
pub(super) fn accept(node: &Node, value: &mut Value) -> bool {
    match (&node.ty, value) {
        (Type::Struct(StructRef::Own(def)), Value::Object(map)) => {
            let mut clean = true;
            for (name, value) in map.iter_mut() {
                clean &= match def.field(name) {
                    Some(field) if def.embedded && name == "metadata" => {
                        normal::normalise(&field.node, value)
                    }
                    Some(field) => accept(&field.node, value),
                    None => match &def.rest {
                        Some(rest) => accept(rest, value),
                        None => def.open,
                    },
                };
            }
            clean
        }
        (Type::Map(item), Value::Object(map)) => all(item, map),
        (Type::List(list), Value::Array(items)) => {
            let mut clean = true;
            for value in items {
                clean &= accept(&list.item, value);
            }
            clean
        }
        // Whether types fit is the matter of validation.
        (_, value) => {
            normal::shorten(value);
            true
        }
    }
}

fn all(item: &Node, map: &mut Map<String, Value>) -> bool {
    let mut clean = true;
    for value in map.values_mut() {
        clean &= accept(item, value);
    }
    clean
}
