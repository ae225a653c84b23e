//! CustomResourceDefinitions and what they define.
use crate::support::{Answer, Api, api, builder};
use homeostat::apiserver::ApiServer;
use homeostat::clock::Clock;
use homeostat::store::{MemoryConfig, MemoryStore};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/e.example.com/v1/namespaces/default/foos";
const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/foos.e.example.com";

fn definition(versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.e.example.com"},
        "spec": {"group": "e.example.com", "scope": "Namespaced", "names": {"kind": "Foo", "plural": "foos", "shortNames": ["fo"]}, "versions": versions},
    })
}

fn version(name: &str, storage: bool, spec: &Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}})
}

fn foo(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "e.example.com/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}

/// Asks again until the answer is as wanted, on virtual time.
async fn until(api: &Api, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    for _ in 0..600 {
        let answer = api.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} is never as wanted: {}", api.get(path).await.text);
}

fn is_established(answer: &Answer) -> bool {
    let conditions = answer.body["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    })
}

async fn define(api: &Api, versions: Value) {
    api.post(CRDS, &definition(versions)).await.expect(201);
    until(api, DEFINITION, is_established).await;
}

fn plain() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}})
}

#[tokio::test(start_paused = true)]
async fn definitions_come_and_go() {
    let api = api().await;
    assert_eq!(api.get(FOOS).await.text, "404 page not found\n");
    let made = api
        .post(CRDS, &definition(json!([version("v1", true, &plain())])))
        .await
        .expect(201);
    assert_eq!(
        made["status"],
        json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": ["v1"]})
    );
    until(&api, DEFINITION, is_established).await;
    let list = api.get(FOOS).await.expect(200);
    assert_eq!(
        (&list["kind"], &list["metadata"]["continue"]),
        (&json!("FooList"), &json!(""))
    );
    api.post(FOOS, &foo("x", json!({"a": "1"})))
        .await
        .expect(201);
    let held = json!({"apiVersion": "e.example.com/v1", "kind": "Foo", "metadata": {"name": "held", "finalizers": ["e.example.com/f"]}});
    api.post(FOOS, &held).await.expect(201);
    let group = api.get("/apis/e.example.com/v1").await.expect(200);
    assert_eq!(group["resources"][0]["shortNames"], json!(["fo"]));
    assert_eq!(
        api.get("/apis/e.example.com/v2").await.text,
        "404 page not found\n"
    );
    assert_eq!(
        api.get("/apis/e.example.com/v1/bars").await.text,
        "404 page not found\n"
    );
    let message = api
        .get(&format!("{FOOS}/x/status"))
        .await
        .fails(404, "NotFound");
    assert_eq!(message, "foos.e.example.com \"x\" not found");
    api.patch(&format!("{FOOS}/x"), "strategic", &json!({}))
        .await
        .expect(415);

    let going = api.delete(DEFINITION).await.expect(200);
    assert_eq!(
        going["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    until(&api, &format!("{FOOS}/x"), |answer| answer.code == 404).await;
    let message = api
        .post(FOOS, &foo("y", json!({})))
        .await
        .fails(403, "Forbidden");
    assert_eq!(
        message,
        "foos.e.example.com \"y\" is forbidden: create not allowed while custom resource definition is terminating"
    );
    let group = api.get("/apis/e.example.com/v1").await.expect(200);
    assert_eq!(
        group["resources"][0]["verbs"],
        json!(["delete", "deletecollection", "get", "list", "watch"])
    );
    api.patch(
        &format!("{FOOS}/held"),
        "merge",
        &json!({"metadata": {"finalizers": null}}),
    )
    .await
    .expect(200);
    until(&api, DEFINITION, |answer| answer.code == 404).await;
    let gone = until(&api, FOOS, |answer| answer.code == 404).await;
    assert_eq!(gone.text, "404 page not found\n");
}

#[tokio::test(start_paused = true)]
async fn fields_are_pruned_filled_in_and_complained_of() {
    let api = api().await;
    let spec = json!({"type": "object", "properties": {
        "a": {"type": "string"}, "d": {"type": "string", "default": "dd"}, "nul": {"type": "string", "nullable": true, "default": "x"},
        "ios": {"x-kubernetes-int-or-string": true}, "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"k": {"type": "object"}}},
        "l": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
    }});
    define(&api, json!([version("v1", true, &spec)])).await;
    let sent = foo(
        "x",
        json!({"a": null, "d": null, "nul": null, "ios": "5%", "bad": 1, "open": {"any": [1.0], "k": {"gone": 1}}, "l": [{"q": 1}]}),
    );
    let made = api.post(FOOS, &sent).await;
    let warnings: Vec<String> = made
        .warnings()
        .iter()
        .map(|text| (*text).to_owned())
        .collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert_eq!(warnings[0], "299 - \"unknown field \\\"spec.bad\\\"\"");
    assert_eq!(
        made.expect(201)["spec"],
        json!({"d": "dd", "nul": null, "ios": "5%", "open": {"any": [1], "k": {}}, "l": [{"p": "TCP"}]})
    );
    let strict = api
        .post(
            &format!("{FOOS}?fieldValidation=Strict"),
            &foo("y", json!({"bad": 1})),
        )
        .await;
    let message = strict.fails(400, "BadRequest");
    assert_eq!(
        message,
        "Foo in version \"v1\" cannot be handled as a Foo: strict decoding error: unknown field \"spec.bad\""
    );
    let message = api
        .post(FOOS, &foo("y", json!({"a": 5})))
        .await
        .fails(422, "Invalid");
    assert_eq!(
        message,
        "Foo.e.example.com \"y\" is invalid: spec.a: Invalid value: \"integer\": spec.a in body must be of type string: \"integer\""
    );
    // Without a resource version there is no update.
    let message = api
        .put(&format!("{FOOS}/x"), &foo("x", json!({})))
        .await
        .fails(422, "Invalid");
    assert_eq!(
        message,
        "foos.e.example.com \"x\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
}

#[tokio::test(start_paused = true)]
async fn versions_pass_into_one_another() {
    let api = api().await;
    let newer = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "default": "new"}}});
    define(
        &api,
        json!([version("v1", true, &plain()), version("v2", false, &newer)]),
    )
    .await;
    let made = api
        .post(FOOS, &foo("x", json!({"a": "1", "n": 2})))
        .await
        .expect(201);
    let in_v2 = FOOS.replace("/v1/", "/v2/");
    let read = api.get(&format!("{in_v2}/x")).await.expect(200);
    assert_eq!(
        (&read["apiVersion"], &read["spec"]),
        (&json!("e.example.com/v2"), &json!({"a": "1", "b": "new"}))
    );
    assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"]);
    let list = api.get(&in_v2).await.expect(200);
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["apiVersion"]),
        (&json!("e.example.com/v2"), &json!("e.example.com/v2"))
    );
    let patched = api
        .patch(
            &format!("{in_v2}/x"),
            "merge",
            &json!({"spec": {"b": "set"}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&patched["apiVersion"], &patched["spec"]["b"]),
        (&json!("e.example.com/v2"), &json!("set"))
    );
    // What the version that was written by does not know is lost, as it is for clients of the real server.
    assert_eq!(
        api.get(&format!("{FOOS}/x")).await.expect(200)["spec"],
        json!({"a": "1"})
    );
    let foreign =
        json!({"apiVersion": "e.example.com/v2", "kind": "Foo", "metadata": {"name": "y"}});
    let message = api.post(FOOS, &foreign).await.fails(400, "BadRequest");
    assert_eq!(
        message,
        "the API version in the data (e.example.com/v2) does not match the expected API version (e.example.com/v1)"
    );
    let nameless = json!({"apiVersion": "e.example.com/v1", "metadata": {"name": "y"}});
    let message = api.post(FOOS, &nameless).await.fails(400, "BadRequest");
    assert_eq!(
        message,
        "the object provided is unrecognized (must be of type Foo): Object 'Kind' is missing in '{\"apiVersion\":\"e.example.com/v1\",\"metadata\":{\"name\":\"y\"}}' ({\"apiVersion\":\"e.example.com/v ...)"
    );
    let other = json!({"apiVersion": "e.example.com/v1", "kind": "Bar", "metadata": {"name": "y"}});
    let message = api.post(FOOS, &other).await.fails(422, "Invalid");
    assert_eq!(
        message,
        "Bar.e.example.com \"y\" is invalid: kind: Invalid value: \"Bar\": must be Foo"
    );
    let timeless = json!({"kind": "Foo", "metadata": {"name": "y"}});
    let message = api.post(FOOS, &timeless).await.fails(400, "BadRequest");
    assert_eq!(
        message,
        "the API version in the data () does not match the expected API version (e.example.com/v1)"
    );
    let discovered = api.get("/apis/e.example.com").await.expect(200);
    assert_eq!(discovered["preferredVersion"]["version"], "v2");

    // The other version becomes the one that is stored.
    let stored = json!([version("v1", false, &plain()), version("v2", true, &newer)]);
    let changed = api
        .patch(DEFINITION, "merge", &json!({"spec": {"versions": stored}}))
        .await
        .expect(200);
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(
        api.get(&format!("{in_v2}/x")).await.expect(200)["spec"]["a"],
        "1"
    );
    api.post(FOOS, &foo("z", json!({"a": "3"})))
        .await
        .expect(201);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        api.get(&format!("{in_v2}/z")).await.expect(200)["spec"]["b"],
        "new"
    );
    let deleted = api.delete(&format!("{in_v2}/x")).await.expect(200);
    assert_eq!(deleted["status"], "Success");
}

