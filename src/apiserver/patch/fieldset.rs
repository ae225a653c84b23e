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
                parent.attach(|| format!("f:{name}"), one);
                one = parent;
            }
            set = set.union(&one);
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
    pub(crate) fn union(mut self, other: &Self) -> Self {
        union(&mut self.0, &other.0);
        self
    }
    /// What is in this and not in the other.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        Self(select(
            &self.0,
            &other.0,
            |mine, theirs| mine && !theirs,
            true,
        ))
    }
    /// What is in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self(select(
            &self.0,
            &other.0,
            |mine, theirs| mine && theirs,
            false,
        ))
    }
    /// What is in this and neither in the other nor below anything in it.
    pub(crate) fn without_trees(&self, other: &Self) -> Self {
        let mut out = Map::new();
        for (key, value) in &self.0 {
            let kept = match (other.0.get(key), value) {
                (Some(theirs), _) if node(theirs).0 => None,
                (Some(theirs), Value::Object(mine)) if !mine.is_empty() => {
                    let rest = Self(mine.clone())
                        .without_trees(&Self(theirs.as_object().cloned().unwrap_or_default()));
                    (!rest.is_empty()).then_some(Value::Object(rest.0))
                }
                (_, value) => Some(value.clone()),
            };
            if let Some(kept) = kept {
                out.insert(key.clone(), normal(kept));
            }
        }
        Self(out)
    }
    /// Every member's path, as messages show it: `.spec.containers[name="c"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        collect(&self.0, &mut String::new(), &mut paths);
        paths
    }
}

/// A node that is only itself is written empty.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(map) if map.len() == 1 && map.contains_key(SELF) => Value::Object(Map::new()),
        value => value,
    }
}

fn union(mine: &mut Map<String, Value>, theirs: &Map<String, Value>) {
    for (key, value) in theirs {
        let Some(old) = mine.get_mut(key) else {
            mine.insert(key.clone(), value.clone());
            continue;
        };
        let (member, below) = node(value);
        let (was_member, was_below) = node(old);
        if below.is_none() && was_below.is_none() {
            continue;
        }
        if let Value::Object(old) = old {
            if let Some(below) = below {
                union(old, below);
            }
            if (member || was_member) && !old.contains_key(SELF) {
                old.insert(SELF.to_owned(), Value::Object(Map::new()));
            }
        }
    }
}

/// The members for which `keep` says so; `alone`: also those under keys that the other does not have.
fn select(
    mine: &Map<String, Value>,
    theirs: &Map<String, Value>,
    keep: fn(bool, bool) -> bool,
    alone: bool,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in mine {
        if key == SELF {
            continue;
        }
        let Some(other) = theirs.get(key) else {
            if alone {
                out.insert(key.clone(), value.clone());
            }
            continue;
        };
        let (member, below) = node(value);
        let (other_member, other_below) = node(other);
        let empty = Map::new();
        let mut child = Set(select(
            below.unwrap_or(&empty),
            other_below.unwrap_or(&empty),
            keep,
            alone,
        ));
        if keep(member, other_member) {
            child.insert_self();
        }
        if !child.is_empty() {
            out.insert(key.clone(), normal(Value::Object(child.0)));
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
