//! Documents as Go prints them in messages: fields in the order of the struct, and `%+v` of maps.
use super::Schema;
use super::types::{Node, Type};
use serde_json::Value;
use std::fmt::Write as _;

/// The JSON of `value` as Go's encoder writes an object of this schema. Objects at places where `touched` has an object are
/// sorted by key instead: the real server's patch code has taken them apart.
pub(crate) fn encode(value: &Value, schema: Option<&Schema>, touched: Option<&Value>) -> String {
    let mut text = String::new();
    let node = schema
        .filter(|schema| !schema.custom)
        .map(|schema| &schema.root);
    write(&mut text, value, node, touched);
    text
}

/// The JSON of `value` as Go's encoder writes a value of this type.
pub(super) fn of_node(value: &Value, node: &Node) -> String {
    let mut text = String::new();
    write(&mut text, value, Some(node), None);
    text
}

fn write(text: &mut String, value: &Value, node: Option<&Node>, touched: Option<&Value>) {
    match value {
        Value::Object(map) => {
            let def = node.and_then(Node::as_struct);
            let of_map = match node.map(|node| &node.ty) {
                Some(Type::Map(item)) => Some(&**item),
                _ => None,
            };
            let sorted = touched.is_some_and(Value::is_object);
            let mut fields: Vec<_> = map
                .iter()
                .map(|(name, value)| {
                    let field = def.and_then(|def| def.field(name));
                    let order = field.map_or(u16::MAX, |field| field.order);
                    (if sorted { 0 } else { order }, name, value, field)
                })
                .collect();
            fields.sort_by_key(|(order, name, ..)| (*order, *name));
            text.push('{');
            for (index, (_, name, value, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                string(text, name);
                text.push(':');
                let node = field.map(|field| &field.node).or(of_map);
                let touched = touched.and_then(|touched| touched.get(name));
                write(text, value, node, touched);
            }
            text.push('}');
        }
        Value::Array(items) => {
            let node = match node.map(|node| &node.ty) {
                Some(Type::List(list)) => Some(&list.item),
                _ => None,
            };
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                let touched = touched.and_then(|touched| touched.get(index.to_string()));
                write(text, item, node, touched);
            }
            text.push(']');
        }
        Value::String(value) => string(text, value),
        Value::Number(_) | Value::Bool(_) | Value::Null => text.push_str(&value.to_string()),
    }
}

/// A string as Go's encoder writes it, safe within HTML.
pub(super) fn string(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

/// A document as Go's `%v` prints it when it is made of maps and lists: `map[a:1 b:[x y]]`.
pub(crate) fn percent_v(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(percent_v).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields: Vec<_> = fields
                .into_iter()
                .map(|(name, value)| format!("{name}:{}", percent_v(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}
