//! JSON patch (RFC 6902), with the leniency of the library that the real server uses: `test` for null passes where the field
//! is absent, `replace` makes a missing field, indices may be negative.
use crate::apiserver::schema::scan::{self, Tree};
use crate::object::status::Details;
use crate::object::{Reason, Status};
use serde_json::Value;

/// Longer patches are refused.
const MAX_OPERATIONS: usize = 10_000;

/// How many bytes of JSON the `copy` operations of one patch may make.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// A decoded patch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patch {
    operations: Vec<Operation>,
    /// What a strict decoder complains of: `json patch unknown field "[0].foo"`.
    pub(crate) strict_errors: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Value,
}

/// Why a patch does not apply. The real server does not say more.
struct Refused;

/// Applies a patch.
///
/// # Errors
/// 400 when it is no JSON patch, 413 when it is too long, 422 when it does not apply.
#[cfg(test)]
pub(crate) fn apply(object: Value, patch: &[u8]) -> Result<Value, Status> {
    Patch::parse(patch)?.apply(object)
}

impl Patch {
    /// Decodes a patch.
    ///
    /// # Errors
    /// 400 when it is no JSON patch, 413 when it is too long.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Status> {
        let bad = |why: &str| Status::bad_request(format!("error decoding patch: {why}"));
        let items = match scan::parse(bytes).map_err(|why| bad(&why))? {
            Tree::Array(items) => items,
            Tree::Null => Vec::new(),
            other => {
                return Err(bad(&format!(
                    "json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                    other.kind()
                )));
            }
        };
        if items.len() > MAX_OPERATIONS {
            return Err(Status::new(
                413,
                Reason::RequestEntityTooLarge,
                format!(
                    "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                    items.len()
                ),
            ));
        }
        let mut patch = Self {
            operations: Vec::with_capacity(items.len()),
            strict_errors: Vec::new(),
        };
        for (index, item) in items.into_iter().enumerate() {
            let operation = patch.operation(index, item).map_err(|why| bad(&why))?;
            patch.operations.push(operation);
        }
        Ok(patch)
    }

    fn operation(&mut self, index: usize, item: Tree) -> Result<Operation, String> {
        let mut operation = Operation::default();
        let fields = match item {
            Tree::Object(fields) => fields,
            Tree::Null => return Ok(operation),
            other => {
                return Err(format!(
                    "json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp",
                    other.kind()
                ));
            }
        };
        let mut seen: Vec<String> = Vec::new();
        for (name, tree) in fields {
            let known = ["op", "path", "from", "value"].contains(&&*name);
            let complaint = match (known, seen.contains(&name)) {
                (false, _) => Some("unknown"),
                (true, true) => Some("duplicate"),
                (true, false) => None,
            };
            if let Some(what) = complaint {
                let text = format!("json patch {what} field \"[{index}].{name}\"");
                if !self.strict_errors.contains(&text) {
                    self.strict_errors.push(text);
                }
            }
            if name == "value" {
                operation.value = tree.into_value();
            } else if known {
                let text = match tree {
                    Tree::String(text) => Some(text),
                    Tree::Null => None,
                    other => {
                        return Err(format!(
                            "json: cannot unmarshal {} into Go struct field jsonPatchOp.{name} of type string",
                            other.kind()
                        ));
                    }
                };
                match &*name {
                    "op" => operation.op = text.unwrap_or_default(),
                    "path" => operation.path = text,
                    _ => operation.from = text,
                }
            }
            seen.push(name);
        }
        Ok(operation)
    }

    /// Applies the patch.
    ///
    /// # Errors
    /// 422 when it does not apply.
    pub(crate) fn apply(&self, mut object: Value) -> Result<Value, Status> {
        let mut copied = 0;
        for operation in &self.operations {
            operation
                .apply(&mut object, &mut copied)
                .map_err(|Refused| {
                    Status::new(
                        422,
                        Reason::Invalid,
                        "the server rejected our request due to an error in our request",
                    )
                    .with_details(Details::default())
                })?;
        }
        Ok(object)
    }

    /// The objects and lists that the patch goes into, as nested objects. The real server shows their fields sorted.
    pub(crate) fn touched(&self) -> Value {
        let mut root = Value::Object(serde_json::Map::new());
        let paths = self
            .operations
            .iter()
            .flat_map(|operation| [&operation.path, &operation.from])
            .flatten();
        for path in paths {
            let mut at = &mut root;
            let parts: Vec<_> = path.split('/').skip(1).map(unescape).collect();
            for part in parts.iter().take(parts.len().saturating_sub(1)) {
                let Value::Object(map) = at else { break };
                at = map
                    .entry(part)
                    .or_insert_with(|| Value::Object(serde_json::Map::new()));
            }
        }
        root
    }
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

