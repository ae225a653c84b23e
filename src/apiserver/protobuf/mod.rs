//! Kubernetes' protobuf encoding (`application/vnd.kubernetes.protobuf`), to and from JSON documents, by one table of field
//! numbers (`schema/numbers.tsv`). kubectl and most clients written in Go send and want it for built-in kinds.
mod decode;
mod encode;
mod shape;
pub(crate) mod wire;

use super::schema::table;
use crate::object::{Document, GroupVersion};
use serde_json::{Map, Value, json};
use shape::Shape;
use wire::{Content, Reader};

/// The media type.
pub(crate) const MEDIA: &str = "application/vnd.kubernetes.protobuf";
/// What every document begins with.
const MAGIC: &[u8] = b"k8s\0";
const LIST_META: &str = "apimachinery.pkg.apis.meta.v1.ListMeta";
const OBJECT_META: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";
const DELETE_OPTIONS: &str = "apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// What every document ends with: neither an encoding nor a type of content.
pub(crate) const END: &[u8] = &[26, 0, 34, 0];

/// The document in protobuf; `None`: its kind has no such form.
pub(crate) fn encode(document: &Value) -> Option<Vec<u8>> {
    let raw = message(document)?;
    let mut out = start(api_version(document), document.kind(), raw.len());
    out.extend(raw);
    out.extend_from_slice(END);
    Some(out)
}

/// What goes before a message of this length; [`END`] goes after it.
pub(crate) fn start(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut type_meta = Vec::new();
    wire::bytes(&mut type_meta, 1, api_version.as_bytes());
    wire::bytes(&mut type_meta, 2, kind.as_bytes());
    let mut out = MAGIC.to_vec();
    wire::bytes(&mut out, 1, &type_meta);
    wire::length(&mut out, 2, length);
    out
}

/// Discovery leaves it out of some documents.
fn api_version(document: &Value) -> &str {
    match document.str_at(&["apiVersion"]) {
        "" => "v1",
        version => version,
    }
}

/// The document without its type; `None`: its kind has no such form.
pub(crate) fn message(document: &Value) -> Option<Vec<u8>> {
    let map = document.as_object()?;
    let (version, kind) = (api_version(document), document.kind());
    if version == "meta.k8s.io/v1" || version == "meta.k8s.io/v1beta1" {
        return match kind {
            "PartialObjectMetadata" => partial(map),
            "PartialObjectMetadataList" => list(map, partial),
            _ => None,
        };
    }
    let version = GroupVersion::parse(version).ok()?;
    let of = |kind: &str| {
        let slot = table::kind(&version.group, &version.version, kind)?;
        Shape::of(slot.name())
    };
    if let Some(shape) = of(kind) {
        return Some(encode::message(map, shape));
    }
    let item = of(kind.strip_suffix("List")?)?;
    list(map, |map| Some(encode::message(map, item)))
}

fn partial(map: &Map<String, Value>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    if let Some(Value::Object(metadata)) = map.get("metadata") {
        let metadata = encode::message(metadata, Shape::of(OBJECT_META)?);
        wire::bytes(&mut out, 1, &metadata);
    }
    Some(out)
}

fn list(
    map: &Map<String, Value>,
    item: impl Fn(&Map<String, Value>) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut out = map.get("metadata").map_or_else(Vec::new, list_start);
    let items = map.get("items").and_then(Value::as_array);
    for value in items.into_iter().flatten().filter_map(Value::as_object) {
        wire::bytes(&mut out, ITEM, &item(value)?);
    }
    Some(out)
}

/// The number of the items in a list.
const ITEM: u32 = 2;

/// How the message of a list with this metadata begins; its items follow.
pub(crate) fn list_start(metadata: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let (Value::Object(metadata), Some(shape)) = (metadata, Shape::of(LIST_META)) {
        wire::bytes(&mut out, 1, &encode::message(metadata, shape));
    }
    out
}

/// What goes before an item of this length in a list.
pub(crate) fn item_start(length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    wire::length(&mut out, ITEM, length);
    out
}

/// An event of a watch, with its length before it.
pub(crate) fn watch_event(type_: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(object.len() + 8);
    wire::bytes(&mut raw, 1, object);
    let mut message = Vec::with_capacity(raw.len() + 24);
    wire::bytes(&mut message, 1, type_.as_bytes());
    wire::bytes(&mut message, 2, &raw);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend(message);
    out
}

/// The message of [`watch_event`] alone, for what has lengths of its own.
pub(crate) fn without_length(event: &[u8]) -> &[u8] {
    event.get(size_of::<u32>()..).unwrap_or_default()
}

/// The document in the body of a request. Of kinds that are not known it has only the type.
///
/// # Errors
/// Go's words for what is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let Some(unknown) = bytes.strip_prefix(MAGIC) else {
        return Err("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".into());
    };
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader(unknown);
    while let Some(field) = reader.field()? {
        match field {
            (1, Content::Bytes(type_meta)) => {
                let mut reader = Reader(type_meta);
                while let Some(field) = reader.field()? {
                    match field {
                        (1, Content::Bytes(text)) => {
                            version = String::from_utf8_lossy(text).into_owned();
                        }
                        (2, Content::Bytes(text)) => {
                            kind = String::from_utf8_lossy(text).into_owned();
                        }
                        _ => {}
                    }
                }
            }
            (2, Content::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut map = Map::new();
    if let Some(shape) = shape_of(&version, &kind) {
        decode::message(raw, shape, &mut map, 0)?;
    }
    map.insert("apiVersion".into(), json!(version));
    map.insert("kind".into(), json!(kind));
    Ok(map.into())
}

fn shape_of(version: &str, kind: &str) -> Option<&'static Shape> {
    // Every group has these of its own.
    if kind == "DeleteOptions" {
        return Shape::of(DELETE_OPTIONS);
    }
    let version = GroupVersion::parse(version).ok()?;
    let slot = table::kind(&version.group, &version.version, kind)?;
    Shape::of(slot.name())
}

#[cfg(test)]
mod tests;
