//! Ingress.

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, ip};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Ingress;

/// How the class was given before there was a field for it.
const CLASS: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];

impl Strategy for Ingress {
    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(object, errors);
        let class = object.at(&["spec", "ingressClassName"]);
        let annotation = object.annotation(CLASS);
        let differs = class
            .and_then(Value::as_str)
            .zip(annotation)
            .filter(|(class, annotation)| class != annotation);
        if let Some((_, annotation)) = differs {
            let why = "must match `ingressClassName` when both are specified";
            errors.invalid(Path::new("annotations").child(CLASS), annotation, why);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        match context.subresource {
            None => validate_spec(object, errors),
            Some(_) => validate_status(object, old, errors),
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let unset = object.str_at(&["spec", "ingressClassName"]).is_empty();
        if old.is_none() && unset && object.annotation(CLASS).is_some() {
            vec![format!(
                "annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"
            )]
        } else {
            Vec::new()
        }
    }

    fn status_warnings(&self, object: &Value) -> Vec<String> {
        balancer_warnings(object)
    }
}

/// The addresses of a load balancer's status that are not in good form.
pub(in crate::apiserver::kinds) fn balancer_warnings(object: &Value) -> Vec<String> {
    let path = Path::new("status.loadBalancer.ingress");
    let points = object.list_at(&["status", "loadBalancer", "ingress"]);
    points
        .iter()
        .enumerate()
        .filter_map(|(index, point)| ip::address_warning(&path.index(index), point.str_at(&["ip"])))
        .collect()
}

fn validate_spec(object: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let Some(spec) = object.get("spec") else {
        return;
    };
    let rules = spec.list_at(&["rules"]);
    let backend = present(spec, "defaultBackend");
    if rules.is_empty() && backend.is_none() {
        let shown = spec.get("rules").cloned().unwrap_or(Value::Null);
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(path.clone(), shown, why);
    }
    if let Some(backend) = backend {
        validate_backend(backend, &path.child("defaultBackend"), errors);
    }
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(index), errors);
    }
    for (index, tls) in spec.list_at(&["tls"]).iter().enumerate() {
        let at = path.child("tls").index(index);
        for (number, host) in tls.list_at(&["hosts"]).iter().enumerate() {
            let host = host.as_str().unwrap_or_default();
            validate_host(host, &at.child("hosts").index(number), errors);
        }
        let secret = tls.str_at(&["secretName"]);
        if !secret.is_empty() {
            let problems = name::dns_subdomain(secret);
            check::problems(secret, problems, &at.child("secretName"), errors);
        }
    }
    if let Some(class) = spec.get("ingressClassName").and_then(Value::as_str) {
        let problems = name::dns_subdomain(class);
        check::problems(class, problems, &path.child("ingressClassName"), errors);
    }
}

/// The object at `field`.
fn present<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| value.is_object())
}

fn validate_host(host: &str, path: &Path, errors: &mut Errors) {
    let problems = if host.contains('*') {
        name::wildcard_dns_subdomain(host)
    } else {
        name::dns_subdomain(host)
    };
    check::problems(host, problems, path, errors);
}

fn validate_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let host = rule.str_at(&["host"]);
    if !host.is_empty() {
        if ip::parse(host).is_some() {
            let why = "must be a DNS name, not an IP address";
            errors.invalid(path.child("host"), host, why);
        }
        validate_host(host, &path.child("host"), errors);
    }
    let Some(http) = present(rule, "http") else {
        return;
    };
    let path = path.child("http").child("paths");
    let paths = http.list_at(&["paths"]);
    if paths.is_empty() {
        errors.required(path.clone(), "");
    }
    for (index, entry) in paths.iter().enumerate() {
        validate_path(entry, &path.index(index), errors);
    }
}

fn validate_path(entry: &Value, path: &Path, errors: &mut Errors) {
    let Some(path_type) = entry.get("pathType").and_then(Value::as_str) else {
        errors.required(path.child("pathType"), "pathType must be specified");
        return;
    };
    let text = entry.str_at(&["path"]);
    let at = || path.child("path");
    let exact = matches!(path_type, "Exact" | "Prefix");
    if !PATH_TYPES.contains(&path_type) {
        errors.not_supported(path.child("pathType"), path_type, &PATH_TYPES);
    } else if !text.starts_with('/') && (exact || !text.is_empty()) {
        errors.invalid(at(), text, "must be an absolute path");
    }
    if exact {
        for part in ["//", "/./", "/../", "%2f", "%2F"] {
            if text.contains(part) {
                errors.invalid(at(), text, &format!("must not contain '{part}'"));
            }
        }
        for end in ["/..", "/."] {
            if text.ends_with(end) {
                errors.invalid(at(), text, &format!("cannot end with '{end}'"));
            }
        }
    }
    let backend = entry.get("backend").unwrap_or(&Value::Null);
    validate_backend(backend, &path.child("backend"), errors);
}

fn validate_backend(backend: &Value, path: &Path, errors: &mut Errors) {
    let (resource, service) = (present(backend, "resource"), present(backend, "service"));
    match (resource, service) {
        (Some(_), Some(_)) => errors.invalid(
            path.clone(),
            "",
            "cannot set both resource and service backends",
        ),
        (Some(resource), None) => check::typed_reference(resource, &path.child("resource"), errors),
        (None, Some(service)) => validate_service(service, path, errors),
        (None, None) => {
            errors.invalid(path.clone(), "", "resource or service backend is required");
        }
    }
}

