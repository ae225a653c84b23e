//! What a policy is about, and what is wrong with its expressions when that is known
//! (`k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go`).

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    ExpressionWarning, NamedRuleWithOperations, ValidatingAdmissionPolicy,
};

use crate::cel::{Environment, Type};
use crate::client::ServedResource;
use crate::object::{GroupVersion, GroupVersionKind};

/// So many kinds of one rule are looked at.
const MOST_KINDS: usize = 10;

/// The types of what expressions see.
pub(super) struct Types {
    pub objects: Vec<(GroupVersionKind, Type)>,
    pub params: Option<Type>,
}

/// The generation of a policy, when its status does not tell of it yet.
pub(super) fn unobserved(policy: &ValidatingAdmissionPolicy) -> Option<i64> {
    let status = policy.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    let generation = policy.metadata.generation.unwrap_or_default();
    (generation > observed.unwrap_or_default()).then_some(generation)
}

/// The kind of the parameters.
pub(super) fn param_kind(policy: &ValidatingAdmissionPolicy) -> Option<GroupVersionKind> {
    let kind = policy.spec.as_ref()?.param_kind.as_ref()?;
    let version = GroupVersion::parse(kind.api_version.as_deref()?).ok()?;
    let name = kind.kind.as_deref()?;
    Some(GroupVersionKind::new(
        &*version.group,
        &*version.version,
        name,
    ))
}

/// The kinds that a policy names, in their order. Rules with wildcards name none.
pub(super) fn kinds(
    policy: &ValidatingAdmissionPolicy,
    served: &[ServedResource],
) -> Vec<GroupVersionKind> {
    let mut found = BTreeSet::new();
    let spec = policy.spec.as_ref();
    let constraints = spec.and_then(|spec| spec.match_constraints.as_ref());
    let rules = constraints.and_then(|constraints| constraints.resource_rules.as_ref());
    for rule in rules.into_iter().flatten() {
        let mut count = 0;
        for (group, version, kind) in named(rule, served) {
            found.insert((group, version, kind));
            count += 1;
            if count == MOST_KINDS {
                // The real controller looks at no further rule then.
                return in_order(found);
            }
        }
    }
    in_order(found)
}

fn in_order(found: BTreeSet<(&str, &str, &str)>) -> Vec<GroupVersionKind> {
    let kinds = found.into_iter();
    kinds
        .map(|(group, version, kind)| GroupVersionKind::new(group, version, kind))
        .collect()
}

/// The kinds of the resources that a rule names.
fn named<'a>(
    rule: &NamedRuleWithOperations,
    served: &'a [ServedResource],
) -> Vec<(&'a str, &'a str, &'a str)> {
    let sorted = |texts: Option<&Vec<String>>| {
        let mut texts = texts.cloned().unwrap_or_default();
        texts.sort_unstable();
        texts
    };
    let (groups, versions) = (
        sorted(rule.api_groups.as_ref()),
        sorted(rule.api_versions.as_ref()),
    );
    let wild = |texts: &[String]| texts.iter().any(|text| text.contains('*'));
    if wild(&groups) || wild(&versions) {
        return Vec::new();
    }
    let mut resources = sorted(rule.resources.as_ref());
    resources.retain(|resource| !resource.contains(['*', '/']));
    let mut found = Vec::new();
    for group in &groups {
        for version in &versions {
            for resource in &resources {
                // Without a group the real controller takes the resource of any.
                let is = |served: &&ServedResource| {
                    (group.is_empty() || served.group == *group)
                        && served.version == *version
                        && served.plural == *resource
                };
                let kinds = served.iter().filter(is);
                found.extend(kinds.map(|one| (&*one.group, &*one.version, &*one.kind)));
            }
        }
    }
    found
}

/// What is wrong with the expressions of a policy.
pub(super) fn warnings(
    policy: &ValidatingAdmissionPolicy,
    types: &Types,
) -> Vec<ExpressionWarning> {
    let spec = policy.spec.as_ref();
    let validations = spec.and_then(|spec| spec.validations.as_ref());
    let mut found = Vec::new();
    for (index, validation) in validations.into_iter().flatten().enumerate() {
        let message = validation.message_expression.as_deref().unwrap_or_default();
        let mut check = |field: &str, expression: &str| {
            let warning = problems(policy, types, expression);
            if !warning.is_empty() {
                found.push(ExpressionWarning {
                    field_ref: format!("spec.validations[{index}].{field}"),
                    warning,
                });
            }
        };
        check("expression", &validation.expression);
        if !message.is_empty() {
            check("messageExpression", message);
        }
    }
    found
}