impl Operation {
    fn apply(&self, object: &mut Value, copied: &mut usize) -> Result<(), Refused> {
        let path = self.path.as_deref().ok_or(Refused)?;
        let from = || self.from.as_deref().ok_or(Refused);
        match &*self.op {
            "add" => add(object, path, self.value.clone()),
            "remove" => remove(object, path).map(drop),
            "replace" if path.is_empty() => {
                if !self.value.is_object() && !self.value.is_array() {
                    return Err(Refused);
                }
                *object = self.value.clone();
                Ok(())
            }
            "replace" => match container(object, path)? {
                (Value::Object(map), key) => {
                    map.insert(key, self.value.clone());
                    Ok(())
                }
                (Value::Array(items), key) => {
                    let index = index(&key, items.len())?;
                    *items.get_mut(index).ok_or(Refused)? = self.value.clone();
                    Ok(())
                }
                _ => Err(Refused),
            },
            "move" => {
                let value = remove(object, from()?)?;
                add(object, path, value)
            }
            "copy" => {
                let value = get(object, from()?)?.cloned().unwrap_or_default();
                *copied += value.to_string().len();
                if *copied > MAX_COPIED {
                    return Err(Refused);
                }
                add(object, path, value)
            }
            "test" if path.is_empty() => (*object == self.value).then_some(()).ok_or(Refused),
            "test" => {
                let found = get(object, path)?.unwrap_or(&Value::Null);
                (*found == self.value).then_some(()).ok_or(Refused)
            }
            _ => Err(Refused),
        }
    }
}

/// The object or list that holds what `path` names, and the key in it.
fn container<'a>(object: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), Refused> {
    let mut parts = path.split('/');
    parts.next();
    let mut key = unescape(parts.next().ok_or(Refused)?);
    let mut at = object;
    for part in parts {
        at = match at {
            Value::Object(map) => map.get_mut(&key),
            Value::Array(items) => {
                let index = index(&key, items.len())?;
                items.get_mut(index)
            }
            _ => None,
        }
        .filter(|value| value.is_object() || value.is_array())
        .ok_or(Refused)?;
        key = unescape(part);
    }
    Ok((at, key))
}

/// An index into a list of this length; negative ones count from its end.
fn index(key: &str, length: usize) -> Result<usize, Refused> {
    let index: i64 = key.parse().map_err(|_| Refused)?;
    let length = i64::try_from(length).map_err(|_| Refused)?;
    let index = if index < 0 { index + length } else { index };
    if index >= length {
        return Err(Refused);
    }
    usize::try_from(index).map_err(|_| Refused)
}

fn get<'a>(object: &'a mut Value, path: &str) -> Result<Option<&'a Value>, Refused> {
    match container(object, path)? {
        (Value::Object(map), key) => Ok(map.get(&key)),
        (Value::Array(items), key) => {
            let index = index(&key, items.len())?;
            Ok(items.get(index))
        }
        _ => Err(Refused),
    }
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), Refused> {
    match container(object, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(items), key) if key == "-" => items.push(value),
        (Value::Array(items), key) => {
            // Negative indices count from the end of the list as it becomes.
            let index = index(&key, items.len() + 1)?;
            items.insert(index, value);
        }
        _ => return Err(Refused),
    }
    Ok(())
}

fn remove(object: &mut Value, path: &str) -> Result<Value, Refused> {
    match container(object, path)? {
        (Value::Object(map), key) => map.remove(&key).ok_or(Refused),
        (Value::Array(items), key) => {
            let index = index(&key, items.len())?;
            Ok(items.remove(index))
        }
        _ => Err(Refused),
    }
}
