//! Sets of fields, in the form in which `managedFields` hold them (`FieldsV1`): a tree whose keys are path elements.
//!
//! `f:<name>` is a field, `k:{…}` the list item with these keys, `v:<json>` the item of a set, `i:<n>` an item by index. An empty
//! object is a member; one with children is a member only if it also has the key `.`.
use serde_json::{Map, Value};

/// The key that makes a node with children a member.
const SELF: &str = ".";

/// A set of fields. While it is built, that of a node holds `.` for the node itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Set(Map<String, Value>);

/// One node of a set: whether it is a member, and what is below it.
fn node(value: &Value) -> (bool, Option<&Map<String, Value>>) {
    match value {
        Value::Object(map) if map.is_empty() => (true, None),
        Value::Object(map) => (map.contains_key(SELF), Some(map)),
        _ => (false, None),
    }
}

impl Set {
    /// The set that `managedFields` hold as this document.
    pub(crate) fn from_fields_v1(fields: &Value) -> Self {
        match fields {
            Value::Object(map) => Self(map.clone()),
            _ => Self::default(),
        }
    }
    /// The document for `managedFields`.
    pub(crate) fn into_fields_v1(self) -> Value {
        Value::Object(self.0)
    }
    /// The set of these paths.
    pub(crate) fn of_paths(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let mut one = Self::itself();
            for name in path.iter().rev() {
                let mut parent = Self::default();
                parent.attach(|| field_key(name), one);
                one = parent;
            }
            set = set.union(one);
        }
        set
    }
    /// A node that is a member.
    pub(crate) fn itself() -> Self {
        let mut set = Self::default();
        set.insert_self();
        set
    }
    /// Makes the node a member.
    pub(crate) fn insert_self(&mut self) {
        self.0.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Puts what was found at a child under its key.
    pub(crate) fn attach(&mut self, key: impl FnOnce() -> String, mut child: Self) {
        if child.is_empty() {
            return;
        }
        if child.0.len() == 1 && child.0.contains_key(SELF) {
            child.0.clear();
        }
        self.0.insert(key(), Value::Object(child.0));
    }
    /// The children: each with its key, whether it is a member, and what is below it.
    pub(crate) fn children(&self) -> impl Iterator<Item = (&str, bool, Self)> {
        self.0
            .iter()
            .filter(|(key, _)| *key != SELF)
            .map(|(key, value)| {
                let (member, below) = node(value);
                let mut below = Self(below.cloned().unwrap_or_default());
                below.0.remove(SELF);
                (key.as_str(), member, below)
            })
    }
    /// Whether the child is a member.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| node(value).0)
    }
    /// What is below a child.
    pub(crate) fn below(&self, key: &str) -> Self {
        let mut below = match self.0.get(key) {
            Some(Value::Object(map)) => Self(map.clone()),
            _ => Self::default(),
        };
        below.0.remove(SELF);
        below
    }
    /// What is in either.
    pub(crate) fn union(mut self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        union(&mut self.0, other.0);
        self
    }
    /// What is in this and not in the other.
    pub(crate) fn difference(mut self, other: &Self) -> Self {
        subtract(&mut self.0, &other.0);
        self.0.remove(SELF);
        self
    }
    /// What is in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self(intersect(&self.0, &other.0))
    }
    /// What is in this and neither in the other nor below anything in it.
    pub(crate) fn without_trees(mut self, other: &Self) -> Self {
        cut(&mut self.0, &other.0);
        self
    }
    /// Every member's path, as messages show it: `.spec.containers[name="c"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        collect(&self.0, &mut String::new(), &mut paths);
        paths
    }
}

/// The key of a field.
pub(crate) fn field_key(name: &str) -> String {
    ["f:", name].concat()
}

/// Writes a node that is only itself empty.
fn normalize(map: &mut Map<String, Value>) {
    if map.len() == 1 && map.contains_key(SELF) {
        map.clear();
    }
}

fn union(mine: &mut Map<String, Value>, theirs: Map<String, Value>) {
    for (key, value) in theirs {
        let Some(old) = mine.get_mut(&key) else {
            mine.insert(key, value);
            continue;
        };
        let (member, below) = node(&value);
        let (was_member, was_below) = node(old);
        if below.is_none() && was_below.is_none() {
            continue;
        }
        if let (Value::Object(old), Value::Object(value)) = (old, value) {
            union(old, value);
            if (member || was_member) && !old.contains_key(SELF) {
                old.insert(SELF.to_owned(), Value::Object(Map::new()));
            }
        }
    }
}

/// Takes the members out that the other has.
fn subtract(mine: &mut Map<String, Value>, theirs: &Map<String, Value>) {
    for (key, other) in theirs.iter().filter(|(key, _)| *key != SELF) {
        let Some(value) = mine.get_mut(key) else {
            continue;
        };
        let member = node(value).0;
        let (taken, other_below) = node(other);
        let stays = member && !taken;
        let left = match value {
            Value::Object(map) if !map.is_empty() => {
                if let Some(below) = other_below {
                    subtract(map, below);
                }
                if !stays {
                    map.remove(SELF);
                }
                normalize(map);
                stays || !map.is_empty()
            }
            _ => stays,
        };
        if !left {
            mine.remove(key);
        }
    }
}

/// Takes out what the other has, and what is below it.
fn cut(mine: &mut Map<String, Value>, theirs: &Map<String, Value>) {
    for (key, other) in theirs {
        let left = match (node(other), mine.get_mut(key)) {
            (_, None) => continue,
            ((true, _), _) => false,
            ((false, Some(below)), Some(Value::Object(map))) if !map.is_empty() => {
                cut(map, below);
                let left = !map.is_empty();
                normalize(map);
                left
            }
            _ => true,
        };
        if !left {
            mine.remove(key);
        }
    }
}

/// The members that both have.
fn intersect(mine: &Map<String, Value>, theirs: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in mine.iter().filter(|(key, _)| *key != SELF) {
        let Some(other) = theirs.get(key) else {
            continue;
        };
        let (member, below) = node(value);
        let (other_member, other_below) = node(other);
        let mut child = match (below, other_below) {
            (Some(below), Some(other)) => intersect(below, other),
            _ => Map::new(),
        };
        if member && other_member {
            child.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
        if !child.is_empty() {
            normalize(&mut child);
            out.insert(key.clone(), Value::Object(child));
        }
    }
    out
}

fn collect(map: &Map<String, Value>, path: &mut String, paths: &mut Vec<String>) {
    for (key, value) in map {
        if key == SELF {
            continue;
        }
        let length = path.len();
        path.push_str(&show(key));
        let (member, below) = node(value);
        if member {
            paths.push(path.clone());
        }
        if let Some(below) = below {
            collect(below, path, paths);
        }
        path.truncate(length);
    }
}

/// A path element as messages show it.
pub(crate) fn show(key: &str) -> String {
    match key.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("i", index)) => format!("[{index}]"),
        Some(("k", keys)) => match serde_json::from_str::<Map<String, Value>>(keys) {
            Ok(keys) => {
                let keys: Vec<_> = keys
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                format!("[{}]", keys.join(","))
            }
            Err(_) => format!("[{keys}]"),
        },
        _ => key.to_owned(),
    }
}
