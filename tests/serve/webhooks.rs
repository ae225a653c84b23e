//! Admission webhooks over real HTTPS: answers, failures, time-outs, wrong answers and reinvocation.
use homeostat::apiserver::ApiServer;
use homeostat::apiserver::admission::webhook::{Https, ServiceResolver};
use homeostat::apiserver::serve::Certificates;
use homeostat::clock::Clock;
use homeostat::store::MemoryStore;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject, PostParams};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// `[{"op":"add","path":"/data","value":{"from":"webhook"}}]`
const PATCH: &str = "W3sib3AiOiJhZGQiLCJwYXRoIjoiL2RhdGEiLCJ2YWx1ZSI6eyJmcm9tIjoid2ViaG9vayJ9fV0=";

/// How the webhook answers, by the path of its URL.
fn answer(path: &str, review: &Value) -> (u16, String) {
    let uid = &review["request"]["uid"];
    let respond = |response: Value| {
        let review = json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response});
        (200, review.to_string())
    };
    match path {
        "/deny" => respond(
            json!({"uid": uid, "allowed": false, "status": {"message": "no", "code": 403, "reason": "Forbidden"}}),
        ),
        "/patch" => {
            respond(json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": PATCH}))
        }
        "/bad-patch" => respond(
            json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": "bm9uZQ=="}),
        ),
        // Notes that it was asked, once more each time.
        "/count" => {
            let object = &review["request"]["object"];
            let calls = format!("{}x", object["data"]["calls"].as_str().unwrap_or_default());
            let add = if object["data"].is_object() {
                json!([{"op": "add", "path": "/data/calls", "value": calls}])
            } else {
                json!([{"op": "add", "path": "/data", "value": {"calls": calls}}])
            };
            let patch = base64(&add.to_string());
            respond(json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch}))
        }
        "/once" => {
            let add = json!([{"op": "add", "path": "/data/once", "value": "y"}]);
            let patch = base64(&add.to_string());
            respond(json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch}))
        }
        "/bad-uid" => respond(json!({"uid": "other", "allowed": true})),
        "/bad-version" => (
            200,
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "response": {"uid": uid, "allowed": true}})
                .to_string(),
        ),
        "/no-json" => (200, "none".to_owned()),
        "/error" => (500, "out of order".to_owned()),
        _ => respond(json!({"uid": uid, "allowed": true})),
    }
}

async fn serve(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    if path == "/slow" {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let review = serde_json::from_slice(&body).unwrap();
    let (code, text) = answer(&path, &review);
    let response = Response::builder().status(code).body(Full::from(text));
    Ok(response.unwrap())
}

/// A webhook on a port of its own; its address, and who signed its certificate.
async fn webhook() -> (SocketAddr, String) {
    https(serve).await
}

/// Whatever answers, over TLS on a port of its own; its address, and who signed its certificate.
pub(crate) async fn https<S, F>(serve: S) -> (SocketAddr, String)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    let names = ["127.0.0.1", "hook.ns.svc"];
    let certificates = Certificates::generate(&Clock::system(), &names).unwrap();
    let (certificate, key) = certificates.server_pem();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate.as_bytes())
            .map(Result::unwrap)
            .collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            tokio::spawn(async move {
                // Whoever does not trust us hangs up.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(serve))
                    .await;
            });
        }
    });
    (address, certificates.authority_pem().to_owned())
}

#[derive(Debug)]
struct OnlyHook(SocketAddr);
impl ServiceResolver for OnlyHook {
    fn resolve(&self, namespace: &str, name: &str, _port: u16) -> Option<SocketAddr> {
        ((namespace, name) == ("ns", "hook")).then_some(self.0)
    }
}

fn base64(text: &str) -> String {
    homeostat::object::base64::encode(text.as_bytes())
}

/// Makes a config map with the webhook of this configuration in force.
async fn create(address: SocketAddr, kind: &str, hook: Value) -> Result<ConfigMap, String> {
    create_through(address, kind, vec![hook]).await
}

/// As [`create`], with several webhooks.
async fn create_through(
    address: SocketAddr,
    kind: &str,
    hooks: Vec<Value>,
) -> Result<ConfigMap, String> {
    let https = Https::default().services(Arc::new(OnlyHook(address)));
    let server = ApiServer::builder(Arc::new(MemoryStore::default()))
        .webhook_transport(Arc::new(https))
        .start()
        .await
        .unwrap();
    let client = server.client();
    let whole = |hook: Value| {
        let mut whole = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]});
        for (key, value) in hook.as_object().unwrap() {
            whole[key] = value.clone();
        }
        whole
    };
    let hooks: Vec<Value> = hooks.into_iter().map(whole).collect();
    let gvk = kube::core::GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    let resource = kube::core::ApiResource::from_gvk(&gvk);
    let object: DynamicObject = serde_json::from_value(
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "c"}, "webhooks": hooks}),
    )
    .unwrap();
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    api.create(&PostParams::default(), &object).await.unwrap();
    let map = ConfigMap {
        metadata: kube::core::ObjectMeta {
            name: Some("m".into()),
            ..Default::default()
        },
        ..ConfigMap::default()
    };
    let maps = Api::<ConfigMap>::namespaced(client, "default");
    let outcome = maps.create(&PostParams::default(), &map).await;
    outcome.map_err(|error| match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.message),
        other => other.to_string(),
    })
}

