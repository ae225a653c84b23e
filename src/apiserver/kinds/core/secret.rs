//! Secret.

use serde_json::Value;

use super::config_map::{MOST_BYTES, immutable};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::apiserver::schema;
use crate::object::field::{Errors, Path};
use crate::object::{Document, base64};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Secret;

const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";
/// The annotation with the service account of a token.
const ACCOUNT: &str = "kubernetes.io/service-account.name";

impl Strategy for Secret {
    fn default(&self, object: &mut Value) {
        if object.str_at(&["type"]).is_empty() {
            object.set_at(&["type"], "Opaque");
        }
        // What is written in clear goes where it is kept.
        let Some(Value::Object(clear)) = object.remove_at(&["stringData"]) else {
            return;
        };
        for (key, value) in clear {
            let text = value.as_str().unwrap_or_default();
            object.set_at(&["data", &key], base64::encode(text.as_bytes()));
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
            size += check::base64_size(value);
        }
        if size > MOST_BYTES {
            errors.too_long(data.clone(), MOST_BYTES);
        }
        let require = |keys: &[&str], errors: &mut Errors| {
            for key in keys.iter().filter(|key| !has(object, key)) {
                errors.required(data.key(key), "");
            }
        };
        match object.str_at(&["type"]) {
            "kubernetes.io/service-account-token"
                if object.annotation(ACCOUNT).unwrap_or_default().is_empty() =>
            {
                let path = Path::new("metadata").child("annotations");
                errors.required(path.key(ACCOUNT), "");
            }
            "kubernetes.io/dockercfg" => docker_config(object, ".dockercfg", errors),
            "kubernetes.io/dockerconfigjson" => docker_config(object, ".dockerconfigjson", errors),
            "kubernetes.io/basic-auth" => {
                let either = ["username", "password"];
                if !either.iter().any(|key| has(object, key)) {
                    require(&either, errors);
                }
            }
            "kubernetes.io/ssh-auth" => {
                let key = "ssh-privatekey";
                if object.str_at(&["data", key]).is_empty() {
                    errors.required(data.key(key), "");
                }
            }
            "kubernetes.io/tls" => require(&[CERTIFICATE, PRIVATE_KEY], errors),
            _ => {}
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

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        if object.str_at(&["type"]) != "kubernetes.io/tls" {
            return Vec::new();
        }
        let pem = |key: &str| {
            let bytes = base64::decode(object.str_at(&["data", key])).unwrap_or_default();
            blocks(&String::from_utf8_lossy(&bytes))
        };
        key_pair_problem(&pem(CERTIFICATE), &pem(PRIVATE_KEY))
            .into_iter()
            .collect()
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

fn has(object: &Value, key: &str) -> bool {
    object.at(&["data", key]).is_some()
}

/// The credentials of registries must be there, as a JSON object.
fn docker_config(object: &Value, key: &str, errors: &mut Errors) {
    let path = Path::new("data").key(key);
    if !has(object, key) {
        errors.required(path, "");
        return;
    }
    let bytes = base64::decode(object.str_at(&["data", key])).unwrap_or_default();
    if let Some(problem) = schema::object_problem(&bytes) {
        errors.invalid(path, "<secret contents redacted>", &problem);
    }
}

/// The types of the PEM blocks in a text.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        rest = begun;
        let Some((kind, body)) = begun.split_once("-----") else {
            break;
        };
        let Some((body, after)) = body.split_once(&format!("-----END {kind}-----")) else {
            continue;
        };
        let is_body = |line: &str| {
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\r".contains(&byte);
            line.bytes().all(valid) || line.contains(": ")
        };
        if body.lines().all(is_body) {
            found.push(kind.to_owned());
            rest = after;
        }
    }
    found
}

/// What is wrong with a certificate and its key, in Go's words (`tls.X509KeyPair`). What is inside the blocks is not looked at.
fn key_pair_problem(certificate: &[String], key: &[String]) -> Option<String> {
    const PRIVATE: &str = "PRIVATE KEY";
    let list = |kinds: &[String]| format!("[{}]", kinds.join(" "));
    let is_key = |kind: &String| kind == PRIVATE || kind.ends_with(" PRIVATE KEY");
    if !certificate.iter().any(|kind| kind == "CERTIFICATE") {
        return Some(match certificate {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [kind] if kind.ends_with(PRIVATE) => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            kinds => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: {}",
                list(kinds)
            ),
        });
    }
    if !key.iter().any(is_key) {
        return Some(match key {
            [] => "tls: failed to find any PEM data in key input".to_owned(),
            [kind] if kind == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key"
                    .to_owned()
            }
            kinds => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: {}",
                list(kinds)
            ),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{defaulted, errors_of, errors_of_update};

    fn secret(kind: &str, data: &Value) -> Value {
        defaulted(&Secret, json!({ "type": kind, "stringData": data }))
    }

    #[test]
    fn types() {
        for (kind, data, expected) in [
            ("", json!({ "a": "b" }), ""),
            (
                "",
                json!({ "a b": "" }),
                "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            ),
            (
                "kubernetes.io/tls",
                json!({}),
                "data[tls.crt]: Required value; data[tls.key]: Required value",
            ),
            (
                "kubernetes.io/basic-auth",
                json!({}),
                "data[username]: Required value; data[password]: Required value",
            ),
            ("kubernetes.io/basic-auth", json!({ "password": "" }), ""),
            (
                "kubernetes.io/ssh-auth",
                json!({ "ssh-privatekey": "" }),
                "data[ssh-privatekey]: Required value",
            ),
            (
                "kubernetes.io/dockerconfigjson",
                json!({}),
                "data[.dockerconfigjson]: Required value",
            ),
            (
                "kubernetes.io/dockercfg",
                json!({ ".dockercfg": "[]" }),
                "data[.dockercfg]: Invalid value: \"<secret contents redacted>\": json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            (
                "kubernetes.io/dockercfg",
                json!({ ".dockercfg": "" }),
                "data[.dockercfg]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input",
            ),
            (
                "kubernetes.io/service-account-token",
                json!({}),
                "metadata.annotations[kubernetes.io/service-account.name]: Required value",
            ),
        ] {
            assert_eq!(errors_of(&Secret, &secret(kind, &data)), expected);
        }
        let large = secret("", &json!({ "a": "x".repeat(MOST_BYTES + 1) }));
        assert_eq!(
            errors_of(&Secret, &large),
            "data: Too long: may not be more than 1048576 bytes"
        );
        let full = secret("", &json!({ "a": "x".repeat(MOST_BYTES) }));
        assert_eq!(errors_of(&Secret, &full), "");
    }

    #[test]
    fn what_stays() {
        let mut old = secret("", &json!({ "a": "b" }));
        let other = secret("x", &json!({ "a": "b" }));
        assert_eq!(
            errors_of_update(&Secret, None, &other, &old),
            "type: Invalid value: \"x\": field is immutable"
        );
        old["immutable"] = true.into();
        let new = secret("", &json!({ "a": "c" }));
        assert_eq!(
            errors_of_update(&Secret, None, &new, &old),
            "immutable: Forbidden: field is immutable when `immutable` is set; data: Forbidden: field is immutable when `immutable` is set"
        );
    }

    #[test]
    fn key_pairs() {
        let pem = |kind: &str| format!("-----BEGIN {kind}-----\nYQ==\n-----END {kind}-----\n");
        for (certificate, key, expected) in [
            (
                String::new(),
                String::new(),
                Some("tls: failed to find any PEM data in certificate input"),
            ),
            (pem("CERTIFICATE"), pem("EC PRIVATE KEY"), None),
            (
                pem("CERTIFICATE"),
                pem("CERTIFICATE"),
                Some("tls: found a certificate rather than a key in the PEM for the private key"),
            ),
            (
                pem("CERTIFICATE"),
                String::new(),
                Some("tls: failed to find any PEM data in key input"),
            ),
        ] {
            let found = key_pair_problem(&blocks(&certificate), &blocks(&key));
            assert_eq!(found.as_deref(), expected);
        }
    }
}
