//! Conditions in a status: find, set with a transition time that changes only with the status.
use serde_json::Value;

/// The condition of the given type in `conditions`.
#[must_use]
pub fn find<'a>(conditions: &'a [Value], type_: &str) -> Option<&'a Value> {
    conditions
        .iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(type_))
}

/// Whether the condition of the given type is `True`.
#[must_use]
pub fn is_true(conditions: &[Value], type_: &str) -> bool {
    find(conditions, type_)
        .and_then(|condition| condition.get("status"))
        .and_then(Value::as_str)
        == Some("True")
}