#[tokio::test]
async fn webhooks_over_https() {
    let (address, authority) = webhook().await;
    let failed = "500 Internal error occurred: failed calling webhook \"a.example.com\": ";
    for (kind, path, expected) in [
        ("ValidatingWebhookConfiguration", "/yes", String::new()),
        (
            "ValidatingWebhookConfiguration",
            "/deny",
            "403 admission webhook \"a.example.com\" denied the request: no".to_owned(),
        ),
        (
            "MutatingWebhookConfiguration",
            "/bad-patch",
            format!("{failed}received undecodable patch in webhook response: "),
        ),
        (
            "ValidatingWebhookConfiguration",
            "/bad-uid",
            format!("{failed}received invalid webhook response: expected response.uid="),
        ),
        (
            "ValidatingWebhookConfiguration",
            "/bad-version",
            format!(
                "{failed}received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview"
            ),
        ),
        (
            "ValidatingWebhookConfiguration",
            "/no-json",
            format!("{failed}failed to call webhook: "),
        ),
        (
            "ValidatingWebhookConfiguration",
            "/error",
            format!(
                "{failed}failed to call webhook: an error on the server (\"out of order\") has prevented the request from succeeding"
            ),
        ),
        (
            "ValidatingWebhookConfiguration",
            "/slow",
            format!(
                "{failed}failed to call webhook: Post \"https://{address}/slow?timeout=1s\": context deadline exceeded"
            ),
        ),
    ] {
        let client =
            json!({"url": format!("https://{address}{path}"), "caBundle": base64(&authority)});
        let hook = json!({"clientConfig": client, "timeoutSeconds": 1});
        let found = create(address, kind, hook).await.err().unwrap_or_default();
        assert!(
            found.starts_with(&expected) && found.is_empty() == expected.is_empty(),
            "{path}: {found}"
        );
    }
    let client = json!({"url": format!("https://{address}/patch"), "caBundle": base64(&authority)});
    let map = create(
        address,
        "MutatingWebhookConfiguration",
        json!({ "clientConfig": client }),
    )
    .await
    .unwrap();
    assert_eq!(map.data.unwrap()["from"], "webhook");
}

#[tokio::test]
async fn webhooks_are_asked_again_over_https() {
    let (address, authority) = webhook().await;
    let hook = |name: &str, path: &str, again: &str| {
        let url = format!("https://{address}{path}");
        let client = json!({"url": url, "caBundle": base64(&authority)});
        json!({"name": name, "clientConfig": client, "reinvocationPolicy": again})
    };
    for (again, calls) in [("Never", "x"), ("IfNeeded", "xx")] {
        let hooks = vec![
            hook("a.example.com", "/count", again),
            hook("b.example.com", "/once", "Never"),
        ];
        let map = create_through(address, "MutatingWebhookConfiguration", hooks).await;
        let data = map.unwrap().data.unwrap();
        assert_eq!((&*data["calls"], &*data["once"]), (calls, "y"));
    }
}

#[tokio::test]
async fn services_are_found_by_whoever_knows_them() {
    let (address, authority) = webhook().await;
    let service = |name: &str| json!({"service": {"namespace": "ns", "name": name, "path": "/deny"}, "caBundle": base64(&authority)});
    for (name, expected) in [
        (
            "hook",
            "403 admission webhook \"a.example.com\" denied the request: no",
        ),
        (
            "other",
            "500 Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: Post \"https://other.ns.svc:443/deny?timeout=10s\": service \"other\" not found",
        ),
    ] {
        let hook = json!({ "clientConfig": service(name) });
        let found = create(address, "ValidatingWebhookConfiguration", hook)
            .await
            .unwrap_err();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn nobody_answers_or_nobody_is_trusted() {
    let (address, _) = webhook().await;
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let start = "500 Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: Post ";
    for (address, expected) in [
        (
            closed,
            format!(
                "{start}\"https://{closed}/x?timeout=10s\": dial tcp {closed}: connect: connection refused"
            ),
        ),
        (
            address,
            format!(
                "{start}\"https://{address}/x?timeout=10s\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
            ),
        ),
    ] {
        let hook = json!({"clientConfig": {"url": format!("https://{address}/x")}});
        let found = create(address, "ValidatingWebhookConfiguration", hook.clone())
            .await
            .unwrap_err();
        assert_eq!(found, expected);
        let mut open = hook;
        open["failurePolicy"] = json!("Ignore");
        assert!(
            create(address, "ValidatingWebhookConfiguration", open)
                .await
                .is_ok()
        );
    }
}
