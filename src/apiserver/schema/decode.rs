//! Decoding of request bodies as the real server does it: one parse and one pass over the document, in place; only when
//! something is out of order is it decoded again the slow way, to find Go's words.
#[cfg(test)]
use super::gojson;
use super::scan::{self, Tree};
use super::{Schema, builtin, diagnose, normal, yaml};
use crate::object::{GroupVersion, GroupVersionKind, Status};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt::{self, Write as _};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    Json,
    Yaml,
}

/// A decoded document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoded {
    /// In the form that a Go server gives it, with the expected `apiVersion` and `kind`.
    pub object: Value,
    /// What a strict decoder complains of, as warnings show it: `unknown field "spec.replica"`.
    pub strict_errors: Vec<String>,
}

impl Decoded {
    /// The failure with which a strict decoder ends on its complaints (`fieldValidation=Strict`), if there are any.
    pub(crate) fn strict_failure(&self, expected: &GroupVersionKind) -> Option<Status> {
        (!self.strict_errors.is_empty())
            .then(|| cannot_be_handled(expected, expected, &strict_text(&self.strict_errors)))
    }
}

/// The text of a strict decoder's error.
pub(crate) fn strict_text(errors: &[String]) -> String {
    // Those of the YAML parser are one error of several lines.
    let (yaml, mut errors): (Vec<_>, Vec<_>) = errors
        .iter()
        .cloned()
        .partition(|error| error.starts_with("line "));
    if !yaml.is_empty() {
        errors.insert(0, yaml_errors(&yaml));
    }
    format!("strict decoding error: {}", errors.join(", "))
}

/// The text of the YAML parser's complaints.
pub(crate) fn yaml_errors(lines: &[String]) -> String {
    format!(
        "error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
        lines.join("\n  ")
    )
}

/// Decodes a request body that must be an object of kind `expected`. Without a schema any fields are accepted.
///
/// # Errors
/// 400 with the real server's message.
pub(crate) fn decode(
    bytes: &[u8],
    content_type: ContentType,
    schema: Option<&Schema>,
    expected: &GroupVersionKind,
) -> Result<Decoded, Status> {
    let body = match content_type {
        ContentType::Json => Body::json(bytes),
        ContentType::Yaml => Body::yaml(bytes),
    };
    body.and_then(|body| finish(body, schema, expected))
        .map_err(|failure| match failure {
            Failure::Unrecognized(why) => unrecognized(&expected.kind, &why, bytes),
            Failure::Undecodable(actual, why) => cannot_be_handled(&actual, expected, &why),
            Failure::OtherVersion(why) => Status::bad_request(why),
        })
}

/// Decodes the options in a body, which may say that they are of any version; fields that they do not have are dropped.
///
/// # Errors
/// 400 with the decoder's message.
pub(crate) fn options(
    bytes: &[u8],
    content_type: ContentType,
    expected: &GroupVersionKind,
) -> Result<Value, Status> {
    let body = match content_type {
        ContentType::Json => Body::json(bytes),
        ContentType::Yaml => Body::yaml(bytes),
    };
    let decoded = body.and_then(|mut body| {
        let actual = type_meta(&body.value, expected)?;
        if actual.kind != expected.kind {
            let why = format!(
                "converting ({}.{}) to ({}.{}): unknown conversion",
                actual.version, actual.kind, expected.version, expected.kind
            );
            return Err(Failure::Undecodable(actual, why));
        }
        if let Value::Object(map) = &mut body.value {
            map.remove("apiVersion");
        }
        finish(body, builtin(expected).as_deref(), expected)
    });
    match decoded {
        Ok(decoded) => Ok(decoded.object),
        Err(failure) => Err(Status::bad_request(failure.text())),
    }
}

/// 400 for a body that is not even a document.
pub(crate) fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({})",
        summary(body)
    ))
}

/// Checks a parsed document that must be an object of kind `expected`, e.g. the outcome of a patch.
///
/// # Errors
/// 422 on the field `patch`, as the real server answers patches; [`check_text`] gives the bare message.
#[cfg(test)]
pub(crate) fn check(
    object: Value,
    schema: Option<&Schema>,
    expected: &GroupVersionKind,
) -> Result<Decoded, Status> {
    check_patched(object, schema, expected, |object| {
        gojson::encode(object, schema, None)
    })
}

