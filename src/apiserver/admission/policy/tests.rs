//! Policies over requests: what they see, what they do, what goes wrong.
use super::*;
use crate::apiserver::admission::Admission;
use crate::apiserver::admission::testing::{Ask, World, merge};
use serde_json::json;

fn rule(operations: Value) -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": ["configmaps"], "scope": "*"}]})
}

fn policy(spec: Value) -> (&'static str, Value) {
    let mut object = json!({"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "matchConstraints": rule(json!(["CREATE", "UPDATE"]))}});
    merge(&mut object["spec"], &spec);
    ("validatingadmissionpolicies", object)
}

fn binding(spec: Value) -> (&'static str, Value) {
    let mut object = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    merge(&mut object["spec"], &spec);
    ("validatingadmissionpolicybindings", object)
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "live", "labels": {"app": "x"}}, "data": data})
}

fn ask() -> Ask {
    Ask::create("", "configmaps", "live", map(json!({"v": "bad"})))
}

async fn verdict(objects: &[(&str, Value)], ask: &Ask) -> (String, World) {
    let world = World::new(objects);
    let outcome = world
        .validate(&ValidatingAdmissionPolicy::default(), ask)
        .await;
    let text = outcome.err().map_or_else(String::new, |status| {
        format!("{} {:?} {}", status.code, status.reason, status.message)
    });
    (text, world)
}

#[tokio::test(start_paused = true)]
async fn validations_deny() {
    let denied = |why: &str| {
        format!(
            "422 Invalid configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"
        )
    };
    let one = |validation: Value| json!({ "validations": [validation] });
    for (spec, expected) in [
        (
            one(json!({"expression": "object.data.v == 'bad'"})),
            String::new(),
        ),
        (
            one(json!({"expression": "object.data.v != 'bad'"})),
            denied("failed expression: object.data.v != 'bad'"),
        ),
        (
            one(json!({"expression": "object.data.v != 'bad'", "message": " no "})),
            denied("no"),
        ),
        (
            one(
                json!({"expression": "false", "message": "no", "messageExpression": "'it is ' + object.data.v"}),
            ),
            denied("it is bad"),
        ),
        (
            one(json!({"expression": "false", "message": "no", "messageExpression": "'a\\nb'"})),
            denied("no"),
        ),
        (
            one(
                json!({"expression": "false", "message": "no", "messageExpression": "object.nope"}),
            ),
            denied("no"),
        ),
        (
            one(json!({"expression": "false", "reason": "Forbidden", "message": "no"})),
            denied("no").replace("422 Invalid", "403 Forbidden"),
        ),
        (
            one(json!({"expression": "object.nope == 1"})),
            denied("expression 'object.nope == 1' resulted in error: no such key: nope"),
        ),
        (
            json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.nope == 1"}]}),
            String::new(),
        ),
        (
            json!({"variables": [{"name": "v", "expression": "object.data.v"}], "validations": [{"expression": "variables.v == 'good'", "messageExpression": "variables.v"}]}),
            denied("bad"),
        ),
        (
            one(
                json!({"expression": "request.operation == 'CREATE' && request.userInfo.username == 'alice' && request.namespace == 'live' && request.resource.resource == 'configmaps' && request.kind.kind == 'ConfigMap' && oldObject == null && namespaceObject.metadata.name == 'live'"}),
            ),
            String::new(),
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "object.data.v == 'good'"}], "validations": [{"expression": "false"}]}),
            String::new(),
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "object.nope == 1"}, {"name": "b", "expression": "false"}], "validations": [{"expression": "false"}]}),
            String::new(),
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "object.nope == 1"}], "validations": [{"expression": "true"}]}),
            denied("expression 'object.nope == 1' resulted in error: no such key: nope"),
        ),
        (
            json!({"matchConstraints": rule(json!(["UPDATE"])), "validations": [{"expression": "false"}]}),
            String::new(),
        ),
        (
            json!({"matchConstraints": {"excludeResourceRules": rule(json!(["*"]))["resourceRules"]}, "validations": [{"expression": "false"}]}),
            String::new(),
        ),
        (
            json!({"matchConstraints": {"objectSelector": {"matchLabels": {"app": "y"}}}, "validations": [{"expression": "false"}]}),
            String::new(),
        ),
        (
            json!({"matchConstraints": {"namespaceSelector": {"matchLabels": {"a": "b"}}}, "validations": [{"expression": "false"}]}),
            String::new(),
        ),
        (
            json!({"matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "live"}}}, "validations": [{"expression": "false", "message": "no"}]}),
            denied("no"),
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "object.nope"}]}),
            denied("expression 'object.nope' resulted in error: no such key: nope"),
        ),
    ] {
        let (found, _) = verdict(&[policy(spec.clone()), binding(json!({}))], &ask()).await;
        assert_eq!(found, expected, "{spec}");
    }
    let (found, _) = verdict(&[policy(one(json!({"expression": "false"})))], &ask()).await;
    assert_eq!(found, "", "a policy without a binding does nothing");
}