/// Turns `spec.address` of v1 into `spec.host` and `spec.port` of v2 and back.
fn convert(review: Value) -> Value {
    let (uid, to) = (
        &review["request"]["uid"],
        &review["request"]["desiredAPIVersion"],
    );
    let objects = review["request"]["objects"].as_array().unwrap();
    if objects
        .iter()
        .any(|object| object["metadata"]["name"] == "bad")
    {
        let result = json!({"status": "Failure", "message": "not this one"});
        return json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": {"uid": uid, "result": result}});
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let converted: Vec<Value> = objects
        .iter()
        .cloned()
        .map(|mut object| {
            object["apiVersion"] = to.clone();
            object["spec"] = if to == "e.example.com/v2" {
                let address = text(&object["spec"]["address"]);
                let (host, port) = address.split_once(':').unwrap_or_default();
                json!({"host": host, "port": port})
            } else {
                let (host, port) = (text(&object["spec"]["host"]), text(&object["spec"]["port"]));
                json!({"address": format!("{host}:{port}")})
            };
            // Which is put back.
            object["metadata"]["finalizers"] = json!(["e.example.com/sneaked-in"]);
            object
        })
        .collect();
    json!({
        "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "response": {"uid": uid, "result": {"status": "Success"}, "convertedObjects": converted},
    })
}

#[tokio::test(start_paused = true)]
async fn webhooks_convert_between_versions() {
    let answers = builder().webhook("https://conv.default.svc:443/c", |review| async {
        convert(review)
    });
    let api = Api::start(answers).await;
    let older = json!({"type": "object", "properties": {"address": {"type": "string"}}});
    let newer = json!({"type": "object", "properties": {
        "host": {"type": "string"}, "port": {"type": "string"}, "more": {"type": "string", "default": "m"},
    }});
    let mut defined = definition(json!([
        version("v1", true, &older),
        version("v2", false, &newer)
    ]));
    defined["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"service": {"namespace": "default", "name": "conv", "path": "/c"}},
    }});
    api.post(CRDS, &defined).await.expect(201);
    until(&api, DEFINITION, is_established).await;
    let in_v2 = FOOS.replace("/v1/", "/v2/");
    let second = |name: &str, spec: Value| {
        let mut foo = foo(name, spec);
        foo["apiVersion"] = "e.example.com/v2".into();
        foo
    };

    let made = api
        .post(FOOS, &foo("x", json!({"address": "a:1"})))
        .await
        .expect(201);
    api.post(&in_v2, &second("y", json!({"host": "b", "port": "2"})))
        .await
        .expect(201);
    let stored = api.get(&format!("{FOOS}/y")).await.expect(200);
    assert_eq!(stored["spec"], json!({"address": "b:2"}));
    let shown = json!({"host": "a", "port": "1", "more": "m"});
    let read = api.get(&format!("{in_v2}/x")).await.expect(200);
    assert_eq!(read["spec"], shown);
    assert_eq!(read["apiVersion"], "e.example.com/v2");
    assert_eq!(read["metadata"]["finalizers"], Value::Null);
    assert_eq!(
        read["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let list = api.get(&in_v2).await.expect(200);
    let hosts = ["a", "b"].map(|host| json!(host));
    assert_eq!(
        [&list["items"][0], &list["items"][1]].map(|item| item["spec"]["host"].clone()),
        hosts
    );

    // Watches see objects and changes in their version.
    let watch = format!("GET {in_v2}?watch=true&resourceVersion=0&timeoutSeconds=5");
    let (watched, ()) = tokio::join!(api.raw(&watch, ""), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let changed = json!({"spec": {"address": "a:9"}});
        api.patch(&format!("{FOOS}/x"), "merge", &changed)
            .await
            .expect(200);
        let changed = json!({"spec": {"port": "3"}});
        let patched = api.patch(&format!("{in_v2}/y"), "merge", &changed).await;
        assert_eq!(patched.expect(200)["spec"]["port"], "3");
        api.delete(&format!("{FOOS}/x")).await.expect(200);
    });
    let events: Vec<(String, String)> = watched
        .text
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["object"]["apiVersion"], "e.example.com/v2", "{line}");
            let port = event["object"]["spec"]["port"].as_str().unwrap().to_owned();
            (event["type"].as_str().unwrap().to_owned(), port)
        })
        .collect();
    let wanted = [
        ("ADDED", "1"),
        ("ADDED", "2"),
        ("MODIFIED", "9"),
        ("MODIFIED", "3"),
        ("DELETED", "9"),
    ];
    assert_eq!(
        events,
        wanted.map(|(type_, port)| (type_.to_owned(), port.to_owned()))
    );

    // What cannot be converted cannot be read, nor written in another version than the stored one.
    let why = "conversion webhook for e.example.com/v1, Kind=Foo failed: not this one";
    api.post(FOOS, &foo("bad", json!({}))).await.expect(201);
    for path in [&format!("{in_v2}/bad"), &in_v2] {
        assert_eq!(api.get(path).await.fails(500, ""), why);
    }
    let bad = second("bad", json!({}));
    let message = api.put(&format!("{in_v2}/bad"), &bad).await.fails(500, "");
    assert_eq!(message, why);
    api.delete(DEFINITION).await.expect(200);
    until(&api, FOOS, |answer| answer.code == 404).await;
}

