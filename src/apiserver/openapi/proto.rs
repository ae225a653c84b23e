//! The documents in protobuf, as clients written in Go like them: gnostic's messages `openapi.v2.Document` and
//! `openapi.v3.Document`, written from the JSON by a table of field numbers.
use crate::apiserver::protobuf::wire::{self, bytes};
use serde_json::Value;

/// How a JSON value is written.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// A list of texts.
    Texts,
    Bool,
    Int,
    Double,
    /// `Any`: YAML text, for which JSON will do.
    Any,
    /// A list of `Any`.
    Anys,
    Message(&'static Message),
    /// A message whose only field, of this number, is a list of named values.
    Named(u32, &'static Self),
    /// As another.
    As(&'static Self),
    /// A message with one field, of this number.
    In(u32, &'static Self),
    /// One or the other.
    Either(fn(&Value) -> bool, &'static Self, &'static Self),
    /// A list, item by item.
    Each(&'static Self),
    /// A number, a boolean or a text.
    Default,
}

/// A message: JSON names, field numbers.
struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    /// The number of the list of `x-…`.
    extensions: u32,
}

/// `openapi.v2.Document`
pub(super) fn v2(document: &Value) -> Vec<u8> {
    message(document, &V2)
}

/// `openapi.v3.Document`
pub(super) fn v3(document: &Value) -> Vec<u8> {
    message(document, &V3)
}

fn message(value: &Value, message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let map = value.as_object();
    for (name, number, kind) in message.fields {
        if let Some(value) = map.and_then(|map| map.get(*name)) {
            field(&mut out, *number, value, *kind);
        }
    }
    if message.extensions > 0 {
        let extensions = map.into_iter().flatten();
        for (name, value) in extensions.filter(|(name, _)| name.starts_with("x-")) {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, name.as_bytes());
            bytes(&mut entry, 2, &any(value));
            bytes(&mut out, message.extensions, &entry);
        }
    }
    out
}

fn field(out: &mut Vec<u8>, number: u32, value: &Value, kind: Kind) {
    let items = || value.as_array().into_iter().flatten();
    match kind {
        Kind::Text => {
            if let Some(text) = value.as_str() {
                bytes(out, number, text.as_bytes());
            }
        }
        Kind::Texts => items()
            .filter_map(Value::as_str)
            .for_each(|text| bytes(out, number, text.as_bytes())),
        Kind::Bool => {
            if let Some(flag) = value.as_bool() {
                wire::integer(out, number, u64::from(flag));
            }
        }
        Kind::Int => {
            if let Some(int) = value.as_i64() {
                wire::integer(out, number, int.cast_unsigned());
            }
        }
        Kind::Double => {
            if let Some(double) = value.as_f64() {
                wire::double(out, number, double);
            }
        }
        Kind::Any => bytes(out, number, &any(value)),
        Kind::Anys => items().for_each(|item| bytes(out, number, &any(item))),
        Kind::Message(of) => bytes(out, number, &message(value, of)),
        Kind::Named(inner, kind) => {
            let mut list = Vec::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                bytes(&mut entry, 1, name.as_bytes());
                field(&mut entry, 2, value, *kind);
                bytes(&mut list, inner, &entry);
            }
            bytes(out, number, &list);
        }
        Kind::In(inner, kind) => {
            let mut wrapped = Vec::new();
            field(&mut wrapped, inner, value, *kind);
            bytes(out, number, &wrapped);
        }
        Kind::As(kind) => field(out, number, value, *kind),
        Kind::Either(first, yes, no) => {
            field(out, number, value, if first(value) { *yes } else { *no });
        }
        Kind::Each(kind) => items().for_each(|item| field(out, number, item, *kind)),
        // Others have no place in the message.
        Kind::Default => match value {
            Value::Number(_) => field(out, number, value, Kind::In(1, &Kind::Double)),
            Value::Bool(_) => field(out, number, value, Kind::In(2, &Kind::Bool)),
            Value::String(_) => field(out, number, value, Kind::In(3, &Kind::Text)),
            _ => {}
        },
    }
}

fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 2, value.to_string().as_bytes());
    out
}

fn is_bool(value: &Value) -> bool {
    value.is_boolean()
}
fn is_reference(value: &Value) -> bool {
    value.get("$ref").is_some()
}
fn is_body(value: &Value) -> bool {
    value.get("in").is_some_and(|place| place == "body")
}
fn is_query(value: &Value) -> bool {
    value.get("in").is_some_and(|place| place == "query")
}

use Kind::{
    Any, Anys, As, Bool, Default, Double, Each, Either, In, Int, Message as Of, Named, Text, Texts,
};

