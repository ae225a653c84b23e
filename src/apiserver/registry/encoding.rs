//! Objects as bytes: how they are stored, and how they are answered.
//!
//! Stored bytes are compact JSON that begins with `{"apiVersion":"…","kind":"…","metadata":{`, in which the metadata has no
//! `resourceVersion`: that is the store's revision of the entry. So an answer is the stored bytes with one field put in at a
//! place that is found without parsing, and an update that changes nothing is seen by comparing bytes.
use crate::store::Revision;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

/// The JSON that is stored: `apiVersion`, `kind` and `metadata` first, no `metadata.resourceVersion`, the rest as the map has it.
pub(crate) fn encode(object: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let text = |field: &str| {
        object
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    out.extend_from_slice(b"{\"apiVersion\":");
    write(&mut out, text("apiVersion"));
    out.extend_from_slice(b",\"kind\":");
    write(&mut out, text("kind"));
    out.extend_from_slice(b",\"metadata\":{");
    let metadata = object.get("metadata").and_then(Value::as_object);
    let mut first = true;
    for (key, value) in metadata.into_iter().flatten() {
        if key != "resourceVersion" {
            field(&mut out, &mut first, key, value);
        }
    }
    out.push(b'}');
    first = false;
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            field(&mut out, &mut first, key, value);
        }
    }
    out.push(b'}');
    Bytes::from(out)
}

/// The answer: what is stored, with its resource version.
pub(crate) fn with_revision(stored: &Bytes, revision: Revision) -> Bytes {
    let Some(at) = metadata_start(stored) else {
        // Written by something else in another layout.
        return decode(stored, revision)
            .map_or_else(|_| stored.clone(), |object| Bytes::from(object.to_string()));
    };
    let mut out = Vec::with_capacity(stored.len() + 44);
    let (before, after) = stored.split_at(at);
    out.extend_from_slice(before);
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');
    if after.first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(after);
    Bytes::from(out)
}

/// The document that is stored, with its resource version.
///
/// # Errors
/// When the bytes are no JSON object.
pub(crate) fn decode(stored: &[u8], revision: Revision) -> Result<Value, serde_json::Error> {
    let mut object: serde_json::Map<String, Value> = serde_json::from_slice(stored)?;
    let metadata = object
        .entry("metadata")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Value::Object(metadata) = metadata {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
    Ok(Value::Object(object))
}

/// Where the first field of the metadata begins.
fn metadata_start(stored: &[u8]) -> Option<usize> {
    let mut at = 0;
    for marker in [&b"{\"apiVersion\":\""[..], b",\"kind\":\""] {
        at += stored
            .get(at..)?
            .starts_with(marker)
            .then_some(marker.len())?;
        // Versions and kinds hold no characters that JSON escapes.
        at += stored.get(at..)?.iter().position(|byte| *byte == b'"')? + 1;
    }
    let marker = b",\"metadata\":{";
    stored
        .get(at..)?
        .starts_with(marker)
        .then_some(at + marker.len())
}

fn field(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &Value) {
    if !*first {
        out.push(b',');
    }
    *first = false;
    write(out, key);
    out.push(b':');
    write(out, value);
}

/// Serialising text and documents into memory cannot fail.
fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_revision_is_spliced_in() {
        let object = json!({"kind": "A\"b", "apiVersion": "v1", "metadata": {"name": "x", "resourceVersion": "1"}, "a": [1, {"b": null}]});
        for (object, at) in [
            (object, 7),
            (
                json!({"kind": "K", "apiVersion": "g/v1", "metadata": {}}),
                12,
            ),
            (json!({}), 1),
        ] {
            let stored = encode(&object);
            assert!(!String::from_utf8_lossy(&stored).contains("resourceVersion"));
            let answer: Value = serde_json::from_slice(&with_revision(&stored, at)).unwrap();
            assert_eq!(answer, decode(&stored, at).unwrap());
            assert_eq!(answer["metadata"]["resourceVersion"], at.to_string());
        }
    }

    #[test]
    fn foreign_layouts_are_read_too() {
        let stored = Bytes::from_static(
            b"{\"metadata\":{\"name\":\"x\"},\"kind\":\"K\",\"apiVersion\":\"v1\"}",
        );
        let answer: Value = serde_json::from_slice(&with_revision(&stored, 3)).unwrap();
        assert_eq!(
            answer["metadata"],
            json!({"name": "x", "resourceVersion": "3"})
        );
    }
}
