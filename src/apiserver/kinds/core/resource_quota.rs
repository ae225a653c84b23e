//! ResourceQuota.

use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::apiserver::kinds::{check, resource_name};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ResourceQuota;

/// Scopes that a quota cannot have together.
const CONFLICTS: [[&str; 2]; 2] = [
    ["BestEffort", "NotBestEffort"],
    ["NotTerminating", "Terminating"],
];
/// Scopes that say all by being there.
const WITHOUT_VALUES: [&str; 5] = [
    "BestEffort",
    "NotBestEffort",
    "Terminating",
    "NotTerminating",
    "CrossNamespacePodAffinity",
];

/// Resources of which more can be asked for than may be used, by mistake.
const REQUESTED: [&str; 4] = ["cpu", "memory", "storage", "ephemeral-storage"];

impl Strategy for ResourceQuota {
    fn default(&self, object: &mut Value) {
        for path in [["spec", "hard"], ["status", "hard"], ["status", "used"]] {
            resource_name::round_to_milli(object.at_mut(&path));
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(object, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_some() {
            for field in ["hard", "used"] {
                amounts(object, ["status", field], errors);
            }
            return;
        }
        validate_spec(object, errors);
        let set = |object| scopes(object).into_iter().collect::<BTreeSet<_>>();
        if set(object) != set(old) {
            let shown = object.at(&["spec", "scopes"]).cloned().unwrap_or_default();
            let path = Path::new("spec").child("scopes");
            errors.invalid(path, shown, "field is immutable");
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        match old {
            None => REQUESTED
                .iter()
                .filter_map(|name| excess(object, name))
                .collect(),
            Some(_) => Vec::new(),
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn scopes(object: &Value) -> Vec<&str> {
    let scopes = object.list_at(&["spec", "scopes"]);
    scopes.iter().filter_map(Value::as_str).collect()
}

/// The resources that are limited.
fn limited(object: &Value) -> impl Iterator<Item = &str> {
    check::map_at(object, &["spec", "hard"])
        .into_iter()
        .flat_map(|hard| hard.keys().map(String::as_str))
}

fn amounts(object: &Value, [part, field]: [&str; 2], errors: &mut Errors) {
    let path = Path::new(part).child(field);
    for (resource, amount) in check::map_at(object, &[part, field]).into_iter().flatten() {
        let at = path.key(resource);
        resource_name::of_quota(resource, &at, errors);
        resource_name::amount(resource, amount, &at, errors);
    }
}

fn is_scope(scope: &str) -> bool {
    WITHOUT_VALUES.contains(&scope) || matches!(scope, "PriorityClass" | "VolumeAttributesClass")
}

/// Whether a scope narrows what a quota says of a resource.
fn applies(scope: &str, resource: &str) -> bool {
    let computes = [
        "cpu",
        "memory",
        "limits.cpu",
        "limits.memory",
        "requests.cpu",
        "requests.memory",
    ];
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        scope if is_scope(scope) => resource == "pods" || computes.contains(&resource),
        _ => true,
    }
}

fn validate_spec(object: &Value, errors: &mut Errors) {
    amounts(object, ["spec", "hard"], errors);
    let shown = object.at(&["spec", "scopes"]).cloned().unwrap_or_default();
    let path = Path::new("spec").child("scopes");
    let scopes = scopes(object);
    for scope in &scopes {
        if !is_scope(scope) {
            errors.invalid(path.clone(), shown.clone(), "unsupported scope");
        }
        for _ in misapplied(scope, object) {
            let why = "unsupported scope applied to resource";
            errors.invalid(path.clone(), shown.clone(), why);
        }
    }
    conflicts(&scopes, &shown, &path, errors);
    let selector = object.at(&["spec", "scopeSelector"]);
    if let Some(selector) = selector.filter(|selector| selector.is_object()) {
        validate_selector(selector, object, &shown, errors);
    }
}

/// The limited resources to which the scope does not apply.
fn misapplied<'a>(scope: &'a str, object: &'a Value) -> impl Iterator<Item = &'a str> {
    limited(object)
        .filter(move |resource| resource_name::is_quota(resource) && !applies(scope, resource))
}

fn conflicts(scopes: &[&str], shown: &Value, path: &Path, errors: &mut Errors) {
    for pair in CONFLICTS {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            errors.invalid(path.clone(), shown.clone(), "conflicting scopes");
        }
    }
}

fn validate_selector(selector: &Value, object: &Value, shown: &Value, errors: &mut Errors) {
    let path = Path::new("spec")
        .child("scopeSelector")
        .child("matchExpressions");
    let expressions = selector.list_at(&["matchExpressions"]);
    let mut scopes = Vec::new();
    for expression in expressions {
        let scope = expression.str_at(&["scopeName"]);
        let operator = expression.str_at(&["operator"]);
        let values = expression.list_at(&["values"]);
        scopes.push(scope);
        if !is_scope(scope) {
            errors.invalid(path.child("scopeName"), scope, "unsupported scope");
        }
        for _ in misapplied(scope, object) {
            let why = "unsupported scope applied to resource";
            errors.invalid_text(path.clone(), &show_selector(expressions), why);
        }
        if WITHOUT_VALUES.contains(&scope) && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(path.child("operator"), operator, why);
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(path.child("values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(path.child("values"), values.to_vec(), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                errors.invalid(path.child("operator"), other, why);
            }
        }
    }
    conflicts(&scopes, shown, &path, errors);
}

/// A selector as Go prints its internal form.
fn show_selector(expressions: &[Value]) -> String {
    let shown: Vec<String> = expressions
        .iter()
        .map(|expression| {
            format!(
                "{{\"ScopeName\":{:?},\"Operator\":{:?},\"Values\":{}}}",
                expression.str_at(&["scopeName"]),
                expression.str_at(&["operator"]),
                expression.get("values").unwrap_or(&Value::Null)
            )
        })
        .collect();
    format!("{{\"MatchExpressions\":[{}]}}", shown.join(","))
}

/// Warns of requests of a resource that are greater than its limits.
fn excess(object: &Value, name: &str) -> Option<String> {
    let hard = |name: &str| object.at(&["spec", "hard", name]);
    let asked = format!("requests.{name}");
    // Requests of these two have a short name as well.
    let short = Some(name).filter(|name| matches!(*name, "cpu" | "memory"));
    let (asked, request) = match (hard(&asked), short) {
        (Some(request), _) => (asked.as_str(), request),
        (None, Some(name)) => (name, hard(name)?),
        (None, None) => return None,
    };
    let most = format!("limits.{name}");
    let limit = hard(&most)?;
    let (request, limit) = (
        resource_name::quantity(Some(request)),
        resource_name::quantity(Some(limit)),
    );
    let warning =
        || format!("ResourceQuota {asked} ({request}) should be less than {most} ({limit})");
    (request > limit).then(warning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    fn quota(spec: Value) -> Value {
        json!({ "spec": spec })
    }

    #[test]
    fn rules() {
        for (spec, expected) in [
            (json!({ "hard": { "pods": "1", "cpu": "500m" } }), ""),
            (
                json!({ "hard": { "storage": "1" } }),
                "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
            ),
            (
                json!({ "hard": { "pods": "1500m", "cpu": "-1" } }),
                "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0; spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            ),
            (
                json!({ "hard": { "pods": "1" }, "scopes": ["X"] }),
                "spec.scopes: Invalid value: [\"X\"]: unsupported scope",
            ),
            (
                json!({ "hard": { "cpu": "1" }, "scopes": ["BestEffort"] }),
                "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource",
            ),
            (
                json!({ "hard": { "pods": "1" }, "scopes": ["Terminating", "NotTerminating"] }),
                "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes",
            ),
            (
                json!({ "hard": { "pods": "1" }, "scopeSelector": { "matchExpressions": [{ "scopeName": "PriorityClass", "operator": "In" }] } }),
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            (
                json!({ "hard": { "services": "1" }, "scopeSelector": { "matchExpressions": [{ "scopeName": "BestEffort", "operator": "Exists" }] } }),
                "spec.scopeSelector.matchExpressions: Invalid value: {\"MatchExpressions\":[{\"ScopeName\":\"BestEffort\",\"Operator\":\"Exists\",\"Values\":null}]}: unsupported scope applied to resource",
            ),
            (
                json!({ "scopeSelector": { "matchExpressions": [{ "scopeName": "PriorityClass", "operator": "X" }] } }),
                "spec.scopeSelector.matchExpressions.operator: Invalid value: \"X\": not a valid selector operator",
            ),
        ] {
            assert_eq!(errors_of(&ResourceQuota, &quota(spec)), expected);
        }
    }

    #[test]
    fn scopes_stay() {
        let old = quota(json!({ "hard": { "pods": "1" } }));
        let new = quota(json!({ "hard": { "pods": "1" }, "scopes": ["BestEffort"] }));
        assert_eq!(
            errors_of_update(&ResourceQuota, None, &new, &old),
            "spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"
        );
        let mut status = old.clone();
        status["status"] = json!({ "used": { "pods": "-1" } });
        assert_eq!(
            errors_of_update(&ResourceQuota, Some("status"), &status, &old),
            "status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"
        );
    }

    #[test]
    fn requests_beyond_the_limits() {
        let quota = |hard: Value| json!({ "spec": { "hard": hard } });
        for (hard, expected) in [
            (json!({ "requests.cpu": "1", "limits.cpu": "1" }), vec![]),
            (json!({ "requests.cpu": "2" }), vec![]),
            (
                json!({ "cpu": "2", "limits.cpu": "1", "requests.memory": "2Gi", "limits.memory": "1Gi" }),
                vec![
                    "ResourceQuota cpu (2) should be less than limits.cpu (1)",
                    "ResourceQuota requests.memory (2Gi) should be less than limits.memory (1Gi)",
                ],
            ),
        ] {
            let quota = quota(hard);
            assert_eq!(ResourceQuota.warnings(&quota, None), expected);
            assert!(ResourceQuota.warnings(&quota, Some(&quota)).is_empty());
        }
    }
}
