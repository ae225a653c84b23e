//! The rules of definitions, and their words.
use super::*;

fn definition(change: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.g.example.com"},
        "spec": {
            "group": "g.example.com", "scope": "Namespaced", "names": {"kind": "Foo", "plural": "foos"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    merge(&mut object, change);
    CustomResourceDefinition.default(&mut object);
    object
}

fn merge(object: &mut Value, change: Value) {
    match (object, change) {
        (Value::Object(map), Value::Object(change)) => {
            for (name, value) in change {
                merge(map.entry(name).or_insert(Value::Null), value);
            }
        }
        (slot, change) => *slot = change,
    }
}

const CONTEXT: Context<'_> = Context {
    now: "2026-01-01T00:00:00Z",
    subresource: None,
    user: "u",
};

fn check(change: Value) -> Vec<String> {
    let mut object = definition(change);
    CustomResourceDefinition.prepare_create(&CONTEXT, &mut object);
    let mut errors = Errors::new();
    CustomResourceDefinition.validate(&CONTEXT, &object, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

fn schema(schema: Value) -> Vec<String> {
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let found = check(json!({"spec": {"versions": [version]}}));
    let prefix = "spec.validation.openAPIV3Schema";
    found
        .into_iter()
        .map(|error| error.strip_prefix(prefix).unwrap_or(&error).to_owned())
        .collect()
}

#[test]
fn defaults() {
    let object = definition(
        json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {}}}}}}),
    );
    assert_eq!(
        object["spec"]["names"],
        json!({"kind": "Foo", "plural": "foos", "singular": "foo", "listKind": "FooList"})
    );
    assert_eq!(
        object.i64_at(&[
            "spec",
            "conversion",
            "webhook",
            "clientConfig",
            "service",
            "port"
        ]),
        Some(443)
    );
    assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(
        definition(json!({}))["spec"]["conversion"],
        json!({"strategy": "None"})
    );
}

