//! How a webhook is reached: the rules of `clientConfig`, which admission webhooks and conversion webhooks share
//! (`k8s.io/apiserver/pkg/util/webhook/validation.go`).
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const FORM: &str = "; desired format: https://host[/path]";

/// Checks a `clientConfig`. `any_bundle`: what the CA bundle holds does not matter.
pub(crate) fn validate(client: &Value, any_bundle: bool, path: &Path, errors: &mut Errors) {
    let there = |field: &str| client.get(field).filter(|value| !value.is_null());
    match (there("url"), there("service")) {
        (Some(url), None) => {
            self::url(url.as_str().unwrap_or_default(), &path.child("url"), errors);
        }
        (None, Some(service)) => self::service(service, &path.child("service"), errors),
        _ => errors.required(path.clone(), "exactly one of url or service is required"),
    }
    let bundle = client.str_at(&["caBundle"]);
    if !bundle.is_empty() && !any_bundle && !is_pem(bundle) {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.invalid(path.child("caBundle"), bundle, why);
    }
}

fn is_pem(base64: &str) -> bool {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----")
}

/// An absolute HTTPS address without anything but host and path.
fn url(text: &str, path: &Path, errors: &mut Errors) {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest))
            if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            (scheme.to_ascii_lowercase(), rest)
        }
        Some(("", _)) => {
            let why =
                format!("url must be a valid URL: parse {text:?}: missing protocol scheme{FORM}");
            errors.required(path.clone(), &why);
            return;
        }
        _ => (String::new(), rest),
    };
    let authority = rest
        .strip_prefix("//")
        .map(|rest| rest.split('/').next().unwrap_or_default());
    let authority = authority.unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid(path.clone(), scheme, &why);
    }
    if host.is_empty() {
        errors.invalid(path.clone(), "", &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        errors.invalid(
            path.clone(),
            user,
            "user information is not permitted in the URL",
        );
    }
    if !fragment.is_empty() {
        errors.invalid(
            path.clone(),
            fragment,
            "fragments are not permitted in the URL",
        );
    }
    if !query.is_empty() {
        errors.invalid(
            path.clone(),
            query,
            "query parameters are not permitted in the URL",
        );
    }
}

fn service(service: &Value, path: &Path, errors: &mut Errors) {
    for field in ["name", "namespace"] {
        if service.str_at(&[field]).is_empty() {
            errors.required(path.child(field), &format!("service {field} is required"));
        }
    }
    let port = service.i64_at(&["port"]).unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(path.child("port"), port, why);
    }
    let text = service.str_at(&["path"]);
    if matches!(text, "" | "/") {
        return;
    }
    let path = path.child("path");
    if text == "//" {
        errors.invalid(path, text, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        errors.invalid(path.clone(), text, "must start with a '/'");
    }
    let mut characters = text.chars();
    characters.next();
    let checked = characters.as_str();
    let checked = checked.strip_suffix('/').unwrap_or(checked);
    for (index, segment) in checked.split('/').enumerate() {
        if segment.is_empty() {
            let why = format!("segment[{index}] may not be empty");
            errors.invalid(path.clone(), text, &why);
        } else {
            for problem in name::dns_subdomain(segment) {
                errors.invalid(path.clone(), text, &format!("segment[{index}]: {problem}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn client_configs_are_checked() {
        for (client, expected) in [
            (json!({"url": "https://a.b/c"}), ""),
            (
                json!({"url": "http://a.b"}),
                "c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme",
            ),
            (
                json!({"url": "https:///x"}),
                "c.url: Invalid value: \"\": host must be specified",
            ),
            (
                json!({"url": "https://u:p@h/"}),
                "c.url: Invalid value: \"u:p\": user information",
            ),
            (
                json!({"url": "https://h/?a=b"}),
                "c.url: Invalid value: \"a=b\": query parameters",
            ),
            (
                json!({"url": "https://h/#f"}),
                "c.url: Invalid value: \"f\": fragments",
            ),
            (
                json!({}),
                "c: Required value: exactly one of url or service is required",
            ),
            (
                json!({"service": {"name": "n", "namespace": "s", "port": 443, "path": "/a/b"}}),
                "",
            ),
            (
                json!({"service": {"namespace": "s"}}),
                "c.service.name: Required value: service name is required",
            ),
            (
                json!({"service": {"name": "n", "namespace": "s", "port": 0}}),
                "c.service.port: Invalid value: 0: port is not valid",
            ),
            (
                json!({"service": {"name": "n", "namespace": "s", "path": "//"}}),
                "c.service.path: Invalid value: \"//\": segment[0] may not be empty",
            ),
            (
                json!({"service": {"name": "n", "namespace": "s", "path": "x"}}),
                "c.service.path: Invalid value: \"x\": must start with a '/'",
            ),
            (
                json!({"url": "https://h", "caBundle": "YQ=="}),
                "c.caBundle: Invalid value: \"YQ==\": unable to load root certificates",
            ),
        ] {
            let mut errors = Errors::new();
            validate(&client, false, &Path::new("c"), &mut errors);
            let found = errors
                .0
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                found.starts_with(expected) && (found.is_empty() == expected.is_empty()),
                "{client}: {found}"
            );
        }
    }
}
