//! What the documents of the API look like: the built-in types (lazily, from one table), custom ones (from OpenAPI), and the
//! decoding of request bodies by them, with the messages of the real server.
//!
//! Pure: no clock, no I/O. Adding a built-in type is a new version of k8s-openapi and `HOMEOSTAT_BLESS=1 cargo test schema::generate`.

pub(crate) mod catalog;
pub(crate) mod convert;
pub(crate) mod decode;
pub(crate) mod diagnose;
pub(crate) mod gojson;
pub(crate) mod internal;
mod normal;
mod openapi;
mod scalar;
pub(crate) mod scan;
pub(crate) mod table;
pub(crate) mod types;
pub(crate) mod yaml;

pub(crate) use self::normal::Emptied;
#[cfg(test)]
mod tests;

// The table is of the version whose API is served.
#[cfg(test)]
k8s_openapi::k8s_if_1_36! { mod generate; }

use crate::object::{GroupVersion, GroupVersionKind};
use serde_json::Value;
use std::sync::Arc;
use types::{Node, StructRef, Type};

/// What an object looks like. Cheap: a handle to definitions that are parsed when first needed.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) root: Node,
    /// Whether it is a custom resource's: unknown fields are pruned, nothing is normalised as Go's types do.
    pub(crate) custom: bool,
}

impl Schema {
    fn of_definition(name: &str) -> Option<Node> {
        table::definition(name).map(|slot| Node::new(Type::Struct(StructRef::Builtin(slot))))
    }
    /// Gives the status what a Go server always writes of it, so that one that was reset, in whole or in part, looks as
    /// one that came from a client.
    pub(crate) fn fill_status(&self, object: &mut Value) {
        let (Some(root), Some(object)) = (self.root.as_struct(), object.as_object_mut()) else {
            return;
        };
        let Some(field) = root.field("status") else {
            return;
        };
        if !object.contains_key("status") && field.always() {
            object.insert("status".into(), field.zero());
        }
        if let (Some(Value::Object(status)), Some(def)) =
            (object.get_mut("status"), field.node.as_struct())
        {
            def.fill(status);
        }
    }
}

/// The schema of a built-in kind; `None` when there is no such kind.
pub(crate) fn builtin(gvk: &GroupVersionKind) -> Option<Arc<Schema>> {
    table::kind(&gvk.group, &gvk.version, &gvk.kind).map(table::Slot::schema)
}

/// Why the bytes are no JSON object, in Go's words.
pub(crate) fn object_problem(bytes: &[u8]) -> Option<String> {
    match scan::parse(bytes) {
        Err(problem) => Some(problem),
        Ok(scan::Tree::Object(_) | scan::Tree::Null) => None,
        Ok(other) => Some(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.kind()
        )),
    }
}

/// Brings a document that was converted rather than decoded into the form that a Go server gives this version of the kind.
pub(crate) fn normalise(api_version: &str, kind: &str, object: &mut Value) {
    let version = GroupVersion::parse(api_version).unwrap_or_default();
    if let Some(schema) = builtin(&GroupVersionKind::new(version.group, version.version, kind)) {
        normal::normalise(&schema.root, object);
    }
}

/// The JSON of `value`, of the definition of this name (without the leading `io.k8s.`), with its fields in Go's order.
pub(crate) fn in_order(definition: &str, value: &Value) -> String {
    match Schema::of_definition(definition) {
        Some(node) => gojson::of_node(value, &node),
        None => value.to_string(),
    }
}
