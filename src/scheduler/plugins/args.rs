//! Arguments of plugins, as a `KubeSchedulerConfiguration` gives them.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::scheduler::framework::ArgsError;

/// An object among the arguments of a plugin, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Args<'a> {
    fields: Option<&'a Map<String, Value>>,
    /// Where it is, from the top of the arguments.
    path: String,
}

impl<'a> Args<'a> {
    /// The arguments of a plugin: of this kind, with these fields and no others.
    pub(super) fn of(value: &'a Value, kind: &str, known: &[&str]) -> Result<Self, ArgsError> {
        let mut all = vec!["apiVersion", "kind"];
        all.extend(known);
        let args = Self::at(String::new(), value, &all)?;
        match args.text("kind")? {
            Some(other) if other != kind => Err(args.invalid(
                "kind",
                format_args!("Invalid value: {other:?}: want {kind:?}"),
            )),
            _ => Ok(args),
        }
    }

    fn at(path: String, value: &'a Value, known: &[&str]) -> Result<Self, ArgsError> {
        let fields = match value {
            Value::Null => None,
            Value::Object(fields) => Some(fields),
            _ => return Err(ArgsError::new(path, "must be an object")),
        };
        let args = Self { fields, path };
        let mut names = fields.into_iter().flat_map(Map::keys);
        match names.find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(args.invalid(name, "unknown field")),
            None => Ok(args),
        }
    }

    /// What is wrong with a field.
    pub(super) fn invalid(&self, field: &str, message: impl Display) -> ArgsError {
        ArgsError::new(self.path(field), message.to_string())
    }

    fn path(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    /// A field that is given and not null.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields?.get(field).filter(|value| !value.is_null())
    }

    fn read<T>(
        &self,
        field: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ArgsError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let read = read(value).ok_or_else(|| self.invalid(field, format_args!("must be {what}")));
        read.map(Some)
    }

    pub(super) fn integer(&self, field: &str) -> Result<Option<i64>, ArgsError> {
        self.read(field, "an integer", Value::as_i64)
    }

    pub(super) fn boolean(&self, field: &str) -> Result<Option<bool>, ArgsError> {
        self.read(field, "a boolean", Value::as_bool)
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, ArgsError> {
        self.read(field, "a string", Value::as_str)
    }

    /// A list of strings; none when it is not given.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<String>, ArgsError> {
        let read = |value: &Value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| Some(text.as_str()?.to_owned())).collect()
        };
        let texts = self.read(field, "a list of strings", read)?;
        Ok(texts.unwrap_or_default())
    }

    /// An object with these fields and no others.
    pub(super) fn object(&self, field: &str, known: &[&str]) -> Result<Option<Self>, ArgsError> {
        let value = self.get(field);
        let object = value.map(|value| Self::at(self.path(field), value, known));
        object.transpose()
    }

    /// A list of objects with these fields and no others; `None`: it is not given.
    pub(super) fn objects(
        &self,
        field: &str,
        known: &[&str],
    ) -> Result<Option<Vec<Self>>, ArgsError> {
        let list = self.read(field, "a list", Value::as_array)?;
        let at = |(index, value)| Self::at(format!("{}[{index}]", self.path(field)), value, known);
        let objects = list.map(|list| list.iter().enumerate().map(at).collect());
        objects.transpose()
    }

    /// A value of an API type. Fields that the type does not have are not noticed.
    pub(super) fn typed<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, ArgsError> {
        let parse = |value: &Value| serde_json::from_value(value.clone());
        let parsed = self.get(field).map(parse).transpose();
        parsed.map_err(|error| self.invalid(field, error))
    }
}
