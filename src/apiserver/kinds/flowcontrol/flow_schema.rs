//! FlowSchema.

use serde_json::{Value, json};

use super::{metadata_check, validate_conditions, validate_update};
use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{CLIENT_METADATA, Context, MetadataCheck, Strategy};
use crate::apiserver::schema::internal;
use crate::object::Document;
use crate::object::field::{ErrorKind, Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct FlowSchema;

const LAST_PRECEDENCE: i64 = 10_000;
const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];
/// Kinds of subjects and the fields that hold them.
const SUBJECTS: [(&str, &str); 3] = [
    ("Group", "group"),
    ("ServiceAccount", "serviceAccount"),
    ("User", "user"),
];

impl Strategy for FlowSchema {
    fn default(&self, object: &mut Value) {
        if object.i64_at(&["spec", "matchingPrecedence"]).unwrap_or(0) == 0 {
            object.set_at(&["spec", "matchingPrecedence"], 1000);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn status_keeps(&self) -> &[&[&str]] {
        CLIENT_METADATA
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        validate_spec(object.name(), spec, errors);
        if mandatory(object.name()).is_some_and(|fixed| fixed != *spec) {
            let why = format!("spec of '{}' must equal the fixed value", object.name());
            let definition = "api.flowcontrol.v1.FlowSchemaSpec";
            check::invalid_struct(spec, definition, Path::new("spec"), &why, errors);
        }
        validate_conditions(object, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        validate_update(self, context, object, errors);
    }

    fn metadata_check(&self, context: &Context<'_>) -> MetadataCheck {
        metadata_check(context)
    }
}

/// What the schemas that every server has must be.
fn mandatory(name: &str) -> Option<Value> {
    let group = |name: &str| json!({ "kind": "Group", "group": { "name": name } });
    let (precedence, groups) = match name {
        "exempt" => (1, vec![group("system:masters")]),
        "catch-all" => (
            LAST_PRECEDENCE,
            vec![
                group("system:unauthenticated"),
                group("system:authenticated"),
            ],
        ),
        _ => return None,
    };
    let mut spec = json!({
        "matchingPrecedence": precedence,
        "priorityLevelConfiguration": { "name": name },
        "rules": [{
            "subjects": groups,
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"] }],
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
        }],
    });
    if name == "catch-all" {
        spec["distinguisherMethod"] = json!({ "type": "ByUser" });
    }
    Some(spec)
}

fn validate_spec(name: &str, spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let at = path.child("matchingPrecedence");
    let precedence = spec.i64_at(&["matchingPrecedence"]).unwrap_or(0);
    if precedence <= 0 {
        errors.invalid(at.clone(), precedence, "must be a positive value");
    }
    if precedence > LAST_PRECEDENCE {
        let why = format!("must not be greater than {LAST_PRECEDENCE}");
        errors.invalid(at.clone(), precedence, &why);
    }
    if precedence == 1 && name != "exempt" {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.invalid(at, precedence, why);
    }
    if let Some(method) = spec
        .get("distinguisherMethod")
        .filter(|method| method.is_object())
        && !matches!(method.str_at(&["type"]), "ByNamespace" | "ByUser")
    {
        let shown = internal::text("api.flowcontrol.v1.FlowDistinguisherMethod", method);
        errors.push(
            ErrorKind::NotSupported,
            path.child("distinguisherMethod").child("type"),
            format!("Unsupported value: {shown}: supported values: \"ByNamespace\", \"ByUser\""),
        );
    }
    let level = spec.str_at(&["priorityLevelConfiguration", "name"]);
    let at = path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.required(at, "must reference a priority level");
    } else {
        check::problems(level, names::dns_subdomain(level, false), &at, errors);
    }
    for (index, rule) in spec.list_at(&["rules"]).iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(index), errors);
    }
}

fn validate_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let subjects = rule.list_at(&["subjects"]);
    let at = path.child("subjects");
    if subjects.is_empty() {
        errors.required(at.clone(), "subjects must contain at least one value");
    }
    for (index, subject) in subjects.iter().enumerate() {
        validate_subject(subject, &at.index(index), errors);
    }
    let resources = rule.list_at(&["resourceRules"]);
    let others = rule.list_at(&["nonResourceRules"]);
    if resources.is_empty() && others.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.required(path.clone(), why);
    }
    for (index, rule) in resources.iter().enumerate() {
        validate_resources(rule, &path.child("resourceRules").index(index), errors);
    }
    for (index, rule) in others.iter().enumerate() {
        let path = path.child("nonResourceRules").index(index);
        validate_verbs(rule, &path, errors);
        validate_urls(rule, &path.child("nonResourceURLs"), errors);
    }
}

