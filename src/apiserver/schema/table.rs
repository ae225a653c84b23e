//! The built-in definitions, from `builtin.tsv`. Each is parsed when it is first asked for; finding them costs one pass
//! over the text, once in a process.
//!
//! A block of the text begins with `=<definition>` and, for kinds, `<group>/<version>/<kind>` and further marks; then one line
//! a field in the order of the Go struct: name, type, presence, marks. Types: a scalar's name, `@<definition>`,
//! `[` + type for a list, `{` + type for a map, `?b`, `?a`, `?s` + definition for a schema or a boolean, an array, strings.
use super::Schema;
use super::types::{
    Field, List, ListKind, Node, Or, Presence, Scalar, Strategy, Struct, StructRef, Type,
};
use std::sync::{Arc, OnceLock};

static TEXT: &str = include_str!("builtin.tsv");

/// One definition of the table.
pub(crate) struct Slot {
    name: &'static str,
    /// The rest of the first line.
    marks: &'static str,
    /// The lines of the fields.
    body: &'static str,
    parsed: OnceLock<Struct>,
    schema: OnceLock<Arc<Schema>>,
}

struct Table {
    /// Sorted by name.
    slots: Vec<Slot>,
    /// Sorted; the number is a slot's.
    kinds: Vec<(&'static str, usize)>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut slots: Vec<Slot> = TEXT
            .split("\n=")
            .skip(1)
            .map(|block| {
                let (head, body) = block.split_once('\n').unwrap_or((block, ""));
                let (name, marks) = head.split_once('\t').unwrap_or((head, ""));
                Slot {
                    name,
                    marks,
                    body,
                    parsed: OnceLock::new(),
                    schema: OnceLock::new(),
                }
            })
            .collect();
        slots.sort_unstable_by_key(|slot| slot.name);
        let mut kinds: Vec<_> = slots
            .iter()
            .enumerate()
            .flat_map(|(index, slot)| slot.kinds().map(move |kind| (kind, index)))
            .collect();
        kinds.sort_unstable();
        Table { slots, kinds }
    })
}

/// The definition of this name, without the leading `io.k8s.`.
pub(crate) fn definition(name: &str) -> Option<&'static Slot> {
    let slots = &table().slots;
    let index = slots.binary_search_by(|slot| slot.name.cmp(name)).ok()?;
    slots.get(index)
}

/// The definition of a kind.
pub(crate) fn kind(group: &str, version: &str, kind: &str) -> Option<&'static Slot> {
    let table = table();
    let wanted = [group, "/", version, "/", kind];
    let wanted = || wanted.iter().flat_map(|part| part.bytes());
    let index = table
        .kinds
        .binary_search_by(|(key, _)| key.bytes().cmp(wanted()))
        .ok()?;
    let (_, slot) = table.kinds.get(index)?;
    table.slots.get(*slot)
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Slot {
    /// The kinds of this definition, as `<group>/<version>/<kind>`.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.marks.split('\t').filter(|mark| mark.contains('/'))
    }
    /// Its name, without the leading `io.k8s.`.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
    /// The lines of its fields.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'static>> + use<> {
        self.body.lines().filter_map(Line::parse)
    }
    /// Whether it merges as one value.
    pub(crate) fn is_atomic(&self) -> bool {
        self.marks.split('\t').any(|mark| mark == "map=atomic")
    }
    /// The struct.
    pub(crate) fn get(&'static self) -> &'static Struct {
        self.parsed.get_or_init(|| self.parse())
    }
    /// The schema of an object of this type.
    pub(super) fn schema(&'static self) -> Arc<Schema> {
        self.schema
            .get_or_init(|| {
                Arc::new(Schema {
                    root: Node::new(Type::Struct(StructRef::Builtin(self))),
                    custom: false,
                })
            })
            .clone()
    }
    fn parse(&self) -> Struct {
        let mut parts = self.name.rsplit('.');
        let kind = parts.next().unwrap_or_default();
        let package = parts.next().unwrap_or_default();
        let fields = (0u16..)
            .zip(self.body.lines())
            .filter_map(|(order, line)| field(order, line))
            .collect();
        Struct {
            go: format!("{package}.{kind}").into(),
            fields,
            atomic: self.is_atomic(),
            ..Struct::default()
        }
        .finish()
    }
}

