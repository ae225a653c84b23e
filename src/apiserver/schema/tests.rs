//! Decoding: the table, the form of documents, the messages; custom schemas; nothing panics.
use super::decode::{ContentType, Decoded, check, decode};
use super::types::{Scalar, Type};
use super::{Schema, builtin, gojson, scan};
use crate::object::{GroupVersion, GroupVersionKind, Status};
use proptest::prelude::*;
use serde_json::{Value, json};

fn gvk(api_version: &str, kind: &str) -> GroupVersionKind {
    let version = GroupVersion::parse(api_version).unwrap();
    GroupVersionKind {
        group: version.group,
        version: version.version,
        kind: kind.into(),
    }
}

fn read(api_version: &str, kind: &str, body: &str) -> Result<Decoded, Status> {
    let kind = gvk(api_version, kind);
    let schema = builtin(&kind).unwrap();
    decode(body.as_bytes(), ContentType::Json, Some(&schema), &kind)
}

#[test]
fn every_definition_parses_and_finds_what_it_refers_to() {
    let mut count = 0;
    for slot in super::table::all() {
        let def = slot.get();
        count += 1;
        for field in &*def.fields {
            // A reference that is not found reads as any JSON.
            let any = matches!(field.node.ty, Type::Scalar(Scalar::Any));
            assert!(!any || !field.name.ends_with("pec"), "{slot:?}.{field:?}");
        }
    }
    assert!(count > 500, "{count}");
    assert!(builtin(&gvk("v1", "Nope")).is_none());
    assert!(builtin(&gvk("apps/v1", "Pod")).is_none());
}

/// The body is merged into an object of the kind with a name; what is stored must be `expected` beside that.
#[track_caller]
fn stored(api_version: &str, kind: &str, body: Value, expected: Value) {
    let decoded = read(api_version, kind, &body.to_string()).unwrap();
    let mut expected = expected;
    expected["apiVersion"] = api_version.into();
    expected["kind"] = kind.into();
    assert_eq!(decoded.object, expected, "{body}");
    assert_eq!(decoded.strict_errors, [""; 0]);
    // What is canonical stays.
    let again = check(
        decoded.object.clone(),
        builtin(&gvk(api_version, kind)).as_deref(),
        &gvk(api_version, kind),
    );
    assert_eq!(again.unwrap().object, decoded.object);
}

#[test]
fn documents_take_the_form_that_go_gives_them() {
    // Null and empty is absent; structs are always there.
    stored(
        "v1",
        "Pod",
        json!({"metadata": {"name": "p", "labels": {}, "uid": "", "generation": 0, "creationTimestamp": null}, "spec": {"containers": [
            {"name": "c", "image": "", "env": [], "ports": null, "stdin": false, "resources": {"limits": {"cpu": "1000m", "memory": 5, "x": null}}}],
            "hostNetwork": null, "nodeSelector": {"a": null}, "terminationGracePeriodSeconds": 0}}),
        json!({"metadata": {"name": "p"}, "status": {}, "spec": {"containers": [
            {"name": "c", "resources": {"limits": {"cpu": "1", "memory": "5", "x": "0"}}}], "nodeSelector": {"a": ""}, "terminationGracePeriodSeconds": 0}}),
    );
    // Lists that are always written are null when empty.
    stored(
        "rbac.authorization.k8s.io/v1",
        "Role",
        json!({"metadata": {"name": "r"}, "rules": []}),
        json!({"metadata": {"name": "r"}, "rules": null}),
    );
    stored(
        "v1",
        "Event",
        json!({"metadata": {}, "involvedObject": {}, "firstTimestamp": "2010-01-01T00:00:00.5+02:00", "lastTimestamp": "0001-01-01T00:00:00Z"}),
        json!({"metadata": {}, "involvedObject": {}, "firstTimestamp": "2009-12-31T22:00:00Z", "lastTimestamp": null, "eventTime": null,
            "source": {}, "reportingComponent": "", "reportingInstance": ""}),
    );
    stored(
        "v1",
        "Secret",
        json!({"metadata": {}, "data": {"a": "YWI=", "b": "YW\nJj", "c": "YX==", "d": "", "e": [97, 98]}}),
        json!({"metadata": {}, "data": {"a": "YWI=", "b": "YWJj", "c": "YQ==", "d": "", "e": "YWI="}}),
    );
    stored(
        "apps/v1",
        "Deployment",
        json!({"metadata": {"name": "d"}}),
        json!({"metadata": {"name": "d"}, "spec": {"selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {}}),
    );
    // What is refused when empty is empty, not absent: an empty list of policies is not the default one.
    for (request, expected) in [
        (json!({"request": ""}), json!("")),
        (json!({}), Value::Null),
    ] {
        stored(
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            json!({"metadata": {}, "spec": request}),
            json!({"metadata": {}, "spec": {"request": expected, "signerName": ""}, "status": {}}),
        );
    }
    stored(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        json!({"metadata": {}, "spec": {"scaleTargetRef": {"kind": "K", "name": "n"}, "maxReplicas": 1, "behavior": {"scaleUp": {"policies": []}}}}),
        json!({"metadata": {}, "spec": {"scaleTargetRef": {"kind": "K", "name": "n"}, "maxReplicas": 1, "behavior": {"scaleUp": {"policies": []}}},
            "status": {"desiredReplicas": 0, "currentMetrics": null}}),
    );
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "1"}});
    let decoded = read("v1", "ConfigMap", &map.to_string()).unwrap();
    assert_eq!(decoded.object["kind"], "ConfigMap");
    assert_eq!(decoded.object["apiVersion"], "v1");
}

