//! JSON, merge and strategic merge patches, and the messages about their outcome.
use super::*;
use crate::apiserver::schema::builtin;
use serde_json::json;

fn gvk(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
    }
}

#[test]
fn json_patches() {
    #[track_caller]
    fn check(object: &Value, patch: Value, expected: Option<Value>) {
        let got = json::apply(object.clone(), patch.to_string().as_bytes());
        match (got, expected) {
            (Ok(got), Some(expected)) => assert_eq!(got, expected, "{patch}"),
            (Err(status), None) => assert_eq!(status.code, 422, "{patch}"),
            (got, expected) => panic!("{patch}: {got:?}, expected {expected:?}"),
        }
    }
    let object = json!({"a": {"b": [1, 2, 3], "c": "x", "d/e": 1}, "n": null});
    let b = |list: Value| Some(json!({"a": {"b": list, "c": "x", "d/e": 1}, "n": null}));
    let op = |op: &str, path: &str, value: Value| json!([{"op": op, "path": path, "value": value}]);
    let cases = [
        (op("add", "/a/b/-", json!(9)), b(json!([1, 2, 3, 9]))),
        (op("add", "/a/b/0", json!(9)), b(json!([9, 1, 2, 3]))),
        (op("add", "/a/b/3", json!(9)), b(json!([1, 2, 3, 9]))),
        (op("add", "/a/b/4", json!(9)), None),
        (op("add", "/a/b/-1", json!(9)), b(json!([1, 2, 3, 9]))),
        (op("remove", "/a/b/-1", json!(null)), b(json!([1, 2]))),
        (op("remove", "/a/b/-4", json!(null)), None),
        (op("remove", "/a/zz", json!(null)), None),
        (op("replace", "/a/b/1", json!(9)), b(json!([1, 9, 3]))),
        (op("replace", "/a/b/3", json!(9)), None),
        (op("replace", "/x/y", json!(9)), None),
        (op("replace", "", json!({"z": 1})), Some(json!({"z": 1}))),
        (op("replace", "", json!(1)), None),
        (op("add", "/x/y", json!(9)), None),
        (op("test", "/a/c", json!("x")), Some(object.clone())),
        (op("test", "/a/c", json!("y")), None),
        // What is absent equals null, as upstream has it.
        (op("test", "/zz", json!(null)), Some(object.clone())),
        (op("test", "/zz", json!(1)), None),
        (op("test", "/zz/y", json!(null)), None),
        (op("test", "/a/d~1e", json!(1)), Some(object.clone())),
        (op("test", "", object.clone()), Some(object.clone())),
        (op("nope", "/a", json!(1)), None),
        (
            json!([{"op": "move", "from": "/a/b/0", "path": "/a/b/-"}]),
            b(json!([2, 3, 1])),
        ),
        (json!([{"op": "move", "from": "/a/zz", "path": "/y"}]), None),
        (
            json!([{"op": "copy", "from": "/a/b/0", "path": "/a/b/-"}]),
            b(json!([1, 2, 3, 1])),
        ),
        (json!([{"op": "add", "value": 1}]), None),
        (json!([]), Some(object.clone())),
    ];
    for (patch, expected) in cases {
        check(&object, patch, expected);
    }
    // A field that is missing can be replaced.
    let replaced = json::apply(json!({}), br#"[{"op":"replace","path":"/a","value":1}]"#);
    assert_eq!(replaced.unwrap(), json!({"a": 1}));
}

#[test]
fn json_patches_that_are_none() {
    let refused = |patch: &[u8]| json::Patch::parse(patch).unwrap_err();
    let object = refused(b"{}");
    assert_eq!(object.code, 400);
    assert_eq!(
        object.message,
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    );
    assert_eq!(
        refused(b"[").message,
        "error decoding patch: unexpected end of JSON input"
    );
    let many = vec![json!({"op": "test", "path": "/a", "value": 1}); 10_001];
    let status = refused(Value::from(many).to_string().as_bytes());
    assert_eq!(status.code, 413);
    let patch =
        json::Patch::parse(br#"[{"op":"add","path":"/a","value":1,"value":2,"foo":1}]"#).unwrap();
    assert_eq!(
        patch.strict_errors,
        [
            r#"json patch duplicate field "[0].value""#,
            r#"json patch unknown field "[0].foo""#
        ]
    );
    assert_eq!(patch.apply(json!({})).unwrap(), json!({"a": 2}));
    // Copies may not add up without bound.
    let double = vec![json!({"op": "copy", "from": "/a", "path": "/b"}); 10];
    let object = json!({"a": "x".repeat(1 << 20)});
    let status = json::apply(object, Value::from(double).to_string().as_bytes()).unwrap_err();
    assert_eq!(status.code, 422);
}

#[test]
fn merge_patches() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (
            json!({"a": {"b": 1}}),
            json!({"a": {"c": 2, "d": null}}),
            json!({"a": {"b": 1, "c": 2}}),
        ),
        (
            json!({}),
            json!({"a": {"b": null, "c": 1}}),
            json!({"a": {"c": 1}}),
        ),
        (
            json!({"a": [1]}),
            json!({"a": [2, null]}),
            json!({"a": [2, null]}),
        ),
        (json!({"a": {"b": 1}}), json!({"a": [1]}), json!({"a": [1]})),
        (
            json!({"a": [1]}),
            json!({"a": {"b": null}}),
            json!({"a": {}}),
        ),
    ];
    for (object, patch, expected) in cases {
        assert_eq!(merge::apply(object, &patch), expected, "{patch}");
    }
    let (value, complaints) = merge::parse(br#"{"data":{"a":"1","a":"2"}}"#).unwrap();
    assert_eq!(value, json!({"data": {"a": "2"}}));
    assert_eq!(complaints, [r#"duplicate field "data.a""#]);
    let message = |patch: &[u8]| merge::parse(patch).unwrap_err().message;
    assert_eq!(
        message(b"[]"),
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
    );
    assert_eq!(
        message(b""),
        "error decoding patch: unexpected end of JSON input"
    );
}

#[test]
fn strategic_patches() {
    let pod = builtin(&gvk("", "v1", "Pod")).unwrap();
    let service = builtin(&gvk("", "v1", "Service")).unwrap();
    let deployment = builtin(&gvk("apps", "v1", "Deployment")).unwrap();
    let meta = |value: Value| json!({"metadata": value});
    let ports = |value: Value| json!({"spec": {"ports": value}});
    let cases = [
        // Lists of scalars: new items come first, as upstream puts them.
        (
            &pod,
            meta(json!({"finalizers": ["a", "b"]})),
            meta(json!({"finalizers": ["c"]})),
            meta(json!({"finalizers": ["c", "a", "b"]})),
        ),
        (
            &pod,
            meta(json!({"finalizers": ["a", "b"]})),
            meta(json!({"finalizers": ["b"]})),
            meta(json!({"finalizers": ["a", "b"]})),
        ),
        (
            &pod,
            meta(json!({"finalizers": ["a", "b"]})),
            meta(json!({"$deleteFromPrimitiveList/finalizers": ["a", "z"]})),
            meta(json!({"finalizers": ["b"]})),
        ),
        (
            &pod,
            meta(json!({"finalizers": ["a", "b"]})),
            meta(json!({"$setElementOrder/finalizers": ["b", "a"]})),
            meta(json!({"finalizers": ["b", "a"]})),
        ),
        (
            &pod,
            meta(json!({"finalizers": ["a"]})),
            meta(json!({"finalizers": null})),
            meta(json!({})),
        ),
        // Lists with a key.
        (
            &service,
            ports(json!([{"port": 80, "name": "a"}, {"port": 81}])),
            ports(json!([{"port": 80, "targetPort": 8080}])),
            ports(json!([{"port": 80, "name": "a", "targetPort": 8080}, {"port": 81}])),
        ),
        (
            &service,
            ports(json!([{"port": 80}, {"port": 81}])),
            ports(json!([{"port": 82}])),
            ports(json!([{"port": 82}, {"port": 80}, {"port": 81}])),
        ),
        (
            &service,
            ports(json!([{"port": 80}, {"port": 81}])),
            ports(json!([{"port": 81, "$patch": "delete"}])),
            ports(json!([{"port": 80}])),
        ),
        (
            &service,
            ports(json!([{"port": 80}, {"port": 81}])),
            ports(json!([{"port": 90}, {"$patch": "replace"}])),
            ports(json!([{"port": 90}])),
        ),
        (
            &service,
            ports(json!([{"port": 80}, {"port": 81}])),
            json!({"spec": {"$setElementOrder/ports": [{"port": 81}, {"port": 80}], "ports": [{"port": 81, "name": "x"}]}}),
            ports(json!([{"port": 81, "name": "x"}, {"port": 80}])),
        ),
        // A list that does not merge.
        (
            &pod,
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
        ),
        // Directives on maps.
        (
            &pod,
            json!({"spec": {"nodeSelector": {"a": "1"}}}),
            json!({"spec": {"nodeSelector": {"$patch": "replace", "b": "2"}}}),
            json!({"spec": {"nodeSelector": {"b": "2"}}}),
        ),
        (
            &pod,
            json!({"spec": {"nodeSelector": {"a": "1"}}}),
            json!({"spec": {"nodeSelector": {"$patch": "delete"}}}),
            json!({"spec": {"nodeSelector": {}}}),
        ),
        (
            &pod,
            json!({"spec": {"nodeName": "n"}}),
            json!({"$patch": "delete"}),
            json!({}),
        ),
        (
            &deployment,
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        ),
        // Directives in new values direct nothing.
        (
            &service,
            json!({"spec": {}}),
            ports(json!([{"port": 80}, {"port": 81, "$patch": "delete"}])),
            ports(json!([{"port": 80}])),
        ),
        // Unknown fields are merged; the decoder sees to them.
        (
            &pod,
            json!({}),
            json!({"bogus": {"a": null, "b": 1}}),
            json!({"bogus": {"b": 1}}),
        ),
    ];
    for (schema, object, patch, expected) in cases {
        let got = strategic::apply(object.clone(), &patch, schema).unwrap();
        assert_eq!(got, expected, "{object} + {patch}");
        // A patch without directives that order or delete applied twice is the same.
        if !patch.to_string().contains('$') {
            assert_eq!(strategic::apply(got, &patch, schema).unwrap(), expected);
        }
    }
    let errors = [
        (
            json!({"spec": {"ports": [{"name": "a"}]}}),
            500,
            "map: map[name:a] does not contain declared merge key: port",
        ),
        (
            json!({"spec": {"ports": [{"$patch": "nope", "port": 1}]}}),
            500,
            "unknown patch type: nope in map: map[$patch:nope port:1]",
        ),
        (
            json!({"spec": {"$patch": "nope"}}),
            500,
            "unknown patch type: nope in map: map[$patch:nope]",
        ),
        (
            json!({"spec": {"$retainKeys": 1}}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            json!({"spec": {"$retainKeys": ["a"], "b": 1}}),
            400,
            "invalid patch format of retainKeys",
        ),
    ];
    for (patch, code, message) in errors {
        let status = strategic::apply(ports(json!([{"port": 80}])), &patch, &service).unwrap_err();
        assert_eq!((status.code, &*status.message), (code, message));
    }
}

#[test]
fn messages_about_patched_documents() {
    let kind = gvk("", "v1", "ConfigMap");
    let schema = builtin(&kind).unwrap();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n", "uid": "u", "labels": {"b": "<1>", "a": "2"}}, "data": {"a": "1"}});
    let merged = |patch: Value, strict: bool| {
        let object = merge::apply(object.clone(), &patch);
        decode(
            object,
            Made::Merge(&patch),
            Some(&schema),
            &kind,
            Vec::new(),
            strict,
        )
    };
    // Objects that the patch goes into are sorted, others are in the order of the Go struct.
    let status = merged(json!({"data": {"a": 1}}), false).unwrap_err();
    assert_eq!(status.code, 422);
    assert_eq!(
        status.message,
        r#" "" is invalid: patch: Invalid value: "{\"apiVersion\":\"v1\",\"data\":{\"a\":1},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\",\"namespace\":\"n\",\"uid\":\"u\",\"labels\":{\"a\":\"2\",\"b\":\"\\u003c1\\u003e\"}}}": json: cannot unmarshal number into Go struct field ConfigMap.data of type string"#
    );
    let status = merged(json!({"bogus": 1, "metadata": {"zz": 1}}), true).unwrap_err();
    assert!(
        status.message.contains(r#"\"metadata\":{\"labels\":"#),
        "{}",
        status.message
    );
    assert!(status.message.ends_with(
        r#": strict decoding error: unknown field "bogus", unknown field "metadata.zz""#
    ));
    let decoded = merged(json!({"bogus": 1}), false).unwrap();
    assert_eq!(decoded.strict_errors, [r#"unknown field "bogus""#]);
    assert_eq!(decoded.object, object);
    let patch = json!({"bogus": "Strict"});
    let patched = strategic::apply(object.clone(), &patch, &schema).unwrap();
    let status = decode(
        patched,
        Made::Strategic(&patch),
        Some(&schema),
        &kind,
        Vec::new(),
        true,
    )
    .unwrap_err();
    assert_eq!(
        status.message,
        r#" "" is invalid: patch: Invalid value: "map[bogus:Strict]": strict decoding error: unknown field "bogus""#
    );
    let patch = json!({"kind": "Secret", "data": null});
    let status = merged(patch, false).unwrap_err();
    assert!(
        status
            .message
            .ends_with("converting (v1.Secret) to (core.ConfigMap): unknown conversion")
    );
}
