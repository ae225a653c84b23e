//! Scale, binding, eviction.
use crate::support::{Api, DEPLOYMENTS, PODS, api, deployment, pod};
use serde_json::{Value, json};

#[tokio::test(start_paused = true)]
async fn scale() {
    let api = api().await;
    api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/d/scale");
    let scale = api.get(&path).await.expect(200);
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&json!("Scale"), &json!("autoscaling/v1"))
    );
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    assert_eq!(scale["status"], json!({"replicas": 0, "selector": "app=a"}));
    let with = |replicas: i64| {
        let mut scale = scale.clone();
        scale["spec"]["replicas"] = replicas.into();
        scale
    };
    assert_eq!(
        api.put(&path, &with(5)).await.expect(200)["spec"]["replicas"],
        5
    );
    api.put(&path, &with(6)).await.fails(409, "Conflict");
    let mut negative = with(-1);
    negative["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let message = api.put(&path, &negative).await.fails(422, "Invalid");
    assert_eq!(
        message,
        "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    let patched = api
        .patch(&path, "merge", &json!({"spec": {"replicas": 0}}))
        .await
        .expect(200);
    assert_eq!(patched["spec"], json!({}));
    api.patch(
        &path,
        "json",
        &json!([{"op": "add", "path": "/spec/replicas", "value": 3}]),
    )
    .await
    .expect(200);
    let same = api
        .patch(&path, "merge", &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .expect(200);
    let object = api.get(&format!("{DEPLOYMENTS}/d")).await.expect(200);
    assert_eq!(
        (
            &object["spec"]["replicas"],
            &object["metadata"]["generation"]
        ),
        (&json!(3), &json!(4))
    );
    assert_eq!(
        object["metadata"]["resourceVersion"],
        same["metadata"]["resourceVersion"]
    );
    let named = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "y"}});
    assert_eq!(
        api.put(&path, &named).await.fails(400, "BadRequest"),
        "the name of the object (y) does not match the name on the URL (d)"
    );
    api.get(&format!("{DEPLOYMENTS}/nope/scale"))
        .await
        .fails(404, "NotFound");
    api.delete(&path).await.fails(405, "MethodNotAllowed");
}

fn binding(name: &str, target: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target})
}

#[tokio::test(start_paused = true)]
async fn pods_are_bound_once() {
    let api = api().await;
    for name in ["x", "y", "z"] {
        api.post(PODS, &pod(name)).await.expect(201);
    }
    let node = || json!({"kind": "Node", "name": "n1"});
    let mut annotated = binding("x", node());
    annotated["metadata"]["annotations"] = json!({"bound": "yes"});
    let status = api
        .post(&format!("{PODS}/x/binding"), &annotated)
        .await
        .expect(201);
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
    );
    let bound = api.get(&format!("{PODS}/x")).await.expect(200);
    assert_eq!(
        (
            &bound["spec"]["nodeName"],
            &bound["metadata"]["annotations"]["bound"]
        ),
        (&json!("n1"), &json!("yes"))
    );
    assert_eq!(bound["metadata"]["generation"], 1);
    let condition = &bound["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"]),
        (&json!("PodScheduled"), &json!("True"))
    );
    let again = api
        .post(&format!("{PODS}/x/binding"), &binding("x", node()))
        .await
        .fails(409, "Conflict");
    assert_eq!(
        again,
        "Operation cannot be fulfilled on pods/binding \"x\": pod x is already assigned to node \"n1\""
    );
    for (name, body, code, reason, message) in [
        (
            "nope",
            binding("nope", node()),
            404,
            "NotFound",
            "pods \"nope\" not found",
        ),
        (
            "y",
            binding("other", node()),
            400,
            "BadRequest",
            "name in URL does not match name in Binding object",
        ),
        (
            "y",
            binding("y", json!({"kind": "Node", "name": ""})),
            500,
            "",
            "target.name: Required value",
        ),
        (
            "y",
            binding("y", json!({"kind": "Pod", "name": "n"})),
            500,
            "",
            "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
        ),
    ] {
        assert_eq!(
            api.post(&format!("{PODS}/{name}/binding"), &body)
                .await
                .fails(code, reason),
            message
        );
    }
    let mut other = binding("y", node());
    other["metadata"]["uid"] = "u".into();
    let uid = api
        .post(&format!("{PODS}/y/binding"), &other)
        .await
        .fails(409, "Conflict");
    assert!(
        uid.contains("Precondition failed: UID in precondition: u"),
        "{uid}"
    );
    api.post("/api/v1/namespaces/default/bindings", &binding("z", node()))
        .await
        .expect(201);
    assert_eq!(
        api.get(&format!("{PODS}/z")).await.expect(200)["spec"]["nodeName"],
        "n1"
    );
    api.get("/api/v1/namespaces/default/bindings")
        .await
        .fails(405, "MethodNotAllowed");
}

async fn running(api: &Api, name: &str) {
    let mut body = pod(name);
    body["metadata"]["labels"] = json!({"app": "a"});
    body["spec"]["nodeName"] = "n1".into();
    api.post(PODS, &body).await.expect(201);
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    api.patch(&format!("{PODS}/{name}/status"), "merge", &status)
        .await
        .expect(200);
}

async fn evict(api: &Api, name: &str) -> crate::support::Answer {
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    api.post(&format!("{PODS}/{name}/eviction"), &eviction)
        .await
}

#[tokio::test(start_paused = true)]
async fn evictions_ask_the_budget() {
    let api = api().await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    api.post(budgets, &budget).await.expect(201);
    running(&api, "a").await;
    running(&api, "b").await;
    let early = evict(&api, "a").await;
    assert_eq!(early.headers["retry-after"], "10");
    early.fails(429, "TooManyRequests");
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    api.patch(&format!("{budgets}/b/status"), "merge", &status)
        .await
        .expect(200);
    evict(&api, "a").await.expect(201);
    let going = api.get(&format!("{PODS}/a")).await.expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(going["status"]["conditions"][1]["type"], "DisruptionTarget");
    let budget = api.get(&format!("{budgets}/b")).await.expect(200);
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["a"].is_string());
    let refused = evict(&api, "b").await;
    assert_eq!(
        refused.body["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 2 currently"
    );
    assert_eq!(
        refused.fails(429, "TooManyRequests"),
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    evict(&api, "nope").await.fails(404, "NotFound");
}