#[test]
fn wrong_documents_get_the_words_of_go() {
    let cases = [
        (
            "v1",
            "ConfigMap",
            "",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            "v1",
            "ConfigMap",
            "[]",
            r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#,
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"kind":1}"#,
            r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})"#,
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"apiVersion":"a/b/c"}"#,
            r#"the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})"#,
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"apiVersion":"v1","kind":"Nope"}"#,
            r#"Nope in version "v1" cannot be handled as a ConfigMap: no kind "Nope" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"apiVersion":"v1","kind":"Pod"}"#,
            r#"Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion"#,
        ),
        (
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            r#"{"apiVersion":"autoscaling/v2"}"#,
            "the API version in the data (autoscaling/v2) does not match the expected API version (autoscaling/v1)",
        ),
        (
            "v1",
            "ConfigMap",
            r#"{"immutable":"x"}"#,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal string into Go struct field ConfigMap.immutable of type bool"#,
        ),
        // The first that does not fit, in the order of the document.
        (
            "v1",
            "ConfigMap",
            r#"{"metadata":{"labels":{"a":1},"annotations":7},"data":"x"}"#,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"#,
        ),
        (
            "apps/v1",
            "Deployment",
            r#"{"spec":{"replicas":2.5}}"#,
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 2.5 into Go struct field DeploymentSpec.spec.replicas of type int32"#,
        ),
        (
            "apps/v1",
            "Deployment",
            r#"{"spec":{"replicas":3000000000}}"#,
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"#,
        ),
        (
            "apps/v1",
            "Deployment",
            r#"{"spec":{"template":{"spec":{"containers":[{"ports":[{"protocol":1}]}]}}}}"#,
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field ContainerPort.spec.template.spec.containers.ports.protocol of type v1.Protocol"#,
        ),
        (
            "v1",
            "Pod",
            r#"{"spec":{"containers":{}}}"#,
            r#"Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"#,
        ),
        (
            "v1",
            "Pod",
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"1K"}}}]}}"#,
            r#"Pod in version "v1" cannot be handled as a Pod: unable to parse quantity's suffix"#,
        ),
        // An error of a type's own decoder goes before what was found until then.
        (
            "v1",
            "Event",
            r#"{"count":"x","firstTimestamp":"2010-02-30T00:00:00Z"}"#,
            r#"Event in version "v1" cannot be handled as a Event: parsing time "2010-02-30T00:00:00Z": day out of range"#,
        ),
        (
            "v1",
            "Event",
            r#"{"firstTimestamp":"2010-01-01T00:00:00Zé"}"#,
            r#"Event in version "v1" cannot be handled as a Event: parsing time "2010-01-01T00:00:00Z\xc3\xa9": extra text: "\xc3\xa9""#,
        ),
        (
            "v1",
            "Secret",
            r#"{"data":{"a":"YWJ"}}"#,
            r#"Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0"#,
        ),
        (
            "v1",
            "Secret",
            r#"{"data":{"a":"YWJj!"}}"#,
            r#"Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 4"#,
        ),
        (
            "v1",
            "Service",
            r#"{"spec":{"ports":[{"targetPort":true}]}}"#,
            r#"Service in version "v1" cannot be handled as a Service: json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32"#,
        ),
    ];
    for (version, kind, body, message) in cases {
        let status = read(version, kind, body).unwrap_err();
        assert_eq!((status.code, &*status.message), (400, message), "{body}");
    }
}

