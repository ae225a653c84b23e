//! Documents seen through their schema: comparing two of them, merging one into another, taking fields out, and which fields
//! one has. The rules are those of structured-merge-diff.
use super::fieldset::{Set, field_key};
use crate::apiserver::schema::types::{List, ListKind, Node, Scalar, Type};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static ANY: LazyLock<Node> = LazyLock::new(|| Node {
    atomic: Some(false),
    ..Node::any()
});

/// How a value takes part in merges.
enum Shape<'a> {
    /// As a whole.
    Leaf,
    /// Field by field.
    Map,
    /// Item by item.
    List(&'a List),
}

fn shape<'a>(node: &'a Node, value: &Value) -> Shape<'a> {
    match &node.ty {
        Type::Scalar(Scalar::Any) if node.atomic == Some(false) && value.is_object() => Shape::Map,
        Type::Scalar(_) | Type::Or(..) => Shape::Leaf,
        Type::Struct(_) | Type::Map(_) if node.is_atomic() => Shape::Leaf,
        Type::Struct(_) | Type::Map(_) => Shape::Map,
        Type::List(list) if list.kind == ListKind::Atomic => Shape::Leaf,
        Type::List(list) => Shape::List(list),
    }
}

/// The type of a field, and whether the schema names it.
pub(super) fn child<'a>(node: &'a Node, name: &str) -> (&'a Node, bool) {
    match &node.ty {
        Type::Struct(def) => {
            let def = def.get();
            match (def.field(name), &def.rest) {
                (Some(field), _) => (&field.node, true),
                (None, Some(rest)) => (rest, false),
                (None, None) => (&ANY, false),
            }
        }
        Type::Map(item) => (item, false),
        _ => (&ANY, false),
    }
}

/// The path element of a list item.
///
/// # Errors
/// Why the item has none.
pub(super) fn element(list: &List, item: &Value) -> Result<String, String> {
    let ListKind::Map(keys) = &list.kind else {
        return match item {
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null".into())
            }
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".into())
            }
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            scalar => Ok(format!("v:{scalar}")),
        };
    };
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut found = BTreeMap::new();
    for key in keys {
        let default = || child(&list.item, key).0.default.as_ref();
        let value = map.get(&**key).or_else(default).ok_or_else(|| {
            format!("associative list with keys has an element that omits key field {key:?} (and doesn't have default value)")
        })?;
        found.insert(&**key, value);
    }
    let found = serde_json::to_string(&found).map_err(|error| error.to_string())?;
    Ok(format!("k:{found}"))
}

/// Whether two items have the same path element, told without making it.
fn same_element(list: &List, a: &Value, b: &Value) -> bool {
    match &list.kind {
        ListKind::Map(keys) => {
            a.is_object()
                && b.is_object()
                && keys.iter().all(|key| {
                    let default = || child(&list.item, key).0.default.as_ref();
                    let value = a.get(&**key).or_else(default);
                    value.is_some() && value == b.get(&**key).or_else(default)
                })
        }
        _ => a == b,
    }
}

/// The differences between two documents, as sets of fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) added: Set,
    pub(crate) removed: Set,
    pub(crate) modified: Set,
}

impl Changes {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.modified.is_empty()
    }
    fn attach(&mut self, key: impl Fn() -> String, child: Self) {
        self.added.attach(&key, child.added);
        self.removed.attach(&key, child.removed);
        self.modified.attach(&key, child.modified);
    }
    /// Without these fields and what is below them.
    pub(crate) fn without_trees(self, fields: &Set) -> Self {
        Self {
            added: self.added.without_trees(fields),
            removed: self.removed.without_trees(fields),
            modified: self.modified.without_trees(fields),
        }
    }
}

/// Fields that the system keeps, which nobody owns: of the object, and of its metadata.
const SYSTEM: [&str; 3] = ["apiVersion", "kind", "metadata"];
const SYSTEM_METADATA: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// What changes from one object to another, but for the fields that the system keeps.
pub(crate) fn compare(node: &Node, old: &Value, new: &Value) -> Changes {
    let mut out = Changes::default();
    field_changes(
        node,
        fields(Some(old)),
        fields(Some(new)),
        &SYSTEM,
        &mut out,
    );
    let (before, after) = (fields(old.get("metadata")), fields(new.get("metadata")));
    let mut found = Changes::default();
    let node = child(node, "metadata").0;
    field_changes(node, before, after, &SYSTEM_METADATA, &mut found);
    out.attach(|| "f:metadata".to_owned(), found);
    out
}

