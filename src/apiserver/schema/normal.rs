//! Brings a document into the form that a Go server gives it, in place and in one pass: null and empty fields go, fields that
//! are always written come, quantities and times become canonical.
//!
//! Whatever is out of order (an unknown field, a wrong type) is left as it is and reported as "not clean"; `diagnose` then
//! finds the words for it.
use super::scalar::{self, Time};
use super::types::{Field, Node, Or, Presence, Scalar, Struct, Type, zero};
use crate::object::Quantity;
use serde_json::{Map, Value};

/// A collection that was given empty, by its JSON pointer, where a Go server writes none as null.
pub(crate) type Emptied = (String, Value);

/// Brings a document into its form; gives whether all of it is as the schema says. Custom resources are only looked through.
/// Storage does not tell an empty list from none, but who gave it owns it: such lists become null, and are noted.
pub(super) fn accept(
    node: &Node,
    custom: bool,
    value: &mut Value,
    emptied: &mut Vec<Emptied>,
) -> bool {
    if custom {
        return super::openapi::accept(node, value);
    }
    let mut pass = Pass::default();
    let clean = pass.value(node, value);
    if pass.has_emptied {
        forget(node, value, &mut String::new(), emptied);
    }
    clean
}

/// Normalises a value that is not null. Gives whether all of it is as the schema says.
pub(super) fn normalise(node: &Node, value: &mut Value) -> bool {
    accept(node, false, value, &mut Vec::new())
}

/// One pass over a document.
#[derive(Default)]
struct Pass {
    /// Whether something was given empty that is to become null.
    has_emptied: bool,
}

impl Pass {
    fn value(&mut self, node: &Node, value: &mut Value) -> bool {
        match (&node.ty, value) {
            (Type::Scalar(scalar), value) => scalar_value(*scalar, value),
            (Type::Struct(def) | Type::Or(_, def), Value::Object(map)) => {
                self.object(def.get(), map)
            }
            (Type::Map(item), Value::Object(map)) => {
                let mut clean = true;
                for value in map.values_mut() {
                    clean &= self.element(item, value);
                }
                clean
            }
            (Type::List(list), Value::Array(items)) => {
                let mut clean = true;
                for value in items {
                    clean &= self.element(&list.item, value);
                }
                clean
            }
            (Type::Or(Or::Bool, _), Value::Bool(_)) => true,
            (Type::Or(Or::Strings, _), Value::Array(items)) => items.iter().all(Value::is_string),
            (Type::Or(Or::Array, def), Value::Array(items)) => {
                let mut clean = true;
                for item in items {
                    clean &= match item {
                        Value::Object(map) => self.object(def.get(), map),
                        _ => false,
                    };
                }
                clean
            }
            _ => false,
        }
    }

    /// An item of a list or a value of a map: null stands for the zero value.
    fn element(&mut self, node: &Node, value: &mut Value) -> bool {
        if value.is_null() {
            *value = zero(&node.ty);
            return true;
        }
        self.value(node, value)
    }

    fn object(&mut self, def: &Struct, map: &mut Map<String, Value>) -> bool {
        let mut clean = true;
        let mut cursor = 0;
        map.retain(|name, value| {
            let Some(field) = def.field_from(&mut cursor, name) else {
                clean = false;
                return true;
            };
            // What is null is as good as absent; what must be there comes back below.
            if value.is_null() {
                return false;
            }
            if !self.value(&field.node, value) {
                clean = false;
                return true;
            }
            self.has_emptied |= is_emptied(field, value);
            keep(field, value)
        });
        def.fill(map);
        clean
    }
}

/// Whether the field is given empty where a Go server writes none as null.
fn is_emptied(field: &Field, value: &Value) -> bool {
    field.presence == Presence::Always
        && match value {
            Value::Array(items) => is_collection(field) && items.is_empty(),
            Value::Object(map) => is_collection(field) && map.is_empty(),
            _ => false,
        }
}

fn is_collection(field: &Field) -> bool {
    matches!(
        field.node.ty,
        Type::List(_) | Type::Map(_) | Type::Scalar(Scalar::Bytes)
    )
}