#[tokio::test(start_paused = true)]
async fn selectors_see_what_a_webhook_shows() {
    let answers = builder().webhook("https://conv.default.svc:443/c", |review| async {
        convert(review)
    });
    let api = Api::start(answers).await;
    let texts = |fields: &[&str]| {
        let fields = fields
            .iter()
            .map(|field| ((*field).to_owned(), json!({"type": "string"})));
        json!({"type": "object", "properties": fields.collect::<serde_json::Map<_, _>>()})
    };
    let mut versions = [
        version("v1", true, &texts(&["address"])),
        version("v2", false, &texts(&["host", "port"])),
    ];
    versions[0]["selectableFields"] = json!([{"jsonPath": ".spec.address"}]);
    versions[1]["selectableFields"] = json!([{"jsonPath": ".spec.host"}]);
    let mut defined = definition(json!(versions));
    defined["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"service": {"namespace": "default", "name": "conv", "path": "/c"}},
    }});
    api.post(CRDS, &defined).await.expect(201);
    until(&api, DEFINITION, is_established).await;
    for (name, address) in [("a", "x:1"), ("b", "y:1"), ("c", "x:2"), ("d", "x:3")] {
        let foo = foo(name, json!({"address": address}));
        api.post(FOOS, &foo).await.expect(201);
    }
    let in_v2 = FOOS.replace("/v1/", "/v2/");
    let of_x = format!("{in_v2}?fieldSelector=spec.host%3Dx");
    let names = |list: &Value| {
        let items = list["items"].as_array().unwrap().iter();
        let names = items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let list = api.get(&of_x).await.expect(200);
    assert_eq!(names(&list), ["a", "c", "d"]);
    assert_eq!(
        names(
            &api.get(&format!("{FOOS}?fieldSelector=spec.address%3Dx:1"))
                .await
                .expect(200)
        ),
        ["a"]
    );
    let other = api
        .get(&format!("{FOOS}?fieldSelector=spec.host%3Dx"))
        .await;
    other.fails(400, "BadRequest");
    // Pages are full, whatever lies between, and end.
    let first = api.get(&format!("{of_x}&limit=2")).await.expect(200);
    assert_eq!(names(&first), ["a", "c"]);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = api.get(&format!("{of_x}&limit=2&continue={token}")).await;
    let second = second.expect(200);
    assert_eq!(names(&second), ["d"]);
    assert_eq!(second["metadata"]["continue"], "");

    let watch = format!("GET {of_x}&watch=true&timeoutSeconds=5");
    let (watched, ()) = tokio::join!(api.raw(&watch, ""), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (name, address) in [("b", "z:1"), ("b", "x:9"), ("a", "y:1")] {
            let changed = json!({"spec": {"address": address}});
            let patched = api
                .patch(&format!("{FOOS}/{name}"), "merge", &changed)
                .await;
            patched.expect(200);
        }
        api.delete(&format!("{FOOS}/c")).await.expect(200);
        api.delete(&format!("{FOOS}/a")).await.expect(200);
    });
    let events = watched.text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let (name, host) = (
            &event["object"]["metadata"]["name"],
            &event["object"]["spec"]["host"],
        );
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!("{} {} {}", text(&event["type"]), text(name), text(host))
    });
    assert_eq!(
        events.collect::<Vec<_>>(),
        [
            "ADDED a x",
            "ADDED c x",
            "ADDED d x",
            "ADDED b x",
            "DELETED a x",
            "DELETED c x"
        ]
    );
    let deleted = api.delete(&of_x).await.expect(200);
    assert_eq!(names(&deleted), ["b", "d"]);
    assert!(names(&api.get(&in_v2).await.expect(200)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_passes_the_webhook_once_for_all_its_readers() {
    let converted = Arc::new(AtomicUsize::new(0));
    let counter = converted.clone();
    let answers = builder().webhook("https://conv.default.svc:443/c", move |review| {
        let objects = review["request"]["objects"].as_array().map_or(0, Vec::len);
        counter.fetch_add(objects, Ordering::Relaxed);
        async { convert(review) }
    });
    let api = Api::start(answers).await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut defined = definition(json!([
        version("v1", true, &schema),
        version("v2", false, &schema)
    ]));
    defined["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"service": {"namespace": "default", "name": "conv", "path": "/c"}},
    }});
    api.post(CRDS, &defined).await.expect(201);
    until(&api, DEFINITION, is_established).await;
    for name in ["x", "y"] {
        let foo = foo(name, json!({"address": "a:1"}));
        api.post(FOOS, &foo).await.expect(201);
    }
    let in_v2 = FOOS.replace("/v1/", "/v2/");
    for _ in 0..3 {
        api.get(&in_v2).await.expect(200);
        api.get(&format!("{in_v2}/x")).await.expect(200);
    }
    assert_eq!(converted.load(Ordering::Relaxed), 2);
    let watch = format!("GET {in_v2}?watch=true&resourceVersion=0&timeoutSeconds=5");
    let watchers = futures::future::join_all((0..20).map(|_| api.raw(&watch, "")));
    let (watched, ()) = tokio::join!(watchers, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let changed = json!({"spec": {"address": "a:9"}});
        let patched = api.patch(&format!("{FOOS}/x"), "merge", &changed).await;
        patched.expect(200);
    });
    for answer in &watched {
        assert_eq!(answer.text.lines().count(), 3, "{}", answer.text);
        assert_eq!(answer.text, watched[0].text);
    }
    assert_eq!(converted.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn scale_and_status_are_parts_of_their_own() {
    let api = api().await;
    let mut version = version(
        "v1",
        true,
        &json!({"type": "object", "properties": {"replicas": {"type": "integer"}}}),
    );
    version["schema"]["openAPIV3Schema"]["properties"]["status"] = json!({"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}});
    version["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    define(&api, json!([version])).await;
    let x = format!("{FOOS}/x");
    api.post(FOOS, &foo("x", json!({"replicas": 2})))
        .await
        .expect(201);
    let status = json!({"status": {"replicas": 1, "selector": "a=b"}, "spec": {"replicas": 9}});
    let patched = api
        .patch(&format!("{x}/status"), "merge", &status)
        .await
        .expect(200);
    assert_eq!(
        (
            &patched["spec"]["replicas"],
            &patched["metadata"]["generation"]
        ),
        (&json!(2), &json!(1))
    );
    let scale = api.get(&format!("{x}/scale")).await.expect(200);
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (
            &json!({"replicas": 2}),
            &json!({"replicas": 1, "selector": "a=b"})
        )
    );
    let scaled = api
        .patch(
            &format!("{x}/scale"),
            "merge",
            &json!({"spec": {"replicas": 5}}),
        )
        .await
        .expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    assert_eq!(api.get(&x).await.expect(200)["metadata"]["generation"], 2);
    api.post(FOOS, &foo("none", json!({}))).await.expect(201);
    let message = api
        .get(&format!("{FOOS}/none/scale"))
        .await
        .fails(500, "InternalError");
    assert_eq!(
        message,
        "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist"
    );
    let message = api
        .post(FOOS, &foo("minus", json!({"replicas": -1})))
        .await
        .fails(422, "Invalid");
    assert_eq!(
        message,
        "Foo.e.example.com \"minus\" is invalid: .spec.replicas: Invalid value: -1: should be a non-negative integer"
    );
    let message = api
        .post(&format!("{x}/status"), &json!({}))
        .await
        .fails(405, "MethodNotAllowed");
    assert_eq!(
        message,
        "create is not supported on resources of kind \"foos.e.example.com\""
    );
}

#[tokio::test(start_paused = true)]
async fn names_are_given_once_and_passed_on() {
    let api = api().await;
    define(&api, json!([version("v1", true, &plain())])).await;
    let mut other = definition(json!([version("v1", true, &plain())]));
    other["metadata"]["name"] = "bars.e.example.com".into();
    other["spec"]["names"] = json!({"kind": "Bar", "plural": "bars", "shortNames": ["fo"]});
    api.post(CRDS, &other).await.expect(201);
    let path = format!("{CRDS}/bars.e.example.com");
    let refused = until(&api, &path, |answer| {
        answer.body["status"]["conditions"].is_array()
    })
    .await;
    let condition = &refused.body["status"]["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (
            &json!("ShortNamesConflict"),
            &json!("\"fo\" is already in use")
        )
    );
    api.delete(DEFINITION).await.expect(200);
    until(&api, &path, is_established).await;
    api.get("/apis/e.example.com/v1/namespaces/default/bars")
        .await
        .expect(200);
}

#[tokio::test(start_paused = true)]
async fn servers_learn_definitions_from_the_store() {
    let store = Arc::new(MemoryStore::new(MemoryConfig::default()));
    let start = |seed| ApiServer::builder(store.clone()).clock(Clock::seeded(seed));
    let one = Api::start(start(1)).await;
    let other = Api::start(start(2)).await;
    define(&one, json!([version("v1", true, &plain())])).await;
    until(&other, FOOS, |answer| answer.code == 200).await;
    other
        .post(FOOS, &foo("x", json!({"a": "1"})))
        .await
        .expect(201);
    assert_eq!(
        one.get(&format!("{FOOS}/x")).await.expect(200)["spec"]["a"],
        "1"
    );
    let third = Api::start(start(3)).await;
    assert_eq!(
        third.get(&format!("{FOOS}/x")).await.expect(200)["spec"]["a"],
        "1"
    );
    other.delete(DEFINITION).await.expect(200);
    for api in [&one, &other, &third] {
        until(api, FOOS, |answer| answer.code == 404).await;
    }
}

#[tokio::test(start_paused = true)]
async fn watches_end_with_what_they_watch() {
    let api = api().await;
    define(&api, json!([version("v1", true, &plain())])).await;
    api.post(FOOS, &foo("x", json!({}))).await.expect(201);
    let watch = format!("GET {FOOS}?watch=true&resourceVersion=0");
    let watched = tokio::join!(api.raw(&watch, ""), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        api.delete(DEFINITION).await.expect(200);
    });
    let types: Vec<String> = watched
        .0
        .text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].to_string())
        .collect();
    assert_eq!(types, ["\"ADDED\"", "\"DELETED\""]);
}

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "t.example.com",
    version = "v1",
    kind = "Lamp",
    namespaced,
    status = "LampStatus",
    shortname = "lmp",
    validation = Rule::new("!has(self.spec.watts) || self.spec.watts < 100").message("too bright"),
    printcolumn = r#"{"name": "Watts", "type": "integer", "jsonPath": ".spec.watts"}"#
)]
struct LampSpec {
    watts: u32,
    #[serde(default = "white")]
    color: String,
    room: Option<String>,
}

