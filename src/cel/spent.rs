//! What calls cost when they are evaluated, by the sizes of what they are given (`cel-go/interpreter/runtimecost.go`,
//! `apiserver/pkg/cel/library/cost.go`).
use super::Value;
use super::cost::{REGEX, TRAVERSAL, by, compares};
use kube::core::cel::cel::common::ast::operators;

/// A question to the authorizer: two of them are what an expression can pay.
const CHECK: u64 = 350_000;

/// The size of what has one; one for all else.
fn size(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.chars().count() as u64,
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::List(items) => items.len() as u64,
        Value::Map(entries) => entries.map.len() as u64,
        _ => 1,
    }
}

/// The cost of looking at a value and all that is in it.
fn traversal(value: &Value) -> u64 {
    match value {
        Value::String(_) | Value::Bytes(_) => by(size(value), TRAVERSAL),
        Value::List(items) => items
            .iter()
            .fold(0, |sum, item| sum.saturating_add(traversal(item))),
        Value::Map(entries) => entries.map.iter().fold(0, |sum, (key, value)| {
            sum.saturating_add(traversal(&Value::from(key)))
                .saturating_add(traversal(value))
        }),
        _ => 1,
    }
}

/// What a call of a function costs before it is made; the receiver, if any, is the first of `arguments`.
pub(super) fn before(name: &str, arguments: &[&Value]) -> u64 {
    let at = |index: usize| arguments.get(index).map_or(0, |value| size(value));
    let text = |index: usize, factor: f64| by(at(index), factor * TRAVERSAL);
    match (name, arguments) {
        ("check", _) => CHECK,
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", [first, ..]) => {
            traversal(first)
        }
        (
            "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "ip" | "isIP"
            | "isCIDR" | "quantity" | "isQuantity" | "bytes",
            [_, ..],
        )
        | ("string", [Value::Bytes(_)]) => text(0, 1.0),
        ("replace" | "split" | "ip.isCanonical", [_, ..]) => text(0, 2.0),
        ("startsWith" | "endsWith" | "validate", [_, _]) => text(1, 1.0),
        // One is added, so that an empty text does not make every pattern free.
        ("matches" | "find" | "findAll", [_, _, ..]) => {
            by(at(0).saturating_add(1), TRAVERSAL).saturating_mul(by(at(1), REGEX))
        }
        ("contains", [_, _]) => text(0, 1.0).saturating_mul(text(1, 1.0)),
        // What is made is paid for when it is known.
        ("join", _) => 0,
        (operators::IN, [_, Value::List(items)]) => items.len() as u64,
        (operators::ADD, [Value::String(_) | Value::Bytes(_), _]) => {
            by(at(0).saturating_add(at(1)), TRAVERSAL)
        }
        (_, [left, right]) if compares(name) => by(size(left).min(size(right)), TRAVERSAL),
        _ => 1,
    }
}

/// What a call costs besides, once its outcome is known.
pub(super) fn after(name: &str, outcome: &Value) -> u64 {
    match name {
        "join" => by(size(outcome), 2.0 * TRAVERSAL),
        _ => 0,
    }
}
