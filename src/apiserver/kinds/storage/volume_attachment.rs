//! VolumeAttachment: a volume is to be attached to a node.

use serde_json::{Value, json};

use super::driver_name;
use crate::apiserver::kinds::check;
use crate::apiserver::kinds::core::validate_inline_volume;
use crate::apiserver::registry::strategy::{CLIENT_METADATA, Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct VolumeAttachment;

const VOLUME: &str = "persistentVolumeName";
const MOST_METADATA: usize = 256 << 10;
const MOST_MESSAGE: usize = 1024;
const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

impl Strategy for VolumeAttachment {
    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn status_keeps(&self) -> &[&[&str]] {
        CLIENT_METADATA
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate(object, errors);
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let attacher = spec.str_at(&["attacher"]);
        driver_name(attacher, &Path::new("spec.attacher"), errors);
        if let Some(volume) = spec.at(&["source", VOLUME]).and_then(Value::as_str) {
            let path = Path::new("spec.source").child(VOLUME);
            check::problems(volume, name::dns_subdomain(volume), &path, errors);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        // The real server does so twice.
        validate(object, errors);
        validate(object, errors);
        if context.subresource.is_none() {
            let definition = "api.storage.v1.VolumeAttachmentSpec";
            check::immutable_struct(object, old, "spec", definition, &Path::default(), errors);
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn validate(object: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let empty = Value::Null;
    let spec = object.get("spec").unwrap_or(&empty);
    if spec.str_at(&["attacher"]).is_empty() {
        errors.required(path.child("attacher"), "");
    }
    let at = path.child("source");
    let inline = spec
        .at(&["source", "inlineVolumeSpec"])
        .filter(|inline| inline.is_object());
    let volume = spec.at(&["source", VOLUME]).and_then(Value::as_str);
    match (inline, volume) {
        (None, None) => errors.required(at, ONE),
        (Some(_), Some(_)) => errors.forbidden(at, ONE),
        (None, Some("")) => {
            let why = "must specify non empty persistentVolumeName";
            errors.required(at.child(VOLUME), why);
        }
        (None, Some(_)) => {}
        (Some(inline), None) => {
            validate_inline_volume(inline, &at.child("inlineVolumeSpec"), errors);
        }
    }
    let node = spec.str_at(&["nodeName"]);
    check::problems(
        node,
        name::dns_subdomain(node),
        &path.child("nodeName"),
        errors,
    );
    let path = Path::new("status");
    let status = object.get("status").unwrap_or(&empty);
    let metadata = check::map_at(status, &["attachmentMetadata"]);
    if metadata.is_some_and(|metadata| check::bytes_of(metadata) > MOST_METADATA) {
        errors.too_long(path.child("attachmentMetadata"), MOST_METADATA);
    }
    for field in ["attachError", "detachError"] {
        let Some(error) = status.get(field) else {
            continue;
        };
        if error.str_at(&["message"]).len() > MOST_MESSAGE {
            // The real server names the limit of the metadata.
            errors.too_long(path.child(field).child("message"), MOST_METADATA);
        }
        if let Some(code) = error.i64_at(&["errorCode"]).filter(|code| *code < 0) {
            let why = "must be between 0 and 2147483647, inclusive";
            errors.invalid(path.child(field).child("errorCode"), code, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    fn attachment(source: Value) -> Value {
        json!({ "spec": { "attacher": "a.example.com", "nodeName": "n", "source": source } })
    }

    #[test]
    fn rules() {
        for (source, expected) in [
            (json!({ VOLUME: "v" }), String::new()),
            (json!({}), format!("spec.source: Required value: {ONE}")),
            (
                json!({ VOLUME: "v", "inlineVolumeSpec": {} }),
                format!("spec.source: Forbidden: {ONE}"),
            ),
            (
                json!({ "inlineVolumeSpec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1" }, "csi": { "driver": "d", "volumeHandle": "h" } } }),
                "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes".into(),
            ),
        ] {
            assert_eq!(errors_of(&VolumeAttachment, &attachment(source)), expected);
        }
    }

    #[test]
    fn the_spec_stays() {
        let old = attachment(json!({ VOLUME: "v" }));
        let new = attachment(json!({ VOLUME: "w" }));
        let found = errors_of_update(&VolumeAttachment, None, &new, &old);
        let source = "\"Source\":{\"PersistentVolumeName\":\"w\",\"InlineVolumeSpec\":null}";
        assert!(
            found.starts_with("spec: Invalid value: {\"Attacher\":"),
            "{found}"
        );
        assert!(found.contains(source), "{found}");
        let mut status = old.clone();
        status["status"] = json!({ "attachError": { "errorCode": -1 } });
        let found = errors_of_update(&VolumeAttachment, Some("status"), &status, &old);
        assert!(
            found.starts_with("status.attachError.errorCode: Invalid value: -1"),
            "{found}"
        );
    }
}
