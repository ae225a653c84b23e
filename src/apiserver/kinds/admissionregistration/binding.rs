//! ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding.

use serde_json::Value;

use super::{is_set, rules, texts};
use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const NOT_FOUND: [&str; 2] = ["Deny", "Allow"];

/// What puts a policy into force.
#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Binding {
    /// Whether the policy changes objects.
    pub(in crate::apiserver::kinds) mutating: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        rules::default_match(&mut object["spec"], "matchResources");
    }

    fn validate(&self, _: &Context<'_>, object: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &object["spec"]);
        let policy = spec.str_at(&["policyName"]);
        let at = path.child("policyName");
        if policy.is_empty() {
            errors.required(at, "");
        } else {
            check::problems(policy, name::dns_subdomain(policy), &at, errors);
        }
        if is_set(spec, "paramRef") {
            param_ref(&spec["paramRef"], &path.child("paramRef"), errors);
        }
        if is_set(spec, "matchResources") {
            let at = path.child("matchResources");
            rules::validate_match(&spec["matchResources"], &at, errors);
            if self.mutating {
                rules::validate_mutating(&spec["matchResources"], &at, errors);
            }
        }
        if !self.mutating {
            actions(spec, &path.child("validationActions"), errors);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn actions(spec: &Value, path: &Path, errors: &mut Errors) {
    let given = texts(spec, "validationActions");
    for (index, action) in given.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.not_supported(path.index(index), *action, &ACTIONS);
        }
        if given.iter().take(index).any(|earlier| earlier == action) {
            errors.duplicate(path.index(index), *action);
        }
    }
    if given.contains(&"Deny") && given.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(path.clone(), given.clone(), why);
    }
    if given.is_empty() {
        errors.required(path.clone(), "at least one validation action is required");
    }
}

fn param_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let name = reference.str_at(&["name"]);
    let selector = is_set(reference, "selector");
    if !name.is_empty() {
        check::problems(
            name,
            names::path_segment(name, false),
            &path.child("name"),
            errors,
        );
        if selector {
            errors.forbidden(path.child("name"), EXCLUSIVE);
        }
    }
    if selector {
        check::label_selector(&reference["selector"], &path.child("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(path.child("selector"), EXCLUSIVE);
        }
    }
    if name.is_empty() && !selector {
        errors.required(path.clone(), "one of name or selector must be specified");
    }
    let at = path.child("parameterNotFoundAction");
    match reference.str_at(&["parameterNotFoundAction"]) {
        "" => errors.required(at, ""),
        action if !NOT_FOUND.contains(&action) => errors.not_supported(at, action, &NOT_FOUND),
        _ => {}
    }
}
