//! Connections and admission: who is asked about `exec`, `attach`, `portforward` and `proxy`, what they see, and what they may do.
use crate::support::{Answer, Api, PODS, builder, pod};
use async_trait::async_trait;
use homeostat::apiserver::{Connection, Dialer, Target};
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";
const URL: &str = "https://hook.example.com/connect";

/// Everything that is dialled answers with the first line of the request.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl Dialer for Echo {
    async fn dial(&self, _: &Target) -> io::Result<Box<dyn Connection>> {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(far.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let line = head.lines().next().unwrap();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}",
                line.len()
            );
            far.write_all(answer.as_bytes()).await.unwrap();
        });
        Ok(Box::new(near))
    }
}

/// The reviews that the webhook was sent.
type Asked = Arc<Mutex<Vec<Value>>>;

/// A server with a pod on a node; the webhook at [`URL`] answers with `response`.
async fn server(response: Value) -> (Api, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let builder = builder().dialer(Arc::new(Echo)).webhook(URL, move |review: Value| {
        let mut response = response.clone();
        response["uid"] = review["request"]["uid"].clone();
        seen.lock().unwrap().push(review);
        async move { json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}) }
    });
    let api = Api::start(builder).await;
    api.post("/api/v1/nodes", &json!({"metadata": {"name": "n"}}))
        .await
        .expect(201);
    let addresses =
        json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.1.0.1"}]}});
    api.patch("/api/v1/nodes/n/status", "merge", &addresses)
        .await
        .expect(200);
    let mut one = pod("p");
    one["spec"]["nodeName"] = "n".into();
    api.post(PODS, &one).await.expect(201);
    let ip = json!({"status": {"podIPs": [{"ip": "10.1.0.2"}]}});
    api.patch(&format!("{PODS}/p/status"), "merge", &ip)
        .await
        .expect(200);
    (api, asked)
}

fn rule(operations: Value, resources: Value) -> Value {
    json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": resources})
}

