//! What rules see of a schema: types, and how large values can get (`apiserver/pkg/cel/common/schemas.go`).
use super::super::schema::Props;
use crate::cel::cost::Declared;
use crate::cel::{Type, escape};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest request, in bytes.
pub(super) const REQUEST: u64 = 3 * 1024 * 1024;

/// The type and the sizes of what a schema describes; `None`: rules do not see it. `root`: it is an object of its own.
pub(super) fn declare(schema: &Props, root: bool) -> Option<(Type, Declared)> {
    if schema.int_or_string {
        let most = schema.max_length.map_or(REQUEST - 2, characters);
        return Some((Type::Dyn, sized(most, 1)));
    }
    match schema.type_.as_str() {
        "array" => {
            let items = schema.items.as_deref()?;
            let (item, declared) = declare(items, items.embedded)?;
            let most = match schema.max_items {
                Some(most) => unsigned(most),
                None => (REQUEST - 2) / (declared.least_bytes + 1),
            };
            let declared = Declared {
                item: Some(Box::new(declared)),
                ..sized(most, 2)
            };
            Some((Type::list(item), declared))
        }
        "object" => object(schema, root),
        "string" => Some(string(schema)),
        "boolean" => Some((Type::Bool, sized(0, 4))),
        "number" => Some((Type::Double, sized(0, 1))),
        "integer" => Some((Type::Int, sized(0, 1))),
        _ => None,
    }
}

fn object(schema: &Props, root: bool) -> Option<(Type, Declared)> {
    if let Some(additional) = schema.additional_schema() {
        let (value, declared) = declare(additional, additional.embedded)?;
        let most = match schema.max_properties {
            Some(most) => unsigned(most),
            None => (REQUEST - 2) / (declared.least_bytes + 6),
        };
        let declared = Declared {
            item: Some(Box::new(declared)),
            map: true,
            ..sized(most, 2)
        };
        return Some((Type::map(Type::String, value), declared));
    }
    let mut types = BTreeMap::new();
    let mut fields = BTreeMap::new();
    let mut least_bytes = 2;
    for (name, property) in &schema.properties {
        if root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let Some((type_, declared)) = declare(property, property.embedded) else {
            continue;
        };
        if schema.required.contains(name) && property.default.is_none() {
            least_bytes += name.len() as u64 + declared.least_bytes + 4;
        }
        if let Some(name) = escape(name) {
            types.insert(name.clone(), type_);
            fields.insert(name, declared);
        }
    }
    if root {
        // Of every object of its own rules see what it is and how it is called.
        let text = || (Type::String, text_of(REQUEST - 2, 2));
        for name in ["apiVersion", "kind"] {
            types.insert(name.to_owned(), text().0);
            fields.insert(name.to_owned(), text().1);
        }
        let names = ["name", "generateName"].map(str::to_owned);
        let metadata = Declared {
            fields: names.clone().map(|name| (name, text().1)).into(),
            ..sized(0, 2)
        };
        let metadata_type = names.map(|name| (name, text().0)).into();
        types.insert(
            "metadata".to_owned(),
            Type::Declared(Arc::new(metadata_type)),
        );
        fields.insert("metadata".to_owned(), metadata);
    }
    let declared = Declared {
        fields,
        ..sized(0, least_bytes)
    };
    Some((Type::Declared(Arc::new(types)), declared))
}

fn string(schema: &Props) -> (Type, Declared) {
    match schema.format.as_str() {
        "byte" => {
            let most = schema.max_length.map_or(REQUEST - 2, unsigned);
            (Type::Bytes, text_of(most, 2))
        }
        "duration" => (Type::Duration, sized(32, 3)),
        "date" => (Type::Timestamp, sized(12, 12)),
        "date-time" => (Type::Timestamp, sized(32, 21)),
        _ => {
            let longest = schema.enum_.as_ref().filter(|allowed| !allowed.is_empty());
            let longest = longest.map(|allowed| {
                let texts = allowed.iter().filter_map(serde_json::Value::as_str);
                texts.map(|text| text.len() as u64).max().unwrap_or(0)
            });
            let most = match (schema.max_length, longest) {
                (Some(most), _) => characters(most),
                (None, Some(longest)) => longest,
                (None, None) => REQUEST - 2,
            };
            (Type::String, text_of(most, 2))
        }
    }
}

fn sized(most: u64, least_bytes: u64) -> Declared {
    Declared {
        most,
        least_bytes,
        ..Declared::default()
    }
}

fn text_of(most: u64, least_bytes: u64) -> Declared {
    Declared {
        text: true,
        ..sized(most, least_bytes)
    }
}

fn unsigned(most: i64) -> u64 {
    u64::try_from(most).unwrap_or(0)
}

/// A character takes up to four bytes.
fn characters(most: i64) -> u64 {
    unsigned(most).saturating_mul(4)
}
