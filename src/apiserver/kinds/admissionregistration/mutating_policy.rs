//! MutatingAdmissionPolicy.

use serde_json::Value;

use super::expression::{Scope, Use};
use super::policy::{common, conditions_changed};
use super::{REINVOCATION_POLICIES, expression, is_set, rules};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

const PATCH_TYPES: [&str; 2] = ["ApplyConfiguration", "JSONPatch"];

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct MutatingAdmissionPolicy;

impl Strategy for MutatingAdmissionPolicy {
    fn default(&self, object: &mut Value) {
        object.default_at(&["spec", "failurePolicy"], "Fail");
        rules::default_match(&mut object["spec"], "matchConstraints");
    }

    fn validate(&self, _: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate(object, true, errors);
    }

    fn validate_update(&self, _: &Context<'_>, object: &Value, old: &Value, errors: &mut Errors) {
        validate(object, conditions_changed(object, old), errors);
    }

    fn warnings(&self, _: &Value, _: Option<&Value>) -> Vec<String> {
        expression::warning(true)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate(object: &Value, check_conditions: bool, errors: &mut Errors) {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let mut scope = common(spec, check_conditions, true, &path, errors);
    rules::validate_mutating(
        &spec["matchConstraints"],
        &path.child("matchConstraints"),
        errors,
    );
    let mutations = spec.list_at(&["mutations"]);
    if mutations.is_empty() {
        let why = "mutations must contain at least one item";
        errors.required(path.child("mutations"), why);
    }
    for (index, mutation) in mutations.iter().enumerate() {
        let path = path.child("mutations").index(index);
        self::mutation(mutation, &mut scope, &path, errors);
    }
    let at = path.child("reinvocationPolicy");
    match spec.str_at(&["reinvocationPolicy"]) {
        "" => errors.required(at, ""),
        policy if !REINVOCATION_POLICIES.contains(&policy) => {
            errors.not_supported(at, policy, &REINVOCATION_POLICIES);
        }
        _ => {}
    }
}

fn mutation(mutation: &Value, scope: &mut Scope, path: &Path, errors: &mut Errors) {
    let kind = mutation.str_at(&["patchType"]);
    let (field, other, purpose) = match kind {
        "" => {
            errors.required(path.child("patchType"), "");
            return;
        }
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Use::Patch),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Use::Apply),
        _ => {
            errors.not_supported(path.child("patchType"), kind, &PATCH_TYPES);
            return;
        }
    };
    if is_set(mutation, field) {
        let source = mutation.str_at(&[field, "expression"]).trim();
        let at = path.child(field).child("expression");
        if source.is_empty() {
            errors.required(at, "");
        } else {
            scope.check(source, purpose, None, at, errors);
        }
    } else {
        let why = format!("must be specified when patchType is {kind}");
        errors.required(path.child(field), &why);
    }
    if is_set(mutation, other) {
        let why = format!("must not be specified when patchType is {kind}");
        errors.invalid(path.child(other), format!("{{{other}}}"), &why);
    }
}