fn white() -> String {
    "white".into()
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct LampStatus {
    on: bool,
}

async fn lamps(api: &Api) {
    let lamps = kube::Api::<Lamp>::namespaced(api.server.client(), "default");
    let spec = json!({"apiVersion": "t.example.com/v1", "kind": "Lamp", "metadata": {"name": "desk"}, "spec": {"watts": 4}});
    let path = "/apis/t.example.com/v1/namespaces/default/lamps";
    api.post(path, &spec).await.expect(201);
    let lamp = lamps.get("desk").await.unwrap();
    assert_eq!((lamp.spec.watts, lamp.spec.color.as_str()), (4, "white"));
    let bright = Patch::Merge(json!({"spec": {"watts": 500}}));
    let refused = lamps.patch("desk", &PatchParams::default(), &bright).await;
    assert!(refused.unwrap_err().to_string().contains("too bright"));
    let applied = Patch::Apply(
        json!({"apiVersion": "t.example.com/v1", "kind": "Lamp", "spec": {"room": "hall"}}),
    );
    let lamp = lamps
        .patch("desk", &PatchParams::apply("m"), &applied)
        .await
        .unwrap();
    assert_eq!(lamp.spec.room.as_deref(), Some("hall"));
    let mut lamp = lamp;
    lamp.status = Some(LampStatus { on: true });
    let lamp = lamps
        .replace_status("desk", &PostParams::default(), &lamp)
        .await
        .unwrap();
    assert!(lamp.status.unwrap().on);
    let table = api
        .raw(
            &format!("GET {path}\nAccept: application/json;as=Table;v=v1;g=meta.k8s.io"),
            "",
        )
        .await
        .expect(200);
    assert_eq!(table["rows"][0]["cells"], json!(["desk", 4]));
}

#[tokio::test(start_paused = true)]
async fn derived_definitions_are_served() {
    let api = api().await;
    let definitions = kube::Api::all(api.server.client());
    definitions
        .create(&PostParams::default(), &Lamp::crd())
        .await
        .unwrap();
    until(
        &api,
        &format!("{CRDS}/{}", Lamp::crd_name()),
        is_established,
    )
    .await;
    lamps(&api).await;
}

#[tokio::test(start_paused = true)]
async fn rust_types_are_served_without_a_definition() {
    let api = Api::start(builder().resource::<Lamp>()).await;
    lamps(&api).await;
    assert_eq!(api.get(CRDS).await.expect(200)["items"], json!([]));
}
