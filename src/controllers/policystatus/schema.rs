//! The types of objects by the schemas of their kinds (`k8s.io/apiserver/pkg/cel/common/schemas.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::cel::{Type, escape};
use crate::object::{Document, GroupVersionKind};

/// Where an OpenAPI document has its schemas, in references.
const SCHEMAS: &str = "#/components/schemas/";
/// In which kinds a schema is.
const KINDS: &str = "x-kubernetes-group-version-kind";

/// The type of the objects of a kind by an OpenAPI v3 document; `None`: it has no such kind.
pub(super) fn declare(document: &Value, kind: &GroupVersionKind) -> Option<Type> {
    let schemas = document.at(&["components", "schemas"])?.as_object()?;
    let is = |found: &Value| {
        found.str_at(&["group"]) == kind.group
            && found.str_at(&["version"]) == kind.version
            && found.str_at(&["kind"]) == kind.kind
    };
    let of_kind = |schema: &&Value| schema.list_at(&[KINDS]).iter().any(is);
    let schema = schemas.values().find(of_kind)?;
    Declaring {
        document,
        within: Vec::new(),
    }
    .type_of(schema)
}

struct Declaring<'a> {
    document: &'a Value,
    /// The references that are being followed.
    within: Vec<&'a str>,
}

impl<'a> Declaring<'a> {
    /// What a schema describes; `None`: expressions do not see it.
    fn type_of(&mut self, schema: &'a Value) -> Option<Type> {
        let all = schema.list_at(&["allOf"]);
        let reference = match all {
            // A reference beside which something is said.
            [one] if schema.get("type").is_none() => one.str_at(&["$ref"]),
            _ => schema.str_at(&["$ref"]),
        };
        if let Some(name) = reference.strip_prefix(SCHEMAS) {
            return self.referred(name);
        }
        let marked = |mark: &str| schema.bool_at(&[mark]) == Some(true);
        let format = schema.str_at(&["format"]);
        if format == "int-or-string" || marked("x-kubernetes-int-or-string") {
            return Some(Type::Dyn);
        }
        Some(match schema.str_at(&["type"]) {
            "array" => Type::list(self.type_of(schema.get("items")?)?),
            "object" => return self.object(schema),
            "string" => match format {
                "byte" => Type::Bytes,
                "duration" => Type::Duration,
                "date" | "date-time" => Type::Timestamp,
                _ => Type::String,
            },
            "boolean" => Type::Bool,
            "number" => Type::Double,
            "integer" => Type::Int,
            // Quantities are texts, though numbers are taken for them.
            "" if !schema.list_at(&["oneOf"]).is_empty() => Type::String,
            _ => return None,
        })
    }

    fn referred(&mut self, name: &'a str) -> Option<Type> {
        if self.within.contains(&name) {
            // What is within itself is seen once.
            return Some(Type::Declared(Arc::default()));
        }
        let schema = self.document.at(&["components", "schemas", name])?;
        self.within.push(name);
        let found = self.type_of(schema);
        self.within.pop();
        found
    }

    fn object(&mut self, schema: &'a Value) -> Option<Type> {
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|values| values.is_object())
        {
            return Some(Type::map(Type::String, self.type_of(values)?));
        }
        let mut fields = BTreeMap::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            if let (Some(name), Some(found)) = (escape(name), self.type_of(property)) {
                fields.insert(name, found);
            }
        }
        Some(Type::Declared(Arc::new(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schemas_give_types() {
        let kind = GroupVersionKind::new("g", "v1", "K");
        let document = json!({"components": {"schemas": {
            "k": {"type": "object", KINDS: [{"group": "g", "version": "v1", "kind": "K"}], "properties": {
                "spec": {"allOf": [{"$ref": "#/components/schemas/spec"}], "default": {}},
                "anything": {},
            }},
            "spec": {"type": "object", "properties": {
                "number": {"type": "integer"}, "share": {"type": "number"}, "on": {"type": "boolean"},
                "name": {"type": "string"}, "data": {"type": "string", "format": "byte"},
                "since": {"type": "string", "format": "date-time"},
                "port": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
                "size": {"oneOf": [{"type": "string"}, {"type": "number"}]},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "items": {"type": "array", "items": {"$ref": "#/components/schemas/spec"}},
                "a-b": {"type": "string"},
            }},
        }}});
        let fields = |fields: &[(&str, Type)]| {
            let fields = fields
                .iter()
                .map(|(name, found)| ((*name).to_owned(), found.clone()));
            Type::Declared(Arc::new(fields.collect()))
        };
        let spec = fields(&[
            ("number", Type::Int),
            ("share", Type::Double),
            ("on", Type::Bool),
            ("name", Type::String),
            ("data", Type::Bytes),
            ("since", Type::Timestamp),
            ("port", Type::Dyn),
            ("size", Type::String),
            ("labels", Type::map(Type::String, Type::String)),
            ("items", Type::list(fields(&[]))),
            ("a__dash__b", Type::String),
        ]);
        assert_eq!(declare(&document, &kind), Some(fields(&[("spec", spec)])));
        assert_eq!(
            declare(&document, &GroupVersionKind::new("g", "v2", "K")),
            None
        );
    }
}
