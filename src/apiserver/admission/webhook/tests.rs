//! Webhooks as functions, on virtual time: what they are asked, what becomes of their answers.
use super::*;
use crate::apiserver::admission::testing::{Ask, World, merge};
use crate::apiserver::admission::{Admission, Operation};
use crate::object::base64;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const URL: &str = "https://hook.example.com/x";

fn hook(change: Value) -> Value {
    let mut hook = json!({"name": "a.example.com", "clientConfig": {"url": URL}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail", "matchPolicy": "Equivalent", "timeoutSeconds": 5,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"], "scope": "*"}]});
    merge(&mut hook, &change);
    hook
}

fn configuration(plural: &'static str, hooks: Vec<Value>) -> (&'static str, Value) {
    (
        plural,
        json!({"metadata": {"name": "c"}, "webhooks": hooks}),
    )
}

const VALIDATING: &str = "validatingwebhookconfigurations";
const MUTATING: &str = "mutatingwebhookconfigurations";

fn ask() -> Ask {
    Ask::create(
        "",
        "configmaps",
        "live",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "live", "labels": {"a": "b"}}}),
    )
}

/// Answers with `response`, to which the uid of the request is added.
fn answering(response: Value) -> impl Fn(Value) -> Value + Send + Sync + Clone + 'static {
    move |review| {
        let mut response = response.clone();
        if response.get("uid").is_none() {
            response["uid"] = review["request"]["uid"].clone();
        }
        json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})
    }
}

fn transports(
    url: &str,
    answer: impl Fn(Value) -> Value + Send + Sync + Clone + 'static,
) -> Transports {
    let transports = Transports::default();
    add(&transports, url, Duration::ZERO, answer);
    transports
}

fn add(
    transports: &Transports,
    url: &str,
    delay: Duration,
    answer: impl Fn(Value) -> Value + Send + Sync + Clone + 'static,
) {
    transports.register(
        url.into(),
        Arc::new(move |review| {
            let answer = answer.clone();
            Box::pin(async move {
                tokio::time::sleep(delay).await;
                answer(review)
            })
        }),
    );
}

async fn validated(hooks: Vec<Value>, transports: Transports, ask: &Ask) -> (String, World) {
    let world = World::new(&[configuration(VALIDATING, hooks)]);
    let outcome = world
        .validate(&ValidatingAdmissionWebhook::new(transports), ask)
        .await;
    let text = outcome.err().map_or_else(String::new, |status| {
        format!("{} {}", status.code, status.message)
    });
    (text, world)
}

#[tokio::test(start_paused = true)]
async fn answers_decide() {
    let denied = "admission webhook \"a.example.com\" denied the request";
    let failed = "500 Internal error occurred: failed calling webhook \"a.example.com\": ";
    for (response, expected) in [
        (json!({"allowed": true}), String::new()),
        (
            json!({"allowed": false}),
            format!("400 {denied} without explanation"),
        ),
        (
            json!({"allowed": false, "status": {"message": "no", "code": 403}}),
            format!("403 {denied}: no"),
        ),
        (
            json!({"allowed": false, "status": {"reason": "Forbidden"}}),
            format!("400 {denied}: Forbidden"),
        ),
        (
            json!({"allowed": false, "status": {"message": "no", "code": 200}}),
            format!("400 {denied}: no"),
        ),
        (
            json!({"uid": "other", "allowed": true}),
            format!(
                "{failed}received invalid webhook response: expected response.uid=\"uid\", got \"other\""
            ),
        ),
        (
            json!({"allowed": true, "patch": "W10="}),
            format!(
                "{failed}received invalid webhook response: validating webhook may not return response.patch"
            ),
        ),
        (
            json!({"allowed": true, "patchType": "JSONPatch"}),
            format!(
                "{failed}received invalid webhook response: validating webhook may not return response.patchType"
            ),
        ),
    ] {
        let (found, _) = validated(
            vec![hook(json!({}))],
            transports(URL, answering(response.clone())),
            &ask(),
        )
        .await;
        assert_eq!(found, expected, "{response}");
        let (found, _) = validated(
            vec![hook(json!({"failurePolicy": "Ignore"}))],
            transports(URL, answering(response)),
            &ask(),
        )
        .await;
        assert!(
            found.is_empty() || found.contains("denied"),
            "a failed call is ignored: {found}"
        );
    }
    for (answer, expected) in [
        (
            json!({}),
            "received invalid webhook response: webhook response was absent",
        ),
        (
            json!({"kind": "X", "apiVersion": "admission.k8s.io/v1", "response": {"uid": "uid"}}),
            "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1, Kind=X",
        ),
    ] {
        let answer = move |_| answer.clone();
        let (found, _) = validated(vec![hook(json!({}))], transports(URL, answer), &ask()).await;
        assert_eq!(found, format!("{failed}{expected}"));
    }
}