/// A set without the fields that the system keeps.
pub(crate) fn without_system_fields(set: Set) -> Set {
    static SYSTEM_SET: LazyLock<Set> = LazyLock::new(|| {
        let of_object = SYSTEM.map(|name| vec![name]);
        let of_metadata = SYSTEM_METADATA.map(|name| vec!["metadata", name]);
        let paths: Vec<&[&str]> = of_object
            .iter()
            .chain(&of_metadata)
            .map(Vec::as_slice)
            .collect();
        Set::of_paths(&paths)
    });
    set.difference(&SYSTEM_SET)
}

/// The changes in the fields of an object, but for those named in `skip`.
fn field_changes(
    node: &Node,
    before: Option<&Map<String, Value>>,
    after: Option<&Map<String, Value>>,
    skip: &[&str],
    out: &mut Changes,
) {
    for (name, old) in before.into_iter().flatten() {
        if skip.contains(&name.as_str()) {
            continue;
        }
        let new = after.and_then(|after| after.get(name));
        let found = changes(child(node, name).0, Some(old), new);
        out.attach(|| field_key(name), found);
    }
    for (name, new) in after.into_iter().flatten() {
        if before.is_some_and(|before| before.contains_key(name)) || skip.contains(&name.as_str()) {
            continue;
        }
        let found = changes(child(node, name).0, None, Some(new));
        out.attach(|| field_key(name), found);
    }
}

fn changes(node: &Node, old: Option<&Value>, new: Option<&Value>) -> Changes {
    let mut out = Changes::default();
    let leaf = match shape(node, new.or(old).unwrap_or(&Value::Null)) {
        Shape::Leaf => true,
        Shape::Map => {
            let (before, after) = (fields(old), fields(new));
            field_changes(node, before, after, &[], &mut out);
            // Two empty ones are told apart as wholes: null is not the same as nothing.
            before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty)
        }
        Shape::List(list) => {
            let (before, after) = (items(old), items(new));
            list_changes(list, before, after, &mut out);
            before.is_empty() && after.is_empty()
        }
    };
    match (old, new) {
        (None, _) => out.added.insert_self(),
        (_, None) => out.removed.insert_self(),
        (Some(old), Some(new)) if leaf && old != new => out.modified.insert_self(),
        _ => {}
    }
    out
}

fn fields(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn list_changes(list: &List, before: &[Value], after: &[Value], out: &mut Changes) {
    let aligned = before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|(old, new)| same_element(list, old, new));
    if aligned {
        for (old, new) in before.iter().zip(after) {
            let found = changes(&list.item, Some(old), Some(new));
            if !found.is_empty()
                && let Ok(key) = element(list, new)
            {
                out.attach(|| key.clone(), found);
            }
        }
        return;
    }
    let mut keyed: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    let sides = before
        .iter()
        .map(|item| (item, true))
        .chain(after.iter().map(|item| (item, false)));
    for (item, old) in sides {
        let Ok(key) = element(list, item) else {
            continue;
        };
        let (before, after) = keyed.entry(key).or_default();
        if old { before } else { after }.push(item);
    }
    for (key, (before, after)) in keyed {
        let found = match (&before[..], &after[..]) {
            ([old], [new]) => changes(&list.item, Some(old), Some(new)),
            ([old], []) => changes(&list.item, Some(old), None),
            // Items that come twice have no fields that could be owned.
            ([old], _) => {
                let mut found = changes(&list.item, Some(old), None);
                found.added.insert_self();
                found
            }
            (_, [new]) => changes(&list.item, None, Some(new)),
            (before, after) => {
                let mut found = Changes::default();
                match (before.is_empty(), after.is_empty()) {
                    (true, _) => found.added.insert_self(),
                    (_, true) => found.removed.insert_self(),
                    _ if before != after => found.modified.insert_self(),
                    _ => {}
                }
                found
            }
        };
        out.attach(|| key.clone(), found);
    }
}

/// The fields that a document has: its leaves, and the items of its lists and maps.
pub(crate) fn field_set(node: &Node, value: &Value) -> Set {
    let mut set = Set::default();
    match shape(node, value) {
        Shape::Leaf => set.insert_self(),
        Shape::Map => {
            for (name, value) in fields(Some(value)).into_iter().flatten() {
                let (node, named) = child(node, name);
                let mut found = field_set(node, value);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || !named {
                    found.insert_self();
                }
                set.attach(|| field_key(name), found);
            }
        }
        Shape::List(list) => {
            for item in items(Some(value)) {
                if let Ok(key) = element(list, item) {
                    let mut found = field_set(&list.item, item);
                    found.insert_self();
                    set.attach(|| key, found);
                }
            }
        }
    }
    set
}

