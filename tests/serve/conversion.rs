//! Custom resources that a webhook converts over real HTTPS: right answers, failures and wrong answers.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use homeostat::apiserver::ApiServer;
use homeostat::apiserver::admission::webhook::Https;
use homeostat::object::base64;
use homeostat::store::MemoryStore;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::webhooks::https;

const PATIENCE: Duration = Duration::from_secs(30);

/// How the webhook answers, by the path of its URL.
fn answer(path: &str, review: &Value) -> (u16, String) {
    let request = &review["request"];
    let converted: Vec<Value> = request["objects"].as_array().unwrap().clone();
    let converted = converted.into_iter().map(|mut object| {
        object["apiVersion"] = request["desiredAPIVersion"].clone();
        object["spec"]["seen"] = json!("by the webhook");
        object
    });
    let mut response = json!({
        "uid": request["uid"], "result": {"status": "Success"},
        "convertedObjects": converted.collect::<Vec<_>>(),
    });
    match path {
        "/refuse" => response["result"] = json!({"status": "Failure", "message": "not this one"}),
        "/bad-uid" => response["uid"] = json!("other"),
        "/bad-version" => response["convertedObjects"][0]["apiVersion"] = json!("other/v1"),
        "/too-few" => response["convertedObjects"] = json!([]),
        "/no-json" => return (200, "none".to_owned()),
        "/error" => return (500, "out of order".to_owned()),
        _ => {}
    }
    let review =
        json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response});
    (200, review.to_string())
}

async fn serve(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (code, text) = answer(&path, &serde_json::from_slice(&body).unwrap());
    Ok(Response::builder()
        .status(code)
        .body(Full::from(text))
        .unwrap())
}

fn definition(group: &str, url: &str, authority: &str) -> CustomResourceDefinition {
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        }}})
    };
    let client = json!({"url": url, "caBundle": base64::encode(authority.as_bytes())});
    let webhook = json!({"conversionReviewVersions": ["v1"], "clientConfig": client});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("foos.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [version("v1", true), version("v2", false)],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    });
    serde_json::from_value(definition).unwrap()
}

#[tokio::test]
async fn objects_are_converted_over_https() {
    let (address, authority) = https(serve).await;
    let server = ApiServer::builder(Arc::new(MemoryStore::default()))
        .webhook_transport(Arc::new(Https::default()))
        .start()
        .await
        .unwrap();
    let client = server.client();
    for (index, (path, expected)) in [
        ("/convert", ""),
        ("/refuse", "not this one"),
        ("/bad-uid", "expected response.uid="),
        (
            "/bad-version",
            "returned invalid object at index 0: invalid groupVersion (expected ",
        ),
        ("/too-few", "returned 0 objects, expected 1"),
        ("/no-json", ""),
        (
            "/error",
            "an error on the server (\"out of order\") has prevented the request from succeeding",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let group = format!("g{index}.example.com");
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        let definition = definition(&group, &format!("https://{address}{path}"), &authority);
        definitions
            .create(&PostParams::default(), &definition)
            .await
            .unwrap();
        let name = format!("foos.{group}");
        let established = wait::conditions::is_crd_established();
        let established = wait::await_condition(definitions, &name, established);
        timeout(PATIENCE, established).await.unwrap().unwrap();
        let version = |version: &str| {
            let gvk = GroupVersionKind::gvk(&group, version, "Foo");
            let resource = ApiResource::from_gvk_with_plural(&gvk, "foos");
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), "default", &resource);
            (api, resource)
        };
        let ((stored, resource), (shown, _)) = (version("v1"), version("v2"));
        let foo = DynamicObject::new("x", &resource).data(json!({"spec": {}}));
        stored.create(&PostParams::default(), &foo).await.unwrap();
        match shown.get("x").await {
            Ok(foo) => {
                assert_eq!(path, "/convert");
                assert_eq!(foo.data["spec"]["seen"], "by the webhook");
            }
            Err(error) => {
                let failed = format!("conversion webhook for {group}/v1, Kind=Foo ");
                let error = error.to_string();
                assert!(path != "/convert", "{error}");
                assert!(
                    error.contains(&failed) && error.contains(expected),
                    "{path}: {error}"
                );
            }
        }
    }
}
