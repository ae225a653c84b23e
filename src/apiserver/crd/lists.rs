//! Lists that are sets and maps: no item comes twice (`apiextensions-apiserver/pkg/apiserver/schema/listtype`).
use super::schema::Props;
use super::value::unequal;
use crate::object::field::{Errors, Path};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Checks the lists in `value` and below it.
pub(crate) fn validate(schema: &Props, value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(property) = schema.properties.get(name) {
                    validate(property, value, &path.child(name), errors);
                } else if let Some(additional) = schema.additional_schema() {
                    validate(additional, value, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type.as_str() {
                "set" => {
                    for index in repeated(items.iter()) {
                        if let Some(item) = items.get(index) {
                            errors.duplicate(path.index(index), item.clone());
                        }
                    }
                }
                "map" => map_list(schema, items, path, errors),
                _ => {}
            }
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    validate(schema, item, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn map_list(schema: &Props, items: &[Value], path: &Path, errors: &mut Errors) {
    let odd = |item: &&Value| !item.is_null() && !item.is_object();
    if let Some((index, item)) = items.iter().enumerate().find(|(_, item)| odd(item)) {
        let why = "must be an object for an array of list-type map";
        errors.invalid(path.index(index), item.clone(), why);
        return;
    }
    let keys: Vec<Value> = items
        .iter()
        .map(|item| {
            let fields = schema.map_keys.iter();
            let fields = fields.filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
            Value::Object(fields.collect::<Map<_, _>>())
        })
        .collect();
    for index in repeated(keys.iter()) {
        if let Some(key) = keys.get(index) {
            errors.duplicate(path.index(index), key.clone());
        }
    }
}

/// The places where items come for the second time.
fn repeated<'a>(items: impl Iterator<Item = &'a Value>) -> Vec<usize> {
    let mut seen = BTreeMap::<String, (usize, &Value)>::new();
    let mut found = Vec::new();
    for (index, item) in items.enumerate() {
        // Floating point numbers with and without a fraction have one text in Go.
        let (times, first) = seen.entry(item.to_string()).or_insert((0, item));
        *times += 1;
        if *times == 2 && !unequal(first, item) {
            found.push(index);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn repeated_items_are_told_once() {
        let schema = Props::parse(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"], "items": {"type": "object"}},
        }, "additionalProperties": {}}));
        for (value, expected) in [
            (
                json!({"set": ["a", "b", "a", "a"]}),
                vec!["set[2]: Duplicate value: \"a\""],
            ),
            (
                json!({"set": [{"x": 1}, {"x": 1}, 1, "1"]}),
                vec!["set[1]: Duplicate value: {\"x\":1}"],
            ),
            (
                json!({"map": [{"k": 1, "p": "T", "v": 1}, {"k": 1}, {"k": 1, "p": "T"}, {"k": 1}]}),
                vec![
                    "map[2]: Duplicate value: {\"k\":1,\"p\":\"T\"}",
                    "map[3]: Duplicate value: {\"k\":1}",
                ],
            ),
            (
                json!({"map": [5]}),
                vec!["map[0]: Invalid value: 5: must be an object for an array of list-type map"],
            ),
        ] {
            let mut errors = Errors::new();
            validate(&schema, &value, &Path::default(), &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        }
    }
}
