//! ValidatingAdmissionPolicy.

use serde_json::{Value, json};

use super::expression::{Scope, Use};
use super::{FAILURE_POLICIES, conditions, expression, is_set, one_of, required_one_of, rules};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{CLIENT_METADATA, Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupVersion, name};

const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MOST_ANNOTATIONS: usize = 20;
const LONGEST_ANNOTATION: usize = 5 * 1024;
#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ValidatingAdmissionPolicy;

impl Strategy for ValidatingAdmissionPolicy {
    fn default(&self, object: &mut Value) {
        object.default_at(&["spec", "failurePolicy"], "Fail");
        rules::default_match(&mut object["spec"], "matchConstraints");
        object.default_at(&["status"], json!({}));
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn status_keeps(&self) -> &[&[&str]] {
        CLIENT_METADATA
    }

    fn validate(&self, _: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate(object, true, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource == Some("status") {
            status(&object["status"], &Path::new("status"), errors);
        } else {
            validate(object, conditions_changed(object, old), errors);
        }
    }

    fn warnings(&self, _: &Value, _: Option<&Value>) -> Vec<String> {
        expression::warning(true)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Whether an update has to check the match conditions again.
pub(super) fn conditions_changed(object: &Value, old: &Value) -> bool {
    let changed = |field: &str| object.at(&["spec", field]) != old.at(&["spec", field]);
    changed("paramKind") || changed("matchConditions")
}

/// What both kinds of policy have in common; gives the scope of their expressions.
pub(super) fn common(
    spec: &Value,
    check_conditions: bool,
    composed: bool,
    path: &Path,
    errors: &mut Errors,
) -> Scope {
    required_one_of(spec, "failurePolicy", &FAILURE_POLICIES, path, errors);
    let params = is_set(spec, "paramKind");
    if params {
        param_kind(&spec["paramKind"], &path.child("paramKind"), errors);
    }
    let constraints = path.child("matchConstraints");
    if is_set(spec, "matchConstraints") {
        let given = &spec["matchConstraints"];
        rules::validate_match(given, &constraints, errors);
        if given.list_at(&["resourceRules"]).is_empty() {
            errors.required(constraints.child("resourceRules"), "");
        }
    } else {
        errors.required(constraints, "");
    }
    if check_conditions {
        let path = path.child("matchConditions");
        conditions::validate(spec.list_at(&["matchConditions"]), params, &path, errors);
    }
    let variables = spec.list_at(&["variables"]);
    let mut scope = Scope::new(params);
    if composed || !variables.is_empty() {
        scope = scope.composed();
    }
    for (index, variable) in variables.iter().enumerate() {
        let path = path.child("variables").index(index);
        let name = variable.str_at(&["name"]);
        if name.trim().is_empty() {
            errors.required(path.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(path.child("name"), name, "must be a valid CEL identifier");
        }
        let source = variable.str_at(&["expression"]);
        let path = path.child("expression");
        if source.trim().is_empty() {
            errors.required(path, "expression is not specified");
        } else {
            scope.check(source, Use::Variable, Some(name), path, errors);
        }
    }
    scope
}

fn is_identifier(given: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !given.starts_with(|first: char| first.is_ascii_digit())
        && given.bytes().all(word)
        && !name::CEL_RESERVED.contains(&given)
}

fn param_kind(kind: &Value, path: &Path, errors: &mut Errors) {
    let (at, version) = (path.child("apiVersion"), kind.str_at(&["apiVersion"]));
    let parsed = match version {
        "/" => Ok(GroupVersion::default()),
        other => GroupVersion::parse(other),
    };
    match parsed {
        _ if version.is_empty() => errors.required(at, ""),
        Err(why) => errors.invalid(at, version, &why),
        Ok(parsed) => {
            let problems = name::dns_subdomain(&parsed.group);
            if !parsed.group.is_empty() && !problems.is_empty() {
                errors.invalid(at.clone(), parsed.group, &problems.join(","));
            }
            let problems = name::dns_1035_label(&parsed.version);
            if parsed.version.is_empty() {
                errors.invalid(at, version, "version must be specified");
            } else if !problems.is_empty() {
                errors.invalid(at, parsed.version, &problems.join(","));
            }
        }
    }
    let given = kind.str_at(&["kind"]);
    let problems = name::dns_1035_label(&given.to_lowercase());
    if given.is_empty() {
        errors.required(path.child("kind"), "");
    } else if !problems.is_empty() {
        let why = format!(
            "may have mixed case, but should otherwise match: {}",
            problems.join(",")
        );
        errors.invalid(path.child("kind"), given, &why);
    }
}

fn validate(object: &Value, check_conditions: bool, errors: &mut Errors) {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let mut scope = common(spec, check_conditions, false, &path, errors);
    let validations = spec.list_at(&["validations"]);
    let annotations = spec.list_at(&["auditAnnotations"]);
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required(path.child("validations"), why);
        errors.required(path.child("auditAnnotations"), why);
        return;
    }
    for (index, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(index);
        self::validation(validation, &mut scope, &path, errors);
    }
    let path = path.child("auditAnnotations");
    if annotations.len() > MOST_ANNOTATIONS {
        let why = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        errors.invalid(path.clone(), annotations.to_vec(), &why);
    }
    let mut seen = Vec::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = path.index(index);
        self::annotation(object.name(), annotation, &mut scope, &path, errors);
        let key = annotation.str_at(&["key"]);
        if seen.contains(&key) {
            errors.duplicate(path.child("key"), key);
        }
        seen.push(key);
    }
}

fn validation(validation: &Value, scope: &mut Scope, path: &Path, errors: &mut Errors) {
    let source = validation.str_at(&["expression"]);
    let at = path.child("expression");
    if source.trim().is_empty() {
        errors.required(at, "expression is not specified");
    } else {
        scope.check(source, Use::Condition, None, at, errors);
    }
    let source = validation.str_at(&["messageExpression"]);
    let at = path.child("messageExpression");
    if !source.is_empty() && source.trim().is_empty() {
        errors.invalid(at, source, "must be non-empty if specified");
    } else if !source.is_empty() {
        scope.check(source, Use::Message, None, at, errors);
    }
    let message = validation.str_at(&["message"]);
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(
            path.child("message"),
            message,
            "must be non-empty if specified",
        );
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(
            path.child("message"),
            message,
            "must not contain line breaks",
        );
    }
    one_of(validation, "reason", &REASONS, path, errors);
}

fn annotation(
    policy: &str,
    annotation: &Value,
    scope: &mut Scope,
    path: &Path,
    errors: &mut Errors,
) {
    let key = annotation.str_at(&["key"]);
    if policy.is_empty() {
        errors.invalid(
            path.child("key"),
            key,
            "requires metadata.name be non-empty",
        );
    } else {
        let whole = format!("{policy}/{key}");
        check::problems(&whole, name::qualified(&whole), &path.child("key"), errors);
    }
    let (at, given) = (
        path.child("valueExpression"),
        annotation.str_at(&["valueExpression"]),
    );
    let source = given.trim();
    if source.is_empty() {
        errors.required(at, "valueExpression is not specified");
    } else if source.len() > LONGEST_ANNOTATION {
        errors.required(
            at,
            &format!("must not exceed {LONGEST_ANNOTATION} bytes in length"),
        );
    } else {
        scope.check(source, Use::Annotation, None, at, errors);
    }
}

fn status(status: &Value, path: &Path, errors: &mut Errors) {
    let path_of = path.child("typeChecking").child("expressionWarnings");
    let warnings = status.list_at(&["typeChecking", "expressionWarnings"]);
    for (index, warning) in warnings.iter().enumerate() {
        let path = path_of.index(index);
        for field in ["warning", "fieldRef"] {
            if warning.str_at(&[field]).trim().is_empty() {
                errors.required(path.child(field), "");
            }
        }
    }
}
