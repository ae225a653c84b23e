//! Tables of what flow schemas and priority levels fill in and refuse.

use serde_json::json;

use super::*;
use crate::apiserver::registry::strategy::{Context, Strategy};

const CONTEXT: Context<'static> = Context {
    now: "",
    subresource: None,
    user: "",
};

fn check(kind: &dyn Strategy, name: &str, spec: &Value) -> Vec<String> {
    let mut object = json!({"metadata": {"name": name}, "spec": spec});
    kind.default(&mut object);
    let mut errors = Errors::new();
    kind.validate(&CONTEXT, &object, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn priority_levels() {
    let queuing = |queuing: Value| json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}});
    for (name, spec, expected) in [
        ("a", queuing(json!({})), vec![]),
        ("exempt", json!({"type": "Exempt", "exempt": {}}), vec![]),
        (
            "exempt",
            json!({"type": "Exempt"}),
            vec!["spec.exempt: Required value: must not be empty when type is Exempt"],
        ),
        (
            "a",
            json!({"type": "Exempt", "exempt": {}}),
            vec![
                "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'",
            ],
        ),
        (
            "a",
            json!({"type": "Limited"}),
            vec!["spec.limited: Required value: must not be empty when type is Limited"],
        ),
        (
            "a",
            queuing(json!({"queues": 4, "handSize": 5})),
            vec![
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)",
            ],
        ),
        (
            "a",
            queuing(json!({"queues": 1024, "handSize": 7})),
            vec![
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should not be greater than 60",
            ],
        ),
        (
            "a",
            json!({"type": "Limited", "limited": {"lendablePercent": 101, "borrowingLimitPercent": -1, "limitResponse": {"type": "Reject"}}}),
            vec![
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            ],
        ),
        (
            "catch-all",
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}),
            vec![],
        ),
    ] {
        assert_eq!(
            check(&PriorityLevelConfiguration, name, &spec),
            expected,
            "{spec}"
        );
    }
}

#[test]
fn flow_schemas() {
    let rule = |change: Value| {
        let mut rule = json!({
            "subjects": [{"kind": "User", "user": {"name": "u"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"], "namespaces": ["ns"]}],
        });
        for (field, value) in change.as_object().unwrap() {
            rule[field.as_str()] = value.clone();
        }
        json!({"priorityLevelConfiguration": {"name": "p"}, "rules": [rule]})
    };
    for (spec, expected) in [
        (rule(json!({})), vec![]),
        (
            json!({"matchingPrecedence": 1, "distinguisherMethod": {"type": "X"}}),
            vec![
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"X\"}: supported values: \"ByNamespace\", \"ByUser\"",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ],
        ),
        (
            rule(json!({"subjects": []})),
            vec![
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            ],
        ),
        (
            rule(json!({"subjects": [{"kind": "User", "group": {"name": "g"}}]})),
            vec![
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            ],
        ),
        (
            rule(json!({"resourceRules": [{"verbs": ["*", "get"], "namespaces": ["A"]}]})),
            vec![
                "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs",
                "spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                "spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A\": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ],
        ),
        (
            rule(
                json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["a", "/a*", "/ok/*"]}]}),
            ),
            vec![
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"a\": must start with slash",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/a*\": wildcard can only do suffix matching",
            ],
        ),
    ] {
        assert_eq!(check(&FlowSchema, "a", &spec), expected, "{spec}");
    }
}
