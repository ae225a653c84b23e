//! Tables of what is filled in and what is refused.

use serde_json::{Value, json};

use super::*;
use crate::apiserver::registry::strategy::{Context, Strategy};

fn context(subresource: Option<&'static str>) -> Context<'static> {
    Context {
        now: "2026-01-01T00:00:00Z",
        subresource,
        user: "u",
    }
}

fn merge(base: &mut Value, change: &Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change.clone(),
    }
}

/// What is wrong with `base` once it is changed so.
fn check(strategy: &dyn Strategy, base: &Value, change: &Value) -> Vec<String> {
    let mut object = base.clone();
    merge(&mut object, change);
    strategy.default(&mut object);
    let mut errors = Errors::new();
    strategy.validate(&context(None), &object, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

fn hook() -> Value {
    json!({"name": "a.example.com", "clientConfig": {"url": "https://h/x"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]})
}

#[test]
fn webhooks_are_filled_in() {
    let mut object = json!({"webhooks": [hook()]});
    object["webhooks"][0]["clientConfig"] = json!({"service": {"name": "s", "namespace": "n"}});
    object["webhooks"][0]["rules"] = json!([{}]);
    let mutating = WebhookConfiguration { mutating: true };
    mutating.default(&mut object);
    let found = &object["webhooks"][0];
    for (field, expected) in [
        ("failurePolicy", json!("Fail")),
        ("matchPolicy", json!("Equivalent")),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({})),
        ("timeoutSeconds", json!(10)),
        ("reinvocationPolicy", json!("Never")),
        ("rules", json!([{"scope": "*"}])),
    ] {
        assert_eq!(found[field], expected, "{field}");
    }
    assert_eq!(found["clientConfig"]["service"]["port"], 443);
    let mut object = json!({"webhooks": [hook()]});
    WebhookConfiguration { mutating: false }.default(&mut object);
    assert_eq!(object["webhooks"][0].get("reinvocationPolicy"), None);
}

#[test]
fn webhook_rules() {
    let rule = |change: Value| {
        let mut rule = json!({"apiGroups": ["a"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["b"]});
        merge(&mut rule, &change);
        json!({ "rules": [rule] })
    };
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"name": ""}),
            vec!["webhooks[0].name: Required value"],
        ),
        (
            json!({"name": "a.b"}),
            vec![
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            ],
        ),
        (
            json!({"failurePolicy": "F"}),
            vec![
                "webhooks[0].failurePolicy: Unsupported value: \"F\": supported values: \"Fail\", \"Ignore\"",
            ],
        ),
        (
            json!({"sideEffects": null}),
            vec!["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"],
        ),
        (
            json!({"timeoutSeconds": 0}),
            vec![
                "webhooks[0].timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30 seconds",
            ],
        ),
        (
            json!({"clientConfig": {"url": null}}),
            vec![
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ],
        ),
        (
            json!({"clientConfig": {"url": "https:///x"}}),
            vec![
                "webhooks[0].clientConfig.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
            ],
        ),
        (
            json!({"clientConfig": {"url": "http://u:p@h/?q#f"}}),
            vec![
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"u:p\": user information is not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL",
            ],
        ),
        (
            json!({"clientConfig": {"url": null, "service": {"name": "s", "namespace": "n", "path": "a//B/"}}}),
            vec![
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//B/\": must start with a '/'",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//B/\": segment[0] may not be empty",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//B/\": segment[1] may not be empty",
            ],
        ),
        (
            json!({"admissionReviewVersions": ["v2", "v2"]}),
            vec![
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1",
            ],
        ),
        (
            rule(json!({"operations": ["X"]})),
            vec![
                "webhooks[0].rules[0].operations[0]: Unsupported value: \"X\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            ],
        ),
        (
            rule(json!({"apiVersions": [""]})),
            vec!["webhooks[0].rules[0].apiVersions[0]: Required value"],
        ),
        (
            rule(json!({"scope": "x"})),
            vec![
                "webhooks[0].rules[0].scope: Unsupported value: \"x\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ],
        ),
        (
            rule(json!({"resources": ["a/*", "a/b"]})),
            vec![
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
            ],
        ),
        (
            rule(json!({"resources": ["*/b", "a/b"]})),
            vec![
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if '*/b' is present, must not specify a/b",
            ],
        ),
        (
            rule(json!({"resources": ["*/*", "a"]})),
            vec![
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"a\"]: if '*/*' is present, must not specify other resources",
            ],
        ),
        (
            rule(json!({"resources": ["", "a"]})),
            vec!["webhooks[0].rules[0].resources[0]: Required value"],
        ),
        (
            json!({"matchConditions": [{"expression": " ", "name": ""}]}),
            vec![
                "webhooks[0].matchConditions[0].expression: Required value",
                "webhooks[0].matchConditions[0].name: Required value",
            ],
        ),
        (
            json!({"reinvocationPolicy": "x"}),
            vec![
                "webhooks[0].reinvocationPolicy: Unsupported value: \"x\": supported values: \"IfNeeded\", \"Never\"",
            ],
        ),
    ] {
        let mut changed = hook();
        merge(&mut changed, &change);
        let found = check(
            &WebhookConfiguration { mutating: true },
            &json!({"webhooks": [changed]}),
            &json!({}),
        );
        let shown: Vec<&str> = found.iter().map(String::as_str).collect();
        // `B` of the path gives the long text about subdomains as well.
        let shown: Vec<&str> = shown
            .into_iter()
            .filter(|text| !text.contains("RFC 1123"))
            .collect();
        assert_eq!(shown, expected, "{change}");
    }
}