async fn webhook(api: &Api, kind: &str, change: Value) {
    let mut hook = json!({"name": "h.example.com", "clientConfig": {"url": URL}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [rule(json!(["CONNECT"]), json!(["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "nodes/proxy"]))]});
    for (key, value) in change.as_object().unwrap() {
        hook[key] = value.clone();
    }
    let plural = format!("{}webhookconfigurations", kind.to_lowercase());
    let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": "w"}, "webhooks": [hook]});
    api.post(&format!("{REGISTRATION}/{plural}"), &object)
        .await
        .expect(201);
}

async fn policy(api: &Api, resources: Value, expression: &str, message: &str) {
    let object = json!({"metadata": {"name": "guard"}, "spec": {
        "matchConstraints": {"resourceRules": [rule(json!(["CONNECT"]), resources)]},
        "validations": [{"expression": expression, "messageExpression": message}]}});
    let policies = format!("{REGISTRATION}/validatingadmissionpolicies");
    api.post(&policies, &object).await.expect(201);
    let binding = json!({"metadata": {"name": "guard"}, "spec": {"policyName": "guard", "validationActions": ["Deny"]}});
    api.post(
        &format!("{policies}bindings").replace("policiesbindings", "policybindings"),
        &binding,
    )
    .await
    .expect(201);
}

/// Code and message.
fn outcome(answer: &Answer) -> (u16, String) {
    (
        answer.code,
        answer.body["message"]
            .as_str()
            .unwrap_or(&answer.text)
            .to_owned(),
    )
}

#[tokio::test(start_paused = true)]
async fn webhooks_see_what_is_asked_of_a_connection() {
    let (api, asked) =
        server(json!({"allowed": false, "status": {"code": 403, "message": "no"}})).await;
    webhook(&api, "Validating", json!({})).await;
    let node = "/api/v1/nodes/n/proxy/metrics";
    for (line, resource, sub, object) in [
        (
            format!("POST {PODS}/p/exec?command=sh&command=-c&stdin=1&container=c"),
            "pods",
            "exec",
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh", "-c"], "stdin": true, "container": "c"}),
        ),
        (
            format!("GET {PODS}/p/attach?stdout=true"),
            "pods",
            "attach",
            json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdout": true}),
        ),
        (
            format!("POST {PODS}/p/portforward?ports=80"),
            "pods",
            "portforward",
            json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80]}),
        ),
        (
            format!("DELETE {PODS}/p/proxy/x/"),
            "pods",
            "proxy",
            json!({"kind": "PodProxyOptions", "apiVersion": "v1", "path": "/x/"}),
        ),
        (
            format!("GET {node}"),
            "nodes",
            "proxy",
            json!({"kind": "NodeProxyOptions", "apiVersion": "v1", "path": "/metrics"}),
        ),
    ] {
        let answer = api.raw(&line, "").await;
        let denied = "admission webhook \"h.example.com\" denied the request: no";
        assert_eq!(outcome(&answer), (403, denied.to_owned()), "{line}");
        let review = asked.lock().unwrap().pop().unwrap();
        let request = &review["request"];
        let kind = json!({"group": "", "version": "v1", "kind": object["kind"]});
        for (field, expected) in [
            ("operation", json!("CONNECT")),
            ("kind", kind),
            (
                "resource",
                json!({"group": "", "version": "v1", "resource": resource}),
            ),
            ("subResource", json!(sub)),
            ("name", json!(if resource == "pods" { "p" } else { "n" })),
            (
                "namespace",
                if resource == "pods" {
                    json!("default")
                } else {
                    Value::Null
                },
            ),
            ("object", object),
            ("oldObject", Value::Null),
            ("options", Value::Null),
            ("dryRun", json!(false)),
        ] {
            assert_eq!(request[field], expected, "{line}: {field}");
        }
    }
    // Logs are read, not connected to, and what does not match is not asked about.
    assert_eq!(api.get(&format!("{PODS}/p/log")).await.code, 200);
    assert_eq!(
        api.get("/api/v1/namespaces/default/services/s/proxy/")
            .await
            .code,
        404
    );
    let answer = api.raw(&format!("POST {PODS}/p/exec?dryRun=All"), "").await;
    assert_eq!(
        outcome(&answer),
        (400, "dryRun is not supported".to_owned())
    );
    let answer = api
        .raw(&format!("POST {PODS}/p/portforward?ports=a"), "")
        .await;
    let why = "cannot convert to []int32: strconv.ParseUint: parsing \"a\": invalid syntax";
    assert_eq!(outcome(&answer), (400, why.to_owned()));
    assert_eq!(asked.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn rules_and_conditions_say_which_connections_are_asked_about() {
    for (change, expected) in [
        (json!({}), true),
        (json!({"rules": [rule(json!(["*"]), json!(["*/*"]))]}), true),
        (json!({"rules": [rule(json!(["*"]), json!(["*"]))]}), false),
        (
            json!({"rules": [rule(json!(["CREATE", "UPDATE", "DELETE"]), json!(["pods/exec"]))]}),
            false,
        ),
        (
            json!({"rules": [rule(json!(["CONNECT"]), json!(["pods"]))]}),
            false,
        ),
        (
            json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}),
            false,
        ),
        (
            json!({"objectSelector": {"matchLabels": {"a": "b"}}}),
            false,
        ),
        (
            json!({"matchConditions": [{"name": "c", "expression": "request.subResource == 'exec' && 'sh' in object.command"}]}),
            true,
        ),
        (
            json!({"matchConditions": [{"name": "c", "expression": "object.command == ['no']"}]}),
            false,
        ),
    ] {
        let (api, asked) = server(json!({"allowed": true})).await;
        webhook(&api, "Validating", change.clone()).await;
        let answer = api.raw(&format!("POST {PODS}/p/exec?command=sh"), "").await;
        // It is let be, and needs a protocol that this client does not speak.
        assert_eq!(
            outcome(&answer),
            (400, "Upgrade request required".to_owned())
        );
        assert_eq!(
            asked.lock().unwrap().len(),
            usize::from(expected),
            "{change}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn mutating_webhooks_change_what_is_asked() {
    let patch = "W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9wYXRoIiwidmFsdWUiOiIvb3RoZXIgb25lIn1d";
    let (api, _) = server(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})).await;
    let path = format!("{PODS}/p/proxy/x?y=z");
    assert_eq!(api.get(&path).await.text, "GET /x?y=z HTTP/1.1");
    webhook(&api, "Mutating", json!({})).await;
    assert_eq!(api.get(&path).await.text, "GET /other%20one?y=z HTTP/1.1");
}

#[tokio::test(start_paused = true)]
async fn policies_guard_connections() {
    let (api, _) = server(json!({})).await;
    policy(
        &api,
        json!(["pods/exec", "pods/proxy"]),
        "has(object.path) ? !object.path.startsWith('/debug') : object.command[0] == 'ls'",
        "request.operation + ' ' + request.kind.kind + ' of ' + request.name",
    )
    .await;
    let denied = |kind: &str| {
        let why = format!("CONNECT {kind} of p");
        (
            422,
            format!(
                "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'guard' with binding 'guard' denied request: {why}"
            ),
        )
    };
    let answer = api.raw(&format!("POST {PODS}/p/exec?command=rm"), "").await;
    assert_eq!(outcome(&answer), denied("PodExecOptions"));
    let answer = api.raw(&format!("POST {PODS}/p/exec?command=ls"), "").await;
    assert_eq!(
        outcome(&answer),
        (400, "Upgrade request required".to_owned())
    );
    let answer = api.get(&format!("{PODS}/p/proxy/debug/pprof")).await;
    assert_eq!(outcome(&answer), denied("PodProxyOptions"));
    assert_eq!(
        api.get(&format!("{PODS}/p/proxy/x")).await.text,
        "GET /x HTTP/1.1"
    );
    // The connection is refused before anybody looks whether there is such a pod.
    let answer = api
        .raw(&format!("POST {PODS}/none/exec?command=rm"), "")
        .await;
    assert_eq!(answer.code, 422);
    let answer = api.raw(&format!("POST {PODS}/none/attach"), "").await;
    assert_eq!(
        outcome(&answer),
        (404, "pods \"none\" not found".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn mutating_policies_change_what_is_asked() {
    let (api, _) = server(json!({})).await;
    let policies = format!("{REGISTRATION}/mutatingadmissionpolicies");
    let object = json!({"metadata": {"name": "guard"}, "spec": {
        "matchConstraints": {"resourceRules": [rule(json!(["CONNECT"]), json!(["pods/proxy"]))]},
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'replace', path: '/path', value: '/guarded' + object.path}]"}}]}});
    api.post(&policies, &object).await.expect(201);
    let binding = json!({"metadata": {"name": "guard"}, "spec": {"policyName": "guard"}});
    api.post(&policies.replace("policies", "policybindings"), &binding)
        .await
        .expect(201);
    assert_eq!(
        api.get(&format!("{PODS}/p/proxy/x")).await.text,
        "GET /guarded/x HTTP/1.1"
    );
}

/// Another process beside the server: one of the components answers, the other one is broken.
#[derive(Debug)]
struct Components;

#[async_trait]
impl Dialer for Components {
    async fn dial(&self, target: &Target) -> io::Result<Box<dyn Connection>> {
        let Target::Address {
            host,
            port,
            tls: true,
            ..
        } = target
        else {
            return Err(io::Error::other("unexpected"));
        };
        assert_eq!(host, "127.0.0.1");
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let code = if *port == 10_257 {
            "200 OK"
        } else {
            "500 Internal Server Error"
        };
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(far.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"GET /healthz HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 {code}\r\nContent-Length: 2\r\n\r\nok");
            far.write_all(answer.as_bytes()).await.unwrap();
        });
        Ok(Box::new(near))
    }
}

#[tokio::test(start_paused = true)]
async fn components_are_asked_how_they_are() {
    const PATH: &str = "/api/v1/componentstatuses";
    let status = |name: &str, status: &str, message: &str| {
        json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
            "conditions": [{"type": "Healthy", "status": status, "message": message}]})
    };
    let refused = |port: u16| {
        format!(
            "Get \"https://127.0.0.1:{port}/healthz\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
    };
    let api = Api::start(builder()).await;
    let answer = api.get(PATH).await;
    assert_eq!(
        answer.warnings(),
        ["299 - \"v1 ComponentStatus is deprecated in v1.19+\""]
    );
    let expected = json!([
        status("controller-manager", "False", &refused(10_257)),
        status("etcd-0", "True", "ok"),
        status("scheduler", "False", &refused(10_259)),
    ]);
    // The items of a list of a built-in kind do not say what they are.
    let items = |expected: &Value| {
        let mut items = expected.clone();
        for item in items.as_array_mut().into_iter().flatten() {
            item.as_object_mut()
                .map(|item| (item.remove("kind"), item.remove("apiVersion")));
        }
        items
    };
    let list = answer.expect(200);
    assert_eq!(list["items"], items(&expected));
    assert_eq!(
        (&list["kind"], &list["metadata"]),
        (&json!("ComponentStatusList"), &json!({}))
    );
    let selected = api
        .get(&format!("{PATH}?fieldSelector=metadata.name%3Detcd-0"))
        .await
        .expect(200);
    assert_eq!(selected["items"], items(&json!([expected[1]])));
    let selected = api
        .get(&format!("{PATH}?labelSelector=a%3Db"))
        .await
        .expect(200);
    assert_eq!(selected["items"], json!([]));
    let answer = api.get(&format!("{PATH}/none")).await;
    assert_eq!(
        outcome(&answer),
        (500, "Component not found: none".to_owned())
    );
    assert_eq!(api.get(&format!("{PATH}?watch=true")).await.code, 405);

    let api = Api::start(builder().dialer(Arc::new(Components))).await;
    let found = api
        .get(&format!("{PATH}/controller-manager"))
        .await
        .expect(200);
    assert_eq!(found, status("controller-manager", "True", "ok"));
    let found = api.get(&format!("{PATH}/scheduler")).await.expect(200);
    assert_eq!(
        found,
        status(
            "scheduler",
            "False",
            "HTTP probe failed with statuscode: 500"
        )
    );
    let line = format!("GET {PATH}\nAccept: application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = api.raw(&line, "").await.expect(200);
    assert_eq!(
        table["rows"][0]["cells"],
        json!(["controller-manager", "Healthy", "ok", ""])
    );
}
