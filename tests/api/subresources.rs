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

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";

/// What a write of the status does with metadata and spec: the labels afterwards, and whether the writer owns them.
async fn labelled_by_status(api: &Api, path: &str) -> (bool, bool) {
    let patch = json!({"metadata": {"labels": {"by": "status"}}});
    let written = api
        .patch(&format!("{path}/status"), "merge", &patch)
        .await
        .expect(200);
    let metadata = &written["metadata"];
    let owned = metadata["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .any(|entry| {
            entry["subresource"] == "status" && !entry["fieldsV1"]["f:metadata"].is_null()
        });
    (metadata["labels"]["by"] == "status", owned)
}

#[tokio::test(start_paused = true)]
async fn some_statuses_leave_the_metadata_alone() {
    let api = api().await;
    let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let claim =
        json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    let rule = json!({"apiGroups": ["a"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["b"]});
    for (collection, kind, spec, expected) in [
        (CLAIMS, "ResourceClaim", claim, (false, false)),
        (
            &*format!("{flow}/flowschemas"),
            "FlowSchema",
            json!({"priorityLevelConfiguration": {"name": "x"}}),
            (false, false),
        ),
        (
            &*format!("{flow}/prioritylevelconfigurations"),
            "PriorityLevelConfiguration",
            json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}),
            (false, false),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]}),
            (false, false),
        ),
        // Upstream's list of what nobody comes to own misses it.
        (
            "/apis/networking.k8s.io/v1/servicecidrs",
            "ServiceCIDR",
            json!({"cidrs": ["10.77.0.0/24"]}),
            (false, true),
        ),
        (
            DEPLOYMENTS,
            "Deployment",
            deployment("d")["spec"].clone(),
            (false, false),
        ),
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            "ReplicaSet",
            json!({"selector": deployment("d")["spec"]["selector"], "template": deployment("d")["spec"]["template"]}),
            (true, true),
        ),
    ] {
        let version = collection.trim_start_matches("/apis/").splitn(3, '/');
        let version: Vec<&str> = version.take(2).collect();
        let object = json!({"apiVersion": version.join("/"), "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        api.post(collection, &object).await.expect(201);
        let path = format!("{collection}/x");
        assert_eq!(labelled_by_status(&api, &path).await, expected, "{kind}");
    }
    // Nor is its status guarded from writes of the object.
    let condition = json!({"type": "Ready", "status": "True", "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patch = json!({"status": {"conditions": [condition]}});
    let path = "/apis/networking.k8s.io/v1/servicecidrs/x";
    let written = api.patch(path, "merge", &patch).await.expect(200);
    assert_eq!(written["status"]["conditions"][0]["type"], "Ready");
}

#[tokio::test(start_paused = true)]
async fn devices_in_use_are_for_namespaces_with_a_label() {
    let api = api().await;
    let spec = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": true}}]}});
    let of = |kind: &str, spec: Value| json!({"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let claim = of("ResourceClaim", spec.clone());
    let template = of("ResourceClaimTemplate", json!({"spec": spec}));
    let templates = CLAIMS.replace("claims", "claimtemplates");
    let why = "is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    for (path, object) in [(CLAIMS, &claim), (&templates, &template)] {
        let kind = object["kind"].as_str().unwrap();
        assert_eq!(
            api.post(path, object).await.fails(422, "Invalid"),
            format!("{kind}.resource.k8s.io \"x\" {why}")
        );
    }
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    let namespace = "/api/v1/namespaces/default";
    api.patch(namespace, "merge", &label).await.expect(200);
    api.post(CLAIMS, &claim).await.expect(201);
    api.post(&templates, &template).await.expect(201);
    let unlabel = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": null}}});
    api.patch(namespace, "merge", &unlabel).await.expect(200);
    let status = json!({"status": {"allocation": {"devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "v", "adminAccess": true}]}}}});
    let message = api
        .patch(&format!("{CLAIMS}/x/status"), "merge", &status)
        .await
        .fails(422, "Invalid");
    assert!(
        message
            .contains("status.allocation.devices.results[0].adminAccess: Forbidden: admin access"),
        "{message}"
    );
}
