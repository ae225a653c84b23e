//! Field errors: what is wrong with which field, in the words of Kubernetes (`k8s.io/apimachinery/pkg/util/validation/field`).
use super::quote::quoted;
use serde_json::Value;
use std::fmt;

/// The path of a field, as in `spec.containers[0].ports[1].containerPort` or `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path that starts at `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
    /// The field `name` below this one. Below the empty path: `name` itself.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self([&*self.0, ".", name].concat())
        }
    }
    /// Item `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.key(&index.to_string())
    }
    /// Entry `key` of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self([&*self.0, "[", key, "]"].concat())
    }
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of error it is; its text is the `reason` of a `Status` cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueRequired`
    Required,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `InternalError`
    Internal,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
}

impl ErrorKind {
    /// The cause's `reason`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

/// One field error. Its `Display` is `path: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of error.
    pub kind: ErrorKind,
    /// Which field.
    pub path: Path,
    /// The message without the path: `Invalid value: -1: must be greater than or equal to 0`.
    pub message: String,
}
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Collects field errors, in the order found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl Errors {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Adds one of `kind` with the message after the kind's prefix made by the caller.
    pub fn push(&mut self, kind: ErrorKind, path: Path, message: impl Into<String>) {
        self.0.push(Error {
            kind,
            path,
            message: message.into(),
        });
    }
    /// `Required value` or `Required value: detail`.
    pub fn required(&mut self, path: Path, detail: &str) {
        self.push(
            ErrorKind::Required,
            path,
            with_detail("Required value", detail),
        );
    }
    /// `Invalid value: <value as Kubernetes prints it>: detail`. Strings are quoted, objects and lists are JSON, null is `null`.
    pub fn invalid(&mut self, path: Path, value: impl Into<Value>, detail: &str) {
        self.push(
            ErrorKind::Invalid,
            path,
            with_detail(&format!("Invalid value: {}", show(&value.into())), detail),
        );
    }
    /// As [`Errors::invalid`], of a value that is shown already: an object whose fields have an order.
    pub fn invalid_text(&mut self, path: Path, shown: &str, detail: &str) {
        self.push(
            ErrorKind::Invalid,
            path,
            with_detail(&format!("Invalid value: {shown}"), detail),
        );
    }
    /// `Unsupported value: "x": supported values: "A", "B"`, in the given order.
    pub fn not_supported(&mut self, path: Path, value: impl Into<Value>, supported: &[&str]) {
        let mut message = format!("Unsupported value: {}", show(&value.into()));
        if !supported.is_empty() {
            let quoted: Vec<String> = supported.iter().map(|value| quoted(value)).collect();
            message.push_str(": supported values: ");
            message.push_str(&quoted.join(", "));
        }
        self.push(ErrorKind::NotSupported, path, message);
    }
    /// `Duplicate value: "x"`.
    pub fn duplicate(&mut self, path: Path, value: impl Into<Value>) {
        self.push(
            ErrorKind::Duplicate,
            path,
            format!("Duplicate value: {}", show(&value.into())),
        );
    }
    /// `Forbidden: detail`.
    pub fn forbidden(&mut self, path: Path, detail: &str) {
        self.push(ErrorKind::Forbidden, path, with_detail("Forbidden", detail));
    }
    /// `Not found: "x"`.
    pub fn not_found(&mut self, path: Path, value: impl Into<Value>) {
        self.push(
            ErrorKind::NotFound,
            path,
            format!("Not found: {}", show(&value.into())),
        );
    }
    /// `Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, path: Path, limit: usize) {
        self.push(
            ErrorKind::TooLong,
            path,
            format!(
                "Too long: may not be more than {limit} {}",
                if limit == 1 { "byte" } else { "bytes" }
            ),
        );
    }
    /// `Too many: N: must have at most M items`.
    pub fn too_many(&mut self, path: Path, actual: usize, limit: usize) {
        self.push(
            ErrorKind::TooMany,
            path,
            format!(
                "Too many: {actual}: must have at most {limit} {}",
                if limit == 1 { "item" } else { "items" }
            ),
        );
    }
}

fn with_detail(start: &str, detail: &str) -> String {
    if detail.is_empty() {
        start.to_owned()
    } else {
        format!("{start}: {detail}")
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        // Go's encoder takes care of those who paste it into HTML.
        other => other
            .to_string()
            .replace('&', "\\u0026")
            .replace('<', "\\u003c")
            .replace('>', "\\u003e"),
    }
}