fn validate_service(service: &Value, path: &Path, errors: &mut Errors) {
    let at = |field: &str| path.child("service").child(field);
    let name = service.str_at(&["name"]);
    if name.is_empty() {
        errors.required(at("name"), "");
    } else {
        check::problems(name, name::dns_label(name), &at("name"), errors);
    }
    let port_name = service.str_at(&["port", "name"]);
    let number = service.i64_at(&["port", "number"]).unwrap_or(0);
    match (port_name.is_empty(), number) {
        (true, 0) => errors.required(path.clone(), "port name or number is required"),
        (true, number) => check::port(Some(number), &at("port").child("number"), errors),
        (false, 0) => {
            let problems = name::port(port_name);
            check::problems(port_name, problems, &at("port").child("name"), errors);
        }
        (false, _) => {
            errors.invalid(path.clone(), "", "cannot set both port name & port number");
        }
    }
}

fn validate_status(object: &Value, old: &Value, errors: &mut Errors) {
    let points = |object| Document::list_at(object, &["status", "loadBalancer", "ingress"]);
    let kept: Vec<&str> = points(old)
        .iter()
        .map(|point| point.str_at(&["ip"]))
        .collect();
    let path = Path::new("status.loadBalancer.ingress");
    for (index, point) in points(object).iter().enumerate() {
        balancer_point(point, &kept, &path.index(index), errors);
    }
}

/// Where a load balancer is reached: an address, a name, or both.
pub(in crate::apiserver::kinds) fn balancer_point(
    point: &Value,
    kept: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    let address = point.str_at(&["ip"]);
    if !address.is_empty() {
        ip::address(address, kept, &path.child("ip"), errors);
    }
    let host = point.str_at(&["hostname"]);
    if !host.is_empty() {
        let problems = name::dns_subdomain(host);
        check::problems(host, problems, &path.child("hostname"), errors);
        if ip::parse(host).is_some() {
            let why = "must be a DNS name, not an IP address";
            errors.invalid(path.child("hostname"), host, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    fn ingress(rule: Value) -> Value {
        json!({ "metadata": { "name": "x" }, "spec": { "rules": [rule] } })
    }

    fn path(path: Value) -> Value {
        ingress(json!({ "http": { "paths": [path] } }))
    }

    fn backend(backend: Value) -> Value {
        path(json!({ "path": "/", "pathType": "Prefix", "backend": backend }))
    }

    #[test]
    fn rules() {
        let service = json!({ "service": { "name": "s", "port": { "number": 80 } } });
        let at = "spec.rules[0].http.paths[0]";
        for (object, expected) in [
            (backend(service.clone()), String::new()),
            (
                json!({ "spec": {} }),
                "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"
                    .into(),
            ),
            (
                ingress(json!({ "host": "1.2.3.4" })),
                "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address".into(),
            ),
            (
                ingress(json!({ "http": {} })),
                "spec.rules[0].http.paths: Required value".into(),
            ),
            (
                path(json!({ "path": "/" })),
                format!("{at}.pathType: Required value: pathType must be specified"),
            ),
            (
                path(json!({ "path": "/", "pathType": "X", "backend": service })),
                format!(
                    "{at}.pathType: Unsupported value: \"X\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
                ),
            ),
            (
                path(json!({ "path": "/a//b/..", "pathType": "Exact", "backend": service })),
                format!(
                    "{at}.path: Invalid value: \"/a//b/..\": must not contain '//'; {at}.path: Invalid value: \"/a//b/..\": cannot end with '/..'"
                ),
            ),
            (
                path(json!({ "path": "rel", "pathType": "ImplementationSpecific", "backend": service })),
                format!("{at}.path: Invalid value: \"rel\": must be an absolute path"),
            ),
            (
                backend(json!({})),
                format!("{at}.backend: Invalid value: \"\": resource or service backend is required"),
            ),
            (
                backend(json!({ "service": { "name": "s", "port": {} } })),
                format!("{at}.backend: Required value: port name or number is required"),
            ),
            (
                backend(json!({ "service": { "name": "s", "port": { "name": "http", "number": 1 } } })),
                format!("{at}.backend: Invalid value: \"\": cannot set both port name & port number"),
            ),
            (
                backend(json!({ "service": { "name": "s", "port": { "number": 70000 } } })),
                format!(
                    "{at}.backend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"
                ),
            ),
            (
                backend(json!({ "resource": { "kind": "", "name": "a/b" } })),
                format!(
                    "{at}.backend.resource.kind: Required value; {at}.backend.resource.name: Invalid value: \"a/b\": may not contain '/'"
                ),
            ),
        ] {
            assert_eq!(errors_of(&Ingress, &object), expected);
        }
    }

    #[test]
    fn class_and_status() {
        let mut object = backend(json!({ "service": { "name": "s", "port": { "number": 80 } } }));
        object["metadata"]["annotations"] = json!({ CLASS: "a" });
        assert_eq!(Ingress.warnings(&object, None).len(), 1);
        assert_eq!(Ingress.warnings(&object, Some(&object)).len(), 0);
        object["spec"]["ingressClassName"] = "b".into();
        assert_eq!(
            errors_of(&Ingress, &object),
            "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified"
        );
        let mut changed = object.clone();
        changed["status"] =
            json!({ "loadBalancer": { "ingress": [{ "ip": "x" }, { "hostname": "1.2.3.4" }] } });
        assert_eq!(
            errors_of_update(&Ingress, Some("status"), &changed, &object),
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff); \
             status.loadBalancer.ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"
        );
    }
}