#[test]
fn what_was_wrong_before_may_stay() {
    let strategy = WebhookConfiguration { mutating: false };
    let mut old = json!({"webhooks": [hook(), hook()]});
    old["webhooks"][0]["sideEffects"] = json!("Some");
    old["webhooks"][0]["admissionReviewVersions"] = json!(["v9"]);
    old["webhooks"][0]["matchConditions"] = json!([{"name": "a", "expression": "bad("}]);
    strategy.default(&mut old);
    let mut errors = Errors::new();
    strategy.validate_update(&context(None), &old, &old, &mut errors);
    assert_eq!(errors.0, []);
    strategy.validate(&context(None), &old, &mut errors);
    assert!(errors.0.len() >= 3);
}

fn policy() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
        "validations": [{"expression": "true"}],
    }})
}

#[test]
fn policies_are_filled_in() {
    let mut object = policy();
    ValidatingAdmissionPolicy.default(&mut object);
    assert_eq!(object["spec"]["failurePolicy"], "Fail");
    assert_eq!(
        object["spec"]["matchConstraints"]["matchPolicy"],
        "Equivalent"
    );
    assert_eq!(
        object["spec"]["matchConstraints"]["resourceRules"][0]["scope"],
        "*"
    );
    let mut binding = json!({"spec": {"policyName": "p"}});
    Binding { mutating: true }.default(&mut binding);
    assert_eq!(binding, json!({"spec": {"policyName": "p"}}));
    binding["spec"]["matchResources"] = json!({});
    Binding { mutating: true }.default(&mut binding);
    assert_eq!(
        binding["spec"]["matchResources"]["objectSelector"],
        json!({})
    );
}

#[test]
fn policy_rules() {
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"matchConstraints": null}),
            vec!["spec.matchConstraints: Required value"],
        ),
        (
            json!({"matchConstraints": {"resourceRules": []}}),
            vec!["spec.matchConstraints.resourceRules: Required value"],
        ),
        (
            json!({"validations": []}),
            vec![
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ],
        ),
        (
            json!({"validations": [{"expression": " "}]}),
            vec!["spec.validations[0].expression: Required value: expression is not specified"],
        ),
        (
            json!({"validations": [{"expression": "true", "message": "a\nb"}]}),
            vec![
                "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks",
            ],
        ),
        (
            json!({"validations": [{"expression": "true", "message": " "}]}),
            vec![
                "spec.validations[0].message: Invalid value: \" \": must be non-empty if specified",
            ],
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": " "}]}),
            vec![
                "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
            ],
        ),
        (
            json!({"validations": [{"expression": "true", "reason": "X"}]}),
            vec![
                "spec.validations[0].reason: Unsupported value: \"X\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
            ],
        ),
        (
            json!({"paramKind": {"apiVersion": "a/b/c", "kind": ""}}),
            vec![
                "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "spec.paramKind.kind: Required value",
            ],
        ),
        (
            json!({"variables": [{"name": "in", "expression": "1"}]}),
            vec!["spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier"],
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "'a'"}, {"key": "k", "valueExpression": ""}]}),
            vec![
                "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
                "spec.auditAnnotations[1].key: Duplicate value: \"k\"",
            ],
        ),
    ] {
        let found = check(
            &ValidatingAdmissionPolicy,
            &policy(),
            &json!({"spec": change}),
        );
        assert_eq!(found, expected, "{change}");
    }
}

