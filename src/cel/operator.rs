//! Operators over values, with a bound on what they make and errors in the words of cel-go.
use super::eval::Failure;
use super::value::{self, optional, to_optional};
use super::{Value, function};
use kube::core::cel::cel::common::ast::operators;
use kube::core::cel::cel::objects::{Key, KeyRef};
use std::sync::Arc;

/// Larger texts and lists are not made.
const LARGEST: usize = 4 * 1024 * 1024;

/// A value as the key of a map.
pub(super) fn key(value: &Value) -> Result<Key, Failure> {
    Ok(match value {
        Value::Int(value) => Key::Int(*value),
        Value::UInt(value) => Key::Uint(*value),
        Value::Bool(value) => Key::Bool(*value),
        Value::String(value) => Key::String(value.clone()),
        other => {
            return Err(Failure::Error(format!(
                "unsupported key type: {}",
                value::type_name(other)
            )));
        }
    })
}

/// What is at `index` of a list or map.
fn index(container: &Value, index: &Value) -> Result<Value, Failure> {
    match container {
        Value::List(items) => {
            let at = match index {
                Value::Int(at) => usize::try_from(*at).ok(),
                Value::UInt(at) => usize::try_from(*at).ok(),
                _ => {
                    return Err(Failure::Error(function::overload(
                        "_[_]",
                        None,
                        &[container.clone(), index.clone()],
                    )));
                }
            };
            at.and_then(|at| items.get(at)).cloned().ok_or_else(|| {
                let shown = to_text(index);
                Failure::Error(format!("index out of bounds: {shown}"))
            })
        }
        Value::Map(entries) => {
            let key = KeyRef::try_from(index).map_err(|_| Failure::error("no such overload"))?;
            entries
                .get(&key)
                .cloned()
                .ok_or_else(|| Failure::Error(format!("no such key: {}", to_text(index))))
        }
        _ => Err(Failure::error("no such overload")),
    }
}

/// `a.?b` and `a[?b]`
pub(super) fn optional_index(container: &Value, at: &Value) -> Result<Value, Failure> {
    let inner = match optional(container) {
        Some(None) => return Ok(container.clone()),
        Some(Some(held)) => held,
        None => container.clone(),
    };
    if matches!(inner, Value::Null) {
        return Ok(to_optional(None));
    }
    if !matches!(inner, Value::List(_) | Value::Map(_)) {
        return Err(Failure::error("no such overload"));
    }
    Ok(to_optional(index(&inner, at).ok()))
}

fn to_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => String::new(),
    }
}

pub(super) fn unary(name: &str, one: &Value) -> Option<Result<Value, Failure>> {
    Some(match (name, one) {
        (operators::LOGICAL_NOT, Value::Bool(value)) => Ok(Value::Bool(!value)),
        (operators::NEGATE, Value::Int(value)) => value
            .checked_neg()
            .map(Value::Int)
            .ok_or_else(|| Failure::error("integer overflow")),
        (operators::NEGATE, Value::Float(value)) => Ok(Value::Float(-value)),
        (operators::LOGICAL_NOT | operators::NEGATE, _) => Err(Failure::Error(function::overload(
            name,
            None,
            std::slice::from_ref(one),
        ))),
        _ => return None,
    })
}

/// The outcome of an operator over two values; `None`: it is no operator.
pub(super) fn binary(name: &str, left: &Value, right: &Value) -> Option<Result<Value, Failure>> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let ordering = |wanted: &[std::cmp::Ordering]| match left.partial_cmp(right) {
        Some(found) => Ok(Value::Bool(wanted.contains(&found))),
        None => Err(no_overload(name, left, right)),
    };
    Some(match name {
        operators::EQUALS => Ok(Value::Bool(left == right)),
        operators::NOT_EQUALS => Ok(Value::Bool(left != right)),
        operators::LESS => ordering(&[Less]),
        operators::LESS_EQUALS => ordering(&[Less, Equal]),
        operators::GREATER => ordering(&[Greater]),
        operators::GREATER_EQUALS => ordering(&[Greater, Equal]),
        operators::IN => match right {
            Value::List(items) => Ok(Value::Bool(items.contains(left))),
            Value::Map(entries) => Ok(Value::Bool(
                KeyRef::try_from(left).is_ok_and(|key| entries.get(&key).is_some()),
            )),
            _ => Err(no_overload(name, left, right)),
        },
        operators::INDEX => match optional(left) {
            Some(_) => optional_index(left, right),
            None => index(left, right),
        },
        operators::ADD => add(left.clone(), right.clone()),
        operators::SUBSTRACT => arithmetic(name, left, right, |l, r| l - r),
        operators::MULTIPLY => arithmetic(name, left, right, |l, r| l * r),
        operators::DIVIDE => arithmetic(name, left, right, |l, r| l / r),
        operators::MODULO => arithmetic(name, left, right, |l, r| l % r),
        _ => return None,
    })
}

fn no_overload(name: &str, left: &Value, right: &Value) -> Failure {
    Failure::Error(function::overload(
        name,
        None,
        &[left.clone(), right.clone()],
    ))
}

fn arithmetic(
    name: &str,
    left: &Value,
    right: &Value,
    operation: impl Fn(Value, Value) -> Result<Value, kube::core::cel::cel::ExecutionError>,
) -> Result<Value, Failure> {
    use kube::core::cel::cel::ExecutionError as E;
    operation(left.clone(), right.clone()).map_err(|error| match error {
        E::DivisionByZero(_) => Failure::error("division by zero"),
        E::RemainderByZero(_) => Failure::error("modulus by zero"),
        E::Overflow(..) => Failure::error("integer overflow"),
        _ => no_overload(name, left, right),
    })
}

/// `+`, with a bound on what it makes.
pub(super) fn add(left: Value, right: Value) -> Result<Value, Failure> {
    let length = match (&left, &right) {
        (Value::String(left), Value::String(right)) => left.len() + right.len(),
        (Value::List(left), Value::List(right)) => left.len() + right.len(),
        (Value::Bytes(left), Value::Bytes(right)) => {
            let mut bytes = left.to_vec();
            bytes.extend_from_slice(right);
            return Ok(Value::Bytes(Arc::new(bytes)));
        }
        _ => return arithmetic(operators::ADD, &left, &right, |left, right| left + right),
    };
    if length > LARGEST {
        return Err(Failure::TooCostly);
    }
    (left + right).map_err(|_| Failure::error("no such overload"))
}

/// Functions that can make much out of little are refused what would make too much.
pub(super) fn check_growth(
    name: &str,
    receiver: Option<&Value>,
    arguments: &[Value],
) -> Result<(), Failure> {
    let length = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.len(),
        Some(Value::List(items)) => items.len(),
        _ => 0,
    };
    let made = match name {
        "replace" => (length(receiver) + 1).saturating_mul(length(arguments.get(1)) + 1),
        "join" => length(receiver).saturating_mul(length(arguments.first()) + 1),
        "lists.range" => match arguments.first() {
            Some(Value::Int(count)) => usize::try_from(*count).unwrap_or(0),
            _ => 0,
        },
        _ => 0,
    };
    if made > LARGEST {
        Err(Failure::TooCostly)
    } else {
        Ok(())
    }
}
