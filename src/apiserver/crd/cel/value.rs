//! Objects as rules see them: fields under escaped names, texts of some formats as what they stand for.
use super::super::schema::Props;
use crate::cel::{ListKind, Lists, Value, escape};
use kube::core::cel::cel::objects::{Key, Map};
use std::collections::HashMap;
use std::sync::Arc;

/// The value of a document, with its lists that are sets or maps.
pub(super) fn value(
    schema: &Props,
    document: &serde_json::Value,
    root: bool,
    lists: &mut Lists,
) -> Value {
    match document {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) if schema.type_ == "number" =>
            {
                #[expect(clippy::cast_precision_loss, reason = "the type says it is a double")]
                Value::Float(integer as f64)
            }
            Some(integer) => Value::Int(integer),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => string(schema, text),
        serde_json::Value::Array(items) => {
            let any = Props::default();
            let item = schema.items.as_deref().unwrap_or(&any);
            let items = items
                .iter()
                .map(|document| value(item, document, item.embedded, lists))
                .collect();
            let list = Value::List(Arc::new(items));
            match schema.list_type.as_str() {
                "set" => lists.note(&list, ListKind::Set),
                "map" => lists.note(&list, ListKind::Map(schema.map_keys.clone())),
                _ => {}
            }
            list
        }
        serde_json::Value::Object(fields) => {
            let mut map: HashMap<Key, Value> = HashMap::with_capacity(fields.len());
            let text = |text: String| Key::String(Arc::new(text));
            for (name, document) in fields {
                if root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    let any = Props::default();
                    map.insert(text(name.clone()), value(&any, document, false, lists));
                } else if let Some(property) = schema.properties.get(name) {
                    if let Some(name) = escape(name) {
                        let found = value(property, document, property.embedded, lists);
                        map.insert(text(name), found);
                    }
                } else if let Some(additional) = schema.additional_schema() {
                    let found = value(additional, document, additional.embedded, lists);
                    map.insert(text(name.clone()), found);
                } else if schema.properties.is_empty() {
                    map.insert(
                        text(name.clone()),
                        value(&Props::default(), document, false, lists),
                    );
                }
            }
            Value::Map(Map { map: Arc::new(map) })
        }
    }
}

fn string(schema: &Props, text: &str) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let plain = || Value::String(Arc::new(text.to_owned()));
    let called = |function: &str, text: String| {
        crate::cel::convert(function, Value::String(Arc::new(text))).unwrap_or_else(plain)
    };
    match schema.format.as_str() {
        _ if schema.int_or_string => plain(),
        "byte" => STANDARD
            .decode(text)
            .map_or_else(|_| plain(), |bytes| Value::Bytes(Arc::new(bytes))),
        "duration" => called("duration", text.to_owned()),
        "date-time" => called("timestamp", text.to_owned()),
        "date" => called("timestamp", format!("{text}T00:00:00Z")),
        _ => plain(),
    }
}
