//! The words of Go's converter from untyped documents, which strategic merge patches go through instead of the decoder.
use super::scalar;
use super::types::{Node, Scalar, Type};
use serde_json::Value;

/// Why a document cannot be converted to its type, if it cannot: the message for the first field that does not fit.
pub(crate) fn error(node: &Node, value: &Value) -> Option<String> {
    match (&node.ty, value) {
        (_, Value::Null) | (Type::Scalar(Scalar::Any) | Type::Or(..), _) => None,
        (Type::Struct(def), Value::Object(map)) => {
            let def = def.get();
            let mut fields: Vec<_> = def.fields.iter().collect();
            fields.sort_by_key(|field| field.order);
            fields
                .into_iter()
                .find_map(|field| error(&field.node, map.get(&*field.name)?))
        }
        (Type::Map(item), Value::Object(map)) => map.values().find_map(|value| error(item, value)),
        (Type::List(list), Value::Array(items)) => {
            items.iter().find_map(|value| error(&list.item, value))
        }
        (Type::Struct(_), other) => Some(format!("cannot restore struct from: {}", kind(other))),
        (Type::Map(_), other) => Some(format!("cannot restore map from {}", kind(other))),
        (Type::List(_), other) => Some(format!("cannot restore slice from {}", kind(other))),
        (Type::Scalar(scalar), value) => self::scalar(*scalar, node, value),
    }
}

fn scalar(scalar: Scalar, node: &Node, value: &Value) -> Option<String> {
    let wrong = |value: &Value, ty: &str| {
        let kind = super::scan::Tree::from(value).kind();
        format!("json: cannot unmarshal {kind} into Go value of type {ty}")
    };
    match (scalar, value) {
        (Scalar::String | Scalar::IntOrString, Value::String(_))
        | (Scalar::Bool, Value::Bool(_))
        | (Scalar::Double, Value::Number(_)) => None,
        (Scalar::Int32 | Scalar::Int64, Value::Number(number)) => {
            let fits = match scalar {
                Scalar::Int32 => super::normal::is_int32(number),
                _ => number.is_i64(),
            };
            (!fits).then(|| format!("cannot convert {} to {}", go_type(value), node.go_name()))
        }
        // Go could convert an integer to a string, and is told not to.
        (Scalar::String, Value::Number(number)) if !number.is_f64() => {
            Some(format!("cannot convert int64 to {}", node.go_name()))
        }
        (Scalar::Quantity, Value::String(text)) => super::normal::quantity(text).err(),
        (Scalar::Quantity, value) => super::normal::quantity(&value.to_string()).err(),
        (Scalar::Time, Value::String(text)) => scalar::time(text, false).err(),
        (Scalar::MicroTime, Value::String(text)) => scalar::time(text, true).err(),
        (Scalar::Time | Scalar::MicroTime, value) => Some(wrong(value, "string")),
        (Scalar::IntOrString, Value::Number(number)) if super::normal::is_int32(number) => None,
        (Scalar::IntOrString, value) => Some(wrong(value, "int32")),
        (Scalar::Bytes, Value::String(text)) => scalar::base64(text).err(),
        (Scalar::Bytes, other) => Some(format!("cannot restore slice from {}", kind(other))),
        _ => Some(format!(
            "unrecognized type: {}",
            match scalar {
                Scalar::String => "string",
                Scalar::Bool => "bool",
                Scalar::Int32 => "int32",
                Scalar::Int64 => "int64",
                _ => "float64",
            }
        )),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.is_f64() => "float64",
        _ => "int64",
    }
}

/// Go's name for the kind of an untyped value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(_) => go_type(value),
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}