#[tokio::test(start_paused = true)]
async fn warnings_and_annotations_reach_the_client() {
    let response =
        json!({"allowed": true, "warnings": ["careful"], "auditAnnotations": {"k": "v"}});
    let (_, world) = validated(
        vec![hook(json!({}))],
        transports(URL, answering(response)),
        &ask(),
    )
    .await;
    assert_eq!(world.warnings(), ["careful"]);
    assert_eq!(world.session.annotations()["a.example.com/k"], "v");
}

#[tokio::test(start_paused = true)]
async fn webhooks_are_asked_only_about_what_they_want() {
    let no = || transports(URL, answering(json!({"allowed": false})));
    for (change, asked) in [
        (json!({}), true),
        (
            json!({"rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["*"]}]}),
            false,
        ),
        (
            json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["*/*"]}]}),
            false,
        ),
        (
            json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*/*"]}]}),
            true,
        ),
        (
            json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["configmaps/status"]}]}),
            false,
        ),
        (
            json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"], "scope": "Cluster"}]}),
            false,
        ),
        (json!({"objectSelector": {"matchLabels": {"a": "b"}}}), true),
        (
            json!({"objectSelector": {"matchLabels": {"a": "c"}}}),
            false,
        ),
        (
            json!({"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["live"]}]}}),
            false,
        ),
        (
            json!({"matchConditions": [{"name": "x", "expression": "request.name == 'm'"}]}),
            true,
        ),
        (
            json!({"matchConditions": [{"name": "x", "expression": "request.name != 'm'"}]}),
            false,
        ),
    ] {
        if cfg!(not(feature = "cel")) && change.get("matchConditions").is_some() {
            continue;
        }
        let (found, _) = validated(vec![hook(change.clone())], no(), &ask()).await;
        assert_eq!(!found.is_empty(), asked, "{change}");
    }
    // The same objects under another version of the API.
    let rules = json!({"rules": [{"apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["events"]}]});
    let event = Ask::create(
        "",
        "events",
        "live",
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "live"}}),
    );
    for (policy, asked) in [("Equivalent", true), ("Exact", false)] {
        let mut hook = hook(rules.clone());
        hook["matchPolicy"] = json!(policy);
        let (found, _) = validated(vec![hook], no(), &event).await;
        assert_eq!(!found.is_empty(), asked, "{policy}");
    }
    let exempt = Ask::create(
        "admissionregistration.k8s.io",
        VALIDATING,
        "",
        json!({"metadata": {"name": "x"}}),
    );
    let all = json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]});
    assert_eq!(validated(vec![hook(all)], no(), &exempt).await.0, "");
}

#[tokio::test(start_paused = true)]
async fn the_review_says_what_is_asked() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let answer = move |review: Value| {
        keep.lock().push(review.clone());
        answering(json!({"allowed": true}))(review)
    };
    let mut delete = ask();
    delete.operation = Operation::Delete;
    delete.old = Some(delete.object.clone());
    let mut beta = hook(json!({}));
    beta["admissionReviewVersions"] = json!(["v2", "v1beta1", "v1"]);
    validated(vec![beta], transports(URL, answer.clone()), &ask()).await;
    validated(vec![hook(json!({}))], transports(URL, answer), &delete).await;
    let seen = seen.lock();
    assert_eq!(seen[0]["apiVersion"], "admission.k8s.io/v1beta1");
    let request = &seen[0]["request"];
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(
        request["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(
        request["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(request["object"]["metadata"]["name"], "m");
    assert_eq!(
        (&request["oldObject"], &request["dryRun"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(request["userInfo"]["username"], "alice");
    assert_eq!(
        (&request["name"], &request["namespace"]),
        (&json!("m"), &json!("live"))
    );
    let request = &seen[1]["request"];
    assert_eq!(request["operation"], "DELETE");
    assert_eq!(request["object"], Value::Null);
    assert_eq!(request["oldObject"]["metadata"]["name"], "m");
}

#[tokio::test(start_paused = true)]
async fn time_out_and_dry_run() {
    let slow = Transports::default();
    add(
        &slow,
        URL,
        Duration::from_secs(60),
        answering(json!({"allowed": true})),
    );
    let start = Instant::now();
    let (found, _) = validated(vec![hook(json!({}))], slow.clone(), &ask()).await;
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert_eq!(
        found,
        "500 Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: Post \"https://hook.example.com/x?timeout=5s\": context deadline exceeded"
    );
    let (found, _) = validated(vec![hook(json!({"failurePolicy": "Ignore"}))], slow, &ask()).await;
    assert_eq!(found, "");
    let mut dry = ask();
    dry.dry_run = true;
    let yes = || transports(URL, answering(json!({"allowed": true})));
    assert_eq!(validated(vec![hook(json!({}))], yes(), &dry).await.0, "");
    let (found, _) = validated(vec![hook(json!({"sideEffects": "Some"}))], yes(), &dry).await;
    assert_eq!(
        found,
        "400 admission webhook \"a.example.com\" does not support dry run"
    );
}

#[tokio::test(start_paused = true)]
async fn validating_webhooks_run_at_the_same_time() {
    let transports = Transports::default();
    let mut hooks = Vec::new();
    for index in 0_u64..4 {
        let url = format!("https://hook.example.com/{index}");
        let response = json!({"allowed": index < 2, "status": {"message": index.to_string()}});
        add(
            &transports,
            &url,
            Duration::from_secs(4 - index),
            answering(response),
        );
        hooks.push(hook(json!({"clientConfig": {"url": url}})));
    }
    let start = Instant::now();
    let (found, _) = validated(hooks, transports, &ask()).await;
    assert_eq!(start.elapsed(), Duration::from_secs(4));
    assert!(found.ends_with("denied the request: 2"), "{found}");
}

fn patch(operations: Value) -> Value {
    let text = base64::encode(operations.to_string().as_bytes());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": text})
}

async fn mutated(hooks: Vec<Value>, transports: Transports) -> Result<Value, String> {
    let world = World::new(&[configuration(MUTATING, hooks)]);
    let plugin = MutatingAdmissionWebhook::new(transports);
    let outcome = world.mutate(&plugin, &ask()).await;
    outcome.map_err(|status| status.message)
}

#[tokio::test(start_paused = true)]
async fn patches_change_the_object() {
    let failed = "Internal error occurred: failed calling webhook \"a.example.com\": ";
    let add = patch(json!([{"op": "add", "path": "/data", "value": {"k": "v"}}]));
    let found = mutated(vec![hook(json!({}))], transports(URL, answering(add)))
        .await
        .unwrap();
    assert_eq!(found["data"], json!({"k": "v"}));
    for (response, expected) in [
        (patch(json!([])), Ok(ask().object)),
        (
            json!({"allowed": true, "patch": "W10="}),
            Err(format!(
                "{failed}received invalid webhook response: webhook returned response.patch but not response.patchType"
            )),
        ),
        (
            json!({"allowed": true, "patchType": "JSONPatch"}),
            Err(format!(
                "{failed}received invalid webhook response: webhook returned response.patchType but not response.patch"
            )),
        ),
        (
            json!({"allowed": true, "patchType": "X", "patch": "W10="}),
            Err(format!(
                "{failed}received invalid webhook response: webhook returned invalid response.patchType of \"X\""
            )),
        ),
        (
            json!({"allowed": true, "patchType": "JSONPatch", "patch": "eA=="}),
            Err(format!(
                "{failed}received undecodable patch in webhook response: "
            )),
        ),
        (
            patch(json!([{"op": "remove", "path": "/nope"}])),
            Err("Internal error occurred: ".to_owned()),
        ),
    ] {
        let found = mutated(
            vec![hook(json!({}))],
            transports(URL, answering(response.clone())),
        )
        .await;
        match (found, expected) {
            (Err(found), Err(expected)) => {
                assert!(found.starts_with(&expected), "{response}: {found}");
            }
            (found, expected) => assert_eq!(found, expected, "{response}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn mutating_webhooks_are_asked_again_when_later_ones_change_something() {
    // The first counts its calls, the second adds a label.
    for (policy, expected) in [("IfNeeded", 2), ("Never", 1)] {
        let calls = Arc::new(Mutex::new(0));
        let counted = calls.clone();
        let transports = Transports::default();
        add(
            &transports,
            "https://a.example.com/",
            Duration::ZERO,
            move |review| {
                *counted.lock() += 1;
                answering(json!({"allowed": true}))(review)
            },
        );
        let label = patch(json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]));
        add(
            &transports,
            "https://b.example.com/",
            Duration::ZERO,
            answering(label),
        );
        let hooks = vec![
            hook(
                json!({"clientConfig": {"url": "https://a.example.com/"}, "reinvocationPolicy": policy}),
            ),
            hook(
                json!({"name": "b.example.com", "clientConfig": {"url": "https://b.example.com/"}}),
            ),
        ];
        let world = World::new(&[configuration(MUTATING, hooks)]);
        let plugin: Arc<dyn Admission> = Arc::new(MutatingAdmissionWebhook::new(transports));
        let object = world.mutate_all(&[plugin], &ask()).await.unwrap();
        assert_eq!(object["metadata"]["labels"]["x"], "y");
        assert_eq!(*calls.lock(), expected, "{policy}");
    }
}

#[cfg(feature = "serve")]
#[tokio::test(start_paused = true)]
async fn a_service_without_an_address_is_not_found() {
    let service = hook(
        json!({"clientConfig": {"url": null, "service": {"namespace": "n", "name": "s", "path": "/p"}}}),
    );
    let (found, _) = validated(vec![service.clone()], Transports::default(), &ask()).await;
    assert_eq!(
        found,
        "500 Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: Post \"https://s.n.svc:443/p?timeout=5s\": service \"s\" not found"
    );
    let yes = transports("https://s.n.svc:443/p", answering(json!({"allowed": true})));
    assert_eq!(validated(vec![service], yes, &ask()).await.0, "");
}
