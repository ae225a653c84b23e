//! Which paths and methods there are, and the media types.
use crate::support::{Api, MAPS, api, builder, map};
use homeostat::apiserver::ApiServer;
use homeostat::clock::Clock;
use homeostat::store::{Faults, FaultyStore, MemoryStore};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn health_and_version() {
    let api = api().await;
    for path in ["/healthz", "/livez", "/readyz", "/readyz/ping"] {
        let answer = api.get(path).await;
        assert_eq!((answer.code, answer.text.as_str()), (200, "ok"), "{path}");
    }
    assert!(
        api.get("/readyz?verbose")
            .await
            .text
            .contains("[+]ping ok\n")
    );
    assert!(
        api.get("/metrics")
            .await
            .text
            .contains("apiserver_current_inflight_requests")
    );
    let indicators = api.get("/metrics/slis").await.text;
    let etcd = "kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1\n";
    assert!(indicators.contains(etcd), "{indicators}");
    assert_eq!(api.get("/version").await.expect(200)["major"], "1");
    assert_eq!(api.raw("PATCH /version", "").await.code, 405);
    api.server.stop().await;
    assert_eq!(api.get("/livez").await.code, 200);
    assert_eq!(api.get("/readyz").await.code, 500);
    let refused = api.get(MAPS).await;
    assert_eq!(refused.headers["retry-after"], "1");
    refused.fails(503, "ServiceUnavailable");
}

#[tokio::test(start_paused = true)]
async fn what_the_program_is_is_told() {
    let flags = [("v", "2"), ("authorization-mode", "RBAC")];
    let api = Api::start(builder().flags(flags)).await;
    tokio::time::sleep(Duration::from_secs(3723)).await;
    let of = async |path: &str, accept: &str| {
        api.raw(&format!("GET {path}\nAccept: {accept}"), "").await
    };
    let flagz = of("/flagz", "*/*").await;
    assert_eq!(flagz.headers["content-type"], "text/plain; charset=utf-8");
    assert!(flagz.text.starts_with("\napiserver flagz\nWarning: "));
    let lines = ".\nauthorization-mode=RBAC\nv=2\n";
    assert!(flagz.text.ends_with(lines), "{}", flagz.text);
    let statusz = api.get("/statusz").await.text;
    assert!(statusz.starts_with("\napiserver statusz\n"), "{statusz}");
    for line in [
        "Up: 1 hr 02 min 03 sec\n",
        "Binary version: 1.36.0\nEmulation version: 1.36\n",
        "Paths: /flagz /healthz /livez /metrics /readyz /statusz /version\n",
    ] {
        assert!(statusz.contains(line), "{statusz}");
    }
    let document = "application/json;v=v1beta1;g=config.k8s.io;as=";
    assert_eq!(
        of("/flagz", &format!("{document}Flagz")).await.expect(200),
        json!({
            "kind": "Flagz", "apiVersion": "config.k8s.io/v1beta1", "metadata": { "name": "apiserver" },
            "flags": { "v": "2", "authorization-mode": "RBAC" },
        })
    );
    let mut statusz = of("/statusz", &format!("{document}Statusz"))
        .await
        .expect(200);
    let started = statusz["startTime"].take();
    assert!(started.as_str().unwrap().ends_with('Z'), "{started}");
    assert_eq!(
        statusz,
        json!({
            "kind": "Statusz", "apiVersion": "config.k8s.io/v1beta1", "metadata": { "name": "apiserver" }, "startTime": null,
            "uptimeSeconds": 3723, "goVersion": "", "binaryVersion": "1.36.0", "emulationVersion": "1.36",
            "paths": ["/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"],
        })
    );
    let old = "application/yaml;v=v1alpha1;g=config.k8s.io;as=Flagz";
    let old = of("/flagz", old).await;
    assert_eq!(old.headers["content-type"], "application/yaml");
    assert!(old.text.starts_with("apiVersion: config.k8s.io/v1alpha1\n"));
    assert_eq!(
        old.warnings(),
        [
            r#"299 - "This version of the flagz endpoint is deprecated. Please use a newer version.""#
        ]
    );
    for accept in ["application/json", &format!("{document}Flagz")] {
        let why = of("/statusz", accept).await.fails(406, "NotAcceptable");
        let accepted = "only the following media types are accepted: application/json, application/yaml, \
                        application/vnd.kubernetes.protobuf, text/plain";
        assert_eq!(why, accepted);
    }
    assert_eq!(api.get("/flagz/").await.code, 404);
}

