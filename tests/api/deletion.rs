//! Deletion: finalizers, propagation, grace, preconditions, collections.
use crate::support::{DEPLOYMENTS, MAPS, PODS, api, deployment, map, pod};
use serde_json::{Value, json};

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object() {
    let api = api().await;
    let path = format!("{MAPS}/x");
    let mut body = map("x");
    body["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    api.post(MAPS, &body).await.expect(201);
    let marked = api.delete(&path).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(
        marked["metadata"]["deletionTimestamp"],
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(api.delete(&path).await.expect(200), marked);
    let message = api.post(MAPS, &map("x")).await.fails(409, "AlreadyExists");
    assert_eq!(
        message,
        "object is being deleted: configmaps \"x\" already exists"
    );
    let kept = api
        .patch(
            &path,
            "merge",
            &json!({"metadata": {"deletionTimestamp": null, "finalizers": ["example.com/b"]}}),
        )
        .await
        .expect(200);
    assert_eq!(
        kept["metadata"]["deletionTimestamp"],
        marked["metadata"]["deletionTimestamp"]
    );
    let none = json!({"metadata": {"finalizers": []}});
    api.patch(&format!("{path}?dryRun=All"), "merge", &none)
        .await
        .expect(200);
    api.get(&path).await.expect(200);
    let last = api.patch(&path, "merge", &none).await.expect(200);
    assert_eq!(
        last["metadata"]["resourceVersion"],
        kept["metadata"]["resourceVersion"]
    );
    api.get(&path).await.fails(404, "NotFound");
}

#[tokio::test(start_paused = true)]
async fn deletion_is_answered_with_a_status() {
    let api = api().await;
    let made = api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let status = api.delete(&format!("{DEPLOYMENTS}/d")).await.expect(200);
    let details = json!({"name": "d", "group": "apps", "kind": "deployments", "uid": made["metadata"]["uid"]});
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    );
    api.delete(&format!("{DEPLOYMENTS}/d"))
        .await
        .fails(404, "NotFound");
}

#[tokio::test(start_paused = true)]
async fn propagation_sets_finalizers() {
    let api = api().await;
    let path = format!("{DEPLOYMENTS}/d");
    for (options, finalizer) in [
        (
            json!({"propagationPolicy": "Foreground"}),
            "foregroundDeletion",
        ),
        (json!({"propagationPolicy": "Orphan"}), "orphan"),
        (
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "orphanDependents": true}),
            "orphan",
        ),
    ] {
        api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
        let marked = api.delete_with(&path, &options).await.expect(200);
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        assert_eq!(marked["metadata"]["generation"], 2);
        let gone = api
            .delete(&format!("{path}?propagationPolicy=Background"))
            .await
            .expect(200);
        assert_eq!(gone["status"], "Success");
        api.get(&path).await.fails(404, "NotFound");
    }
    // A finalizer that is there decides when nothing is asked for; 202 is for the deprecated option only.
    let mut held = map("f");
    held["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    api.post(MAPS, &held).await.expect(201);
    let marked = api.delete(&format!("{MAPS}/f")).await.expect(200);
    assert_eq!(
        marked["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    let mut own = map("o");
    own["metadata"]["finalizers"] = json!(["example.com/o"]);
    api.post(MAPS, &own).await.expect(201);
    assert_eq!(
        api.delete_with(&format!("{MAPS}/o"), &json!({"orphanDependents": false}))
            .await
            .code,
        202
    );
}

#[tokio::test(start_paused = true)]
async fn options_are_checked() {
    let api = api().await;
    api.post(MAPS, &map("x")).await.expect(201);
    let path = format!("{MAPS}/x");
    for (options, code, reason, start) in [
        (
            json!({"propagationPolicy": "x"}),
            422,
            "Invalid",
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value",
        ),
        (
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            422,
            "Invalid",
            "DeleteOptions.meta.k8s.io",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1"}),
            400,
            "BadRequest",
            "no kind \"Pod\" is registered for version \"v1\" in scheme",
        ),
        (
            json!({"gracePeriodSeconds": "x"}),
            400,
            "BadRequest",
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            json!([1]),
            400,
            "BadRequest",
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct",
        ),
        (
            json!({"kind": "DeleteOptions", "apiVersion": "apps/v1", "propagationPolicy": "x"}),
            422,
            "Invalid",
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value",
        ),
        (
            json!({"preconditions": {"uid": "u"}}),
            409,
            "Conflict",
            "Operation cannot be fulfilled on ConfigMap \"x\": the UID in the precondition (u)",
        ),
        (
            json!({"preconditions": {"resourceVersion": "1"}}),
            409,
            "Conflict",
            "Operation cannot be fulfilled on ConfigMap \"x\": the ResourceVersion in the precondition (1)",
        ),
    ] {
        let message = api.delete_with(&path, &options).await.fails(code, reason);
        assert!(message.starts_with(start), "{message}");
    }
    let number = api
        .delete(&format!("{path}?gracePeriodSeconds=abc"))
        .await
        .fails(400, "BadRequest");
    assert_eq!(number, "strconv.ParseInt: parsing \"abc\": invalid syntax");
    let yaml = format!("DELETE {path}\nContent-Type: application/yaml");
    api.raw(
        &yaml,
        "kind: DeleteOptions\napiVersion: v1\ndryRun: [All]\n",
    )
    .await
    .expect(200);
    api.get(&path).await.expect(200);
}

async fn bound(api: &crate::support::Api, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut body = pod(name);
    body["spec"]["nodeName"] = "n1".into();
    change(&mut body);
    api.post(PODS, &body).await.expect(201);
    format!("{PODS}/{name}")
}

#[tokio::test(start_paused = true)]
async fn pods_go_with_grace() {
    let api = api().await;
    let path = bound(&api, "a", |_| {}).await;
    let marked = api.delete(&path).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(
        marked["metadata"]["deletionTimestamp"],
        "2026-01-01T00:00:30Z"
    );
    assert_eq!(marked["metadata"]["generation"], 2);
    // It can be shortened, not lengthened.
    assert_eq!(
        api.delete(&format!("{path}?gracePeriodSeconds=60"))
            .await
            .expect(200),
        marked
    );
    let shorter = api
        .delete(&format!("{path}?gracePeriodSeconds=5"))
        .await
        .expect(200);
    assert_eq!(
        shorter["metadata"]["deletionTimestamp"],
        "2026-01-01T00:00:05Z"
    );
    api.get(&path).await.expect(200);
    let gone = api
        .delete_with(&path, &json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 0);
    api.get(&path).await.fails(404, "NotFound");
    // Nobody runs it: it goes at once.
    api.post(PODS, &pod("b")).await.expect(201);
    assert_eq!(
        api.delete(&format!("{PODS}/b")).await.expect(200)["kind"],
        "Pod"
    );
    api.get(&format!("{PODS}/b")).await.fails(404, "NotFound");
    // With a finalizer left it stays, without grace it goes with the finalizer.
    let path = bound(&api, "c", |body| {
        body["metadata"]["finalizers"] = json!(["example.com/f"]);
    })
    .await;
    api.delete_with(&path, &json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    api.patch(&path, "merge", &json!({"metadata": {"finalizers": null}}))
        .await
        .expect(200);
    api.get(&path).await.fails(404, "NotFound");
    let path = bound(&api, "d", |body| {
        body["metadata"]["finalizers"] = json!(["example.com/f"]);
    })
    .await;
    api.delete(&path).await.expect(200);
    api.patch(&path, "merge", &json!({"metadata": {"finalizers": null}}))
        .await
        .expect(200);
    api.get(&path).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn collections_are_deleted() {
    let api = api().await;
    for index in 0..6 {
        let mut body = map(&format!("n{index}"));
        body["metadata"]["labels"] = json!({"p": (index % 3).to_string()});
        api.post(MAPS, &body).await.expect(201);
    }
    let names = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let listed = api
        .delete(&format!("{MAPS}?labelSelector=p%3D0&dryRun=All"))
        .await
        .expect(200);
    assert_eq!(
        (listed["kind"].as_str().unwrap(), names(&listed)),
        ("ConfigMapList", vec!["n0".to_owned(), "n3".to_owned()])
    );
    assert_eq!(names(&api.get(MAPS).await.expect(200)).len(), 6);
    api.delete(&format!("{MAPS}?labelSelector=p%3D0"))
        .await
        .expect(200);
    api.delete(&format!("{MAPS}?fieldSelector=metadata.name%3Dn1"))
        .await
        .expect(200);
    api.delete(&format!("{MAPS}?fieldSelector=bad%3D1"))
        .await
        .fails(400, "BadRequest");
    let page = api.delete(&format!("{MAPS}?limit=1")).await.expect(200);
    assert_eq!(names(&page), ["n2"]);
    assert!(page["metadata"]["continue"].is_string());
    assert_eq!(names(&api.get(MAPS).await.expect(200)), ["n4", "n5"]);
    api.delete(MAPS).await.expect(200);
    assert!(names(&api.get(MAPS).await.expect(200)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn namespaces_go_in_phases() {
    let api = api().await;
    let path = "/api/v1/namespaces/n";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let made = api.post("/api/v1/namespaces", &namespace).await.expect(201);
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let marked = api.delete(path).await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(
        marked["metadata"]["deletionTimestamp"].is_string()
            && marked["metadata"]["deletionGracePeriodSeconds"].is_null()
    );
    assert_eq!(api.delete(path).await.expect(200), marked);
    let mut finalized = marked.clone();
    finalized["spec"]["finalizers"] = json!([]);
    finalized["status"]["phase"] = "Active".into();
    let last = api
        .put(&format!("{path}/finalize"), &finalized)
        .await
        .expect(200);
    assert_eq!(last["status"]["phase"], "Terminating");
    api.get(path).await.fails(404, "NotFound");
}
