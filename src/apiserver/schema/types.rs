//! The type tree of a schema: what a document may hold, how its lists and maps merge, and what Go calls it in messages.
use super::table::Slot;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// A value without fields or items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// `resource.Quantity`: a string or a number, written canonically.
    Quantity,
    IntOrString,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Base64.
    Bytes,
    /// Any JSON.
    Any,
}

/// JSON that is a schema or something simpler (`JSONSchemaPropsOr…` of CRDs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Or {
    Bool,
    Array,
    Strings,
}

/// What a document may hold at one place.
#[derive(Clone)]
pub(crate) enum Type {
    Scalar(Scalar),
    Struct(StructRef),
    /// Any keys, values of one type.
    Map(Box<Node>),
    List(Box<List>),
    /// A struct or something simpler.
    Or(Or, StructRef),
}

/// A place in a document.
#[derive(Clone)]
pub(crate) struct Node {
    pub ty: Type,
    /// Go's name for the type where it does not follow from it.
    pub go: Option<Box<str>>,
    /// Whether it merges as one value; for structs and maps. `None`: as its definition says.
    pub atomic: Option<bool>,
    /// Whether null is a value (CRDs).
    pub nullable: bool,
    /// The value that an absent one stands for, where the schema says so.
    pub default: Option<Value>,
}

/// A list: its items and how two of them merge.
#[derive(Clone)]
pub(crate) struct List {
    pub item: Node,
    pub kind: ListKind,
}

/// How lists merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Atomic,
    /// Items are unique.
    Set,
    /// Items are told apart by these fields.
    Map(Box<[Box<str>]>),
}

/// When a Go server writes a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Always; null when it is an empty list or map.
    Always,
    /// Always; null when unset.
    Nullable,
    /// Not when empty; a struct is never empty.
    NotEmpty,
    /// Not when it is the zero value.
    NotZero,
    /// When it was set.
    Set,
}

/// What a strategic merge patch does with a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strategy {
    /// Lists are merged rather than replaced.
    pub merge: bool,
    /// Maps are replaced rather than merged.
    pub replace: bool,
    /// Only the keys named in the patch are kept.
    pub retain_keys: bool,
    /// By which field list items are told apart.
    pub key: Option<Box<str>>,
}

/// A field of a struct.
#[derive(Clone)]
pub(crate) struct Field {
    pub name: Box<str>,
    /// Its place in the Go struct.
    pub order: u16,
    pub presence: Presence,
    pub node: Node,
    pub patch: Strategy,
}

/// An object with known fields.
#[derive(Clone, Default)]
pub(crate) struct Struct {
    /// Go's name with its package, `v1.Pod`.
    pub go: Box<str>,
    /// Sorted by name.
    pub fields: Box<[Field]>,
    /// Indices of the fields that are written even when absent.
    pub always: Box<[u16]>,
    /// Whether it merges as one value.
    pub atomic: bool,
    /// Whether unknown fields are kept (CRDs).
    pub open: bool,
    /// The type of fields that are not known, if they are allowed by a schema.
    pub rest: Option<Box<Node>>,
    /// Whether it is an object of its own, with type and object metadata (CRDs).
    pub embedded: bool,
}

