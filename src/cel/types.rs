//! The types of expressions, as far as they are known before evaluation.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The type of an expression. Its `Display` is cel-go's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::enum_variant_names,
    reason = "a type is a value, and `Type` is what the language calls its type"
)]
pub(crate) enum Type {
    /// Anything: known only when it is evaluated.
    Dyn,
    /// We do not know what the real server would infer; it is taken as right everywhere.
    Unknown,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    /// A type as a value.
    Type,
    List(Box<Self>),
    Map(Box<Self>, Box<Self>),
    /// `Object`, `JSONPatch`, `kubernetes.AdmissionRequest` …
    Named(String),
    /// An object of a custom resource, with its fields.
    Declared(Arc<BTreeMap<String, Self>>),
}

impl Type {
    pub(crate) fn list(item: Self) -> Self {
        Self::List(Box::new(item))
    }
    pub(crate) fn map(key: Self, value: Self) -> Self {
        Self::Map(Box::new(key), Box::new(value))
    }
    pub(crate) fn named(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
    pub(crate) fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::List(item) => item.is_unknown(),
            Self::Map(key, value) => key.is_unknown() || value.is_unknown(),
            _ => false,
        }
    }
    /// Whether nothing is known of it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Dyn | Self::Unknown)
    }
    /// Whether a value of one type may be where the other is wanted.
    pub(super) fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (one, other) if one.is_open() || other.is_open() => true,
            (Self::List(one), Self::List(other)) => one.fits(other),
            (Self::Map(key, value), Self::Map(other_key, other_value)) => {
                key.fits(other_key) && value.fits(other_value)
            }
            // Objects, timestamps and durations may be null.
            (Self::Null, Self::Named(_) | Self::Declared(_) | Self::Timestamp | Self::Duration)
            | (Self::Named(_) | Self::Declared(_) | Self::Timestamp | Self::Duration, Self::Null) => {
                true
            }
            (one, other) => one == other,
        }
    }
    /// The type that both have.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (one, other) if one == other => one,
            (Self::List(one), Self::List(other)) => Self::list(one.join(*other)),
            (Self::Map(key, value), Self::Map(other_key, other_value)) => {
                Self::map(key.join(*other_key), value.join(*other_value))
            }
            _ => Self::Dyn,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn | Self::Unknown => f.write_str("dyn"),
            Self::Null => f.write_str("null_type"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::Type => f.write_str("type"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Named(name) => f.write_str(name),
            Self::Declared(_) => f.write_str("object"),
        }
    }
}

/// The names of types, which are values too.
pub(super) const NAMES: [&str; 12] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
];

/// The fields of the named types: type, field, type of the field.
pub(super) fn field(name: &str, field: &str) -> Option<Type> {
    let strings = || Type::list(Type::String);
    let string_map = || Type::map(Type::String, Type::String);
    Some(match (name, field) {
        ("kubernetes.AdmissionRequest", "kind" | "requestKind") => {
            Type::named("kubernetes.GroupVersionKind")
        }
        ("kubernetes.AdmissionRequest", "resource" | "requestResource") => {
            Type::named("kubernetes.GroupVersionResource")
        }
        (
            "kubernetes.AdmissionRequest",
            "subResource" | "requestSubResource" | "name" | "namespace" | "operation",
        )
        | ("kubernetes.GroupVersionKind", "group" | "version" | "kind")
        | ("kubernetes.GroupVersionResource", "group" | "version" | "resource")
        | ("kubernetes.UserInfo", "username" | "uid")
        | ("kubernetes.NamespaceStatus", "phase")
        | ("kubernetes.NamespaceCondition", "status" | "type" | "message" | "reason")
        | (
            "kubernetes.NamespaceMetadata",
            "name" | "generateName" | "namespace" | "UID" | "resourceVersion",
        )
        | ("JSONPatch", "op" | "path" | "from") => Type::String,
        ("kubernetes.AdmissionRequest", "userInfo") => Type::named("kubernetes.UserInfo"),
        ("kubernetes.AdmissionRequest", "dryRun") => Type::Bool,
        ("kubernetes.AdmissionRequest", "options") | ("JSONPatch", "value") => Type::Dyn,
        ("kubernetes.UserInfo", "groups")
        | ("kubernetes.NamespaceSpec" | "kubernetes.NamespaceMetadata", "finalizers") => strings(),
        ("kubernetes.UserInfo", "extra") => Type::map(Type::String, strings()),
        ("kubernetes.Namespace", "metadata") => Type::named("kubernetes.NamespaceMetadata"),
        ("kubernetes.Namespace", "spec") => Type::named("kubernetes.NamespaceSpec"),
        ("kubernetes.Namespace", "status") => Type::named("kubernetes.NamespaceStatus"),
        ("kubernetes.NamespaceStatus", "conditions") => {
            Type::list(Type::named("kubernetes.NamespaceCondition"))
        }
        ("kubernetes.NamespaceMetadata", "labels" | "annotations") => string_map(),
        ("kubernetes.NamespaceMetadata", "creationTimestamp" | "deletionTimestamp")
        | ("kubernetes.NamespaceCondition", "lastTransitionTime") => Type::Timestamp,
        ("kubernetes.NamespaceMetadata", "deletionGracePeriodSeconds" | "generation") => Type::Int,
        // The types of a patched object are those of the kind, which is not known when a policy is written.
        (name, _) if name == "Object" || name.starts_with("Object.") => Type::Unknown,
        _ => return None,
    })
}
