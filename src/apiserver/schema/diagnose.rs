//! Decodes a document that is out of order, the slow way: field by field in the order they were written, as Go's decoder
//! goes, collecting what a strict decoder complains of and finding the message of the first error.
use super::scalar;
use super::scan::{Tree, number};
use super::types::{Node, Or, Scalar, Struct, Type};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// More complaints are not kept.
const MAX_STRICT: usize = 100;

/// What a decoder has to say about a document.
pub(crate) struct Report {
    /// The document without what the schema does not know.
    pub(crate) value: Value,
    /// What a strict decoder complains of.
    pub(crate) strict: Vec<String>,
    /// Why it cannot be decoded.
    pub(crate) error: Option<String>,
}

/// Decodes `tree` by `node`.
///
/// Of custom resources (`custom`) only the metadata have Go types; the rest keeps its values, whatever their type.
pub(crate) fn diagnose(node: &Node, custom: bool, tree: Tree) -> Report {
    let mut walk = Walk {
        custom,
        ..Walk::default()
    };
    let (value, error) = match walk.value(node, tree, None) {
        Ok(value) => (value, walk.saved),
        // An error of a type's own decoder ends the decoding, whatever was found before.
        Err(error) => (Value::Null, Some(error)),
    };
    Report {
        value,
        strict: walk.strict,
        error,
    }
}

#[derive(Default)]
struct Walk {
    /// The struct that is being filled.
    go: String,
    /// The fields that lead to the place, without lists' and maps' keys.
    names: Vec<String>,
    /// The same with keys, as strict messages show it.
    path: String,
    strict: Vec<String>,
    saved: Option<String>,
    /// Within a type with its own decoder, which is not strict.
    lax: bool,
    custom: bool,
}

