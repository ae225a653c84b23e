//! Role and ClusterRole.

use serde_json::Value;

use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, LabelSelector};

/// Either kind of role.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) namespaced: bool,
}

impl Strategy for Role {
    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Value, _old: &Value) {}

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        for (index, rule) in object.list_at(&["rules"]).iter().enumerate() {
            let path = Path::new("rules").index(index);
            check_rule(rule, self.namespaced, &path, errors);
        }
        if let Some(aggregation) = object
            .get("aggregationRule")
            .filter(|aggregation| !self.namespaced && !aggregation.is_null())
        {
            check_aggregation(aggregation, errors);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn check_rule(rule: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let is_empty = |field: &str| rule.list_at(&[field]).is_empty();
    if is_empty("verbs") {
        let why = "verbs must contain at least one value";
        errors.required(path.child("verbs"), why);
    }
    if !is_empty("nonResourceURLs") {
        let urls = || rule.list_at(&["nonResourceURLs"]).to_vec();
        let at = || path.child("nonResourceURLs");
        if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.invalid(at(), urls(), why);
        }
        if ["apiGroups", "resources", "resourceNames"]
            .iter()
            .any(|field| !is_empty(field))
        {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(at(), urls(), why);
        }
        return;
    }
    if is_empty("apiGroups") {
        let why = "resource rules must supply at least one api group";
        errors.required(path.child("apiGroups"), why);
    }
    if is_empty("resources") {
        let why = "resource rules must supply at least one resource";
        errors.required(path.child("resources"), why);
    }
}

fn check_aggregation(aggregation: &Value, errors: &mut Errors) {
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    let selectors = aggregation.list_at(&["clusterRoleSelectors"]);
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.required(path.clone(), why);
    }
    for (index, selector) in selectors.iter().enumerate() {
        check::label_selector(selector, &path.index(index), errors);
        if LabelSelector::from_value(selector).is_err() {
            errors.invalid(
                path.index(index),
                selector.clone(),
                "invalid label selector.",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(namespaced: bool, object: Value) -> Vec<String> {
        let mut errors = Errors::new();
        let context = Context {
            now: "",
            subresource: None,
            user: "",
        };
        Role { namespaced }.validate(&context, &object, &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_are_checked() {
        let rule = |rule: Value| json!({ "rules": [{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }, rule] });
        let no_group =
            "rules[1].apiGroups: Required value: resource rules must supply at least one api group";
        let no_resource =
            "rules[1].resources: Required value: resource rules must supply at least one resource";
        let local = "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs";
        let both = "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs";
        for (namespaced, object, expected) in [
            (true, json!({}), vec![]),
            (true, json!({ "rules": null }), vec![]),
            (
                true,
                rule(json!({ "verbs": ["get"] })),
                vec![no_group, no_resource],
            ),
            (
                true,
                rule(json!({ "apiGroups": ["a"], "resources": ["b"], "verbs": [] })),
                vec!["rules[1].verbs: Required value: verbs must contain at least one value"],
            ),
            (
                true,
                rule(json!({ "verbs": ["get"], "nonResourceURLs": ["/x"] })),
                vec![local],
            ),
            (
                false,
                rule(json!({ "verbs": ["get"], "nonResourceURLs": ["/x"] })),
                vec![],
            ),
            (
                true,
                rule(
                    json!({ "verbs": ["get"], "nonResourceURLs": ["/x"], "resourceNames": ["n"] }),
                ),
                vec![local, both],
            ),
            (false, json!({ "aggregationRule": null }), vec![]),
            (
                false,
                json!({ "aggregationRule": {} }),
                vec![
                    "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
                ],
            ),
            (
                false,
                json!({ "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] } }),
                vec![],
            ),
            (
                false,
                json!({ "aggregationRule": { "clusterRoleSelectors": [{ "matchExpressions": [{ "key": "a", "operator": "In" }] }] } }),
                vec![
                    "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                    "aggregationRule.clusterRoleSelectors[0]: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\"}]}: invalid label selector.",
                ],
            ),
        ] {
            assert_eq!(check(namespaced, object.clone()), expected, "{object}");
        }
    }
}
