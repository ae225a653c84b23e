//! Strict reading of documents: every field that is unknown or of the wrong type is told with its path.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::object::base64;
use crate::object::field::{ErrorKind, Errors, Path};

/// What was found wrong while reading.
#[derive(Debug, Default)]
pub(super) struct Problems {
    /// Paths of fields that nobody knows.
    pub unknown: Vec<String>,
    /// Values of the wrong type.
    pub errors: Errors,
}

impl Problems {
    fn wrong_type(&mut self, path: &Path, value: &Value, wanted: &str) {
        let shown = match value {
            Value::String(text) => format!("{text:?}"),
            other => other.to_string(),
        };
        self.errors.push(
            ErrorKind::TypeInvalid,
            path.clone(),
            format!("Invalid value: {shown}: must be {wanted}"),
        );
    }
}

/// What can be read from a document. A field that is absent or null has its `Default`.
pub(super) trait Read: Default {
    /// Reads it; what is wrong goes to `problems`, and the default stands in for it.
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self;
}

/// An object under reading: what is left of it when it is closed is unknown.
pub(super) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    known: Vec<&'static str>,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    pub(super) fn open(value: &'a Value, path: &'a Path, problems: &mut Problems) -> Self {
        if !value.is_object() {
            problems.wrong_type(path, value, "an object");
        }
        Self {
            map: value.as_object(),
            known: Vec::new(),
            path,
        }
    }

    pub(super) fn field<T: Read>(&mut self, name: &'static str, problems: &mut Problems) -> T {
        self.known.push(name);
        match self.map.and_then(|map| map.get(name)) {
            None | Some(Value::Null) => T::default(),
            Some(value) => T::read(value, &self.path.child(name), problems),
        }
    }

    pub(super) fn close(self, problems: &mut Problems) {
        let keys = self.map.into_iter().flat_map(Map::keys);
        let unknown = keys.filter(|key| !self.known.contains(&key.as_str()));
        let paths = unknown.map(|key| self.path.child(key).to_string());
        problems.unknown.extend(paths);
    }
}

/// Reads a struct field by field.
macro_rules! object {
    ($type:ident { $($field:ident: $name:literal),* $(,)? }) => {
        impl $crate::scheduler::config::read::Read for $type {
            fn read(
                value: &serde_json::Value,
                path: &$crate::object::field::Path,
                problems: &mut $crate::scheduler::config::read::Problems,
            ) -> Self {
                let mut fields = $crate::scheduler::config::read::Fields::open(value, path, problems);
                let read = Self { $($field: fields.field($name, problems)),* };
                fields.close(problems);
                read
            }
        }
    };
}
pub(super) use object;

impl Read for bool {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        value.as_bool().unwrap_or_else(|| {
            problems.wrong_type(path, value, "a boolean");
            Self::default()
        })
    }
}

impl Read for String {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        value.as_str().map_or_else(
            || {
                problems.wrong_type(path, value, "a string");
                Self::default()
            },
            str::to_owned,
        )
    }
}

impl Read for i64 {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        value.as_i64().unwrap_or_else(|| {
            problems.wrong_type(path, value, "an integer");
            Self::default()
        })
    }
}

impl Read for i32 {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        let number = value
            .as_i64()
            .and_then(|number| Self::try_from(number).ok());
        number.unwrap_or_else(|| {
            problems.wrong_type(path, value, "an integer of 32 bits");
            Self::default()
        })
    }
}

impl Read for f64 {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        value.as_f64().unwrap_or_else(|| {
            problems.wrong_type(path, value, "a number");
            Self::default()
        })
    }
}

/// Any value, as it is.
impl Read for Value {
    fn read(value: &Value, _: &Path, _: &mut Problems) -> Self {
        value.clone()
    }
}

impl<T: Read> Read for Option<T> {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        Some(T::read(value, path, problems))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        let Some(items) = value.as_array() else {
            problems.wrong_type(path, value, "a list");
            return Self::default();
        };
        let items = items.iter().enumerate();
        items
            .map(|(index, item)| T::read(item, &path.index(index), problems))
            .collect()
    }
}

/// Bytes, which a document has in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub Vec<u8>);

impl Read for Bytes {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        let bytes = value.as_str().and_then(base64::decode);
        Self(bytes.unwrap_or_else(|| {
            problems.wrong_type(path, &Value::from("…"), "bytes in base64");
            Vec::new()
        }))
    }
}

/// A duration as Go writes it: `1m30s`. Negative ones are none.
impl Read for Duration {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        let duration = value.as_str().and_then(go_duration);
        duration.unwrap_or_else(|| {
            problems.wrong_type(path, value, "a duration such as 1m30s");
            Self::default()
        })
    }
}

/// A built-in type of the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Typed<T>(pub T);

impl<T: Default + Serialize + DeserializeOwned> Read for Typed<T> {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        match serde_json::from_value::<T>(value.clone()) {
            Ok(typed) => {
                let known = serde_json::to_value(&typed).unwrap_or_default();
                dropped(value, &known, path, &mut problems.unknown);
                Self(typed)
            }
            Err(error) => {
                let message = format!("Invalid value: {value}: {error}");
                let kind = ErrorKind::TypeInvalid;
                problems.errors.push(kind, path.clone(), message);
                Self::default()
            }
        }
    }
}

/// What was in `given` and is not in what was read from it.
fn dropped(given: &Value, read: &Value, path: &Path, unknown: &mut Vec<String>) {
    match (given, read) {
        (Value::Object(given), Value::Object(read)) => {
            for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                match read.get(key) {
                    Some(known) => dropped(value, known, &path.child(key), unknown),
                    None => unknown.push(path.child(key).to_string()),
                }
            }
        }
        (Value::Array(given), Value::Array(read)) => {
            for (index, (given, read)) in given.iter().zip(read).enumerate() {
                dropped(given, read, &path.index(index), unknown);
            }
        }
        _ => {}
    }
}

/// Reads Go's text of a duration.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("15s", Some(15_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("500ms", Some(500)),
            ("0", Some(0)),
            ("", None),
            ("15", None),
            ("-1s", None),
            ("1 s", None),
            ("1x", None),
        ] {
            let read = go_duration(text).map(|duration| duration.as_millis());
            assert_eq!(read, millis, "{text:?}");
        }
    }
}