/// Makes null of what was given empty, and notes it.
fn forget(node: &Node, value: &mut Value, at: &mut String, emptied: &mut Vec<Emptied>) {
    let length = at.len();
    match (&node.ty, value) {
        (Type::Struct(def) | Type::Or(_, def), Value::Object(map)) => {
            for (name, value) in map {
                let Some(field) = def.get().field(name) else {
                    continue;
                };
                descend(at, name);
                if is_emptied(field, value) {
                    emptied.push((at.clone(), value.take()));
                } else {
                    forget(&field.node, value, at, emptied);
                }
                at.truncate(length);
            }
        }
        (Type::Map(item), Value::Object(map)) => {
            for (name, value) in map {
                descend(at, name);
                forget(item, value, at, emptied);
                at.truncate(length);
            }
        }
        (Type::List(list), Value::Array(items)) => {
            for (index, value) in items.iter_mut().enumerate() {
                descend(at, &index.to_string());
                forget(&list.item, value, at, emptied);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

fn descend(at: &mut String, name: &str) {
    at.push('/');
    at.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// Whether a Go server writes the field with this value.
fn keep(field: &Field, value: &mut Value) -> bool {
    let collection = is_collection(field);
    let empty = match value {
        Value::Null => matches!(field.node.ty, Type::Scalar(_)),
        Value::Array(items) => collection && items.is_empty(),
        Value::Object(map) => collection && map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !*value,
        Value::Number(number) => number.as_f64() == Some(0.0),
    };
    match field.presence {
        Presence::Set | Presence::Nullable => true,
        Presence::Always => {
            // No bytes are null; lists and maps become so when all is looked at.
            if value.as_str() == Some("") && collection {
                *value = Value::Null;
            }
            true
        }
        Presence::NotZero => !empty && !matches!(value, Value::Object(map) if map.is_empty()),
        Presence::NotEmpty => {
            !empty
                || !matches!(
                    field.node.ty,
                    Type::List(_)
                        | Type::Map(_)
                        | Type::Scalar(
                            Scalar::String
                                | Scalar::Bool
                                | Scalar::Int32
                                | Scalar::Int64
                                | Scalar::Double
                                | Scalar::Bytes
                        )
                )
        }
    }
}

fn scalar_value(scalar: Scalar, value: &mut Value) -> bool {
    match (scalar, &*value) {
        (Scalar::Any, _)
        | (Scalar::String | Scalar::IntOrString, Value::String(_))
        | (Scalar::Bool, Value::Bool(_)) => true,
        (Scalar::Int32 | Scalar::IntOrString, Value::Number(number)) => is_int32(number),
        (Scalar::Int64, Value::Number(number)) => number.is_i64(),
        (Scalar::Double, Value::Number(number)) => {
            if let Some(whole) = whole(number) {
                *value = Value::from(whole);
            }
            true
        }
        (Scalar::Quantity, Value::String(text)) => quantity(text).is_ok_and(|canonical| {
            if let Some(canonical) = canonical {
                *value = Value::String(canonical);
            }
            true
        }),
        // The text of another number is needed to tell its format.
        (Scalar::Quantity, Value::Number(number)) if number.is_i64() => {
            let text = number.to_string();
            quantity(&text).is_ok_and(|canonical| {
                *value = Value::String(canonical.unwrap_or(text));
                true
            })
        }
        (Scalar::Time | Scalar::MicroTime, Value::String(text)) => {
            match scalar::time(text, scalar == Scalar::MicroTime) {
                Ok(Time::Same) => true,
                Ok(Time::Text(text)) => {
                    *value = Value::String(text);
                    true
                }
                Ok(Time::Zero) => {
                    *value = Value::Null;
                    true
                }
                Err(_) => false,
            }
        }
        (Scalar::Bytes, Value::String(text)) => scalar::base64(text).is_ok_and(|canonical| {
            if let Some(canonical) = canonical {
                *value = Value::String(canonical);
            }
            true
        }),
        _ => false,
    }
}

/// The canonical text of a quantity, when it is another.
///
/// # Errors
/// Go's message.
pub(super) fn quantity(text: &str) -> Result<Option<String>, String> {
    let canonical = Quantity::canonicalize(text.trim())?;
    Ok((canonical != text).then_some(canonical))
}

pub(super) fn is_int32(number: &serde_json::Number) -> bool {
    number
        .as_i64()
        .is_some_and(|value| i32::try_from(value).is_ok())
}

/// Writes numbers without a fraction as integers, at every depth, as Go does.
pub(super) fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *value = Value::from(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(map) => map.values_mut().for_each(shorten),
        _ => {}
    }
}

/// A floating point number as the integer that Go writes for it.
fn whole(number: &serde_json::Number) -> Option<i64> {
    if !number.is_f64() {
        return None;
    }
    let value = number.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "in the range where floating point numbers are exact"
    )]
    (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64)
}