/// A line of the table: what is said of a field.
#[derive(Default)]
pub(crate) struct Line<'a> {
    pub name: &'a str,
    pub ty: &'a str,
    /// `!`, `&`, `?`, `~` or `*`.
    pub presence: &'a str,
    pub marks: Marks<'a>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.split('\t');
        let mut line = Self {
            name: parts.next()?,
            ty: parts.next()?,
            presence: parts.next()?,
            marks: Marks::default(),
        };
        let marks = &mut line.marks;
        for mark in parts {
            let (key, value) = mark.split_once('=')?;
            match key {
                "go" => marks.go = Some(value),
                "list" => marks.list = value,
                "keys" => marks.keys = value,
                "map" => marks.map = value,
                "default" => marks.default = serde_json::from_str(value).ok(),
                "patch" => marks.patch = value,
                "key" => marks.key = value,
                "required" => marks.required = Some(value == "true"),
                _ => {}
            }
        }
        Some(line)
    }
    /// Whether documents without the field are invalid.
    pub(crate) fn is_required(&self) -> bool {
        let usual = matches!(self.presence, "!" | "&");
        self.marks.required.unwrap_or(usual)
    }
}

/// What follows the presence.
#[derive(Default)]
pub(crate) struct Marks<'a> {
    pub go: Option<&'a str>,
    pub list: &'a str,
    pub keys: &'a str,
    pub map: &'a str,
    pub default: Option<serde_json::Value>,
    /// The strategies, with commas.
    pub patch: &'a str,
    /// The merge key.
    pub key: &'a str,
    required: Option<bool>,
}

fn field(order: u16, line: &str) -> Option<Field> {
    let line = Line::parse(line)?;
    let has = |strategy: &str| line.marks.patch.split(',').any(|one| one == strategy);
    Some(Field {
        name: line.name.into(),
        order,
        presence: match line.presence {
            "!" => Presence::Always,
            "&" => Presence::Nullable,
            "?" => Presence::NotEmpty,
            "~" => Presence::NotZero,
            _ => Presence::Set,
        },
        node: node(line.ty, &line.marks, line.marks.go),
        patch: Strategy {
            merge: has("merge"),
            replace: has("replace"),
            retain_keys: has("retainKeys"),
            key: (!line.marks.key.is_empty()).then(|| line.marks.key.into()),
        },
    })
}

fn node(ty: &str, marks: &Marks<'_>, go: Option<&str>) -> Node {
    // Go's name of an item is what is left of the list's or map's.
    let item = |ty: &str, prefix: &str| {
        node(
            ty,
            &Marks::default(),
            go.and_then(|go| go.strip_prefix(prefix))
                .map(|go| go.trim_start_matches('*')),
        )
    };
    let struct_ref = |name: &str| definition(name).map(StructRef::Builtin);
    let parsed = match ty.split_at_checked(1) {
        Some(("[", rest)) => Some(Type::List(Box::new(List {
            item: item(rest, "[]"),
            kind: match marks.list {
                "set" => ListKind::Set,
                "map" => ListKind::Map(marks.keys.split(',').map(Into::into).collect()),
                _ => ListKind::Atomic,
            },
        }))),
        Some(("{", rest)) => {
            let key = go
                .and_then(|go| go.split_once(']'))
                .map(|(key, _)| format!("{key}]"));
            Some(Type::Map(Box::new(item(
                rest,
                key.as_deref().unwrap_or("map[string]"),
            ))))
        }
        Some(("@", rest)) => struct_ref(rest).map(Type::Struct),
        Some(("?", rest)) => rest.split_at_checked(1).and_then(|(or, name)| {
            let or = match or {
                "b" => Or::Bool,
                "a" => Or::Array,
                _ => Or::Strings,
            };
            struct_ref(name).map(|def| Type::Or(or, def))
        }),
        _ => scalar(ty).map(Type::Scalar),
    };
    let mut node = parsed.map_or_else(Node::any, Node::new);
    node.go = go.map(Into::into);
    node.default.clone_from(&marks.default);
    node.atomic = match marks.map {
        "atomic" => Some(true),
        "granular" => Some(false),
        _ => None,
    };
    node
}

fn scalar(name: &str) -> Option<Scalar> {
    Some(match name {
        "string" => Scalar::String,
        "bool" => Scalar::Bool,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "double" => Scalar::Double,
        "quantity" => Scalar::Quantity,
        "intstr" => Scalar::IntOrString,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        "bytes" => Scalar::Bytes,
        "any" => Scalar::Any,
        _ => return None,
    })
}

/// Every definition, parsed: for tests.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Slot> {
    table().slots.iter()
}