/// As [`check`], for a caller that knows how the real server shows the document in the message.
///
/// # Errors
/// 422 on the field `patch`.
pub(crate) fn check_patched(
    object: Value,
    schema: Option<&Schema>,
    expected: &GroupVersionKind,
    shown: impl FnOnce(&Value) -> String,
) -> Result<Decoded, Status> {
    let text = Cell::new(String::new());
    let body = Body {
        source: Source::Value(Box::new(|object| text.set(shown(object)))),
        ..Body::of(object)
    };
    finish(body, schema, expected).map_err(|failure| match failure {
        Failure::Unrecognized(why) | Failure::Undecodable(_, why) => {
            crate::apiserver::patch::invalid(&text.take(), &why)
        }
        Failure::OtherVersion(why) => Status::bad_request(why),
    })
}

/// As [`check`], with the bare message of what is wrong.
///
/// # Errors
/// The decoder's message.
pub(crate) fn check_text(
    object: Value,
    schema: Option<&Schema>,
    expected: &GroupVersionKind,
) -> Result<Decoded, String> {
    finish(Body::of(object), schema, expected).map_err(Failure::text)
}

/// Why a document is no object of the expected kind.
enum Failure {
    /// It says not even what it is.
    Unrecognized(String),
    /// It cannot be read as what it says it is, or that is not what is expected.
    Undecodable(GroupVersionKind, String),
    /// It is the expected kind in another version.
    OtherVersion(String),
}

impl Failure {
    fn text(self) -> String {
        match self {
            Self::Unrecognized(why) | Self::Undecodable(_, why) | Self::OtherVersion(why) => why,
        }
    }
}

/// A parsed document, and where to read it again in the order it was written.
struct Body<'a> {
    value: Value,
    /// Whether a field comes twice.
    doubled: bool,
    /// Complaints of the YAML parser.
    complaints: Vec<String>,
    source: Source<'a>,
}

enum Source<'a> {
    Bytes(&'a [u8]),
    Tree(Tree),
    /// Only the parsed document is left; it is shown to the function first.
    Value(Box<dyn FnOnce(&Value) + 'a>),
}

impl<'a> Body<'a> {
    fn of(value: Value) -> Self {
        Self {
            value,
            doubled: false,
            complaints: Vec::new(),
            source: Source::Value(Box::new(|_| {})),
        }
    }
    fn json(bytes: &'a [u8]) -> Result<Self, Failure> {
        let doubled = Cell::new(false);
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let parsed = Document(&doubled)
            .deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value));
        if let Ok(value) = parsed {
            return Ok(Self {
                doubled: doubled.get(),
                source: Source::Bytes(bytes),
                ..Self::of(value)
            });
        }
        // What serde refuses, Go may take: halves of surrogate pairs, bytes that are no text.
        let tree = scan::parse(bytes).map_err(|why| {
            Failure::Unrecognized(format!(
                "couldn't get version/kind; json parse error: {why}"
            ))
        })?;
        Ok(Self {
            doubled: true,
            source: Source::Tree(tree.clone()),
            ..Self::of(tree.into_value())
        })
    }
    fn yaml(bytes: &'a [u8]) -> Result<Self, Failure> {
        // JSON is YAML; its errors are not YAML's.
        if bytes.trim_ascii_start().first() == Some(&b'{')
            && let Ok(body) = Self::json(bytes)
            && !body.doubled
        {
            return Ok(body);
        }
        let document = yaml::parse(bytes).map_err(Failure::Unrecognized)?;
        Ok(Self {
            complaints: document.complaints,
            ..Self::of(document.value)
        })
    }
}

fn finish(
    body: Body<'_>,
    schema: Option<&Schema>,
    expected: &GroupVersionKind,
) -> Result<Decoded, Failure> {
    let Body {
        mut value,
        doubled,
        complaints: mut strict_errors,
        source,
    } = body;
    let mut source = Some(source);
    let mut tree = |value: &Value| match source.take() {
        Some(Source::Bytes(bytes)) => scan::parse(bytes).unwrap_or_else(|_| Tree::from(value)),
        Some(Source::Tree(tree)) => tree,
        Some(Source::Value(show)) => {
            show(value);
            Tree::from(value)
        }
        None => Tree::from(value),
    };
    let actual = type_meta(&value, expected).inspect_err(|_| {
        tree(&value);
    })?;
    if actual != *expected {
        let tree = tree(&value);
        return Err(foreign(actual, expected, tree, schema));
    }
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    let any = super::types::Node::any();
    let node = schema.map_or(&any, |schema| &schema.root);
    let custom = schema.is_some_and(|schema| schema.custom);
    let clean = !doubled && normal::accept(node, custom, &mut value);
    if !clean {
        let report = diagnose::diagnose(node, custom, tree(&value));
        strict_errors.extend(report.strict);
        if let Some(error) = report.error {
            return Err(Failure::Undecodable(actual, error));
        }
        value = report.value;
        normal::accept(node, custom, &mut value);
    }
    if let Value::Object(map) = &mut value {
        set(map, "apiVersion", || {
            GroupVersion::new(&*expected.group, &*expected.version).to_string()
        });
        set(map, "kind", || expected.kind.clone());
    }
    Ok(Decoded {
        object: value,
        strict_errors,
    })
}

