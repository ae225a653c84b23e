//! Which rules an aggregating role is to have.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use crate::object::LabelSelector;

/// The rules that `role` is to have: those of the roles that its selectors select, each once, in the order of selectors and
/// names. `None`: it has them, or gathers nothing.
///
/// # Errors
/// When a selector cannot be read.
pub(super) fn rules<'a>(
    role: &ClusterRole,
    all: impl Iterator<Item = &'a ClusterRole> + Clone,
) -> Result<Option<Vec<PolicyRule>>, String> {
    let Some(aggregation) = &role.aggregation_rule else {
        return Ok(None);
    };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = serde_json::to_value(selector).map_err(|error| error.to_string())?;
        let selector = LabelSelector::from_value(&selector)?;
        let mut selected: Vec<&ClusterRole> = all
            .clone()
            .filter(|other| {
                let labels = other.metadata.labels.as_ref();
                let label = |key: &str| {
                    labels
                        .and_then(|labels| labels.get(key))
                        .map(String::as_str)
                };
                other.metadata.name != role.metadata.name && selector.matches_with(label)
            })
            .collect();
        selected.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        for rule in selected
            .into_iter()
            .flat_map(|role| role.rules.iter().flatten())
        {
            if !rules.iter().any(|known| same(known, rule)) {
                rules.push(rule.clone());
            }
        }
    }
    let present = role.rules.as_deref().unwrap_or_default();
    let is_so = present.len() == rules.len()
        && present
            .iter()
            .zip(&rules)
            .all(|(present, rule)| same(present, rule));
    Ok((!is_so).then_some(rules))
}

/// Whether two rules say the same; a list that is left out is an empty one.
fn same(one: &PolicyRule, other: &PolicyRule) -> bool {
    let lists = |rule: &PolicyRule| {
        [
            rule.api_groups.clone(),
            rule.resources.clone(),
            rule.resource_names.clone(),
            rule.non_resource_urls.clone(),
        ]
        .map(Option::unwrap_or_default)
    };
    one.verbs == other.verbs && lists(one) == lists(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn role(name: &str, label: &str, verbs: &[&str], gathers: &[&str]) -> ClusterRole {
        let rules: Vec<Value> = verbs
            .iter()
            .map(|verb| json!({ "verbs": [verb], "apiGroups": [""], "resources": ["pods"] }))
            .collect();
        let mut role =
            json!({ "metadata": { "name": name, "labels": { label: "true" } }, "rules": rules });
        if !gathers.is_empty() {
            let selectors: Vec<Value> = gathers
                .iter()
                .map(|label| json!({ "matchLabels": { *label: "true" } }))
                .collect();
            role["aggregationRule"] = json!({ "clusterRoleSelectors": selectors });
        }
        serde_json::from_value(role).unwrap()
    }

    fn verbs(role: &ClusterRole, all: &[ClusterRole]) -> Option<String> {
        let rules = rules(role, all.iter()).unwrap()?;
        Some(
            rules
                .iter()
                .map(|rule| rule.verbs.join(","))
                .collect::<Vec<_>>()
                .join(" "),
        )
    }

    #[test]
    fn rules_are_gathered_once_and_in_order() {
        let all = [
            role("z", "x", &["get", "list"], &[]),
            role("a", "x", &["watch", "get"], &[]),
            role("b", "y", &["delete"], &[]),
            role("self", "x", &["patch"], &["x"]),
        ];
        for (role, expected) in [
            (role("plain", "", &["get"], &[]), None),
            (
                role("self", "x", &["patch"], &["x"]),
                Some("watch get list"),
            ),
            (role("self", "x", &["watch", "get", "list"], &["x"]), None),
            (
                role("both", "", &[], &["y", "x"]),
                Some("delete watch get patch list"),
            ),
            (role("none", "", &["get"], &["nothing"]), Some("")),
            (role("none", "", &[], &["nothing"]), None),
        ] {
            assert_eq!(verbs(&role, &all).as_deref(), expected);
        }
    }
}
