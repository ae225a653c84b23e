//! Strategic merge patch: lists of the built-in types merge by their keys, and directives in the patch (`$patch`,
//! `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) say what else is to be done.
use crate::apiserver::schema::Schema;
use crate::apiserver::schema::gojson::percent_v;
use crate::apiserver::schema::types::{Field, Node, Strategy, Type};
use crate::object::{Reason, Status};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

type Fields = Map<String, Value>;

/// Applies a strategic merge patch.
///
/// # Errors
/// 400 or 500 as the real server answers patches whose directives make no sense.
pub(crate) fn apply(object: Value, patch: &Value, schema: &Schema) -> Result<Value, Status> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err(Status::bad_request("invalid JSON document"));
    };
    merge_maps(object, patch.clone(), Some(&schema.root)).map(Value::Object)
}

fn bad(why: &str) -> Status {
    Status::bad_request(why)
}

/// An error that the real server has no status for.
fn fault(why: String) -> Status {
    Status::new(500, Reason::Unknown, why)
}

/// What a field is: its type and how patches treat it. Fields of maps have no strategy.
fn lookup<'a>(node: Option<&'a Node>, name: &str) -> (Option<&'a Node>, Option<&'a Strategy>) {
    match node.map(|node| &node.ty) {
        Some(Type::Struct(def)) => match def.get().field(name) {
            Some(Field { node, patch, .. }) => (Some(node), Some(patch)),
            None => (None, None),
        },
        Some(Type::Map(item)) => (Some(item), None),
        _ => (None, None),
    }
}

fn merge_maps(
    mut object: Fields,
    mut patch: Fields,
    node: Option<&Node>,
) -> Result<Fields, Status> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Fields::new()),
            _ => Err(unknown_directive(&directive, &patch)),
        };
    }
    retain_keys(&mut object, &mut patch)?;
    set_orders(&mut object, &mut patch, node)?;
    for (name, value) in patch {
        let (name, delete_items) = match name.strip_prefix(DELETE) {
            Some(name) => (name.to_owned(), true),
            None => (name, false),
        };
        if value.is_null() {
            object.remove(&name);
            continue;
        }
        let old = object.remove(&name);
        let new = match (old, value) {
            (Some(Value::Object(old)), Value::Object(value)) => {
                let (node, strategy) = lookup(node, &name);
                if strategy.is_some_and(|strategy| strategy.replace) {
                    Some(Value::Object(value))
                } else {
                    Some(Value::Object(merge_maps(old, value, node)?))
                }
            }
            (Some(Value::Array(old)), Value::Array(value)) => {
                let (node, strategy) = lookup(node, &name);
                Some(Value::Array(merge_lists(
                    old,
                    value,
                    node,
                    strategy,
                    delete_items,
                )?))
            }
            (old, _) if delete_items => old,
            (_, value) => without_directives(value),
        };
        if let Some(new) = new {
            object.insert(name, new);
        }
    }
    Ok(object)
}

fn unknown_directive(directive: &Value, map: &Fields) -> Status {
    let mut map = map.clone();
    map.insert(PATCH.into(), directive.clone());
    fault(format!(
        "unknown patch type: {} in map: {}",
        percent_v(directive),
        percent_v(&Value::Object(map))
    ))
}

/// `$retainKeys`: only the fields named stay.
fn retain_keys(object: &mut Fields, patch: &mut Fields) -> Result<(), Status> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let wrong = || bad("invalid patch format of retainKeys");
    let Value::Array(keys) = keys else {
        return Err(wrong());
    };
    let retained = |name: &str| keys.iter().any(|key| key == name);
    let directive = |name: &str| name.starts_with(DELETE) || name.starts_with(ORDER);
    if patch
        .iter()
        .any(|(name, value)| !value.is_null() && !directive(name) && !retained(name))
    {
        return Err(wrong());
    }
    object.retain(|name, _| retained(name));
    Ok(())
}

/// `$setElementOrder/<list>`: merges the list at once and puts its items into the given order.
fn set_orders(object: &mut Fields, patch: &mut Fields, node: Option<&Node>) -> Result<(), Status> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|name| name.starts_with(ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let name = directive.get(ORDER.len()..).unwrap_or_default().to_owned();
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(fault(format!(
                "expected a []interface {{}}, but received a {}",
                go_type(&other)
            ))),
        };
        let order = list(patch.remove(&directive))?.unwrap_or_default();
        let old = list(object.remove(&name))?;
        let new = list(patch.remove(&name))?;
        let (node, strategy) = lookup(node, &name);
        let key = strategy.and_then(|strategy| strategy.key.as_deref());
        check_order(new.as_deref().unwrap_or_default(), &order, key)?;
        let server_order = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => match without_directives(Value::Array(new)) {
                Some(Value::Array(items)) => items,
                _ => continue,
            },
            (Some(old), Some(new)) => merge_lists(old, new, node, strategy, false)?,
        };
        let (listed, rest) = merged
            .into_iter()
            .partition(|item| position(item, &order, key).is_some());
        object.insert(
            name,
            Value::Array(in_order(listed, rest, &order, &server_order, key)),
        );
    }
    Ok(())
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The items of the patch must come in the order that is asked for.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Status> {
    let mut left = patch
        .iter()
        .filter(|item| item.get(PATCH).is_none())
        .peekable();
    for wanted in order {
        if left.peek().is_some_and(|item| same(item, wanted, key)) {
            left.next();
        }
    }
    if left.peek().is_none() {
        return Ok(());
    }
    let shown = |items: &[Value]| percent_v(&Value::Array(items.to_vec()));
    Err(fault(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        shown(patch),
        shown(order)
    )))
}

