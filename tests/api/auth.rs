//! Who asks, and whether they may: over the whole server.
use crate::support::{Api, builder, remote, with_certificate};
use homeostat::apiserver::{
    AuthorizationMode, CertificateError, ClientCertificate, ServiceAccountTokens, StaticTokens,
    Write, WriteObserver,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOKENS: &str = "root,admin,1,system:masters\nlow,low,2,lowgroup\n";

/// A server that decides by roles, and callers from outside.
async fn strict() -> Api {
    let tokens = StaticTokens::from_csv(TOKENS).unwrap();
    let builder = builder()
        .tokens(tokens)
        .service_account_tokens(ServiceAccountTokens::new("https://k"))
        .authorization([AuthorizationMode::Rbac]);
    Api::start(builder).await
}

async fn make(api: &Api, path: &str, body: Value) -> Value {
    remote(api, "root", &format!("POST {path}"), &body)
        .await
        .expect(201)
}

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Grants `rules` to the user `low` in the namespace `default`.
async fn grant(api: &Api, name: &str, rules: Value) {
    make(
        api,
        &format!("{RBAC}/namespaces/default/roles"),
        json!({ "metadata": { "name": name }, "rules": rules }),
    )
    .await;
    let binding = json!({
        "metadata": { "name": name }, "roleRef": { "kind": "Role", "name": name },
        "subjects": [{ "kind": "User", "name": "low" }],
    });
    make(
        api,
        &format!("{RBAC}/namespaces/default/rolebindings"),
        binding,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_are_known_or_refused() {
    let api = strict().await;
    let none = Value::Null;
    for (token, line, code) in [
        ("", "GET /healthz", 200),
        ("", "GET /version", 200),
        ("", "GET /api", 403),
        ("", "GET /openid/v1/jwks", 403),
        ("low", "GET /api", 200),
        ("low", "GET /metrics", 403),
        ("root", "GET /metrics", 200),
        ("root", "GET /openid/v1/jwks", 200),
        ("wrong", "GET /healthz", 401),
        ("low", "GET /api/v1/namespaces", 403),
        ("root", "GET /api/v1/namespaces", 200),
        ("low", "GET /apis/nope/v1/things", 403),
    ] {
        assert_eq!(
            remote(&api, token, line, &none).await.code,
            code,
            "{token} {line}"
        );
    }
    let message = remote(&api, "", "GET /api/v1/pods", &none)
        .await
        .fails(403, "Forbidden");
    assert_eq!(
        message,
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    assert_eq!(
        remote(&api, "wrong", "GET /api", &none)
            .await
            .fails(401, "Unauthorized"),
        "Unauthorized"
    );
    // In process nothing is refused, unless a client of less power is asked for.
    let namespaces = |client| kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(client);
    assert!(
        namespaces(api.server.client())
            .get_opt("default")
            .await
            .is_ok()
    );
    let error = namespaces(api.server.client_of("low", &[]))
        .get_opt("default")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is forbidden"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn callers_who_show_nothing_are_refused_where_all_is_allowed() {
    let api = Api::start(builder()).await;
    assert_eq!(remote(&api, "", "GET /api", &Value::Null).await.code, 401);
    let api = Api::start(builder().with_anonymous()).await;
    assert_eq!(remote(&api, "", "GET /api", &Value::Null).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_believed_is_not_nobodys() {
    let tokens = StaticTokens::from_csv(TOKENS).unwrap();
    let api = Api::start(builder().tokens(tokens).with_anonymous()).await;
    let named = || {
        Ok(ClientCertificate {
            common_name: "u".into(),
            ..ClientCertificate::default()
        })
    };
    let broken = || Err(CertificateError("it has several uids"));
    for (certificate, token, code) in [
        (None, "", 200),
        (Some(named()), "", 200),
        (Some(named()), "wrong", 200),
        (Some(broken()), "", 401),
        (Some(broken()), "wrong", 401),
        (Some(broken()), "root", 200),
    ] {
        let shown = format!("{certificate:?} {token:?}");
        let answer = with_certificate(&api, certificate, token, "GET /api", &Value::Null).await;
        assert_eq!(answer.code, code, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_and_watches_show_only_what_is_granted() {
    let api = strict().await;
    make(
        &api,
        "/api/v1/namespaces",
        json!({ "metadata": { "name": "other" } }),
    )
    .await;
    for namespace in ["default", "other"] {
        make(
            &api,
            &format!("/api/v1/namespaces/{namespace}/configmaps"),
            json!({ "metadata": { "name": "c" }, "data": { "k": namespace } }),
        )
        .await;
    }
    grant(&api, "see", json!([{ "verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"] }])).await;
    let none = Value::Null;
    for (line, code) in [
        ("GET /api/v1/namespaces/default/configmaps", 200),
        (
            "GET /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1",
            200,
        ),
        (
            "GET /api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1",
            200,
        ),
        ("GET /api/v1/namespaces/default/configmaps/c", 200),
        ("GET /api/v1/configmaps", 403),
        ("GET /api/v1/configmaps?watch=1", 403),
        ("GET /api/v1/watch/configmaps", 403),
        (
            "GET /api/v1/configmaps?fieldSelector=metadata.namespace=default",
            403,
        ),
        ("GET /api/v1/namespaces/other/configmaps", 403),
        ("GET /api/v1/namespaces/other/configmaps?watch=1", 403),
        ("GET /api/v1/watch/namespaces/other/configmaps", 403),
        ("GET /api/v1/namespaces/other/configmaps/c", 403),
        ("GET /api/v1/namespaces/default/secrets", 403),
        ("HEAD /api/v1/namespaces/default/configmaps/c", 405),
        ("DELETE /api/v1/namespaces/default/configmaps/c", 403),
    ] {
        let answer = remote(&api, "low", line, &none).await;
        assert_eq!(answer.code, code, "{line} {}", answer.text);
        assert!(
            !answer.text.contains("other") || answer.code == 403,
            "{line} {}",
            answer.text
        );
    }
    let binding = format!("DELETE {RBAC}/namespaces/default/rolebindings/see");
    remote(&api, "root", &binding, &none).await.expect(200);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let list = remote(
        &api,
        "low",
        "GET /api/v1/namespaces/default/configmaps",
        &none,
    )
    .await;
    assert_eq!(list.code, 403);
}

#[tokio::test(start_paused = true)]
async fn nobody_grants_more_than_he_has() {
    let api = strict().await;
    let write = json!({ "verbs": ["create", "update", "get", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"] });
    grant(
        &api,
        "own",
        json!([write, { "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }]),
    )
    .await;
    let roles = format!("POST {RBAC}/namespaces/default/roles");
    let role = |verbs: &[&str]| json!({ "metadata": { "name": "new" }, "rules": [{ "verbs": verbs, "apiGroups": [""], "resources": ["pods"] }] });
    let message = remote(&api, "low", &roles, &role(&["get", "list", "watch"]))
        .await
        .fails(403, "Forbidden");
    assert_eq!(
        message,
        "roles.rbac.authorization.k8s.io \"new\" is forbidden: user \"low\" (groups=[\"lowgroup\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\" \"watch\"]}"
    );
    remote(&api, "low", &roles, &role(&["get"]))
        .await
        .expect(201);
    let patch = format!(
        "PATCH {RBAC}/namespaces/default/roles/new\ncontent-type: application/merge-patch+json"
    );
    remote(&api, "low", &patch, &json!({ "rules": [] }))
        .await
        .expect(200);
    remote(
        &api,
        "low",
        &patch,
        &json!({ "rules": role(&["*"])["rules"] }),
    )
    .await
    .fails(403, "Forbidden");
    remote(
        &api,
        "low",
        &patch,
        &json!({ "metadata": { "finalizers": ["a/b"] } }),
    )
    .await
    .expect(200);

    let bindings = format!("POST {RBAC}/namespaces/default/rolebindings");
    let binding = |kind: &str, name: &str| {
        json!({
            "metadata": { "name": name }, "roleRef": { "kind": kind, "name": name }, "subjects": [{ "kind": "User", "name": "low" }],
        })
    };
    remote(&api, "low", &bindings, &binding("Role", "new"))
        .await
        .expect(201);
    let message = remote(&api, "low", &bindings, &binding("Role", "gone"))
        .await
        .fails(404, "NotFound");
    assert_eq!(
        message,
        "roles.rbac.authorization.k8s.io \"gone\" not found"
    );
    remote(
        &api,
        "low",
        &bindings,
        &binding("ClusterRole", "cluster-admin"),
    )
    .await
    .fails(403, "Forbidden");
    grant(&api, "bind", json!([{ "verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"] }])).await;
    remote(&api, "low", &bindings, &binding("ClusterRole", "view"))
        .await
        .expect(201);
    remote(&api, "low", &bindings, &binding("ClusterRole", "edit"))
        .await
        .expect(201);
    remote(
        &api,
        "low",
        &bindings,
        &binding("ClusterRole", "cluster-admin"),
    )
    .await
    .fails(403, "Forbidden");
    grant(&api, "escalate", json!([{ "verbs": ["escalate"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"] }])).await;
    remote(
        &api,
        "low",
        &patch,
        &json!({ "rules": role(&["*"])["rules"] }),
    )
    .await
    .expect(200);
}

#[tokio::test(start_paused = true)]
async fn the_default_policy_is_made_once_and_completed() {
    let api = strict().await;
    let read = |name: &str| format!("GET {RBAC}/clusterroles/{name}");
    let admin = remote(&api, "root", &read("cluster-admin"), &Value::Null)
        .await
        .expect(200);
    assert_eq!(
        admin["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"],
        "true"
    );
    let view = remote(&api, "root", &read("view"), &Value::Null)
        .await
        .expect(200);
    assert_eq!(view["rules"], Value::Null);
    let rules = json!({ "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "spec": { "namespace": "default" } });
    let path = "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let rules = remote(&api, "low", path, &rules).await.expect(201);
    assert_eq!(
        (
            &rules["spec"],
            &rules["metadata"],
            &rules["status"]["incomplete"]
        ),
        (&json!({}), &json!({}), &json!(false))
    );
    assert_eq!(
        rules["status"]["resourceRules"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        remote(&api, "low", path, &json!({}))
            .await
            .fails(400, "BadRequest"),
        "no namespace on request"
    );
}

#[tokio::test(start_paused = true)]
async fn impersonation_needs_the_right() {
    let api = strict().await;
    let none = Value::Null;
    let whoami = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
    let acting = format!(
        "{whoami}\nimpersonate-user: low\nimpersonate-group: g\nimpersonate-uid: 7\nimpersonate-extra-scopes: a\nimpersonate-extra-scopes: b"
    );
    let info = remote(&api, "root", &acting, &review).await.expect(201);
    assert_eq!(
        info["status"]["userInfo"],
        json!({ "username": "low", "uid": "7", "groups": ["g", "system:authenticated"], "extra": { "scopes": ["a", "b"] } })
    );
    // The rights are those of the user acted as.
    remote(
        &api,
        "root",
        "GET /api/v1/pods\nimpersonate-user: low",
        &none,
    )
    .await
    .fails(403, "Forbidden");
    let message = remote(
        &api,
        "low",
        "GET /api/v1/pods\nimpersonate-user: admin",
        &none,
    )
    .await
    .fails(403, "Forbidden");
    assert_eq!(
        message,
        "pods is forbidden: User \"low\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" at the cluster scope"
    );
    let account = format!("{whoami}\nimpersonate-user: system:serviceaccount:ns:sa");
    let info = remote(&api, "root", &account, &review).await.expect(201);
    assert_eq!(
        info["status"]["userInfo"]["groups"],
        json!([
            "system:serviceaccounts",
            "system:serviceaccounts:ns",
            "system:authenticated"
        ])
    );
    let anonymous = format!("{whoami}\nimpersonate-user: system:anonymous");
    remote(&api, "root", &anonymous, &review)
        .await
        .fails(403, "Forbidden");
    remote(&api, "root", "GET /api\nimpersonate-group: g", &none)
        .await
        .fails(400, "BadRequest");

    // By the older way: the right to impersonate one group and all users.
    make(&api, &format!("{RBAC}/clusterroles"), json!({ "metadata": { "name": "act" }, "rules": [
        { "verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"] },
        { "verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["g"] },
    ] })).await;
    make(&api, &format!("{RBAC}/clusterrolebindings"), json!({
        "metadata": { "name": "act" }, "roleRef": { "kind": "ClusterRole", "name": "act" }, "subjects": [{ "kind": "Group", "name": "lowgroup" }],
    })).await;
    let as_other = format!("{whoami}\nimpersonate-user: other\nimpersonate-group: ");
    remote(&api, "low", &format!("{as_other}g"), &review)
        .await
        .expect(201);
    remote(&api, "low", &format!("{as_other}system:masters"), &review)
        .await
        .fails(403, "Forbidden");
}

/// Everything that is told of writes.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<String>>);

impl WriteObserver for Log {
    fn wrote(&self, write: &Write<'_>) {
        self.0.lock().unwrap().push(format!("{write:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_service_accounts_live_as_long_as_they_say() {
    let log = Arc::new(Log::default());
    let builder = builder()
        .tokens(StaticTokens::from_csv(TOKENS).unwrap())
        .service_account_tokens(ServiceAccountTokens::new("https://k"))
        .observer(log.clone())
        .authorization([AuthorizationMode::Rbac]);
    let api = Api::start(builder).await;
    make(
        &api,
        "/api/v1/namespaces/default/serviceaccounts",
        json!({ "metadata": { "name": "sa" } }),
    )
    .await;
    let request = async |spec: Value| {
        let body = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec });
        let made = make(
            &api,
            "/api/v1/namespaces/default/serviceaccounts/sa/token",
            body,
        )
        .await;
        made["status"]["token"].as_str().unwrap().to_owned()
    };
    let review = async |token: &str, audiences: Value| {
        let body = json!({ "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": { "token": token, "audiences": audiences } });
        make(&api, "/apis/authentication.k8s.io/v1/tokenreviews", body).await["status"].clone()
    };
    let token = request(json!({ "expirationSeconds": 600 })).await;
    let other = request(json!({ "audiences": ["vault"] })).await;
    assert_eq!(
        review(&token, json!([])).await["user"]["username"],
        "system:serviceaccount:default:sa"
    );
    assert_eq!(
        review(&other, json!(["vault", "x"])).await["audiences"],
        json!(["vault"])
    );
    assert_eq!(
        review(&other, json!([])).await["error"],
        "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"https://k\"]]"
    );
    assert_eq!(
        remote(&api, &token, "GET /api", &Value::Null).await.code,
        200
    );
    assert_eq!(
        remote(&api, &other, "GET /api", &Value::Null).await.code,
        401
    );
    // One bit of the signature, or another algorithm, and it is worth nothing.
    let flipped = format!(
        "{}{}",
        &token[..token.len() - 8],
        if token.ends_with("AAAAAAAA") {
            "BBBBBBBB"
        } else {
            "AAAAAAAA"
        }
    );
    assert_eq!(
        remote(&api, &flipped, "GET /api", &Value::Null).await.code,
        401
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(
        remote(&api, &token, "GET /api", &Value::Null).await.code,
        200,
        "clocks differ by a minute"
    );
    tokio::time::sleep(Duration::from_secs(62)).await;
    assert_eq!(
        remote(&api, &token, "GET /api", &Value::Null).await.code,
        401
    );
    assert_eq!(
        review(&token, json!([])).await["error"],
        "[invalid bearer token, service account token has expired]"
    );

    // A token dies with what it is bound to, and with its account.
    make(
        &api,
        "/api/v1/namespaces/default/secrets",
        json!({ "metadata": { "name": "s" } }),
    )
    .await;
    let bound =
        request(json!({ "boundObjectRef": { "apiVersion": "v1", "kind": "Secret", "name": "s" } }))
            .await;
    let plain = request(json!({})).await;
    assert_eq!(review(&bound, json!([])).await["authenticated"], true);
    remote(
        &api,
        "root",
        "DELETE /api/v1/namespaces/default/secrets/s",
        &Value::Null,
    )
    .await
    .expect(200);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        review(&bound, json!([])).await["error"],
        "[invalid bearer token, service account token has been invalidated]"
    );
    make(
        &api,
        "/api/v1/namespaces/default/secrets",
        json!({ "metadata": { "name": "s" } }),
    )
    .await;
    let error = review(&bound, json!([])).await["error"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        error.contains("does not match service account secret ref claim"),
        "{error}"
    );
    remote(
        &api,
        "root",
        "DELETE /api/v1/namespaces/default/serviceaccounts/sa",
        &Value::Null,
    )
    .await
    .expect(200);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        review(&plain, json!([])).await["error"],
        "[invalid bearer token, serviceaccounts \"sa\" not found]"
    );

    let shown = format!("{:?}{:?}", api.server, log.0.lock().unwrap());
    for secret in [&*token, &*plain, "root,admin", "low,low"] {
        assert!(!shown.contains(secret));
    }
    assert!(!shown.contains("\"root\"") && shown.contains("StaticTokens(2)"));
}

#[tokio::test(start_paused = true)]
async fn others_find_the_keys_and_verify_with_them() {
    let api = strict().await;
    let discovery = remote(
        &api,
        "root",
        "GET /.well-known/openid-configuration",
        &Value::Null,
    )
    .await;
    assert_eq!(discovery.headers["cache-control"], "public, max-age=3600");
    assert_eq!(discovery.body["issuer"], "https://k");
    let keys = remote(&api, "root", "GET /openid/v1/jwks", &Value::Null).await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    assert_eq!(keys.body["keys"][0]["alg"], "ES256");
}

#[tokio::test(start_paused = true)]
async fn certificate_requests_say_who_asked() {
    let api = strict().await;
    make(&api, &format!("{RBAC}/clusterroles"), json!({ "metadata": { "name": "ask" }, "rules": [
        { "verbs": ["create", "get"], "apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"] },
    ] })).await;
    make(&api, &format!("{RBAC}/clusterrolebindings"), json!({
        "metadata": { "name": "ask" }, "roleRef": { "kind": "ClusterRole", "name": "ask" }, "subjects": [{ "kind": "User", "name": "low" }],
    })).await;
    let pem = include_str!("../../src/pki/test-request.pem");
    let request = homeostat::object::base64::encode(pem.as_bytes());
    let body = json!({ "metadata": { "name": "c" }, "spec": { "request": request, "signerName": "a.b/c", "usages": ["client auth"], "username": "forged" } });
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let made = remote(&api, "low", &format!("POST {path}"), &body)
        .await
        .expect(201);
    assert_eq!(
        (&made["spec"]["username"], &made["spec"]["groups"]),
        (&json!("low"), &json!(["lowgroup", "system:authenticated"]))
    );
    let approve = json!({ "status": { "conditions": [{ "type": "Approved", "status": "True", "reason": "r" }] } });
    let patch = format!("PATCH {path}/c/approval\ncontent-type: application/merge-patch+json");
    remote(&api, "low", &patch, &approve)
        .await
        .fails(403, "Forbidden");
    let approved = remote(&api, "root", &patch, &approve).await.expect(200);
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
}

#[tokio::test(start_paused = true)]
async fn kubelets_may_use_what_their_pods_need() {
    let tokens = "root,admin,1,system:masters\nn1,system:node:n1,2,system:nodes\n";
    let builder = builder()
        .tokens(StaticTokens::from_csv(tokens).unwrap())
        .with_admission("NodeRestriction")
        .authorization([AuthorizationMode::Node, AuthorizationMode::Rbac]);
    let api = Api::start(builder).await;
    let none = Value::Null;
    let in_default = |plural: &str| format!("/api/v1/namespaces/default/{plural}");
    for (node, secret) in [("n1", "s1"), ("n2", "s2")] {
        make(
            &api,
            &in_default("secrets"),
            json!({ "metadata": { "name": secret } }),
        )
        .await;
        make(
            &api,
            &in_default("serviceaccounts"),
            json!({ "metadata": { "name": node } }),
        )
        .await;
        let pod = json!({ "metadata": { "name": node }, "spec": {
            "nodeName": node, "serviceAccountName": node, "containers": [{ "name": "c", "image": "i" }],
            "volumes": [{ "name": "v", "secret": { "secretName": secret } }],
        } });
        make(&api, &in_default("pods"), pod).await;
    }
    for (line, code) in [
        ("GET /api/v1/namespaces/default/secrets/s1", 200),
        ("GET /api/v1/namespaces/default/secrets/s2", 403),
        ("GET /api/v1/namespaces/default/secrets", 403),
        (
            "GET /api/v1/namespaces/default/secrets?fieldSelector=metadata.name=s1",
            200,
        ),
        ("DELETE /api/v1/namespaces/default/secrets/s1", 403),
        ("GET /api/v1/namespaces/default/pods/n1", 200),
        ("GET /api/v1/namespaces/default/pods/n2", 403),
        ("GET /api/v1/pods", 403),
        ("GET /api/v1/pods?fieldSelector=spec.nodeName=n1", 200),
        ("GET /api/v1/pods?fieldSelector=spec.nodeName=n2", 403),
        ("GET /api/v1/nodes/n1", 404),
        ("GET /api/v1/nodes/n2", 403),
        ("GET /api/v1/nodes", 403),
        ("GET /api/v1/services", 200),
        (
            "GET /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
            404,
        ),
        (
            "GET /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2",
            403,
        ),
        ("DELETE /api/v1/namespaces/default/pods/n2", 403),
    ] {
        let answer = remote(&api, "n1", line, &none).await;
        assert_eq!(answer.code, code, "{line} {}", answer.text);
    }
    let message = remote(
        &api,
        "n1",
        "GET /api/v1/namespaces/default/secrets/s2",
        &none,
    )
    .await
    .fails(403, "Forbidden");
    assert_eq!(
        message,
        "secrets \"s2\" is forbidden: User \"system:node:n1\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\": no relationship found between node 'n1' and this object"
    );
    let node =
        |name: &str, label: &str| json!({ "metadata": { "name": name, "labels": { label: "x" } } });
    let create = "POST /api/v1/nodes";
    let message = remote(&api, "n1", create, &node("n2", "a"))
        .await
        .fails(403, "Forbidden");
    assert!(
        message.ends_with("node \"n1\" is not allowed to modify node \"n2\""),
        "{message}"
    );
    let message = remote(
        &api,
        "n1",
        create,
        &node("n1", "node-restriction.kubernetes.io/a"),
    )
    .await
    .fails(403, "Forbidden");
    assert!(
        message.ends_with(
            "is not allowed to set the following labels: node-restriction.kubernetes.io/a"
        ),
        "{message}"
    );
    remote(&api, "n1", create, &node("n1", "a"))
        .await
        .expect(201);
    let pod = remote(&api, "n1", "GET /api/v1/namespaces/default/pods/n1", &none)
        .await
        .expect(200);
    let token = |account: &str, name: &str, uid: &Value| {
        let reference = json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid });
        let body = json!({ "spec": { "boundObjectRef": reference } });
        (
            format!("POST {}/{account}/token", in_default("serviceaccounts")),
            body,
        )
    };
    let (line, body) = token("n1", "n1", &pod["metadata"]["uid"]);
    let made = remote(&api, "n1", &line, &body).await.expect(201);
    let bearer = made["status"]["token"].as_str().unwrap();
    let review = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
    let info = remote(
        &api,
        bearer,
        "POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
        &review,
    )
    .await
    .expect(201);
    assert_eq!(
        info["status"]["userInfo"]["extra"]["authentication.kubernetes.io/node-name"],
        json!(["n1"])
    );
    let (line, body) = token("n2", "n1", &pod["metadata"]["uid"]);
    assert_eq!(remote(&api, "n1", &line, &body).await.code, 403);
    let (line, body) = token("n1", "n1", &json!(""));
    let message = remote(&api, "n1", &line, &body)
        .await
        .fails(403, "Forbidden");
    assert!(
        message.ends_with("node requested token with a pod binding without a uid"),
        "{message}"
    );
}

/// Expressions of policies and webhooks ask all authorizers, about the one who asks and about service accounts.
#[tokio::test(start_paused = true)]
async fn expressions_ask_the_authorizer() {
    let tokens = format!("{TOKENS}kubelet,system:node:n1,3,system:nodes\n");
    let builder = builder()
        .tokens(StaticTokens::from_csv(&tokens).unwrap())
        .service_account_tokens(ServiceAccountTokens::new("https://k"))
        .authorization([AuthorizationMode::Node, AuthorizationMode::Rbac]);
    let api = Api::start(builder).await;
    let rule = |resource: &str, verbs: Value| json!([{"apiGroups": [""], "resources": [resource], "verbs": verbs}]);
    grant(&api, "maps", rule("configmaps", json!(["create"]))).await;
    let account = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"});
    for (name, subject, rules) in [
        (
            "kubelets",
            json!({"kind": "User", "name": "system:node:n1"}),
            rule("configmaps", json!(["create"])),
        ),
        ("robots", account, rule("services", json!(["list"]))),
    ] {
        let base = format!("{RBAC}/namespaces/default");
        let role = json!({"metadata": {"name": name}, "rules": rules});
        make(&api, &format!("{base}/roles"), role).await;
        let binding = json!({"metadata": {"name": name}, "roleRef": {"kind": "Role", "name": name}, "subjects": [subject]});
        make(&api, &format!("{base}/rolebindings"), binding).await;
    }
    let mut used = crate::support::pod("p");
    used["spec"]["nodeName"] = "n1".into();
    used["spec"]["imagePullSecrets"] = json!([{"name": "mine"}]);
    make(&api, crate::support::PODS, used).await;
    let registration = "/apis/admissionregistration.k8s.io/v1";
    let spec = json!({"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]},
    "matchConditions": [{"name": "own", "expression": "authorizer.requestResource.check('create').allowed() && 'question' in object.data"}],
    "variables": [
        {"name": "secret", "expression": "authorizer.group('').resource('secrets').namespace('default').name(object.data.question)"},
        {"name": "robot", "expression": "authorizer.serviceAccount('default', 'robot').group('').resource('services').namespace('default')"},
    ],
    "validations": [
        {"expression": "variables.robot.check('list').allowed() && !variables.robot.check('delete').allowed()", "message": "robot"},
        {"expression": "variables.secret.check('get').allowed()", "messageExpression": "'secret: ' + variables.secret.check('get').reason()"},
        {"expression": "authorizer.path('/metrics').check('get').allowed() || object.data.question != 'path'", "message": "path"},
    ]});
    let policy = json!({"metadata": {"name": "ask"}, "spec": spec});
    make(
        &api,
        &format!("{registration}/validatingadmissionpolicies"),
        policy,
    )
    .await;
    let binding = json!({"metadata": {"name": "ask"}, "spec": {"policyName": "ask", "validationActions": ["Deny"]}});
    make(
        &api,
        &format!("{registration}/validatingadmissionpolicybindings"),
        binding,
    )
    .await;
    let unrelated = "secret: no relationship found between node 'n1' and this object";
    for (token, question, expected) in [
        ("root", "path", ""),
        ("kubelet", "mine", ""),
        ("kubelet", "other", unrelated),
        ("kubelet", "path", unrelated),
        ("low", "mine", "secret: "),
    ] {
        let map = json!({"metadata": {"generateName": "m"}, "data": {"question": question}});
        let line = "POST /api/v1/namespaces/default/configmaps";
        let answer = remote(&api, token, line, &map).await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        let why = message
            .split_once("denied request: ")
            .map_or("", |(_, why)| why);
        assert_eq!(why, expected.trim(), "{token} {question}: {message}");
        assert_eq!(
            answer.code,
            if expected.is_empty() { 201 } else { 422 },
            "{message}"
        );
    }
}

/// A policy tells what its parameters hold: only who may read them may name them.
#[tokio::test(start_paused = true)]
async fn parameters_of_policies_are_for_those_who_may_read_them() {
    let api = strict().await;
    let rules = json!([{"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]}]);
    let role = json!({"metadata": {"name": "policies"}, "rules": rules});
    make(&api, &format!("{RBAC}/clusterroles"), role).await;
    let binding = json!({
        "metadata": {"name": "policies"}, "roleRef": {"kind": "ClusterRole", "name": "policies"},
        "subjects": [{"kind": "User", "name": "low"}],
    });
    make(&api, &format!("{RBAC}/clusterrolebindings"), binding).await;

    let registration = "/apis/admissionregistration.k8s.io/v1";
    let constraints = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]});
    let low = "user &{low 2 [lowgroup system:authenticated] map[]}";
    for (policies, mut policy, action) in [
        (
            "validatingadmissionpolic",
            json!({"spec": {"validations": [{"expression": "true"}]}}),
            json!({"validationActions": ["Deny"]}),
        ),
        (
            "mutatingadmissionpolic",
            json!({"spec": {
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}],
            }}),
            json!({}),
        ),
    ] {
        let path = format!("{registration}/{policies}ies");
        policy["metadata"]["name"] = json!("p");
        policy["spec"]["matchConstraints"] = constraints.clone();
        policy["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let create = format!("POST {path}");
        let message = remote(&api, "low", &create, &policy)
            .await
            .fails(422, "Invalid");
        let why = format!(
            "spec.paramKind: Forbidden: {low} must have \"get\" permission on all objects of the referenced paramKind (kind=ConfigMap, apiVersion=v1)"
        );
        assert!(message.ends_with(&why), "{message}");

        // What is named already may stay.
        let mut made = make(&api, &path, policy).await;
        made["metadata"]["labels"] = json!({"a": "b"});
        let update = format!("PUT {path}/p");
        let mut made = remote(&api, "low", &update, &made).await.expect(200);
        made["spec"]["paramKind"]["kind"] = json!("Secret");
        let message = remote(&api, "low", &update, &made)
            .await
            .fails(422, "Invalid");
        assert!(
            message.contains("(kind=Secret, apiVersion=v1)"),
            "{message}"
        );
        made["spec"]["paramKind"] = json!({"apiVersion": "none/v1", "kind": "None"});
        made["metadata"]["name"] = json!("odd");
        made["metadata"]["resourceVersion"] = json!("");
        make(&api, &path, made).await;

        let create = format!("POST {registration}/{policies}ybindings");
        let bind = async |name: &str, policy: &str, reference: Value| {
            let mut binding = json!({"metadata": {"name": name}, "spec": action});
            binding["spec"]["policyName"] = json!(policy);
            binding["spec"]["paramRef"] = reference;
            binding["spec"]["paramRef"]["parameterNotFoundAction"] = json!("Deny");
            remote(&api, "low", &create, &binding).await
        };
        let one = json!({"name": policies, "namespace": "default"});
        let all_of = "permission for all groups, versions and resources";
        for (policy, reference, expected) in [
            (
                "p",
                one.clone(),
                format!(
                    "{low} does not have \"get\" permission on the object referenced by paramRef"
                ),
            ),
            (
                "p",
                json!({"selector": {}}),
                format!(
                    "{low} does not have \"list\" permission on the object referenced by paramRef"
                ),
            ),
            (
                "none",
                one.clone(),
                format!(
                    "unable to get policy none to determine minimum required permissions and {low} does not have \"get\" {all_of}"
                ),
            ),
            (
                "odd",
                one.clone(),
                format!(
                    "unable to resolve paramKind &{{none/v1 None}} to determine minimum required permissions and {low} does not have \"get\" {all_of}"
                ),
            ),
        ] {
            let message = bind("b", policy, reference).await.fails(422, "Invalid");
            let expected = format!("spec.paramRef: Forbidden: {expected}");
            assert!(message.ends_with(&expected), "{message}");
        }
        grant(
            &api,
            policies,
            json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [policies], "verbs": ["get"]}]),
        )
        .await;
        bind("one", "p", one).await.expect(201);
        let elsewhere = json!({"name": policies, "namespace": "kube-system"});
        bind("b", "p", elsewhere).await.fails(422, "Invalid");
        bind("b", "p", json!({"name": policies}))
            .await
            .fails(422, "Invalid");
    }
}