#[test]
fn a_strict_decoder_complains_in_the_order_of_the_document() {
    let body = r#"{"zzz":1,"metadata":{"name":"x","ownerReferences":[{"uid":"1","q":2}],"labels":{"a":"1","a":"2"}},"spec":{"containers":[{"name":"c","ports":[{"containerport":80}]}],"Volumes":[]},"metadata":{"namespace":"n"}}"#;
    let decoded = read("v1", "Pod", body).unwrap();
    assert_eq!(
        decoded.strict_errors,
        [
            r#"unknown field "zzz""#,
            r#"unknown field "metadata.ownerReferences[0].q""#,
            r#"duplicate field "metadata.labels.a""#,
            r#"unknown field "spec.containers[0].ports[0].containerport""#,
            r#"unknown field "spec.Volumes""#,
            r#"duplicate field "metadata""#,
        ]
    );
    // A struct that comes twice is filled twice.
    assert_eq!(
        decoded.object["metadata"],
        json!({"name": "x", "namespace": "n", "labels": {"a": "2"}, "ownerReferences": [{"uid": "1", "apiVersion": "", "kind": "", "name": ""}]})
    );
    let status = decoded.strict_failure(&gvk("v1", "Pod")).unwrap();
    assert!(status.message.starts_with(
        r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "zzz", unknown"#
    ));
    // What is no type of the server's is looked through for fields that come twice.
    let body = r#"{"data":{"a":[{"b":1,"b":2}]}}"#;
    let decoded = read("apps/v1", "ControllerRevision", body).unwrap();
    assert_eq!(decoded.strict_errors, [r#"duplicate field "data.a[0].b""#]);
}

#[test]
fn text_that_serde_refuses_and_go_takes() {
    let body = br#"{"data":{"a":"\ud800x","b":"#.to_vec();
    let body = [&body[..], b"\"\xff\"}}"].concat();
    let kind = gvk("v1", "ConfigMap");
    let decoded = decode(&body, ContentType::Json, builtin(&kind).as_deref(), &kind).unwrap();
    assert_eq!(
        decoded.object["data"],
        json!({"a": "\u{fffd}x", "b": "\u{fffd}"})
    );
    assert_eq!(decoded.strict_errors, [""; 0]);
}

#[test]
fn yaml_bodies() {
    let kind = gvk("v1", "ConfigMap");
    let schema = builtin(&kind).unwrap();
    let yaml = |text: &str| decode(text.as_bytes(), ContentType::Yaml, Some(&schema), &kind);
    let decoded =
        yaml("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  q: a\n  q: b\n")
            .unwrap();
    assert_eq!(decoded.object["data"], json!({"q": "b"}));
    assert_eq!(
        decoded.strict_errors,
        [r#"line 6: key "q" already set in map"#]
    );
    assert_eq!(
        decoded.strict_failure(&kind).unwrap().message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: error converting YAML to JSON: yaml: unmarshal errors:\n  line 6: key \"q\" already set in map"
    );
    let status = yaml("data: {a: 1}").unwrap_err();
    assert!(
        status
            .message
            .contains("cannot unmarshal number into Go struct field ConfigMap.data of type string")
    );
    let status = yaml("a: [").unwrap_err();
    assert!(
        status
            .message
            .contains("error converting YAML to JSON: yaml: line"),
        "{}",
        status.message
    );
    // JSON is YAML.
    assert_eq!(
        yaml(r#"{"data":{"a":"b"}}"#).unwrap().object["data"],
        json!({"a": "b"})
    );
}

#[test]
fn go_prints_the_fields_of_structs_in_their_order() {
    let kind = gvk("v1", "Pod");
    let schema = builtin(&kind).unwrap();
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u", "name": "n"}, "spec": {"containers": [{"image": "<&>", "name": "c"}]}});
    assert_eq!(
        gojson::encode(&object, Some(&schema), None),
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"n","uid":"u"},"spec":{"containers":[{"name":"c","image":"\u003c\u0026\u003e"}]}}"#
    );
    assert_eq!(
        gojson::percent_v(&json!({"b": [1, "x", null], "a": {"c": true}})),
        "map[a:map[c:true] b:[1 x <nil>]]"
    );
}

#[test]
fn custom_resources_are_pruned_and_defaulted() {
    let schema = Schema::structural(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "default": {}, "properties": {
            "n": {"type": "integer", "default": 3},
            "list": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string", "default": "d"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        }},
    }}));
    let kind = gvk("example.com/v1", "Foo");
    let body = json!({"metadata": {"name": "x", "labels": {}}, "zzz": 1, "spec": {
        "q": 1, "list": [{"k": "a", "bad": 1}], "free": {"a": {"b": ""}}, "map": {"x": 1}, "template": {"kind": "Pod", "spec": {"any": null}, "no": 1}}});
    let decoded = decode(
        body.to_string().as_bytes(),
        ContentType::Json,
        Some(&schema),
        &kind,
    )
    .unwrap();
    assert_eq!(
        decoded.strict_errors,
        [
            r#"unknown field "spec.list[0].bad""#,
            r#"unknown field "spec.q""#,
            r#"unknown field "spec.template.no""#,
            r#"unknown field "zzz""#,
        ]
    );
    let mut object = decoded.object;
    schema.apply_defaults(&mut object);
    assert_eq!(
        object,
        json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "x"}, "spec": {
            "n": 3, "list": [{"k": "a", "v": "d"}], "free": {"a": {"b": ""}}, "map": {"x": 1}, "template": {"kind": "Pod", "spec": {"any": null}}}})
    );
    let body = json!({"spec": {"template": {"metadata": {"labels": {"a": 5}}}}});
    let status = decode(
        body.to_string().as_bytes(),
        ContentType::Json,
        Some(&schema),
        &kind,
    )
    .unwrap_err();
    assert_eq!(
        status.message,
        r#"Foo in version "v1" cannot be handled as a Foo: spec.template.metadata: Invalid value: {"labels":{"a":5}}: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"#
    );
    let status = decode(
        br#"{"apiVersion":"example.com/v2","kind":"Foo"}"#,
        ContentType::Json,
        Some(&schema),
        &kind,
    )
    .unwrap_err();
    assert_eq!(
        status.message,
        "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)"
    );
}