#[cfg(feature = "cel")]
#[test]
fn expressions_of_policies() {
    for (change, expected) in [
        (
            json!({"validations": [{"expression": "object.x"}]}),
            vec![
                "spec.validations[0].expression: Invalid value: \"object.x\": must evaluate to bool but got dyn",
            ],
        ),
        (
            json!({"validations": [{"expression": "params.x == 1"}]}),
            vec![
                "spec.validations[0].expression: Invalid value: \"params.x == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x == 1\n | ^",
            ],
        ),
        (
            json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "params.x == 1"}]}),
            vec![],
        ),
        (
            json!({"variables": [{"name": "a", "expression": "1"}, {"name": "b", "expression": "variables.a + 1"}], "validations": [{"expression": "variables.b == 2"}]}),
            vec![],
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "1"}]}),
            vec![
                "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int",
            ],
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}),
            vec![
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int",
            ],
        ),
    ] {
        let found = check(
            &ValidatingAdmissionPolicy,
            &policy(),
            &json!({"spec": change}),
        );
        assert_eq!(found, expected, "{change}");
    }
}

#[test]
fn the_status_of_a_policy() {
    let mut object = policy();
    object["status"] =
        json!({"typeChecking": {"expressionWarnings": [{"fieldRef": "", "warning": ""}]}});
    let mut errors = Errors::new();
    ValidatingAdmissionPolicy.validate_update(
        &context(Some("status")),
        &object,
        &policy(),
        &mut errors,
    );
    assert_eq!(errors.0.len(), 2);
}

#[test]
fn mutating_policy_rules() {
    let base = json!({"spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/a', value: 1}]"}}],
        "reinvocationPolicy": "Never",
    }});
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"mutations": []}),
            vec!["spec.mutations: Required value: mutations must contain at least one item"],
        ),
        (
            json!({"reinvocationPolicy": ""}),
            vec!["spec.reinvocationPolicy: Required value"],
        ),
        (
            json!({"mutations": [{"patchType": ""}]}),
            vec!["spec.mutations[0].patchType: Required value"],
        ),
        (
            json!({"mutations": [{"patchType": "JSONPatch"}]}),
            vec![
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            ],
        ),
        (
            json!({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": ""}, "applyConfiguration": {}}]}),
            vec![
                "spec.mutations[0].jsonPatch.expression: Required value",
                "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
            ],
        ),
        (
            json!({"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]}]}}),
            vec![
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
            ],
        ),
    ] {
        let found = check(&MutatingAdmissionPolicy, &base, &json!({"spec": change}));
        assert_eq!(found, expected, "{change}");
    }
}

#[test]
fn binding_rules() {
    let base = json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}});
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"policyName": ""}),
            vec!["spec.policyName: Required value"],
        ),
        (
            json!({"validationActions": []}),
            vec![
                "spec.validationActions: Required value: at least one validation action is required",
            ],
        ),
        (
            json!({"validationActions": ["Audit", "Audit"]}),
            vec!["spec.validationActions[1]: Duplicate value: \"Audit\""],
        ),
        (
            json!({"paramRef": {}}),
            vec![
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Required value",
            ],
        ),
        (
            json!({"paramRef": {"name": "a/b", "parameterNotFoundAction": "X"}}),
            vec![
                "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.paramRef.parameterNotFoundAction: Unsupported value: \"X\": supported values: \"Deny\", \"Allow\"",
            ],
        ),
        (
            json!({"matchResources": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "resourceNames": ["a", "a"]}]}}),
            vec!["spec.matchResources.resourceRules[0].resourceNames[1]: Duplicate value: \"a\""],
        ),
    ] {
        let found = check(
            &Binding { mutating: false },
            &base,
            &json!({"spec": change}),
        );
        assert_eq!(found, expected, "{change}");
    }
    let unbound = json!({"spec": {"policyName": "p"}});
    assert_eq!(
        check(&Binding { mutating: true }, &unbound, &json!({})),
        Vec::<String>::new()
    );
}
