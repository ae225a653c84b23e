//! Discovery of a small registry.
use super::*;
use crate::apiserver::registry::testing::registry;
use futures::FutureExt;
use http_body_util::BodyExt;
use serde_json::json;

fn get(registry: &Registry, path: &str, headers: &[(&str, &str)]) -> (u16, Value, HeaderMap) {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    match answer(registry, path, &headers) {
        None => (0, Value::Null, HeaderMap::new()),
        Some(Err(status)) => (status.code, status.to_value(), HeaderMap::new()),
        Some(Ok(response)) => {
            let (parts, body) = response.into_parts();
            let bytes = body.collect().now_or_never().unwrap().unwrap().to_bytes();
            (
                parts.status.as_u16(),
                serde_json::from_slice(&bytes).unwrap_or_default(),
                parts.headers,
            )
        }
    }
}

/// The small registry and a custom resource.
fn with_custom() -> Registry {
    #[derive(Debug)]
    struct Custom;
    impl crate::apiserver::Strategy for Custom {
        fn custom(&self) -> bool {
            true
        }
    }
    let registry = registry();
    for version in ["v1beta1", "v1"] {
        let mut resource = (*registry.get("", "v1", "configmaps").unwrap()).clone();
        resource.gvk = crate::object::GroupVersionKind::new("example.com", version, "Widget");
        resource.plural = "widgets".into();
        resource.strategy = Arc::new(Custom);
        registry.insert(resource);
    }
    registry
}

#[test]
fn legacy_documents() {
    let registry = with_custom();
    let (_, groups, _) = get(&registry, "/apis/", &[]);
    assert_eq!(
        groups["groups"],
        json!([{
            "name": "example.com", "preferredVersion": { "groupVersion": "example.com/v1", "version": "v1" },
            "versions": [{ "groupVersion": "example.com/v1", "version": "v1" }, { "groupVersion": "example.com/v1beta1", "version": "v1beta1" }],
        }])
    );
    assert_eq!(
        get(&registry, "/apis/example.com", &[]).1["kind"],
        "APIGroup"
    );
    assert_eq!(get(&registry, "/api", &[]).1["versions"], json!(["v1"]));
    let (_, list, _) = get(&registry, "/api/v1", &[]);
    let names: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "configmaps",
            "namespaces",
            "namespaces/finalize",
            "namespaces/status",
            "pods",
            "pods/binding",
            "pods/status"
        ]
    );
    // The first eight bytes of the SHA-256 of `/v1/Pod`, as the real server shows it.
    assert_eq!(list["resources"][4]["storageVersionHash"], "xPOwRZ+Yhw8=");
    let paths = get(&registry, "/", &[]).1;
    assert!(
        paths["paths"]
            .as_array()
            .unwrap()
            .contains(&json!("/apis/example.com/v1beta1"))
    );
    assert_eq!(get(&registry, "/version", &[]).1["major"], "1");
}

#[test]
fn what_is_not_served() {
    let registry = with_custom();
    for (path, code) in [
        ("/api/v9", 404),
        ("/apis/example.com/v9", 404),
        ("/apis/nope", 0),
        ("/apis/nope/v1", 0),
        ("/nope", 0),
        ("/apis//v1", 0),
        ("/api/v1/pods", 0),
    ] {
        assert_eq!(get(&registry, path, &[]).0, code, "{path}");
    }
}

#[test]
fn aggregated_documents_are_tagged() {
    let registry = with_custom();
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let (code, document, headers) = get(
        &registry,
        "/apis",
        &[("accept", &format!("{v2},application/json"))],
    );
    assert_eq!((code, headers["content-type"].to_str().unwrap()), (200, v2));
    let widget = &document["items"][0]["versions"][0]["resources"][0];
    assert_eq!(
        widget["responseKind"],
        json!({ "group": "example.com", "version": "v1", "kind": "Widget" })
    );
    let (_, core, _) = get(&registry, "/api", &[("accept", v2)]);
    let pods = &core["items"][0]["versions"][0]["resources"][2];
    assert_eq!(
        (
            &pods["responseKind"]["group"],
            &pods["subresources"][0]["subresource"]
        ),
        (&json!(""), &json!("binding"))
    );
    let tag = headers["etag"].to_str().unwrap();
    assert_eq!(
        get(
            &registry,
            "/apis",
            &[("accept", v2), ("if-none-match", tag)]
        )
        .0,
        304
    );
    registry.remove("example.com", "v1", "widgets");
    assert_eq!(
        get(
            &registry,
            "/apis",
            &[("accept", v2), ("if-none-match", tag)]
        )
        .0,
        200
    );
    for (path, accept, code) in [
        (
            "/apis",
            "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList",
            406,
        ),
        (
            "/apis",
            "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json",
            200,
        ),
        ("/apis/example.com", v2, 406),
    ] {
        assert_eq!(
            get(&registry, path, &[("accept", accept)]).0,
            code,
            "{path} {accept}"
        );
    }
}