#[tokio::test(start_paused = true)]
async fn bindings_choose_actions_and_requests() {
    let no = || {
        policy(
            json!({"validations": [{"expression": "true"}, {"expression": "false", "message": "no"}]}),
        )
    };
    let (found, world) = verdict(
        &[
            no(),
            binding(json!({"validationActions": ["Warn", "Audit"]})),
        ],
        &ask(),
    )
    .await;
    assert_eq!(found, "");
    assert_eq!(
        world.warnings(),
        ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]
    );
    let notes = world.session.annotations();
    let note: Value =
        serde_json::from_str(&notes["validation.policy.admission.k8s.io/validation_failure"])
            .unwrap();
    assert_eq!(note[0]["expressionIndex"], 1);
    let elsewhere =
        binding(json!({"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}));
    assert_eq!(verdict(&[no(), elsewhere], &ask()).await.0, "");
    let annotated =
        policy(json!({"auditAnnotations": [{"key": "k", "valueExpression": "object.data.v"}]}));
    let (_, world) = verdict(&[annotated, binding(json!({}))], &ask()).await;
    assert_eq!(world.session.annotations()["p/k"], "bad");
}

#[tokio::test(start_paused = true)]
async fn parameters() {
    let limit = |name: &str, v: &str| {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "live", "labels": {"l": v}}, "stringData": {"v": v}});
        ("secrets", object)
    };
    let of = |kind: &str| {
        policy(
            json!({"paramKind": {"apiVersion": "v1", "kind": kind}, "validations": [{"expression": "params == null || object.data.v != params.stringData.v", "messageExpression": "'not ' + params.stringData.v"}]}),
        )
    };
    let start = "422 Invalid configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ";
    for (kind, reference, expected) in [
        (
            "Secret",
            json!({"name": "a", "parameterNotFoundAction": "Deny"}),
            "",
        ),
        (
            "Secret",
            json!({"name": "b", "parameterNotFoundAction": "Deny"}),
            "not bad",
        ),
        (
            "Secret",
            json!({"selector": {}, "parameterNotFoundAction": "Deny"}),
            "not bad",
        ),
        (
            "Secret",
            json!({"selector": {"matchLabels": {"l": "good"}}, "parameterNotFoundAction": "Deny"}),
            "",
        ),
        (
            "Secret",
            json!({"name": "c", "parameterNotFoundAction": "Allow"}),
            "",
        ),
        (
            "Secret",
            json!({"name": "c", "parameterNotFoundAction": "Deny"}),
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
        ),
        ("Secret", json!(null), ""),
        (
            "Node",
            json!({"name": "c", "namespace": "live", "parameterNotFoundAction": "Deny"}),
            "failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`",
        ),
    ] {
        let objects = [
            limit("a", "good"),
            limit("b", "bad"),
            of(kind),
            binding(json!({ "paramRef": reference })),
        ];
        let (found, _) = verdict(&objects, &ask()).await;
        let expected = if expected.is_empty() {
            String::new()
        } else {
            format!("{start}{expected}")
        };
        assert_eq!(found, expected, "{reference}");
    }
    let (found, _) = verdict(&[of("Nope"), binding(json!({}))], &ask()).await;
    assert_eq!(
        found,
        "422 Invalid configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by paramKind: '/v1, Kind=Nope'"
    );
}