impl Walk {
    fn complain(&mut self, what: &str, name: &str) {
        if self.lax || self.strict.len() >= MAX_STRICT {
            return;
        }
        let length = self.push(name);
        let message = format!("{what} field {:?}", self.path);
        self.path.truncate(length);
        if !self.strict.contains(&message) {
            self.strict.push(message);
        }
    }
    /// Goes into a field or key; gives the length to go back to.
    fn push(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }
    fn push_index(&mut self, index: usize) {
        // Writing to a string does not fail.
        let _ = write!(self.path, "[{index}]");
    }
    /// Go's message for a value that does not fit.
    fn mismatch(&self, found: &str, ty: &str) -> String {
        if self.go.is_empty() && self.names.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {ty}");
        }
        format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {ty}",
            self.go,
            self.names.join(".")
        )
    }
    /// Notes a value that does not fit and goes on without it.
    fn save(&mut self, found: &str, ty: &str) -> Value {
        if self.saved.is_none() {
            self.saved = Some(self.mismatch(found, ty));
        }
        Value::Null
    }
    /// Decodes a value; `old`: what is already there, from a field that came before under the same name.
    fn value(&mut self, node: &Node, tree: Tree, old: Option<Value>) -> Result<Value, String> {
        match (&node.ty, tree) {
            (Type::Scalar(Scalar::Any), tree) => {
                self.duplicates(&tree);
                Ok(tree.into_value())
            }
            // Null leaves a struct as it is and unsets the rest.
            (Type::Struct(_), Tree::Null) => Ok(old.unwrap_or(Value::Null)),
            (_, Tree::Null) => Ok(Value::Null),
            (Type::Scalar(_), tree) if self.custom => Ok(tree.into_value()),
            (Type::Scalar(scalar), tree) => self.scalar(*scalar, node, tree),
            (Type::Struct(def), Tree::Object(fields)) => self.object(def.get(), fields, old),
            (Type::Map(item), Tree::Object(fields)) => {
                let mut map = match old {
                    Some(Value::Object(map)) => map,
                    _ => Map::new(),
                };
                let mut seen = BTreeSet::new();
                for (name, tree) in fields {
                    if !seen.insert(name.clone()) {
                        self.complain("duplicate", &name);
                    }
                    let length = self.push(&name);
                    let value = self.value(item, tree, None)?;
                    self.path.truncate(length);
                    map.insert(name, value);
                }
                Ok(Value::Object(map))
            }
            (Type::List(list), Tree::Array(items)) => {
                let mut values = Vec::with_capacity(items.len());
                for (index, tree) in items.into_iter().enumerate() {
                    let length = self.path.len();
                    self.push_index(index);
                    values.push(self.value(&list.item, tree, None)?);
                    self.path.truncate(length);
                }
                Ok(Value::Array(values))
            }
            (Type::Or(or, def), tree) => {
                let lax = std::mem::replace(&mut self.lax, true);
                let value = self.or(*or, def.get(), tree);
                self.lax = lax;
                value
            }
            (_, tree) if self.custom => Ok(tree.into_value()),
            (_, tree) => Ok(self.save(tree.kind(), &node.go_name())),
        }
    }
    /// The object metadata within a custom resource, which are decoded apart.
    fn metadata(&mut self, node: &Node, tree: Tree) -> Result<Value, String> {
        let text = tree.text();
        let mut walk = Self {
            path: self.path.clone(),
            strict: std::mem::take(&mut self.strict),
            ..Self::default()
        };
        let value = walk.value(node, tree, None);
        self.strict = walk.strict;
        match (value, walk.saved) {
            (Ok(value), None) => Ok(value),
            (Err(error), _) | (_, Some(error)) => {
                Err(format!("{}: Invalid value: {text}: {error}", self.path))
            }
        }
    }
    fn object(
        &mut self,
        def: &Struct,
        fields: Vec<(String, Tree)>,
        old: Option<Value>,
    ) -> Result<Value, String> {
        let mut map = match old {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let mut seen = BTreeSet::new();
        let outer = self.go.clone();
        for (name, tree) in fields {
            let known = def.field(&name).map(|field| &field.node);
            let Some(node) = known.or(def.rest.as_deref()) else {
                self.complain("unknown", &name);
                continue;
            };
            if !seen.insert(name.clone()) {
                self.complain("duplicate", &name);
            }
            self.go.clear();
            self.go.push_str(def.short_name());
            self.names.push(name.clone());
            let length = self.push(&name);
            let old = map.remove(&name);
            let value = if self.custom && def.embedded && name == "metadata" {
                self.metadata(node, tree)?
            } else {
                self.value(node, tree, old)?
            };
            self.path.truncate(length);
            self.names.pop();
            map.insert(name, value);
        }
        self.go = outer;
        Ok(Value::Object(map))
    }
    fn or(&mut self, or: Or, def: &Struct, tree: Tree) -> Result<Value, String> {
        match (or, tree) {
            (_, Tree::Object(fields)) => self.object(def, fields, None),
            (Or::Bool, tree @ Tree::Bool(_)) => Ok(tree.into_value()),
            (Or::Array, Tree::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Tree::Object(fields) => self.object(def, fields, None),
                    other => Err(self.mismatch(other.kind(), &def.go)),
                })
                .collect(),
            (Or::Strings, Tree::Array(items))
                if items.iter().all(|item| matches!(item, Tree::String(_))) =>
            {
                Ok(Tree::Array(items).into_value())
            }
            (Or::Bool, _) => Err("boolean or JSON schema expected".into()),
            (Or::Strings, Tree::Array(_)) => Err(self.mismatch("array", "string")),
            // Their decoders leave what is neither alone.
            _ => Ok(Value::Null),
        }
    }
    /// Complains of fields that come twice in a document without a schema.
    fn duplicates(&mut self, tree: &Tree) {
        match tree {
            Tree::Object(fields) => {
                let mut seen = BTreeSet::new();
                for (name, tree) in fields {
                    if !seen.insert(name.as_str()) {
                        self.complain("duplicate", name);
                    }
                    let length = self.push(name);
                    self.duplicates(tree);
                    self.path.truncate(length);
                }
            }
            Tree::Array(items) => {
                for (index, tree) in items.iter().enumerate() {
                    let length = self.path.len();
                    self.push_index(index);
                    self.duplicates(tree);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }
    fn scalar(&mut self, scalar: Scalar, node: &Node, tree: Tree) -> Result<Value, String> {
        let integer = |text: &str, bits: u32| {
            let value = text.parse::<i64>().ok();
            value.filter(|value| bits == 64 || i32::try_from(*value).is_ok())
        };
        Ok(match (scalar, tree) {
            (Scalar::String | Scalar::IntOrString, Tree::String(text)) => Value::String(text),
            (Scalar::Bool, Tree::Bool(value)) => Value::Bool(value),
            (Scalar::Int32 | Scalar::Int64, Tree::Number(text)) => {
                match integer(&text, if scalar == Scalar::Int32 { 32 } else { 64 }) {
                    Some(value) => Value::from(value),
                    None => self.save(&format!("number {text}"), &node.go_name()),
                }
            }
            (Scalar::Double, Tree::Number(text)) => match number(&text) {
                Value::Null => self.save(&format!("number {text}"), &node.go_name()),
                value => value,
            },
            // From here on the types decode themselves: their errors end the decoding.
            (Scalar::IntOrString, Tree::Number(text)) => match integer(&text, 32) {
                Some(value) => Value::from(value),
                None => return Err(self.mismatch(&format!("number {text}"), "int32")),
            },
            (Scalar::IntOrString, other) => return Err(self.mismatch(other.kind(), "int32")),
            (Scalar::Quantity, tree) => {
                let text = match tree {
                    Tree::String(text) => text,
                    other => other.text(),
                };
                let canonical = super::normal::quantity(&text)?;
                Value::String(canonical.unwrap_or(text))
            }
            (Scalar::Time | Scalar::MicroTime, Tree::String(text)) => {
                match scalar::time(&text, scalar == Scalar::MicroTime)? {
                    scalar::Time::Same => Value::String(text),
                    scalar::Time::Text(text) => Value::String(text),
                    scalar::Time::Zero => Value::Null,
                }
            }
            (Scalar::Time | Scalar::MicroTime, other) => {
                return Err(self.mismatch(other.kind(), "string"));
            }
            (Scalar::Bytes, Tree::String(text)) => match scalar::base64(&text) {
                Ok(canonical) => Value::String(canonical.unwrap_or(text)),
                Err(message) => {
                    self.saved.get_or_insert(message);
                    Value::Null
                }
            },
            (Scalar::Bytes, Tree::Array(items)) => {
                let mut bytes = Vec::with_capacity(items.len());
                for item in items {
                    match item {
                        Tree::Number(text) => match text.parse::<u8>() {
                            Ok(byte) => bytes.push(byte),
                            Err(_) => {
                                self.save(&format!("number {text}"), "uint8");
                            }
                        },
                        Tree::Null => bytes.push(0),
                        other => {
                            self.save(other.kind(), "uint8");
                        }
                    }
                }
                Value::String(scalar::base64_of(&bytes))
            }
            (_, other) => self.save(other.kind(), &node.go_name()),
        })
    }
}
