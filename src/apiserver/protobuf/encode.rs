//! JSON documents as protobuf messages.
use super::shape::{Place, Shape};
use super::wire;
use crate::object::base64;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Writes an object as the message of this shape. Fields without a number are left out.
pub(super) fn message(map: &Map<String, Value>, shape: &Shape) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, place) in shape.places() {
        match place {
            Place::Inline(inline) => {
                let inner = message(map, inline);
                if !inner.is_empty() {
                    wire::bytes(&mut out, number, &inner);
                }
            }
            Place::Field(line) => {
                if let Some(value) = map.get(line.name) {
                    let is_message = matches!(line.marks.go, Some("v1.Verbs"));
                    field(&mut out, number, value, line.ty, is_message);
                }
            }
        }
    }
    out
}

/// Writes a field of a type in the words of the table. `list_is_message`: a list is a message of items.
fn field(out: &mut Vec<u8>, number: u32, value: &Value, ty: &str, list_is_message: bool) {
    match (ty, value) {
        (_, Value::Null) => {}
        ("string", Value::String(text)) => wire::bytes(out, number, text.as_bytes()),
        ("bytes", Value::String(text)) => {
            wire::bytes(out, number, &base64::decode(text).unwrap_or_default());
        }
        ("bool", Value::Bool(flag)) => wire::integer(out, number, u64::from(*flag)),
        ("int32" | "int64", Value::Number(int)) => {
            wire::integer(
                out,
                number,
                int.as_i64().unwrap_or_default().cast_unsigned(),
            );
        }
        ("double", Value::Number(double)) => {
            wire::double(out, number, double.as_f64().unwrap_or_default());
        }
        ("quantity", value) => {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let mut quantity = Vec::new();
            wire::bytes(&mut quantity, 1, text.as_bytes());
            wire::bytes(out, number, &quantity);
        }
        ("intstr", value) => {
            let mut either = Vec::new();
            match value {
                Value::String(text) => {
                    wire::integer(&mut either, 1, 1);
                    wire::bytes(&mut either, 3, text.as_bytes());
                }
                value => {
                    let int = value.as_i64().unwrap_or_default();
                    wire::integer(&mut either, 1, 0);
                    wire::integer(&mut either, 2, int.cast_unsigned());
                }
            }
            wire::bytes(out, number, &either);
        }
        ("time" | "microtime", Value::String(text)) => wire::bytes(out, number, &time(text)),
        ("any", value) => {
            let mut raw = Vec::new();
            wire::bytes(&mut raw, 1, value.to_string().as_bytes());
            wire::bytes(out, number, &raw);
        }
        (ty, value) => match (ty.split_at_checked(1), value) {
            (Some(("[", item)), Value::Array(items)) if list_is_message => {
                let mut list = Vec::new();
                for value in items {
                    field(&mut list, 1, value, item, false);
                }
                wire::bytes(out, number, &list);
            }
            (Some(("[", item)), Value::Array(items)) => {
                for value in items {
                    field(out, number, value, item, false);
                }
            }
            (Some(("{", item)), Value::Object(map)) => {
                for (key, value) in map {
                    let mut entry = Vec::new();
                    wire::bytes(&mut entry, 1, key.as_bytes());
                    field(&mut entry, 2, value, item, true);
                    wire::bytes(out, number, &entry);
                }
            }
            (Some(("@", name)), Value::Object(map)) => {
                if let Some(shape) = Shape::of(name) {
                    wire::bytes(out, number, &message(map, shape));
                }
            }
            (Some(("?", rest)), value) => schema_or(out, number, value, rest),
            _ => {}
        },
    }
}

/// A schema, or something simpler.
fn schema_or(out: &mut Vec<u8>, number: u32, value: &Value, rest: &str) {
    let Some((or, name)) = rest.split_at_checked(1) else {
        return;
    };
    let schema = |out: &mut Vec<u8>, number, value: &Value| {
        if let (Some(shape), Value::Object(map)) = (Shape::of(name), value) {
            wire::bytes(out, number, &message(map, shape));
        }
    };
    let mut either = Vec::new();
    match (or, value) {
        ("b", Value::Bool(allows)) => wire::integer(&mut either, 1, u64::from(*allows)),
        ("b", value) => {
            wire::integer(&mut either, 1, 1);
            schema(&mut either, 2, value);
        }
        ("a", Value::Array(items)) => items.iter().for_each(|item| schema(&mut either, 2, item)),
        ("s", Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_str)
            .for_each(|text| wire::bytes(&mut either, 2, text.as_bytes())),
        (_, value) => schema(&mut either, 1, value),
    }
    wire::bytes(out, number, &either);
}

/// Seconds and nanoseconds.
fn time(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(time) = text.parse::<Timestamp>() {
        let nanos = i64::from(time.subsec_nanosecond());
        // Nanoseconds are counted forwards, also before 1970.
        let (seconds, nanos) = match nanos {
            ..0 => (time.as_second() - 1, nanos + 1_000_000_000),
            _ => (time.as_second(), nanos),
        };
        wire::integer(&mut out, 1, seconds.cast_unsigned());
        wire::integer(&mut out, 2, nanos.cast_unsigned());
    }
    out
}