/// Both ways in which a store is lost: it fails, and it does not answer.
#[tokio::test(start_paused = true)]
async fn health_is_that_of_the_store() {
    let clock = Clock::seeded(1);
    let store = FaultyStore::new(Arc::new(MemoryStore::default()), &clock);
    let server = ApiServer::builder(Arc::new(store.clone())).clock(clock);
    let api = Api::start(server).await;
    for faults in [
        Faults::default().reads(1000),
        Faults::default().latency(Duration::from_secs(3600)),
    ] {
        store.set(faults);
        for path in ["/healthz", "/livez", "/readyz"] {
            let answer = api.get(path).await;
            assert_eq!(answer.code, 500, "{path}");
            let lines = ["[+]ping ok\n", "[-]etcd failed: reason withheld\n"];
            assert!(
                lines.iter().all(|line| answer.text.contains(line)),
                "{path}: {}",
                answer.text
            );
            let end = format!("{} check failed\n", &path[1..]);
            assert!(answer.text.ends_with(&end), "{path}: {}", answer.text);
        }
        let ready = api.get("/readyz").await.text;
        assert!(ready.contains("[-]etcd-readiness failed: reason withheld\n"));
        let one = api.get("/readyz/etcd").await;
        assert_eq!(one.code, 500);
        let why = "internal server error: error getting data from etcd: ";
        assert!(one.text.starts_with(why), "{}", one.text);
        assert_eq!(api.get("/livez/ping").await.text, "ok");
        let without = api.get("/livez?exclude=etcd&exclude=none&verbose").await;
        assert_eq!(without.code, 200);
        for line in [
            "[+]etcd excluded: ok\n",
            "warn: some health checks cannot be excluded: no matches for \"none\"\n",
            "livez check passed\n",
        ] {
            assert!(without.text.contains(line), "{}", without.text);
        }
    }
    store.set(Faults::default());
    assert_eq!(api.get("/readyz").await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_and_methods() {
    let api = api().await;
    for line in ["GET /nope", "GET /apis/nope", "GET /apis//v1", "POST /nope"] {
        let answer = api.raw(line, "").await;
        assert_eq!(
            (answer.code, answer.text.as_str()),
            (404, "404 page not found\n"),
            "{line}"
        );
    }
    for line in [
        "GET /api/v9",
        "GET /api/v1/nope",
        "GET /apis/apps/v1/namespaces/x/nope",
        "GET /api/v1//pods",
        "GET /apis/apps/v1/deployments/x",
    ] {
        let message = api.raw(line, "").await.fails(404, "NotFound");
        assert_eq!(
            message, "the server could not find the requested resource",
            "{line}"
        );
    }
    for line in ["PUT", "PATCH", "OPTIONS", "TRACE", "FOO"] {
        let message = api
            .raw(&format!("{line} {MAPS}"), "")
            .await
            .fails(405, "MethodNotAllowed");
        assert_eq!(
            message, "the server does not allow this method on the requested resource",
            "{line}"
        );
    }
    let head = api.raw(&format!("HEAD {MAPS}"), "").await;
    assert_eq!((head.code, head.text.as_str()), (405, ""));
}

#[tokio::test(start_paused = true)]
async fn media_types() {
    let api = api().await;
    let accepted = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    for media_type in [
        "text/plain",
        "application/cbor",
        "bogus",
        "*/*",
        "application/json-patch+json",
    ] {
        let line = format!("POST {MAPS}\nContent-Type: {media_type}");
        assert_eq!(
            api.raw(&line, map("x").to_string())
                .await
                .fails(415, "UnsupportedMediaType"),
            accepted,
            "{media_type}"
        );
    }
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yam\ndata:\n  a: b\n";
    let made = api
        .raw(
            &format!("POST {MAPS}\nContent-Type: application/yaml"),
            yaml,
        )
        .await
        .expect(201);
    assert_eq!(made["data"], json!({"a": "b"}));
    let shown = api
        .raw(&format!("GET {MAPS}/yam\nAccept: application/yaml"), "")
        .await;
    assert_eq!(shown.headers["content-type"], "application/yaml");
    assert!(shown.text.contains("name: yam"), "{}", shown.text);
    let protobuf = "application/vnd.kubernetes.protobuf";
    let shown = api
        .raw(&format!("GET {MAPS}/yam\nAccept: {protobuf}"), "")
        .await;
    assert_eq!(shown.headers["content-type"], protobuf);
    assert!(shown.text.starts_with("k8s\0"), "{}", shown.text);
    for accept in ["text/html", "application/cbor", "application/json;as=Bogus"] {
        api.raw(&format!("GET {MAPS}/yam\nAccept: {accept}"), "")
            .await
            .fails(406, "NotAcceptable");
        // A write is refused before it is done.
        api.raw(&format!("DELETE {MAPS}/yam\nAccept: {accept}"), "")
            .await
            .fails(406, "NotAcceptable");
    }
    api.get(&format!("{MAPS}/yam")).await.expect(200);
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let partial = api
        .raw(
            &format!("PUT {MAPS}/yam\nAccept: {partial}"),
            map("yam").to_string(),
        )
        .await
        .expect(200);
    assert_eq!(partial["kind"], "PartialObjectMetadata");
}

#[tokio::test(start_paused = true)]
async fn yaml_bodies_are_read_as_go_reads_them() {
    let api = api().await;
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yam}\n";
    let line = format!("POST {MAPS}?dryRun=All\nContent-Type: application/yaml");
    let made = format!("{head}data: &d {{a: 'yes', 1: x, on: y}}\n---\nfoo: [");
    let made = api.raw(&line, made).await;
    assert_eq!(made.code, 400);
    let wrong = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal bool into Go struct field ConfigMap.data of type string";
    assert_eq!(made.fails(400, "BadRequest"), wrong);
    let made = format!("{head}data: {{a: 'yes', 1: x, on: z}}\n---\nfoo: [");
    let made = api.raw(&line, made).await.expect(201);
    assert_eq!(made["data"], json!({"a": "yes", "1": "x", "true": "z"}));
    let twice = format!("{head}data:\n  a: b\n  a: c\n  d: e\n  d: f\n");
    let answer = api.raw(&line, twice).await;
    assert_eq!(
        answer.warnings(),
        [
            "299 - \"line 6: key \\\"a\\\" already set in map\"",
            "299 - \"line 8: key \\\"d\\\" already set in map\""
        ]
    );
    let message = api.raw(&line, "a: b: c").await.fails(400, "BadRequest");
    assert_eq!(
        message,
        "the object provided is unrecognized (must be of type ConfigMap): error converting YAML to JSON: yaml: mapping values are not allowed in this context (613a20623a2063)"
    );
}

#[tokio::test(start_paused = true)]
async fn people_get_json_with_lines() {
    let api = api().await;
    api.post(MAPS, &map("x")).await.expect(201);
    let path = format!("{MAPS}/x");
    for (line, lines) in [
        (format!("GET {path}"), false),
        (format!("GET {path}?pretty=true"), true),
        (format!("GET {path}\nUser-Agent: curl/8.5.0"), true),
        (
            format!("GET {path}?pretty=0\nUser-Agent: curl/8.5.0"),
            false,
        ),
        (
            format!("GET {path}\nAccept: application/json;pretty=1"),
            true,
        ),
        (format!("GET {MAPS}\nUser-Agent: Wget/1.2"), true),
        (format!("GET {MAPS}/nope?pretty=1"), true),
        ("GET /api?pretty=1".to_owned(), true),
        (
            format!("GET {MAPS}?watch=true&timeoutSeconds=1&pretty=1"),
            false,
        ),
    ] {
        let answer = api.raw(&line, "").await;
        assert_eq!(answer.text.contains("{\n  \""), lines, "{}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_have_a_limit() {
    let api = crate::support::Api::start(crate::support::builder().body_limit(100)).await;
    let message = api
        .raw(&format!("POST {MAPS}"), "x".repeat(101))
        .await
        .fails(413, "RequestEntityTooLarge");
    assert_eq!(message, "Request entity too large: limit is 100");
}

#[tokio::test(start_paused = true)]
async fn overload_is_answered() {
    let api = crate::support::Api::start(crate::support::builder().max_in_flight(0, 1)).await;
    let answer = api.get(MAPS).await;
    assert_eq!(answer.headers["retry-after"], "1");
    answer.fails(429, "TooManyRequests");
    api.post(MAPS, &map("x")).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn answers_carry_an_audit_id() {
    let api = api().await;
    let answer = api.raw("GET /healthz\nAudit-ID: mine", "").await;
    assert_eq!(answer.headers["audit-id"], "mine");
    assert!(api.get("/healthz").await.headers.contains_key("audit-id"));
}