static API_KEY2: Message = Message {
    fields: &[
        ("type", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("description", 4, Text),
    ],
    extensions: 5,
};

static REFERENCE2: Message = Message {
    fields: &[("$ref", 1, Text), ("description", 2, Text)],
    extensions: 0,
};

static V2: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, Of(&INFO2)),
        ("paths", 8, Named(2, &Of(&PATH2))),
        ("definitions", 9, Named(1, &Of(&SCHEMA2))),
        ("parameters", 10, Named(1, &PARAMETER2)),
        ("security", 12, Each(&Named(1, &In(1, &Texts)))),
        ("securityDefinitions", 13, Named(1, &In(2, &Of(&API_KEY2)))),
    ],
    extensions: 16,
};

static INFO2: Message = Message {
    fields: &[("title", 1, Text), ("version", 2, Text)],
    extensions: 7,
};

static PATH2: Message = Message {
    fields: &[
        ("get", 2, Of(&OPERATION2)),
        ("put", 3, Of(&OPERATION2)),
        ("post", 4, Of(&OPERATION2)),
        ("delete", 5, Of(&OPERATION2)),
        ("options", 6, Of(&OPERATION2)),
        ("head", 7, Of(&OPERATION2)),
        ("patch", 8, Of(&OPERATION2)),
        ("parameters", 9, Each(&PARAMETERS_ITEM2)),
    ],
    extensions: 10,
};

static OPERATION2: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Each(&PARAMETERS_ITEM2)),
        ("responses", 9, Named(1, &In(1, &Of(&RESPONSE2)))),
        ("schemes", 10, Texts),
    ],
    extensions: 13,
};

static PARAMETERS_ITEM2: Kind = Either(is_reference, &In(2, &Of(&REFERENCE2)), &In(1, &PARAMETER2));

static PARAMETER2: Kind = Either(
    is_body,
    &In(1, &Of(&BODY2)),
    &In(
        2,
        &Either(is_query, &In(3, &Of(&QUERY2)), &In(4, &Of(&IN_PATH2))),
    ),
);

static BODY2: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Bool),
        ("schema", 5, Of(&SCHEMA2)),
    ],
    extensions: 6,
};

static QUERY2: Message = Message {
    fields: &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("uniqueItems", 20, Bool),
    ],
    extensions: 23,
};

static IN_PATH2: Message = Message {
    fields: &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("uniqueItems", 19, Bool),
    ],
    extensions: 22,
};

static RESPONSE2: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("schema", 2, In(1, &Of(&SCHEMA2))),
    ],
    extensions: 5,
};

static SCHEMA2: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("multipleOf", 6, Double),
        ("maximum", 7, Double),
        ("exclusiveMaximum", 8, Bool),
        ("minimum", 9, Double),
        ("exclusiveMinimum", 10, Bool),
        ("maxLength", 11, Int),
        ("minLength", 12, Int),
        ("pattern", 13, Text),
        ("maxItems", 14, Int),
        ("minItems", 15, Int),
        ("uniqueItems", 16, Bool),
        ("maxProperties", 17, Int),
        ("minProperties", 18, Int),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        (
            "additionalProperties",
            21,
            Either(is_bool, &In(2, &Bool), &In(1, &Of(&SCHEMA2))),
        ),
        ("type", 22, In(1, &Text)),
        ("items", 23, In(1, &Of(&SCHEMA2))),
        ("properties", 25, Named(1, &Of(&SCHEMA2))),
        ("example", 30, Any),
    ],
    extensions: 31,
};

static V3: Message = Message {
    fields: &[
        ("openapi", 1, Text),
        ("info", 2, Of(&INFO3)),
        ("paths", 4, Named(1, &Of(&PATH3))),
        ("components", 5, Of(&COMPONENTS3)),
    ],
    extensions: 9,
};

static INFO3: Message = Message {
    fields: &[("title", 1, Text), ("version", 6, Text)],
    extensions: 7,
};

static COMPONENTS3: Message = Message {
    fields: &[
        ("schemas", 1, Named(1, &SCHEMA_OR_REFERENCE)),
        ("securitySchemes", 7, Named(1, &In(1, &Of(&SECURITY3)))),
    ],
    extensions: 10,
};

static SECURITY3: Message = Message {
    fields: &[
        ("type", 1, Text),
        ("description", 2, Text),
        ("name", 3, Text),
        ("in", 4, Text),
    ],
    extensions: 9,
};

static PATH3: Message = Message {
    fields: &[
        ("get", 4, Of(&OPERATION3)),
        ("put", 5, Of(&OPERATION3)),
        ("post", 6, Of(&OPERATION3)),
        ("delete", 7, Of(&OPERATION3)),
        ("options", 8, Of(&OPERATION3)),
        ("head", 9, Of(&OPERATION3)),
        ("patch", 10, Of(&OPERATION3)),
        ("parameters", 13, Each(&In(1, &Of(&PARAMETER3)))),
    ],
    extensions: 14,
};