fn validate_subject(subject: &Value, path: &Path, errors: &mut Errors) {
    let kind = subject.str_at(&["kind"]);
    let Some((_, own)) = SUBJECTS.into_iter().find(|(name, _)| *name == kind) else {
        let kinds = SUBJECTS.map(|(name, _)| name);
        errors.not_supported(path.child("kind"), kind, &kinds);
        return;
    };
    let part = |field: &str| subject.get(field).filter(|part| part.is_object());
    let at = path.child(own);
    match part(own) {
        None => {
            let why = format!("{own} is required when subject kind is '{kind}'");
            errors.required(at, &why);
        }
        Some(part) => validate_subject_name(own, part, &at, errors),
    }
    for (name, field) in SUBJECTS.into_iter().filter(|(_, field)| *field != own) {
        if part(field).is_some() {
            let why = format!("{field} is forbidden when subject kind is not '{name}'");
            errors.forbidden(path.child(field), &why);
        }
    }
}

fn validate_subject_name(kind: &str, part: &Value, path: &Path, errors: &mut Errors) {
    let name = part.str_at(&["name"]);
    if name.is_empty() {
        errors.required(path.child("name"), "");
    } else if kind == "serviceAccount" && name != "*" {
        let problems = names::dns_subdomain(name, false);
        check::problems(name, problems, &path.child("name"), errors);
    }
    if kind == "serviceAccount" {
        let namespace = part.str_at(&["namespace"]);
        let at = path.child("namespace");
        if namespace.is_empty() {
            errors.required(at, "must specify namespace for service account");
        } else {
            let problems = names::dns_label(namespace, false);
            check::problems(namespace, problems, &at, errors);
        }
    }
}

fn texts<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    let list = rule.list_at(&[field]).iter();
    list.filter_map(Value::as_str).collect()
}

/// A list that is there; `*` stands alone. Whether its items are to be looked at.
fn validate_list(
    list: &[&str],
    (missing, others): (&str, &str),
    path: &Path,
    errors: &mut Errors,
) -> bool {
    if list.is_empty() {
        errors.required(path.clone(), missing);
        return false;
    }
    let any = list.contains(&"*");
    if any && list.len() > 1 {
        let why = format!("if '*' is present, must not specify other {others}");
        errors.invalid(path.clone(), list.to_vec(), &why);
    }
    !any
}

fn validate_verbs(rule: &Value, path: &Path, errors: &mut Errors) {
    let (verbs, at) = (texts(rule, "verbs"), path.child("verbs"));
    let words = ("verbs must contain at least one value", "verbs");
    if validate_list(&verbs, words, &at, errors) && !verbs.iter().all(|verb| VERBS.contains(verb)) {
        errors.not_supported(at, verbs, &VERBS);
    }
}

fn validate_resources(rule: &Value, path: &Path, errors: &mut Errors) {
    validate_verbs(rule, path, errors);
    for (field, missing, others) in [
        (
            "apiGroups",
            "resource rules must supply at least one api group",
            "api groups",
        ),
        (
            "resources",
            "resource rules must supply at least one resource",
            "resources",
        ),
    ] {
        let list = texts(rule, field);
        validate_list(&list, (missing, others), &path.child(field), errors);
    }
    let (namespaces, at) = (texts(rule, "namespaces"), path.child("namespaces"));
    if namespaces.is_empty() && rule.bool_at(&["clusterScope"]) == Some(true) {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if validate_list(&namespaces, (missing, "namespaces"), &at, errors) {
        for (index, namespace) in namespaces.into_iter().enumerate() {
            for problem in names::dns_label(namespace, false) {
                let why =
                    format!("each member of this list must be '*' or a DNS-1123 label; {problem}");
                errors.invalid(at.index(index), namespace, &why);
            }
        }
    }
}

fn validate_urls(rule: &Value, path: &Path, errors: &mut Errors) {
    let urls = texts(rule, "nonResourceURLs");
    let words = (
        "nonResourceURLs must contain at least one value",
        "non-resource URLs",
    );
    if !validate_list(&urls, words, path, errors) {
        return;
    }
    for (index, url) in urls.into_iter().enumerate() {
        let stars = url.matches('*').count();
        let problem = if url.is_empty() {
            "must not be empty"
        } else if url == "/" {
            continue;
        } else if !url.starts_with('/') {
            "must start with slash"
        } else if url.contains(' ') {
            "must not contain white-space"
        } else if url.contains("//") {
            "must not contain double slash"
        } else if stars > 1 || (stars == 1 && !url.ends_with("/*")) {
            "wildcard can only do suffix matching"
        } else {
            continue;
        };
        errors.invalid(path.index(index), url, problem);
    }
}