#[test]
fn names_and_versions() {
    assert_eq!(check(json!({})), Vec::<String>::new());
    for (change, expected) in [
        (
            json!({"metadata": {"name": "x"}}),
            "metadata.name: Invalid value: \"x\": must be spec.names.plural",
        ),
        (
            json!({"metadata": {"name": "foos.nodots"}, "spec": {"group": "nodots"}}),
            "spec.group: Invalid value: \"nodots\": should be a domain with at least one dot",
        ),
        (
            json!({"spec": {"scope": "X"}}),
            "spec.scope: Unsupported value: \"X\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (json!({"spec": {"scope": ""}}), "spec.scope: Required value"),
        (
            json!({"spec": {"names": {"listKind": "Foo"}}}),
            "spec.names.listKind: Invalid value: \"Foo\": kind and listKind may not be the same",
        ),
        (
            json!({"spec": {"names": {"shortNames": ["A_"]}}}),
            "spec.names.shortNames[0]: Invalid value: \"A_\": a DNS-1035 label",
        ),
        (
            json!({"spec": {"preserveUnknownFields": true}}),
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true",
        ),
        (
            json!({"metadata": {"name": "foos.x.k8s.io"}, "spec": {"group": "x.k8s.io"}}),
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups",
        ),
        (
            json!({"spec": {"conversion": {"strategy": "Foo"}}}),
            "spec.conversion.strategy: Unsupported value: \"Foo\": supported values: \"None\", \"Webhook\"",
        ),
    ] {
        let found = check(change.clone());
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{change}: {found:?}"
        );
    }
    let approved = json!({"metadata": {"name": "foos.x.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}}, "spec": {"group": "x.k8s.io"}});
    assert!(check(approved).is_empty());
    let versions = |versions: Value| check(json!({"spec": {"versions": versions}}));
    let version = |name: &str, storage: bool, extra: Value| {
        let mut version = json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object"}}});
        merge(&mut version, extra);
        version
    };
    for (list, expected) in [
        (json!([version("v1", false, json!({}))]), 2),
        (
            json!([
                version("v1", true, json!({})),
                version("v1", false, json!({}))
            ]),
            1,
        ),
        (json!([version("V1", true, json!({}))]), 2),
        (json!([version("v1", true, json!({"schema": null}))]), 1),
        (
            json!([version("v1", true, json!({"deprecationWarning": "x"}))]),
            1,
        ),
        (
            json!([version(
                "v1",
                true,
                json!({"deprecated": true, "deprecationWarning": ""})
            )]),
            1,
        ),
        (
            json!([version("v1", true, json!({"subresources": {"scale": {}}}))]),
            2,
        ),
        (
            json!([version(
                "v1",
                true,
                json!({"additionalPrinterColumns": [{}]})
            )]),
            3,
        ),
        (
            json!([version(
                "v1",
                true,
                json!({"selectableFields": [{"jsonPath": ".spec.x"}]})
            )]),
            1,
        ),
        (
            json!([
                version("v2", true, json!({})),
                version(
                    "v1",
                    false,
                    json!({"additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a"}]})
                )
            ]),
            0,
        ),
    ] {
        let found = versions(list.clone());
        assert_eq!(found.len(), expected, "{list}: {found:?}");
    }
}

#[test]
fn schemas() {
    for (given, expected) in [
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            vec![],
        ),
        (
            json!({}),
            vec![".type: Required value: must not be empty at the root"],
        ),
        (
            json!({"type": "string"}),
            vec![".type: Invalid value: \"string\": must be object at the root"],
        ),
        (
            json!({"type": "object", "nullable": true}),
            vec![".nullable: Forbidden: nullable cannot be true at the root"],
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            vec![".additionalProperties: Forbidden: must not be used at the root"],
        ),
        (
            json!({"type": "object", "properties": {"a": {}, "b": {"type": "array"}, "c": {"type": "array", "items": {}}}}),
            vec![
                ".properties[a].type: Required value: must not be empty for specified object fields",
                ".properties[b].items: Required value: must be specified",
                ".properties[c].items.type: Required value: must not be empty for specified array items",
            ],
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            vec![
                ".properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}}}),
            vec![],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "anyOf": [{"type": "string"}]}}}),
            vec![".properties[a].anyOf[0].type: Forbidden: must be empty to be structural"],
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"x": {"minLength": 1}}}]}),
            vec![
                ".properties[x]: Required value: because it is defined in spec.validation.openAPIV3Schema.anyOf[0].properties[x]",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}}),
            vec![],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "foo"}}}),
            vec![
                ".properties[a].type: Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}}}),
            vec![
                ".properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": {"type": "string"}}}}),
            vec![
                ".properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            vec![
                ".properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "$ref": "#/x"}}}),
            vec![".properties[a].$ref: Forbidden: $ref is not supported"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "x-kubernetes-embedded-resource": true}}}),
            vec![
                ".properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}}}),
            vec![
                ".properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}}),
            vec![
                ".properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}}}),
            vec![
                ".properties[a].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "x-kubernetes-list-type": "atomic"}}}),
            vec![
                ".properties[a].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            vec![
                ".properties[a].default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "default": {"u": 1}}}}),
            vec![".properties[a].default: Invalid value: {\"u\":1}: must not have unknown fields"],
        ),
        (
            json!({"type": "object", "properties": {"apiVersion": {"type": "string", "default": "x"}}}),
            vec![
                ".properties[apiVersion].default: Forbidden: must not be set in top-level apiVersion",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "x-kubernetes-validations": [{"rule": ""}, {"rule": "true", "message": "a\nb"}, {"rule": "true", "reason": "X"}, {"rule": "true", "fieldPath": ".x"}]}}}),
            vec![
                ".properties[a].x-kubernetes-validations[0].rule: Required value: rule is not specified",
                ".properties[a].x-kubernetes-validations[1].message: Invalid value: \"a\\nb\": message must not contain line breaks",
                ".properties[a].x-kubernetes-validations[2].reason: Unsupported value: \"X\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
                ".properties[a].x-kubernetes-validations[3].fieldPath: Invalid value: \".x\": fieldPath must be a valid path",
            ],
        ),
    ] {
        assert_eq!(schema(given.clone()), expected, "{given}");
    }
}

#[test]
fn updates() {
    let old = {
        let mut old = definition(json!({}));
        set_condition(&mut old, "Established", "True", "r", "m", "t");
        old
    };
    for (change, expected) in [
        (
            json!({"spec": {"scope": "Cluster"}}),
            vec!["spec.scope: Invalid value: \"Cluster\": field is immutable"],
        ),
        (
            json!({"spec": {"names": {"kind": "Bar"}}}),
            vec!["spec.names.kind: Invalid value: \"Bar\": field is immutable"],
        ),
        (json!({"spec": {"names": {"singular": "bar"}}}), vec![]),
    ] {
        let mut new = old.clone();
        merge(&mut new, change);
        CustomResourceDefinition.prepare_update(&CONTEXT, &mut new, &old);
        let mut errors = Errors::new();
        CustomResourceDefinition.validate_update(&CONTEXT, &new, &old, &mut errors);
        let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
    let mut new = old.clone();
    new["spec"]["versions"][0]["name"] = "v2".into();
    CustomResourceDefinition.prepare_update(&CONTEXT, &mut new, &old);
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    let mut errors = Errors::new();
    CustomResourceDefinition.validate_update(&CONTEXT, &new, &old, &mut errors);
    assert!(errors.0[0].to_string().starts_with("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version"));
    let mut gone = old.clone();
    assert!(CustomResourceDefinition.begin_deletion(&mut gone, "t"));
    assert_eq!(gone.finalizers(), [FINALIZER]);
}

#[test]
fn unknown_formats_are_warned_of() {
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string", "format": "made-up"}}}}});
    let object = definition(json!({"spec": {"versions": [version]}}));
    assert_eq!(
        CustomResourceDefinition.warnings(&object, None),
        ["unrecognized format \"made-up\""]
    );
    assert!(
        CustomResourceDefinition
            .warnings(&object, Some(&object))
            .is_empty()
    );
}
