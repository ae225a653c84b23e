//! Probes and lifecycle hooks.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

/// The probes of a container.
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// The hooks and probes of a container that may have them; `grace` is the pod's.
pub(super) fn of_container(
    container: &Value,
    grace: Option<i64>,
    path: &Path,
    errors: &mut Errors,
) {
    if let Some(lifecycle) = check::given(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = check::given(lifecycle, hook) {
                let at = path.child("lifecycle").child(hook);
                let kinds = ["exec", "httpGet", "tcpSocket", "sleep"];
                one_handler(handler, &kinds, grace, &at, errors);
            }
        }
    }
    for kind in PROBES {
        if let Some(value) = check::given(container, kind) {
            probe(value, kind, grace, &path.child(kind), errors);
        }
    }
}

/// Refuses hooks and probes of a container that ends before others start.
pub(super) fn none(container: &Value, path: &Path, errors: &mut Errors) {
    for field in std::iter::once("lifecycle").chain(PROBES) {
        if check::given(container, field).is_some() {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.forbidden(path.child(field), why);
        }
    }
}

fn probe(probe: &Value, kind: &str, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc"];
    one_handler(probe, &kinds, grace, path, errors);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        check::not_negative(probe, field, path, errors);
    }
    let seconds = probe.i64_at(&["terminationGracePeriodSeconds"]);
    let at = || path.child("terminationGracePeriodSeconds");
    if let Some(seconds) = seconds.filter(|seconds| *seconds <= 0) {
        errors.invalid(at(), seconds, "must be greater than 0");
    }
    if kind == "readinessProbe" {
        if let Some(seconds) = seconds {
            errors.invalid(at(), seconds, "must not be set for readinessProbes");
        }
        return;
    }
    let threshold = probe.i64_at(&["successThreshold"]).unwrap_or(0);
    if threshold != 1 {
        errors.invalid(path.child("successThreshold"), threshold, "must be 1");
    }
}

/// Exactly one handler of these kinds, and that one whole.
fn one_handler(
    holder: &Value,
    kinds: &[&str],
    grace: Option<i64>,
    path: &Path,
    errors: &mut Errors,
) {
    let mut found = false;
    for kind in kinds {
        let Some(handler) = check::given(holder, kind) else {
            continue;
        };
        let at = path.child(kind);
        if std::mem::replace(&mut found, true) {
            errors.forbidden(at, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" => {
                if handler.list_at(&["command"]).is_empty() {
                    errors.required(at.child("command"), "");
                }
            }
            "httpGet" => http_get(handler, &at, errors),
            "sleep" => sleep(handler, grace, &at, errors),
            _ => port(handler, &at, errors),
        }
    }
    if !found {
        errors.required(path.clone(), "must specify a handler type");
    }
}

fn http_get(get: &Value, path: &Path, errors: &mut Errors) {
    check::required(get, "path", path, errors);
    port(get, path, errors);
    let scheme = get.str_at(&["scheme"]);
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.not_supported(path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in get.list_at(&["httpHeaders"]) {
        let name = header.str_at(&["name"]);
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(valid) {
            let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
                       validation is '[-A-Za-z0-9]+')";
            errors.invalid(path.child("httpHeaders"), name, why);
        }
    }
}

/// A port by number or name.
fn port(handler: &Value, path: &Path, errors: &mut Errors) {
    let at = || path.child("port");
    match handler.get("port") {
        Some(Value::String(name)) => {
            check::problems(name, name::port(name), &at(), errors);
        }
        other => check::port(
            Some(other.and_then(Value::as_i64).unwrap_or(0)),
            &at(),
            errors,
        ),
    }
}

fn sleep(sleep: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let seconds = sleep.i64_at(&["seconds"]).unwrap_or(0);
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path.clone(), seconds, &why);
    }
}