static OPERATION3: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, Each(&In(1, &Of(&PARAMETER3)))),
        ("requestBody", 7, In(1, &Of(&BODY3))),
        ("responses", 8, Named(2, &In(1, &Of(&RESPONSE3)))),
    ],
    extensions: 13,
};

static PARAMETER3: Message = Message {
    fields: &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Bool),
        ("schema", 10, As(&SCHEMA_OR_REFERENCE)),
    ],
    extensions: 14,
};

static BODY3: Message = Message {
    fields: &[
        ("content", 2, Named(1, &Of(&MEDIA3))),
        ("required", 3, Bool),
    ],
    extensions: 4,
};

static RESPONSE3: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("content", 3, Named(1, &Of(&MEDIA3))),
    ],
    extensions: 5,
};

static MEDIA3: Message = Message {
    fields: &[("schema", 1, As(&SCHEMA_OR_REFERENCE))],
    extensions: 5,
};

static SCHEMA_OR_REFERENCE: Kind = Either(
    is_reference,
    &In(2, &Of(&REFERENCE3)),
    &In(1, &Of(&SCHEMA3)),
);

static REFERENCE3: Message = Message {
    fields: &[("$ref", 1, Text), ("description", 3, Text)],
    extensions: 0,
};

static SCHEMA3: Message = Message {
    fields: &[
        ("nullable", 1, Bool),
        ("example", 7, Any),
        ("title", 9, Text),
        ("multipleOf", 10, Double),
        ("maximum", 11, Double),
        ("exclusiveMaximum", 12, Bool),
        ("minimum", 13, Double),
        ("exclusiveMinimum", 14, Bool),
        ("maxLength", 15, Int),
        ("minLength", 16, Int),
        ("pattern", 17, Text),
        ("maxItems", 18, Int),
        ("minItems", 19, Int),
        ("uniqueItems", 20, Bool),
        ("maxProperties", 21, Int),
        ("minProperties", 22, Int),
        ("required", 23, Texts),
        ("enum", 24, Anys),
        ("type", 25, Text),
        ("allOf", 26, Each(&SCHEMA_OR_REFERENCE)),
        ("oneOf", 27, Each(&SCHEMA_OR_REFERENCE)),
        ("anyOf", 28, Each(&SCHEMA_OR_REFERENCE)),
        ("not", 29, Of(&SCHEMA3)),
        ("items", 30, In(1, &SCHEMA_OR_REFERENCE)),
        ("properties", 31, Named(1, &SCHEMA_OR_REFERENCE)),
        (
            "additionalProperties",
            32,
            Either(is_bool, &In(2, &Bool), &In(1, &SCHEMA_OR_REFERENCE)),
        ),
        ("default", 33, Default),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    extensions: 36,
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_written_by_their_numbers() {
        let document = json!({ "swagger": "2.0", "definitions": { "a": { "type": "string", "maxLength": 300, "x-b": true } } });
        let schema = [
            &[88, 172, 2][..],    // maxLength
            &[178, 1, 8, 10, 6],  // type {
            b"string",            // value }
            &[250, 1, 13, 10, 3], // vendor_extension { name
            b"x-b",               //
            &[18, 6, 18, 4],      // value { yaml
            b"true",              // }}
        ]
        .concat();
        let mut entry = [
            &[10, 1, b'a', 18][..],
            &[u8::try_from(schema.len()).unwrap()],
            &schema,
        ]
        .concat();
        entry = [&[10, u8::try_from(entry.len()).unwrap()][..], &entry].concat();
        let expected = [
            &[10, 3][..],
            b"2.0",
            &[74, u8::try_from(entry.len()).unwrap()],
            &entry,
        ]
        .concat();
        assert_eq!(v2(&document), expected);
    }

    #[test]
    fn parameters_are_in_their_place() {
        let query = json!({ "in": "query", "name": "n" });
        let document = json!({ "paths": { "/": { "parameters": [{ "$ref": "#/p" }, query] } } });
        let reference = [&[74, 7, 18, 5, 10, 3][..], b"#/p"].concat();
        let query = [
            &[74, 16, 10, 14, 18, 12, 26, 10, 18, 5][..],
            b"query",
            &[34, 1, b'n'],
        ]
        .concat();
        let found = v2(&document);
        let expected = [&[10, 1, b'/', 18, 27][..], &reference, &query].concat();
        assert!(found.ends_with(&expected), "{found:?}");
    }
}
