//! Create, update and patch, whatever the kind.
use crate::support::{Api, DEPLOYMENTS, MAPS, api, deployment, map};
use serde_json::{Value, json};

#[tokio::test(start_paused = true)]
async fn create_fills_in_the_metadata() {
    let api = api().await;
    let mut sent = map("x");
    sent["metadata"]["uid"] = "mine".into();
    sent["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    sent["metadata"]["deletionTimestamp"] = "2001-01-01T00:00:00Z".into();
    sent["metadata"]["selfLink"] = "/x".into();
    let made = api.post(MAPS, &sent).await.expect(201);
    let meta = &made["metadata"];
    assert_eq!(meta["namespace"], "default");
    assert_eq!(meta["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert!(
        meta["resourceVersion"].is_string()
            && meta["deletionTimestamp"].is_null()
            && meta["selfLink"].is_null()
    );
    assert_eq!(api.get(&format!("{MAPS}/x")).await.expect(200), made);
    let message = api.post(MAPS, &sent).await.fails(409, "AlreadyExists");
    assert_eq!(message, "configmaps \"x\" already exists");
}

#[tokio::test(start_paused = true)]
async fn create_is_refused() {
    let api = api().await;
    let in_other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "other"}});
    let with_version = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "resourceVersion": "5"}});
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
    let cases = [
        (
            in_other,
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            with_version,
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ),
        (
            nameless,
            422,
            "Invalid",
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
    ];
    for (body, code, reason, message) in cases {
        assert_eq!(api.post(MAPS, &body).await.fails(code, reason), message);
    }
    for body in [
        "",
        "{",
        "[]",
        "\u{0}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\"}} trailing",
    ] {
        let message = api
            .raw(&format!("POST {MAPS}"), body)
            .await
            .fails(400, "BadRequest");
        assert!(
            message.starts_with("the object provided is unrecognized (must be of type ConfigMap)"),
            "{message}"
        );
    }
    for name in [
        "fieldManager=".to_owned() + &"m".repeat(129),
        "dryRun=x".into(),
        "fieldValidation=x".into(),
    ] {
        let message = api
            .post(&format!("{MAPS}?{name}"), &map("x"))
            .await
            .fails(422, "Invalid");
        assert!(
            message.starts_with("CreateOptions.meta.k8s.io \"\" is invalid"),
            "{message}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_generated() {
    let api = api().await;
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "gen-"}});
    let one = api.post(MAPS, &body).await.expect(201);
    let two = api.post(MAPS, &body).await.expect(201);
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);
    assert_eq!(
        one["metadata"]["name"].as_str().unwrap().len(),
        "gen-12345".len()
    );
    // A name that is given wins; when it is taken, the answer speaks of generation all the same, as upstream's does.
    let mut given = body.clone();
    given["metadata"]["name"] = one["metadata"]["name"].clone();
    let message = api.post(MAPS, &given).await.fails(409, "AlreadyExists");
    assert!(
        message.contains("not able to generate a unique name"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn dry_runs_store_nothing() {
    let api = api().await;
    let made = api
        .post(&format!("{MAPS}?dryRun=All"), &map("x"))
        .await
        .expect(201);
    assert!(made["metadata"]["resourceVersion"].is_null() && made["metadata"]["uid"].is_string());
    api.get(&format!("{MAPS}/x")).await.fails(404, "NotFound");
    let stored = api.post(MAPS, &map("x")).await.expect(201);
    api.post(&format!("{MAPS}?dryRun=All"), &map("x"))
        .await
        .fails(409, "AlreadyExists");
    let path = format!("{MAPS}/x?dryRun=All");
    let patched = api
        .patch(&path, "merge", &json!({"data": {"a": "1"}}))
        .await
        .expect(200);
    assert_eq!(
        patched["metadata"]["resourceVersion"],
        stored["metadata"]["resourceVersion"]
    );
    assert_eq!(patched["data"]["a"], "1");
    let mut replaced = stored.clone();
    replaced["data"] = json!({"b": "2"});
    api.put(&path, &replaced).await.expect(200);
    api.delete(&path).await.expect(200);
    assert_eq!(api.get(&format!("{MAPS}/x")).await.expect(200), stored);
}

async fn put(api: &Api, object: &Value, change: impl FnOnce(&mut Value)) -> crate::support::Answer {
    let mut object = object.clone();
    change(&mut object);
    api.put(&format!("{MAPS}/x"), &object).await
}

#[tokio::test(start_paused = true)]
async fn updates_are_optimistic() {
    let api = api().await;
    api.put(&format!("{MAPS}/x"), &map("x"))
        .await
        .fails(404, "NotFound");
    let first = api.post(MAPS, &map("x")).await.expect(201);
    let second = put(&api, &first, |object| object["data"] = json!({"a": "1"}))
        .await
        .expect(200);
    assert_ne!(
        first["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
    let stale = put(&api, &first, |object| object["data"] = json!({"a": "2"}))
        .await
        .fails(409, "Conflict");
    assert_eq!(
        stale,
        "Operation cannot be fulfilled on configmaps \"x\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // The same again is no write.
    let same = put(&api, &second, |_| {}).await.expect(200);
    assert_eq!(same, second);
    // Without a resource version the last writer wins.
    let unconditional = put(&api, &first, |object| {
        object["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
    });
    assert!(unconditional.await.expect(200)["data"].is_null());
    let uid = put(&api, &second, |object| {
        object["metadata"]["uid"] = "bad".into();
    })
    .await
    .fails(409, "Conflict");
    assert!(
        uid.contains("Precondition failed: UID in precondition: bad"),
        "{uid}"
    );
    let name = put(&api, &second, |object| {
        object["metadata"]["name"] = "y".into();
    })
    .await
    .fails(400, "BadRequest");
    assert_eq!(
        name,
        "the name of the object (y) does not match the name on the URL (x)"
    );
}

#[tokio::test(start_paused = true)]
async fn some_kinds_are_made_by_put_and_need_a_version() {
    let api = api().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "resourceVersion": "5"}});
    let made = api.put(path, &lease).await.expect(201);
    let mut blind = made.clone();
    blind["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let message = api.put(path, &blind).await.fails(422, "Invalid");
    assert_eq!(
        message,
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
}

#[tokio::test(start_paused = true)]
async fn patches() {
    let api = api().await;
    let path = format!("{MAPS}/x");
    let path = path.as_str();
    api.patch(path, "merge", &json!({}))
        .await
        .fails(404, "NotFound");
    let mut body = map("x");
    body["data"] = json!({"a": "1", "b": "2"});
    let first = api.post(MAPS, &body).await.expect(201);
    let merged = api
        .patch(path, "merge", &json!({"data": {"a": null, "c": "3"}}))
        .await
        .expect(200);
    assert_eq!(merged["data"], json!({"b": "2", "c": "3"}));
    let patched = api
        .patch(
            path,
            "json",
            &json!([{"op": "replace", "path": "/data/b", "value": "9"}]),
        )
        .await
        .expect(200);
    assert_eq!(patched["data"]["b"], "9");
    let strategic = api
        .patch(path, "strategic", &json!({"data": {"d": "4"}}))
        .await
        .expect(200);
    assert_eq!(strategic["data"]["d"], "4");
    // Nothing changes: nothing is written.
    let same = api
        .patch(path, "merge", &json!({"data": {"d": "4"}}))
        .await
        .expect(200);
    assert_eq!(same, strategic);
    let stale = json!({"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}});
    api.patch(path, "merge", &stale)
        .await
        .fails(409, "Conflict");
    let renamed = api
        .patch(path, "merge", &json!({"metadata": {"name": "y"}}))
        .await
        .fails(400, "BadRequest");
    assert_eq!(
        renamed,
        "the name of the object (y) does not match the name on the URL (x)"
    );
    let test = api
        .patch(
            path,
            "json",
            &json!([{"op": "test", "path": "/data/b", "value": "no"}]),
        )
        .await
        .fails(422, "Invalid");
    assert_eq!(
        test,
        "the server rejected our request due to an error in our request"
    );
    let wrong = api
        .patch(path, "merge", &json!({"data": {"a": 1}}))
        .await
        .fails(422, "Invalid");
    assert!(
        wrong.contains(
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        ),
        "{wrong}"
    );
    let unknown = api
        .raw(
            &format!("PATCH {path}\nContent-Type: application/json"),
            "{}",
        )
        .await
        .fails(415, "UnsupportedMediaType");
    assert!(unknown.ends_with("application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"));
    let force = api
        .patch(&format!("{path}?force=true"), "merge", &json!({}))
        .await
        .fails(422, "Invalid");
    assert!(
        force.contains("may not be specified for non-apply patch"),
        "{force}"
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_fields() {
    let api = api().await;
    let mut body = map("x");
    body["bogus"] = json!(1);
    let strict = api
        .post(&format!("{MAPS}?fieldValidation=Strict"), &body)
        .await
        .fails(400, "BadRequest");
    assert_eq!(
        strict,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"bogus\""
    );
    let warned = api.post(MAPS, &body).await;
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"bogus\\\"\""]);
    assert!(warned.expect(201)["bogus"].is_null());
    let silent = api
        .put(&format!("{MAPS}/x?fieldValidation=Ignore"), &body)
        .await;
    assert!(silent.warnings().is_empty());
    let path = format!("{MAPS}/x?fieldValidation=Strict");
    let patched = api
        .patch(&path, "merge", &json!({"bogus": 1}))
        .await
        .fails(422, "Invalid");
    assert!(
        patched.ends_with("strict decoding error: unknown field \"bogus\""),
        "{patched}"
    );
}

#[tokio::test(start_paused = true)]
async fn generation_and_status_are_apart() {
    let api = api().await;
    let path = format!("{DEPLOYMENTS}/d");
    let made = api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    assert_eq!(made["metadata"]["generation"], 1);
    let scaled = api
        .patch(
            &path,
            "merge",
            &json!({"spec": {"replicas": 3}, "status": {"replicas": 7}}),
        )
        .await
        .expect(200);
    assert_eq!(scaled["metadata"]["generation"], 2);
    assert_ne!(scaled["status"]["replicas"], 7);
    let labelled = api
        .patch(
            &path,
            "merge",
            &json!({"metadata": {"labels": {"a": "b"}, "generation": 9}}),
        )
        .await
        .expect(200);
    assert_eq!(labelled["metadata"]["generation"], 2);
    let status = json!({"metadata": {"labels": {"via": "status"}}, "spec": {"replicas": 9}, "status": {"replicas": 3}});
    let reported = api
        .patch(&format!("{path}/status"), "merge", &status)
        .await
        .expect(200);
    assert_eq!(reported["metadata"]["generation"], 2);
    assert_eq!(reported["spec"]["replicas"], 3);
    assert_eq!(reported["status"]["replicas"], 3);
    assert_eq!(reported["metadata"]["labels"], json!({"a": "b"}));
    let stale = api
        .put(&format!("{path}/status"), &made)
        .await
        .fails(409, "Conflict");
    assert!(stale.contains("deployments.apps \"d\""), "{stale}");
}
