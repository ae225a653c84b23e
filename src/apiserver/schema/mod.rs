//! What the documents of the API look like: the built-in types (lazily, from one table), custom ones (from OpenAPI), and the
//! decoding of request bodies by them, with the messages of the real server.
//!
//! Pure: no clock, no I/O. Adding a built-in type is a new version of k8s-openapi and `HOMEOSTAT_BLESS=1 cargo test schema::generate`.

pub(crate) mod convert;
pub(crate) mod decode;
pub(crate) mod diagnose;
pub(crate) mod gojson;
mod normal;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "for custom resources, which come next")
)]
mod openapi;
mod scalar;
pub(crate) mod scan;
mod table;
pub(crate) mod types;
pub(crate) mod yaml;

#[cfg(test)]
mod tests;

// The table is of the newest version.
#[cfg(test)]
k8s_openapi::k8s_if_1_37! { mod generate; }

use crate::object::GroupVersionKind;
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
}

/// The schema of a built-in kind; `None` when there is no such kind.
pub(crate) fn builtin(gvk: &GroupVersionKind) -> Option<Arc<Schema>> {
    table::kind(&gvk.group, &gvk.version, &gvk.kind).map(table::Slot::schema)
}
