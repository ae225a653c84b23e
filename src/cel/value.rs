//! JSON documents as values of the language, and back.
use kube::core::cel::cel::Value;
use kube::core::cel::cel::objects::{Key, Map, OptionalValue};
use std::collections::HashMap;
use std::sync::Arc;

/// The value of a document.
pub(crate) fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(
            || Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            Value::Int,
        ),
        serde_json::Value::String(text) => Value::String(Arc::new(text.clone())),
        serde_json::Value::Array(items) => {
            Value::List(Arc::new(items.iter().map(from_json).collect()))
        }
        serde_json::Value::Object(fields) => map(fields
            .iter()
            .map(|(key, value)| (Key::String(Arc::new(key.clone())), from_json(value)))),
    }
}

/// A map. (Its order cannot be seen: whoever goes through it sorts its keys.)
pub(super) fn map(entries: impl IntoIterator<Item = (Key, Value)>) -> Value {
    let entries: HashMap<Key, Value> = entries.into_iter().collect();
    Value::Map(Map {
        map: Arc::new(entries),
    })
}

/// The document of a value.
///
/// # Errors
/// What cannot be written as JSON.
pub(crate) fn to_json(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::UInt(value) => (*value).into(),
        Value::Float(value) => serde_json::Number::from_f64(*value)
            .map_or(serde_json::Value::Null, serde_json::Value::Number),
        Value::String(text) => text.as_str().into(),
        Value::Bytes(bytes) => crate::object::base64::encode(bytes).into(),
        Value::List(items) => items
            .iter()
            .map(to_json)
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        Value::Map(map) => {
            let mut fields = serde_json::Map::new();
            for (key, value) in map.map.iter() {
                fields.insert(key.to_string(), to_json(value)?);
            }
            fields.into()
        }
        Value::Timestamp(_) => time(value).into(),
        Value::Duration(duration) => seconds(duration.num_nanoseconds().unwrap_or(i64::MAX)).into(),
        Value::Opaque(_) | Value::Function(..) => match optional(value) {
            Some(Some(inner)) => to_json(&inner)?,
            Some(None) => serde_json::Value::Null,
            None => return Err(format!("unsupported value of type {}", type_name(value))),
        },
    })
}

/// `2020-01-02T03:04:05.5Z`, as Go writes a time; nothing for what is none.
pub(super) fn time(value: &Value) -> String {
    let Value::Timestamp(at) = value else {
        return String::new();
    };
    let fraction = format!(".{:09}", at.timestamp_subsec_nanos());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    let zone = at.format("%:z").to_string().replace("+00:00", "Z");
    format!("{}{fraction}{zone}", at.format("%Y-%m-%dT%H:%M:%S"))
}

/// `1.5s`
pub(super) fn seconds(nanos: i64) -> String {
    let (whole, rest) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).abs());
    if rest == 0 {
        return format!("{whole}s");
    }
    let fraction = format!("{rest:09}");
    format!("{whole}.{}s", fraction.trim_end_matches('0'))
}

/// What an optional holds; `None`: it is no optional.
#[expect(
    clippy::option_option,
    reason = "two questions in one: is it one, and what does it hold"
)]
pub(super) fn optional(value: &Value) -> Option<Option<Value>> {
    let Value::Opaque(opaque) = value else {
        return None;
    };
    let optional = opaque.downcast_ref::<OptionalValue>()?;
    Some(optional.value().cloned())
}

/// An optional that holds `value`, or nothing.
pub(super) fn to_optional(value: Option<Value>) -> Value {
    Value::Opaque(Arc::new(
        value.map_or_else(OptionalValue::none, OptionalValue::of),
    ))
}

/// The name of the type of a value, as errors and `type()` show it.
pub(super) fn type_name(value: &Value) -> String {
    match value {
        Value::List(_) => "list".into(),
        Value::Map(_) => "map".into(),
        Value::Function(..) => "function".into(),
        Value::Int(_) => "int".into(),
        Value::UInt(_) => "uint".into(),
        Value::Float(_) => "double".into(),
        Value::String(_) => "string".into(),
        Value::Bytes(_) => "bytes".into(),
        Value::Bool(_) => "bool".into(),
        Value::Duration(_) => "google.protobuf.Duration".into(),
        Value::Timestamp(_) => "google.protobuf.Timestamp".into(),
        Value::Opaque(opaque) => opaque.runtime_type_name().to_owned(),
        Value::Null => "null_type".into(),
    }
}

/// About how much there is of a value, as a part of the cost.
pub(super) fn size(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64 / 10 + 1,
        Value::Bytes(bytes) => bytes.len() as u64 / 10 + 1,
        Value::List(items) => items.len() as u64 + 1,
        Value::Map(map) => map.map.len() as u64 + 1,
        _ => 1,
    }
}

/// The size of everything in a value, as far as `limit`.
pub(super) fn deep_size(value: &Value, limit: u64) -> u64 {
    let mut total = size(value);
    match value {
        Value::List(items) => {
            for item in items.iter() {
                if total > limit {
                    break;
                }
                total += deep_size(item, limit - total.min(limit));
            }
        }
        Value::Map(map) => {
            for item in map.map.values() {
                if total > limit {
                    break;
                }
                total += deep_size(item, limit - total.min(limit));
            }
        }
        _ => {}
    }
    total
}