/// Whether two items are one and the same: by their key, or by value when there is none.
fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a.get(key).is_some_and(|value| Some(value) == b.get(key)),
        None => a == b,
    }
}

fn position(item: &Value, list: &[Value], key: Option<&str>) -> Option<usize> {
    list.iter().position(|other| same(item, other, key))
}

fn merge_lists(
    mut old: Vec<Value>,
    patch: Vec<Value>,
    node: Option<&Node>,
    strategy: Option<&Strategy>,
    delete_items: bool,
) -> Result<Vec<Value>, Status> {
    if !strategy.is_some_and(|strategy| strategy.merge) {
        return Ok(patch);
    }
    let item_node = match node.map(|node| &node.ty) {
        Some(Type::List(list)) => Some(&list.item),
        _ => None,
    };
    let maps = old.iter().chain(&patch).any(Value::is_object);
    if old.iter().chain(&patch).any(Value::is_array) {
        return Err(Status::new(
            422,
            Reason::Invalid,
            "lists of lists are not supported",
        ));
    }
    if !maps {
        if delete_items {
            old.retain(|item| !patch.contains(item));
            return Ok(old);
        }
        let server_order = old.clone();
        let mut merged: Vec<Value> = Vec::with_capacity(old.len() + patch.len());
        for item in old.into_iter().chain(patch.iter().cloned()) {
            if !merged.contains(&item) {
                merged.push(item);
            }
        }
        let (listed, rest) = merged.into_iter().partition(|item| patch.contains(item));
        return Ok(in_order(listed, rest, &patch, &server_order, None));
    }
    let Some(key) = strategy.and_then(|strategy| strategy.key.as_deref()) else {
        let name = item_node.map(Node::go_name).unwrap_or_default();
        return Err(fault(format!(
            "cannot merge lists without merge key for {name}"
        )));
    };
    let (mut merged, patch) = special_items(old, patch, key)?;
    let server_order = merged.clone();
    for item in &patch {
        let Value::Object(fields) = item else {
            continue;
        };
        if !fields.contains_key(key) {
            return Err(no_key(item, key));
        }
        let found = position(item, &merged, Some(key)).and_then(|index| merged.get_mut(index));
        match found {
            Some(slot) => {
                if let Value::Object(old) = slot.take() {
                    *slot = Value::Object(merge_maps(old, fields.clone(), item_node)?);
                }
            }
            None => merged.extend(without_directives(item.clone())),
        }
    }
    let (listed, rest) = merged
        .into_iter()
        .partition(|item| position(item, &patch, Some(key)).is_some());
    Ok(in_order(listed, rest, &patch, &server_order, Some(key)))
}

fn no_key(item: &Value, key: &str) -> Status {
    fault(format!(
        "map: {} does not contain declared merge key: {key}",
        percent_v(item)
    ))
}

/// Deals with the items that are directives; gives the list without what they delete, and the other items.
fn special_items(
    mut old: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Status> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(PATCH) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") if item.get(key).is_none() => return Err(no_key(&item, key)),
            Some("delete") => old.retain(|other| !same(&item, other, Some(key))),
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(fault(
                    "merging lists cannot yet be specified in the patch".into(),
                ));
            }
            _ => {
                let empty = Fields::new();
                let map = item.as_object().unwrap_or(&empty);
                return Err(unknown_directive(directive, map));
            }
        }
    }
    Ok(if replace {
        (plain, Vec::new())
    } else {
        (old, plain)
    })
}

/// Puts a list together: the items of the patch in its order, the others in theirs, and between the two as the server had them.
fn in_order(
    mut listed: Vec<Value>,
    mut rest: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    listed.sort_by_cached_key(|item| position(item, patch_order, key));
    rest.sort_by_cached_key(|item| position(item, server_order, key));
    let mut listed = listed.into_iter().peekable();
    let mut rest = rest.into_iter().peekable();
    let mut merged = Vec::new();
    while let (Some(left), Some(right)) = (rest.peek(), listed.peek()) {
        let before = position(left, server_order, key)
            .zip(position(right, server_order, key))
            .is_some_and(|(left, right)| left < right);
        merged.extend(if before { rest.next() } else { listed.next() });
    }
    merged.extend(rest);
    merged.extend(listed);
    merged
}

/// A value that is new: directives in it have nothing to direct. `None`: the value was one itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            if fields
                .get(PATCH)
                .is_some_and(|directive| directive == "delete")
            {
                return None;
            }
            let fields = fields.into_iter().filter(|(name, value)| {
                !value.is_null()
                    && name != PATCH
                    && name != RETAIN_KEYS
                    && !name.starts_with(ORDER)
                    && !name.starts_with(DELETE)
            });
            Some(Value::Object(
                fields
                    .filter_map(|(name, value)| Some((name, without_directives(value)?)))
                    .collect(),
            ))
        }
        Value::Array(items) => Some(
            items
                .into_iter()
                .filter(|item| {
                    // An item that says only how the list is to be patched.
                    item.as_object()
                        .is_none_or(|map| map.len() != 1 || !map.contains_key(PATCH))
                })
                .filter_map(without_directives)
                .collect(),
        ),
        other => Some(other),
    }
}