/// The same set with the named fields on the way to its members as members too.
pub(crate) fn with_named_fields(node: &Node, set: &Set) -> Set {
    let mut out = Set::default();
    for (key, member, below) in set.children() {
        let (child, named) = match key.strip_prefix("f:") {
            Some(name) => child(node, name),
            None => match &node.ty {
                Type::List(list) => (&list.item, false),
                _ => (&*ANY, false),
            },
        };
        let mut found = with_named_fields(child, &below);
        if member || (named && !below.is_empty()) {
            found.insert_self();
        }
        out.attach(|| key.to_owned(), found);
    }
    out
}

/// The document without these fields. What becomes empty by it becomes null.
pub(crate) fn remove(node: &Node, value: &Value, set: &Set) -> Value {
    match (shape(node, value), value) {
        (Shape::Map, Value::Object(map)) => {
            let mut out = Map::new();
            for (name, value) in map {
                let key = field_key(name);
                if set.has(&key) {
                    continue;
                }
                let below = set.below(&key);
                let kept = if below.is_empty() {
                    value.clone()
                } else {
                    remove(child(node, name).0, value, &below)
                };
                out.insert(name.clone(), kept);
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Object(out)
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let Ok(key) = element(list, item) else {
                    out.push(item.clone());
                    continue;
                };
                if set.has(&key) {
                    continue;
                }
                let below = set.below(&key);
                out.push(if below.is_empty() {
                    item.clone()
                } else {
                    remove(&list.item, item, &below)
                });
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Array(out)
            }
        }
        (_, value) => value.clone(),
    }
}

/// Merges what is applied into what is live.
pub(crate) fn merge(node: &Node, live: &Value, applied: &Value) -> Value {
    merged(node, Some(live), Some(applied)).unwrap_or_default()
}

fn merged(node: &Node, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let whole = || applied.or(live).cloned();
    match shape(node, applied.or(live)?) {
        Shape::Leaf => whole(),
        Shape::Map => {
            let (left, right) = (fields(live), fields(applied));
            if left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty) {
                return whole();
            }
            let empty = Map::new();
            let (left, right) = (left.unwrap_or(&empty), right.unwrap_or(&empty));
            let mut out = Map::new();
            let names = left
                .keys()
                .chain(right.keys().filter(|name| !left.contains_key(*name)));
            for name in names {
                let value = merged(child(node, name).0, left.get(name), right.get(name));
                out.extend(value.map(|value| (name.clone(), value)));
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Shape::List(list) => {
            let (left, right) = (items(live), items(applied));
            if left.is_empty() && right.is_empty() {
                return whole();
            }
            let out = merged_list(list, left, right);
            (!out.is_empty()).then_some(Value::Array(out))
        }
    }
}

/// Merges lists: the applied items in their order, and live ones where they stood between those that both have.
fn merged_list(list: &List, left: &[Value], right: &[Value]) -> Vec<Value> {
    let keys = |items: &[Value]| -> Vec<String> {
        items
            .iter()
            .map(|item| element(list, item).unwrap_or_default())
            .collect()
    };
    let (left_keys, right_keys) = (keys(left), keys(right));
    // Of items that come twice the first one counts.
    let index = |keys: &'_ [String]| -> BTreeMap<String, usize> {
        let keys = keys.iter().enumerate().rev();
        keys.map(|(index, key)| (key.clone(), index)).collect()
    };
    let (in_left, in_right) = (index(&left_keys), index(&right_keys));
    let mut shared = right_keys
        .iter()
        .filter(|key| in_left.contains_key(*key))
        .peekable();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let (mut l, mut r) = (0, 0);
    loop {
        let (left_key, right_key) = (left_keys.get(l), right_keys.get(r));
        if left_key.is_none() && right_key.is_none() {
            return out;
        }
        if let (Some(key), Some(other)) = (left_key, right_key) {
            if key == other {
                out.extend(merged(&list.item, left.get(l), right.get(r)));
                taken.insert(key);
                shared.next();
                (l, r) = (l + 1, r + 1);
                continue;
            }
            let not_yet = shared.peek().is_some_and(|next| *next != key);
            if in_right.contains_key(key) && not_yet {
                l += 1;
                continue;
            }
        }
        if let Some(key) = left_key {
            if !in_right.contains_key(key) {
                out.extend(merged(&list.item, left.get(l), None));
                l += 1;
                continue;
            }
            if taken.contains(&**key) {
                l += 1;
            }
        }
        if let Some(key) = right_key {
            let old = in_left.get(key).and_then(|index| left.get(*index));
            out.extend(merged(&list.item, old, right.get(r)));
            taken.insert(key);
            r += 1;
            if shared.peek().is_some_and(|next| *next == key) {
                shared.next();
            }
        }
    }
}
