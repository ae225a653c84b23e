//! What a configuration that is applied must fit: its schema, with the messages of structured-merge-diff.
use super::fieldset::show;
use super::typed::{child, element};
use crate::apiserver::schema::types::{ListKind, Node, Scalar, Type};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is wrong with a document that is to be applied: unknown fields, wrong types, items that come twice.
pub(crate) fn validate(node: &Node, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check(node, value, &mut String::new(), &mut errors);
    errors
}

fn check(node: &Node, value: &Value, path: &mut String, errors: &mut Vec<String>) {
    let mut wrong = |path: &str, what: String| {
        errors.push(if path.is_empty() {
            what
        } else {
            format!("{path}: {what}")
        });
    };
    match (&node.ty, value) {
        (_, Value::Null) | (Type::Or(..), _) => {}
        (Type::Scalar(scalar), value) => {
            if let Some(what) = misfit(*scalar, value) {
                wrong(path, what);
            }
        }
        (Type::Struct(_) | Type::Map(_), Value::Object(map)) => {
            for (name, value) in map {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                let unknown = matches!(&node.ty, Type::Struct(def) if {
                    let def = def.get();
                    def.field(name).is_none() && def.rest.is_none() && !def.open
                });
                if unknown {
                    errors.push(format!("{path}: field not declared in schema"));
                } else {
                    check(child(node, name).0, value, path, errors);
                }
                path.truncate(length);
            }
        }
        (Type::List(list), Value::Array(items)) => {
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let key = match &list.kind {
                    ListKind::Atomic => format!("i:{index}"),
                    _ => match element(list, item) {
                        Ok(key) => key,
                        Err(why) => {
                            errors.push(format!("{path}: element {index}: {why}"));
                            return;
                        }
                    },
                };
                if !seen.insert(key.clone()) {
                    errors.push(format!("{path}: duplicate entries for key {}", show(&key)));
                }
                let length = path.len();
                path.push_str(&show(&key));
                check(&list.item, item, path, errors);
                path.truncate(length);
            }
        }
        (Type::List(_), other) => wrong(path, format!("expected list, got {}", pointer(other))),
        (_, other) => wrong(path, format!("expected map, got {}", pointer(other))),
    }
}

fn misfit(scalar: Scalar, value: &Value) -> Option<String> {
    match (scalar, value) {
        (Scalar::Any, _)
        | (Scalar::String | Scalar::Bytes, Value::String(_))
        | (Scalar::Bool, Value::Bool(_))
        | (Scalar::Int32 | Scalar::Int64 | Scalar::Double, Value::Number(_)) => None,
        (Scalar::String | Scalar::Bytes, other) => Some(format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            go_syntax(other)
        )),
        (Scalar::Bool, other) => Some(format!("expected boolean, got {}", pointer(other))),
        (Scalar::Int32 | Scalar::Int64 | Scalar::Double, other) => Some(format!(
            "expected numeric (int or float), got {}",
            go_type(other)
        )),
        (_, Value::Object(_) | Value::Array(_)) => {
            Some(format!("expected any scalar, got {}", pointer(value)))
        }
        _ => None,
    }
}

/// A value as Go's `%v` prints the pointer that holds it.
fn pointer(value: &Value) -> String {
    format!(
        "&{{{}}}",
        crate::apiserver::schema::gojson::percent_v(value)
    )
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value in Go's syntax, as `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let fields: Vec<_> = map
                .iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), go_syntax(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}