/// Sets a field that is known to be right when it is there.
fn set(map: &mut Map<String, Value>, name: &str, value: impl FnOnce() -> String) {
    if map
        .get(name)
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        map.insert(name.to_owned(), Value::String(value()));
    }
}

/// What the document says it is; what it does not say is as expected.
fn type_meta(value: &Value, expected: &GroupVersionKind) -> Result<GroupVersionKind, Failure> {
    let wrong = |value: &Value, field: &str, ty: &str| {
        let kind = Tree::from(value).kind();
        Failure::Unrecognized(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {kind} into Go {field} of type {ty}"
        ))
    };
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Ok(expected.clone()),
        other => {
            let ty = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
            return Err(wrong(other, "value", ty));
        }
    };
    let text = |name: &str| match map.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(wrong(other, &format!("struct field .{name}"), "string")),
    };
    let (version, kind) = (text("apiVersion")?, text("kind")?);
    // The common case, without building anything.
    let same_version = match version.split_once('/') {
        Some((group, version)) => *group == *expected.group && *version == *expected.version,
        None => version.is_empty() || (expected.group.is_empty() && *version == *expected.version),
    };
    if same_version && (kind.is_empty() || *kind == *expected.kind) {
        return Ok(expected.clone());
    }
    let mut parsed = GroupVersion::parse(version).map_err(Failure::Unrecognized)?;
    if version.is_empty() {
        parsed = GroupVersion::new(&*expected.group, &*expected.version);
    }
    Ok(GroupVersionKind {
        group: parsed.group,
        version: parsed.version,
        kind: if kind.is_empty() {
            expected.kind.clone()
        } else {
            kind.to_owned()
        },
    })
}

/// The failure of a document that says it is something else. It is decoded as what it says before it is refused.
fn foreign(
    actual: GroupVersionKind,
    expected: &GroupVersionKind,
    tree: Tree,
    schema: Option<&Schema>,
) -> Failure {
    let other_version = |actual: &GroupVersionKind| {
        Failure::OtherVersion(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            GroupVersion::new(&*actual.group, &*actual.version),
            GroupVersion::new(&*expected.group, &*expected.version)
        ))
    };
    if schema.is_some_and(|schema| schema.custom) && actual.kind == expected.kind {
        return other_version(&actual);
    }
    let Some(known) = builtin(&actual) else {
        let why = format!(
            "no kind {:?} is registered for version {:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            actual.kind,
            GroupVersion::new(&*actual.group, &*actual.version).to_string()
        );
        return Failure::Undecodable(actual, why);
    };
    let report = diagnose::diagnose(&known.root, false, tree);
    if let Some(error) = report.error {
        return Failure::Undecodable(actual, error);
    }
    let package = |group: &str| match group {
        "" | "events.k8s.io" => "core".to_owned(),
        "rbac.authorization.k8s.io" => "rbac".to_owned(),
        group => group.split('.').next().unwrap_or_default().to_owned(),
    };
    if actual.kind == expected.kind && package(&actual.group) == package(&expected.group) {
        return other_version(&actual);
    }
    let why = format!(
        "converting ({}.{}) to ({}.{}): unknown conversion",
        actual.version,
        actual.kind,
        package(&expected.group),
        expected.kind
    );
    Failure::Undecodable(actual, why)
}

/// 400 for a document that cannot be taken as what is expected.
pub(crate) fn cannot_be_handled(
    actual: &GroupVersionKind,
    expected: &GroupVersionKind,
    why: &str,
) -> Status {
    Status::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {why}",
        actual.kind, actual.version, expected.kind
    ))
}

/// The beginning of a body, as messages show it: text when it may be JSON, else hexadecimal.
fn summary(bytes: &[u8]) -> String {
    const LENGTH: usize = 30;
    let (start, dots) = match bytes.get(..LENGTH) {
        Some(start) if bytes.len() > LENGTH => (start, " ..."),
        _ => (bytes, ""),
    };
    match bytes.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(start)),
        Some(_) => {
            let mut hex = String::with_capacity(2 * start.len() + dots.len());
            for byte in start {
                // Writing to a string does not fail.
                let _ = write!(hex, "{byte:02x}");
            }
            hex + dots
        }
    }
}

/// Reads a document and notes whether a field comes twice.
pub(super) struct Document<'a>(pub &'a Cell<bool>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Document(self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(Document(self.0))?;
            if map.insert(name, value).is_some() {
                self.0.set(true);
            }
        }
        Ok(Value::Object(map))
    }
}
