//! IngressClass.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct IngressClass;

const PARAMETERS: [&str; 2] = ["spec", "parameters"];
const SCOPES: [&str; 2] = ["Cluster", "Namespace"];
/// The longest name of a controller.
const MOST: usize = 250;
const NO_PATH: &str =
    "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";

impl Strategy for IngressClass {
    fn default(&self, object: &mut Value) {
        if object.at(&PARAMETERS).is_some_and(Value::is_object) {
            object.default_at(&["spec", "parameters", "scope"], "Cluster");
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let controller = object.str_at(&["spec", "controller"]);
        let path = Path::new("spec").child("controller");
        if controller.is_empty() {
            errors.required(path, "");
        } else {
            if controller.len() > MOST {
                errors.too_long(path.clone(), MOST);
            }
            prefixed_path(controller, &path, errors);
        }
        if let Some(parameters) = object.at(&PARAMETERS).filter(|value| value.is_object()) {
            validate_parameters(parameters, &Path::new("spec").child("parameters"), errors);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let spec = |object: &Value| object.get("spec").cloned().unwrap_or(Value::Null);
        check::immutable(
            &spec(object),
            &spec(old),
            "controller",
            &Path::new("spec"),
            errors,
        );
        self.validate(context, object, errors);
    }
}

/// `acme.io/foo`
fn prefixed_path(text: &str, path: &Path, errors: &mut Errors) {
    match text.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            check::problems(host, name::dns_subdomain(host), path, errors);
            let valid =
                |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
            if !rest.bytes().all(valid) {
                errors.invalid(path.clone(), rest, NO_PATH);
            }
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.invalid(path.clone(), text, why);
        }
    }
}

fn validate_parameters(parameters: &Value, path: &Path, errors: &mut Errors) {
    check::typed_reference(parameters, path, errors);
    let scope = parameters.str_at(&["scope"]);
    let namespace = parameters.get("namespace").and_then(Value::as_str);
    let at = || path.child("namespace");
    match (scope, namespace) {
        ("Namespace", None) => {
            errors.required(at(), "`parameters.scope` is set to 'Namespace'");
        }
        ("Namespace", Some(namespace)) => {
            check::problems(namespace, name::dns_label(namespace), &at(), errors);
        }
        ("Cluster", Some(_)) => errors.forbidden(at(), "`parameters.scope` is set to 'Cluster'"),
        ("Cluster", None) => {}
        _ => errors.not_supported(path.child("scope"), scope, &SCOPES),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{defaulted, errors_of, errors_of_update};

    #[test]
    fn rules() {
        for (spec, expected) in [
            (json!({ "controller": "acme.io/foo" }), ""),
            (json!({}), "spec.controller: Required value"),
            (
                json!({ "controller": "acme" }),
                "spec.controller: Invalid value: \"acme\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
            (
                json!({ "controller": "acme.io/a b" }),
                "spec.controller: Invalid value: \"a b\": Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
            ),
            (
                json!({ "controller": "acme.io/foo", "parameters": { "kind": "K", "name": "n", "scope": "X" } }),
                "spec.parameters.scope: Unsupported value: \"X\": supported values: \"Cluster\", \"Namespace\"",
            ),
            (
                json!({ "controller": "acme.io/foo", "parameters": { "kind": "K", "name": "n", "scope": "Namespace" } }),
                "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
            ),
            (
                json!({ "controller": "acme.io/foo", "parameters": { "kind": "K", "name": "n", "namespace": "ns" } }),
                "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
            ),
        ] {
            let object = defaulted(&IngressClass, json!({ "spec": spec }));
            assert_eq!(errors_of(&IngressClass, &object), expected);
        }
    }

    #[test]
    fn the_controller_stays() {
        let old = json!({ "spec": { "controller": "a.io/b" } });
        let new = json!({ "spec": { "controller": "a.io/c" } });
        assert_eq!(
            errors_of_update(&IngressClass, None, &new, &old),
            "spec.controller: Invalid value: \"a.io/c\": field is immutable"
        );
    }
}