/// Documents that may be a pod, or nearly.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9:=.-]{0,8}".prop_map(Value::from),
        Just(json!("2010-01-01T00:00:00Z")),
        Just(json!("1.5Gi")),
    ];
    let names = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "containers",
        "name",
        "labels",
        "resources",
        "limits",
        "cpu",
        "ports",
        "containerPort",
        "creationTimestamp",
        "annotations",
        "ownerReferences",
        "volumes",
        "secret",
        "items",
        "env",
        "zzz",
        "startTime",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes: Vec<u8>, text in "\\PC{0,60}") {
        let kind = gvk("v1", "Pod");
        let schema = builtin(&kind).unwrap();
        for content_type in [ContentType::Json, ContentType::Yaml] {
            let _ = decode(&bytes, content_type, Some(&schema), &kind);
            let _ = decode(text.as_bytes(), content_type, None, &kind);
        }
    }

    #[test]
    fn what_decodes_is_canonical(document in documents()) {
        let kind = gvk("v1", "Pod");
        let schema = builtin(&kind).unwrap();
        if let Ok(decoded) = decode(document.to_string().as_bytes(), ContentType::Json, Some(&schema), &kind) {
            let again = check(decoded.object.clone(), Some(&schema), &kind).unwrap();
            prop_assert_eq!(&again.object, &decoded.object);
            prop_assert!(again.strict_errors.is_empty());
        }
    }

    #[test]
    fn the_scanner_agrees_with_serde(text in r#"[\[\]{}",:a-c0-9.eE+\- \\ntrufals/]{0,24}"#) {
        match (serde_json::from_str::<Value>(&text), scan::parse(text.as_bytes())) {
            (Ok(value), Ok(tree)) => prop_assert_eq!(value, tree.into_value()),
            // Numbers that no float holds.
            (Err(_), Ok(tree)) => prop_assert!(tree.text().contains(['e', 'E'])),
            (Ok(_), Err(why)) => prop_assert!(false, "{why}"),
            (Err(_), Err(_)) => {}
        }
    }
}
