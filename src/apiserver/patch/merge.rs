//! Merge patch (RFC 7396), and the decoding of patches that are documents.
use crate::apiserver::schema::{diagnose, scan, types::Node};
use crate::object::Status;
use serde_json::{Map, Value};

/// Decodes a patch that is an object: a merge patch or a strategic one. Gives what a strict decoder complains of as well.
///
/// # Errors
/// 400 when it is no object.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let bad = |why: &str| Status::bad_request(format!("error decoding patch: {why}"));
    let tree = scan::parse(bytes).map_err(|why| bad(&why))?;
    match &tree {
        scan::Tree::Object(_) => {
            let report = diagnose::diagnose(&Node::any(), false, tree);
            Ok((report.value, report.strict))
        }
        scan::Tree::Null => Ok((Value::Object(Map::new()), Vec::new())),
        other => Err(bad(&format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.kind()
        ))),
    }
}

/// Applies a merge patch: objects merge, null removes, everything else replaces.
pub(crate) fn apply(mut object: Value, patch: &Value) -> Value {
    merge(&mut object, patch);
    object
}

fn merge(object: &mut Value, patch: &Value) {
    match (&mut *object, patch) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                if change.is_null() {
                    fields.remove(name);
                    continue;
                }
                match fields.get_mut(name) {
                    Some(value) => merge(value, change),
                    None => {
                        fields.insert(name.clone(), without_nulls(change));
                    }
                }
            }
        }
        (Value::Object(_), patch) => *object = patch.clone(),
        (_, patch) => *object = without_nulls(patch),
    }
}

/// A new value: what would remove something removes nothing here.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