/// A struct, shared.
#[derive(Clone)]
pub(crate) enum StructRef {
    /// One of the table, parsed when first asked for.
    Builtin(&'static Slot),
    Own(Arc<Struct>),
}

impl StructRef {
    /// The struct.
    pub(crate) fn get(&self) -> &Struct {
        match self {
            Self::Builtin(slot) => slot.get(),
            Self::Own(own) => own,
        }
    }
}

impl Node {
    /// A node of a type, without particulars.
    pub(crate) fn new(ty: Type) -> Self {
        Self {
            ty,
            go: None,
            atomic: None,
            nullable: false,
            default: None,
        }
    }
    /// Any JSON.
    pub(crate) fn any() -> Self {
        Self::new(Type::Scalar(Scalar::Any))
    }
    /// Whether it merges as one value.
    pub(crate) fn is_atomic(&self) -> bool {
        match (&self.ty, self.atomic) {
            (Type::List(list), _) => list.kind == ListKind::Atomic,
            (_, Some(atomic)) => atomic,
            (Type::Struct(def), None) => def.get().atomic,
            (Type::Scalar(_) | Type::Or(..), None) => true,
            (Type::Map(_), None) => false,
        }
    }
    /// The struct, if it is one.
    pub(crate) fn as_struct(&self) -> Option<&Struct> {
        match &self.ty {
            Type::Struct(def) => Some(def.get()),
            _ => None,
        }
    }
    /// Go's name for the type, as messages show it.
    pub(crate) fn go_name(&self) -> String {
        if let Some(go) = &self.go {
            return go.to_string();
        }
        match &self.ty {
            Type::Struct(def) | Type::Or(_, def) => def.get().go.to_string(),
            Type::Map(item) => format!("map[string]{}", item.go_name()),
            Type::List(list) => format!("[]{}", list.item.go_name()),
            Type::Scalar(scalar) => match scalar {
                Scalar::String => "string",
                Scalar::Bool => "bool",
                Scalar::Int32 => "int32",
                Scalar::Int64 => "int64",
                Scalar::Double => "float64",
                Scalar::Quantity => "resource.Quantity",
                Scalar::IntOrString => "intstr.IntOrString",
                Scalar::Time => "v1.Time",
                Scalar::MicroTime => "v1.MicroTime",
                Scalar::Bytes => "[]uint8",
                Scalar::Any => "interface {}",
            }
            .to_owned(),
        }
    }
}

impl Struct {
    /// The field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .binary_search_by(|field| (*field.name).cmp(name))
            .ok()
            .and_then(|index| self.fields.get(index))
    }
    /// The field of this name, tried first at `cursor`: documents are mostly walked in the order of their keys.
    pub(crate) fn field_from(&self, cursor: &mut usize, name: &str) -> Option<&Field> {
        while let Some(field) = self.fields.get(*cursor) {
            match (*field.name).cmp(name) {
                std::cmp::Ordering::Less => *cursor += 1,
                std::cmp::Ordering::Equal => {
                    *cursor += 1;
                    return Some(field);
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        self.field(name)
    }
    /// Go's name without its package.
    pub(crate) fn short_name(&self) -> &str {
        self.go.rsplit('.').next().unwrap_or_default()
    }
    /// Adds the fields that are always written and are missing, with their zero values.
    pub(crate) fn fill(&self, map: &mut Map<String, Value>) {
        for index in &self.always {
            let Some(field) = self.fields.get(usize::from(*index)) else {
                continue;
            };
            if !map.contains_key(&*field.name) {
                map.insert(field.name.to_string(), field.zero());
            }
        }
    }
    /// Sorts the fields and notes those that are always written.
    pub(crate) fn finish(mut self) -> Self {
        self.fields.sort_by(|a, b| a.name.cmp(&b.name));
        self.always = (0u16..)
            .zip(self.fields.iter())
            .filter(|(_, field)| field.always())
            .map(|(index, _)| index)
            .collect();
        self
    }
}

impl Field {
    /// Whether a Go server writes it even when nothing was given.
    pub(super) fn always(&self) -> bool {
        match self.presence {
            Presence::Always | Presence::Nullable => true,
            Presence::NotZero | Presence::Set => false,
            // Go takes no struct for empty.
            Presence::NotEmpty => matches!(
                self.node.ty,
                Type::Struct(_)
                    | Type::Scalar(
                        Scalar::Quantity
                            | Scalar::IntOrString
                            | Scalar::Time
                            | Scalar::MicroTime
                            | Scalar::Any
                    )
            ),
        }
    }
    /// What a Go server writes when nothing was given.
    pub(crate) fn zero(&self) -> Value {
        match self.presence {
            Presence::Nullable | Presence::Set => Value::Null,
            _ => zero(&self.node.ty),
        }
    }
}

/// What a Go server writes for the zero value of a type.
pub(crate) fn zero(ty: &Type) -> Value {
    match ty {
        Type::Map(_) | Type::List(_) | Type::Or(..) => Value::Null,
        Type::Struct(def) => {
            let mut map = Map::new();
            def.get().fill(&mut map);
            Value::Object(map)
        }
        Type::Scalar(scalar) => match scalar {
            Scalar::String => Value::String(String::new()),
            Scalar::Bool => Value::Bool(false),
            Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString | Scalar::Double => Value::from(0),
            Scalar::Quantity => Value::from("0"),
            Scalar::Time | Scalar::MicroTime | Scalar::Bytes | Scalar::Any => Value::Null,
        },
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Types may hold themselves, so only the name is shown.
        f.write_str(&self.go_name())
    }
}
impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.node)
    }
}
impl fmt::Debug for Struct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(&self.go)
            .field("fields", &self.fields.len())
            .finish_non_exhaustive()
    }
}
