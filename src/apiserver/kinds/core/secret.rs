//! Secret.

use serde_json::Value;

use super::config_map::{MOST_BYTES, immutable};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Secret;

/// The keys that a type of secret must have.
const REQUIRED: [(&str, &[&str]); 4] = [
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

impl Strategy for Secret {
    fn default(&self, object: &mut Value) {
        object.default_at(&["type"], "Opaque");
        // What is written in clear goes where it is kept.
        let Some(Value::Object(clear)) = object.remove_at(&["stringData"]) else {
            return;
        };
        for (key, value) in clear {
            let text = value.as_str().unwrap_or_default();
            object.set_at(
                &["data", &key],
                crate::object::base64::encode(text.as_bytes()),
            );
        }
    }

    fn prepare_update(&self, _context: &Context<'_>, object: &mut Value, old: &Value) {
        // The type of a secret never changes, so it may be left out.
        if object.str_at(&["type"]).is_empty() {
            object.set_at(&["type"], old.str_at(&["type"]));
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let data = Path::new("data");
        let mut size = 0;
        for (key, value) in check::map_at(object, &["data"]).into_iter().flatten() {
            check::config_key(key, &data.key(key), errors);
            size += value.as_str().map_or(0, str::len) / 4 * 3;
        }
        if size > MOST_BYTES {
            errors.too_long(data.clone(), MOST_BYTES);
        }
        let type_ = object.str_at(&["type"]);
        let required = REQUIRED
            .iter()
            .find(|(name, _)| *name == type_)
            .map(|(_, keys)| *keys)
            .unwrap_or_default();
        for key in required {
            if object.at(&["data", key]).is_none() {
                errors.required(data.key(key), "");
            }
        }
        if type_ == "kubernetes.io/service-account-token" {
            let annotation = "kubernetes.io/service-account.name";
            if object.annotation(annotation).unwrap_or_default().is_empty() {
                errors.required(
                    Path::new("metadata").child("annotations").key(annotation),
                    "",
                );
            }
        }
        if type_ == "kubernetes.io/basic-auth"
            && ["username", "password"]
                .iter()
                .all(|key| object.at(&["data", key]).is_none())
        {
            errors.required(data.key("username"), "");
            errors.required(data.key("password"), "");
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        check::immutable(object, old, "type", &Path::default(), errors);
        immutable(object, old, &["data"], errors);
        self.validate(context, object, errors);
    }

    fn selectable_fields(&self) -> &[&str] {
        &["type"]
    }

    fn field(&self, object: &Value, _field: &str) -> String {
        object.str_at(&["type"]).to_owned()
    }

    fn has_generation(&self) -> bool {
        false
    }
}
