//! Server-side apply and managed fields through the server.
use crate::support::{Answer, Api, DEPLOYMENTS, MAPS, api, deployment, map};
use serde_json::{Value, json};

async fn apply(api: &Api, path: &str, query: &str, body: &Value) -> Answer {
    let line = format!("PATCH {path}?{query}\nContent-Type: application/apply-patch+yaml");
    api.raw(&line, body.to_string()).await
}

fn managers(object: &Value) -> Vec<String> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    entries
        .map(|entry| {
            let part = text(entry, "subresource");
            let part = if part.is_empty() {
                part
            } else {
                format!("/{part}")
            };
            format!(
                "{} {}{part}",
                text(entry, "manager"),
                text(entry, "operation")
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn who_gives_an_empty_list_owns_it() {
    let api = api().await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slice = |name: &str, endpoints: Value| {
        let mut slice = json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": {"name": name}, "addressType": "IPv4",
        });
        if endpoints != json!("none") {
            slice["endpoints"] = endpoints;
        }
        slice
    };
    let owners = |object: &Value| {
        let entries = object["metadata"]["managedFields"].as_array().unwrap();
        let owns = |entry: &&Value| entry["fieldsV1"].get("f:endpoints").is_some();
        let owners = entries.iter().filter(owns);
        owners
            .map(|entry| entry["manager"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (name, endpoints, owned) in [
        ("none", json!("none"), false),
        ("null", json!(null), false),
        ("empty", json!([]), true),
    ] {
        let path = format!("{slices}?fieldManager=a");
        let made = api.post(&path, &slice(name, endpoints)).await.expect(201);
        // Storage does not tell it from none.
        assert_eq!(made["endpoints"], Value::Null, "{name}");
        let expected: &[&str] = if owned { &["a"] } else { &[] };
        assert_eq!(owners(&made), expected, "{name}");
    }
    let path = format!("{slices}/empty?fieldManager=b");
    let stored = api.get(&format!("{slices}/empty")).await.expect(200);
    let same = api.put(&path, &stored).await.expect(200);
    assert_eq!(owners(&same), ["a"]);
    let empty = json!({"endpoints": []});
    let patched = api.patch(&path, "merge", &empty).await.expect(200);
    assert_eq!(owners(&patched), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_uid_is_of_an_object_that_is_there() {
    let api = api().await;
    let path = format!("{MAPS}/x");
    let mut wanted = map("x");
    wanted["metadata"]["uid"] = "u".into();
    let message = apply(&api, &path, "fieldManager=one", &wanted)
        .await
        .fails(409, "Conflict");
    assert_eq!(
        message,
        "Operation cannot be fulfilled on configmaps \"x\": uid mismatch: the provided object specified uid u, and no existing object was found"
    );
    api.get(&path).await.fails(404, "NotFound");
}

#[tokio::test(start_paused = true)]
async fn apply_creates_owns_and_takes_back() {
    let api = api().await;
    let path = format!("{MAPS}/x");
    let mut one = map("x");
    one["data"] = json!({"a": "1", "b": "1"});
    let made = apply(&api, &path, "fieldManager=one", &one)
        .await
        .expect(201);
    assert_eq!(managers(&made), ["one Apply"]);
    // The same again changes nothing, not even the times.
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    assert_eq!(
        apply(&api, &path, "fieldManager=one", &one)
            .await
            .expect(200),
        made
    );
    let mut two = map("x");
    two["data"] = json!({"a": "2"});
    let conflict = apply(&api, &path, "fieldManager=two", &two)
        .await
        .fails(409, "Conflict");
    assert!(
        conflict.contains("conflict with \"one\": .data.a"),
        "{conflict}"
    );
    let forced = apply(&api, &path, "fieldManager=two&force=true", &two)
        .await
        .expect(200);
    assert_eq!(forced["data"], json!({"a": "2", "b": "1"}));
    // What its owner applies no more goes.
    let taken = apply(&api, &path, "fieldManager=one", &map("x"))
        .await
        .expect(200);
    assert_eq!(taken["data"], json!({"a": "2"}));
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let other = format!("{MAPS}/y");
    let message = apply(&api, &other, "fieldManager=one", &nameless)
        .await
        .fails(400, "BadRequest");
    assert_eq!(
        message,
        "the name of the object (y based on URL) was undeterminable: name must be provided"
    );
    apply(&api, &path, "", &one).await.fails(422, "Invalid");
}

#[tokio::test(start_paused = true)]
async fn writes_are_owned_by_part() {
    let api = api().await;
    let path = format!("{DEPLOYMENTS}/d");
    let made = api
        .post(
            &format!("{DEPLOYMENTS}?fieldManager=creator"),
            &deployment("d"),
        )
        .await
        .expect(201);
    assert_eq!(managers(&made), ["creator Update"]);
    let status = json!({"status": {"replicas": 1}, "spec": {"replicas": 9}});
    let reported = api
        .patch(
            &format!("{path}/status?fieldManager=reporter"),
            "merge",
            &status,
        )
        .await
        .expect(200);
    assert_eq!(
        managers(&reported),
        ["creator Update", "reporter Update/status"]
    );
    assert_eq!(
        reported["metadata"]["managedFields"][1]["fieldsV1"],
        json!({"f:status": {"f:replicas": {}}})
    );
    api.patch(
        &format!("{path}/scale?fieldManager=scaler"),
        "merge",
        &json!({"spec": {"replicas": 7}}),
    )
    .await
    .expect(200);
    let scaled = api.get(&path).await.expect(200);
    let entries = scaled["metadata"]["managedFields"].as_array().unwrap();
    let scaler = entries
        .iter()
        .find(|entry| entry["manager"] == "scaler")
        .unwrap();
    assert_eq!(
        (&scaler["subresource"], &scaler["fieldsV1"]),
        (&json!("scale"), &json!({"f:spec": {"f:replicas": {}}}))
    );
    // The user agent is the manager when none is named.
    let line = format!(
        "PATCH {path}\nContent-Type: application/merge-patch+json\nUser-Agent: agent/1.0 (x)"
    );
    let labelled = api
        .raw(&line, r#"{"metadata":{"labels":{"a":"b"}}}"#)
        .await
        .expect(200);
    assert!(
        managers(&labelled).contains(&"agent Update".to_owned()),
        "{:?}",
        managers(&labelled)
    );
}

#[tokio::test(start_paused = true)]
async fn scale_can_be_applied() {
    let api = api().await;
    api.post(
        &format!("{DEPLOYMENTS}?fieldManager=creator"),
        &deployment("d"),
    )
    .await
    .expect(201);
    let path = format!("{DEPLOYMENTS}/d/scale");
    let scale = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}});
    let conflict = apply(&api, &path, "fieldManager=hpa", &scale(5))
        .await
        .fails(409, "Conflict");
    assert!(conflict.contains(".spec.replicas"), "{conflict}");
    let forced = apply(&api, &path, "fieldManager=hpa&force=true", &scale(5))
        .await
        .expect(200);
    assert_eq!(forced["spec"]["replicas"], 5);
    let wrong = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}});
    let message = apply(&api, &path, "fieldManager=hpa", &wrong)
        .await
        .fails(400, "BadRequest");
    assert_eq!(message, "invalid object type: /v1, Kind=ConfigMap");
}