/// What is wrong with an expression, for each kind with which it is.
fn problems(policy: &ValidatingAdmissionPolicy, types: &Types, expression: &str) -> String {
    let mut texts = Vec::new();
    for (kind, object) in &types.objects {
        let mut environment = Environment {
            object: Some(object.clone()),
            params: types.params.clone(),
            authorizer: true,
            ..Environment::default()
        };
        let mut variables = Vec::new();
        let spec = policy.spec.as_ref();
        let declared = spec.and_then(|spec| spec.variables.as_ref());
        for variable in declared.into_iter().flatten() {
            environment.variables = Some(variables.clone());
            let found = environment.infer(&variable.expression);
            variables.push((variable.name.clone(), found.unwrap_or(Type::Dyn)));
        }
        environment.variables = Some(variables);
        if let Err(why) = environment.infer(expression) {
            let version = format!("{}/{}", kind.group, kind.version);
            texts.push(format!("{version}, Kind={}: {why}\n", kind.kind));
        }
    }
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn policy(spec: Value) -> ValidatingAdmissionPolicy {
        serde_json::from_value(json!({"metadata": {"generation": 2}, "spec": spec})).unwrap()
    }

    fn served(group: &str, version: &str, plural: &str, kind: &str) -> ServedResource {
        ServedResource {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            kind: kind.into(),
            namespaced: true,
            verbs: Vec::new(),
        }
    }

    #[test]
    fn rules_name_kinds() {
        let all = [
            served("", "v1", "pods", "Pod"),
            served("", "v1", "events", "Event"),
            served("apps", "v1", "deployments", "Deployment"),
            served("apps", "v1", "replicasets", "ReplicaSet"),
            served("events.k8s.io", "v1", "events", "Event"),
        ];
        let rule = |groups: &[&str], versions: &[&str], resources: &[&str]| json!({"apiGroups": groups, "apiVersions": versions, "resources": resources, "operations": ["*"]});
        for (rules, expected) in [
            (vec![rule(&[""], &["v1"], &["pods"])], vec!["/v1/Pod"]),
            (
                vec![rule(
                    &["apps"],
                    &["v1"],
                    &["replicasets", "deployments", "nothing"],
                )],
                vec!["apps/v1/Deployment", "apps/v1/ReplicaSet"],
            ),
            (
                vec![rule(&[""], &["v1"], &["events"])],
                vec!["/v1/Event", "events.k8s.io/v1/Event"],
            ),
            (vec![rule(&["*"], &["v1"], &["pods"])], vec![]),
            (vec![rule(&[""], &["*"], &["pods"])], vec![]),
            (vec![rule(&[""], &["v1"], &["*", "pods/status"])], vec![]),
            (
                vec![
                    rule(&[""], &["v1"], &["pods"]),
                    rule(&["apps"], &["v1"], &["deployments", "*"]),
                ],
                vec!["/v1/Pod", "apps/v1/Deployment"],
            ),
        ] {
            let policy = policy(json!({"matchConstraints": {"resourceRules": rules}}));
            let found = kinds(&policy, &all);
            let found: Vec<String> = found
                .iter()
                .map(|kind| format!("{}/{}/{}", kind.group, kind.version, kind.kind))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn expressions_are_checked_against_every_kind() {
        let fields = |fields: &[(&str, Type)]| {
            let fields = fields
                .iter()
                .map(|(name, found)| ((*name).to_owned(), found.clone()));
            Type::Declared(Arc::new(fields.collect()))
        };
        let spec = fields(&[("replicas", Type::Int)]);
        let types = Types {
            objects: vec![
                (
                    GroupVersionKind::new("apps", "v1", "Deployment"),
                    fields(&[("spec", spec)]),
                ),
                (
                    GroupVersionKind::new("", "v1", "Pod"),
                    fields(&[("spec", fields(&[]))]),
                ),
            ],
            params: None,
        };
        let policy = policy(json!({
            "variables": [{"name": "count", "expression": "object.spec.replicas"}, {"name": "broken", "expression": "nothing"}],
            "validations": [
                {"expression": "object.spec.replicas > 1"},
                {"expression": "object.spec.replicas == 'a'", "messageExpression": "object.nothing"},
                {"expression": "variables.count > 1 && variables.broken"},
                {"expression": "params.x && authorizer.path('/x').check('get').allowed()"},
                {"expression": "has(request.name)", "messageExpression": "'fine'"},
            ],
        }));
        let found: Vec<(String, String)> = warnings(&policy, &types)
            .into_iter()
            .map(|warning| (warning.field_ref, warning.warning))
            .collect();
        let undefined = |kind: &str, column: usize, field: &str, source: &str| {
            format!(
                "{kind}: ERROR: <input>:1:{column}: undefined field '{field}'\n | {source}\n | {}^\n",
                ".".repeat(column - 1)
            )
        };
        let (deployment, pod) = ("apps/v1, Kind=Deployment", "/v1, Kind=Pod");
        let nothing = "ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | \
            params.x && authorizer.path('/x').check('get').allowed()\n | ^\n";
        let expected = [
            (
                "spec.validations[0].expression",
                undefined(pod, 12, "replicas", "object.spec.replicas > 1"),
            ),
            (
                "spec.validations[1].expression",
                format!(
                    "{deployment}: ERROR: <input>:1:22: found no matching overload for '_==_' applied to '(int, string)'\n | \
                    object.spec.replicas == 'a'\n | .....................^\n\n{}",
                    undefined(pod, 12, "replicas", "object.spec.replicas == 'a'")
                ),
            ),
            (
                "spec.validations[1].messageExpression",
                format!(
                    "{}\n{}",
                    undefined(deployment, 7, "nothing", "object.nothing"),
                    undefined(pod, 7, "nothing", "object.nothing")
                ),
            ),
            (
                "spec.validations[3].expression",
                format!("{deployment}: {nothing}\n{pod}: {nothing}"),
            ),
        ];
        let expected: Vec<(String, String)> = expected
            .into_iter()
            .map(|(field, warning)| (field.to_owned(), warning))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_observed_is_not_checked_again() {
        let mut policy = policy(json!({}));
        assert_eq!(unobserved(&policy), Some(2));
        policy.status = Some(serde_json::from_value(json!({"observedGeneration": 2})).unwrap());
        assert_eq!(unobserved(&policy), None);
    }
}