#[tokio::test(start_paused = true)]
async fn hostile_policies_end() {
    let spin = "[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, [0,1,2,3,4,5,6,7,8,9].map(c, [0,1,2,3,4,5,6,7,8,9].map(d, [0,1,2,3,4,5,6,7,8,9].map(e, [0,1,2,3,4,5,6,7,8,9].map(f, 1)))))).size() > 0";
    let spec = json!({ "validations": [{ "expression": spin }] });
    let (found, _) = verdict(&[policy(spec), binding(json!({}))], &ask()).await;
    assert!(
        found.ends_with("resulted in error: operation cancelled: actual cost limit exceeded"),
        "{found}"
    );
    let many: Vec<Value> = (0..30).map(|_| json!({ "expression": spin })).collect();
    let (found, _) = verdict(
        &[policy(json!({ "validations": many })), binding(json!({}))],
        &ask(),
    )
    .await;
    assert!(found.contains("cost"), "{found}");
}

async fn mutated(objects: &[(&str, Value)], ask: &Ask) -> Result<Value, String> {
    let world = World::new(objects);
    let outcome = world.mutate(&MutatingAdmissionPolicy::default(), ask).await;
    outcome.map_err(|status| format!("{} {:?} {}", status.code, status.reason, status.message))
}

fn mutating(spec: Value) -> [(&'static str, Value); 2] {
    let mut object = json!({"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": rule(json!(["CREATE"]))}});
    merge(&mut object["spec"], &spec);
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p"}});
    [
        ("mutatingadmissionpolicies", object),
        ("mutatingadmissionpolicybindings", binding),
    ]
}

#[tokio::test(start_paused = true)]
async fn mutations() {
    let apply = |source: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": source}});
    let patch =
        |source: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": source}});
    let labels = apply("Object{metadata: Object.metadata{labels: {'injected': 'yes'}}}");
    let data = patch(
        "[JSONPatch{op: 'replace', path: '/data/v', value: object.metadata.labels.injected}]",
    );
    let found = mutated(&mutating(json!({ "mutations": [labels, data] })), &ask())
        .await
        .unwrap();
    assert_eq!(
        found["metadata"]["labels"],
        json!({"app": "x", "injected": "yes"})
    );
    assert_eq!(
        found["data"],
        json!({"v": "yes"}),
        "a mutation sees what those before it did"
    );
    let refused = |why: &str| {
        Err(format!(
            "403 Invalid policy 'p' with binding 'b' denied request: {why}"
        ))
    };
    for (spec, expected) in [
        (
            json!({"mutations": [patch("[JSONPatch{op: 'remove', path: '/nope'}]")]}),
            refused("JSON Patch: "),
        ),
        (
            json!({"mutations": [patch("[JSONPatch{op: 'add', path: object.nope}]")]}),
            refused(
                "expression '[JSONPatch{op: 'add', path: object.nope}]' resulted in error: no such key: nope",
            ),
        ),
        (
            json!({"failurePolicy": "Ignore", "mutations": [patch("[JSONPatch{op: 'add', path: object.nope}]")]}),
            Ok(ask().object),
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "false"}], "mutations": [apply("Object{}")]}),
            Ok(ask().object),
        ),
        (
            json!({"mutations": [apply("Object{metadata: Object.metadata{name: 'other'}}")]}),
            Ok(ask().object),
        ),
    ] {
        let found = mutated(&mutating(spec.clone()), &ask()).await;
        match (found, expected) {
            (Err(found), Err(expected)) => assert!(found.starts_with(&expected), "{spec}: {found}"),
            (found, expected) => assert_eq!(found, expected, "{spec}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn policies_do_not_apply_to_policies() {
    let everything = json!({"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"], "scope": "*"}]});
    let no =
        policy(json!({"matchConstraints": everything, "validations": [{"expression": "false"}]}));
    let plugin = ValidatingAdmissionPolicy::default();
    let world = World::new(&[no, binding(json!({}))]);
    let ask = Ask::create(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        "",
        json!({"metadata": {"name": "x"}}),
    );
    assert!(world.validate(&plugin, &ask).await.is_ok());
    let ask = Ask::create("", "secrets", "live", json!({"metadata": {"name": "x"}}));
    assert!(world.validate(&plugin, &ask).await.is_err());
    assert_eq!(plugin.name(), "ValidatingAdmissionPolicy");
}
