//! Tables of what claims, classes and slices fill in, refuse and keep.

use serde_json::{Value, json};

use super::*;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::Errors;

const fn context(subresource: Option<&'static str>) -> Context<'static> {
    Context {
        now: "2026-01-01T00:00:00Z",
        subresource,
        user: "",
    }
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

fn check(kind: &dyn Strategy, spec: Value) -> Vec<String> {
    let mut object = json!({"metadata": {"name": "x"}, "spec": spec});
    kind.default(&mut object);
    let mut errors = Errors::new();
    kind.validate(&context(None), &object, &mut errors);
    texts(&errors)
}

#[test]
fn claims() {
    let request = |request: Value| json!({"devices": {"requests": [request]}});
    for (spec, expected) in [
        (
            request(json!({"name": "r", "exactly": {"deviceClassName": "c"}})),
            vec![],
        ),
        (
            request(json!({"name": "r"})),
            vec![
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ],
        ),
        (
            request(json!({"exactly": {"allocationMode": "All", "count": 2}})),
            vec![
                "spec.devices.requests[0].name: Required value",
                "spec.devices.requests[0].exactly.deviceClassName: Required value",
                "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            ],
        ),
        (
            request(
                json!({"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "c"}, {"name": "a", "deviceClassName": "c", "tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]}]}),
            ),
            vec![
                "spec.devices.requests[0].firstAvailable[1].tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`",
                "spec.devices.requests[0].firstAvailable[1]: Duplicate value: \"a\"",
            ],
        ),
        (
            request(
                json!({"name": "r", "exactly": {"deviceClassName": "c", "tolerations": [{"operator": "Equal", "value": "v"}, {"operator": "X", "effect": "Y"}]}}),
            ),
            vec![
                "spec.devices.requests[0].exactly.tolerations[1].operator: Unsupported value: \"X\": supported values: \"Equal\", \"Exists\"",
                "spec.devices.requests[0].exactly.tolerations[1].effect: Unsupported value: \"Y\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            ],
        ),
        (
            json!({"devices": {"constraints": [{"requests": ["x"], "matchAttribute": "a"}]}}),
            vec![
                "spec.devices.constraints[0].requests[0]: Invalid value: \"x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name must be a domain and a name separated by a slash",
            ],
        ),
    ] {
        assert_eq!(check(&ResourceClaim, spec.clone()), expected, "{spec}");
    }
}

#[test]
fn claims_do_not_change() {
    let object = |count: i64| json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": count}}]}}});
    let mut errors = Errors::new();
    ResourceClaim.validate_update(&context(None), &object(2), &object(1), &mut errors);
    assert_eq!(
        texts(&errors),
        [
            "spec: Invalid value: {\"Devices\":{\"Requests\":[{\"Name\":\"r\",\"Exactly\":{\"DeviceClassName\":\"c\",\"Selectors\":null,\"AllocationMode\":\"ExactCount\",\"Count\":2,\"AdminAccess\":null,\"Tolerations\":null,\"Capacity\":null},\"FirstAvailable\":null}],\"Constraints\":null,\"Config\":null}}: field is immutable"
        ]
    );
}

#[test]
fn templates() {
    let template = |metadata: Value, name: &str| json!({"metadata": metadata, "spec": {"devices": {"requests": [{"name": name, "exactly": {"deviceClassName": "c"}}]}}});
    assert!(check(&ResourceClaimTemplate, template(json!({}), "r")).is_empty());
    assert_eq!(
        check(
            &ResourceClaimTemplate,
            template(
                json!({"labels": {"a": "b c"}, "annotations": {"": "x"}}),
                ""
            )
        ),
        [
            "spec.metadata.annotations: Invalid value: \"\": name part must be non-empty",
            "spec.metadata.annotations: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "spec.metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            "spec.spec.devices.requests[0].name: Required value",
        ]
    );
    let object = |name: &str| {
        let mut object = json!({"metadata": {"name": "x"}, "spec": template(json!({}), name)});
        ResourceClaimTemplate.default(&mut object);
        object
    };
    let request = &object("r")["spec"]["spec"]["devices"]["requests"][0];
    assert_eq!(request["exactly"]["allocationMode"], "ExactCount");
    assert_eq!(request["exactly"]["count"], 1);
    let mut errors = Errors::new();
    let (new, old) = (object("s"), object("r"));
    ResourceClaimTemplate.validate_update(&context(None), &new, &old, &mut errors);
    let [found] = &texts(&errors)[..] else {
        panic!("{errors:?}");
    };
    assert!(
        found.starts_with("spec: Invalid value: {\"Spec\":{\"Devices\":")
            && found.ends_with(": field is immutable"),
        "{found}"
    );
}

#[test]
fn allocations() {
    let spec = json!({"devices": {"requests": [{"name": "r"}]}});
    let result = json!({"request": "r", "driver": "d", "pool": "p", "device": "v"});
    let allocation = json!({"devices": {"results": [result]}});
    let consumer = json!({"resource": "pods", "name": "p", "uid": "1"});
    for (status, expected) in [
        (
            json!({"allocation": allocation, "reservedFor": [consumer]}),
            vec![],
        ),
        (
            json!({"reservedFor": [consumer]}),
            vec!["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        ),
        (
            json!({"allocation": {"devices": {"results": [{"request": "q", "driver": "d", "pool": "p", "device": "v"}]}}}),
            vec![
                "status.allocation.devices.results[0].request: Invalid value: \"q\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            ],
        ),
        (
            json!({"allocation": {"devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "v", "shareID": "x", "bindingConditions": ["a", "a"]}]}, "nodeSelector": {"nodeSelectorTerms": []}}}),
            vec![
                "status.allocation.devices.results[0].bindingConditions[1]: Duplicate value: \"a\"",
                "status.allocation.devices.results[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
                "status.allocation.devices.results[0].shareID: Invalid value: \"x\": error validating uid: invalid UUID length: 1",
                "status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
            ],
        ),
        (
            json!({"allocation": allocation, "devices": [{"driver": "d", "pool": "p", "device": "v", "networkData": {"ips": ["10.0.0.1/24", "10.0.0.01/24", "x"]}}]}),
            vec![
                "status.devices[0].networkData.ips[1]: Invalid value: \"10.0.0.01/24\": must be in canonical form (\"10.0.0.1/24\")",
                "status.devices[0].networkData.ips[2]: Invalid value: \"x\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            ],
        ),
        (
            json!({"allocation": allocation, "devices": [{"driver": "d", "pool": "p", "device": "w"}]}),
            vec![
                "status.devices[0]: Invalid value: d/p/w: must be an allocated device in the claim",
            ],
        ),
    ] {
        let mut errors = Errors::new();
        let object = json!({"spec": spec, "status": status});
        ResourceClaim.validate_update(
            &context(Some("status")),
            &object,
            &json!({"spec": spec}),
            &mut errors,
        );
        assert_eq!(texts(&errors), expected);
    }
}

#[test]
fn classes() {
    for (spec, expected) in [
        (json!({}), vec![]),
        (
            json!({"selectors": [{}]}),
            vec!["spec.selectors[0].cel: Required value"],
        ),
        (
            json!({"config": [{"opaque": {"driver": "", "parameters": null}}]}),
            vec![
                "spec.config[0].opaque.driver: Required value",
                "spec.config[0].opaque.parameters: Required value",
            ],
        ),
        (
            json!({"config": [{"opaque": {"driver": "d", "parameters": "x"}}], "extendedResourceName": "cpu"}),
            vec![
                "spec.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
                "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name",
            ],
        ),
    ] {
        assert_eq!(check(&DeviceClass, spec.clone()), expected, "{spec}");
    }
}

#[test]
fn slices() {
    let slice = |change: Value| {
        let mut spec =
            json!({"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}});
        for (field, value) in change.as_object().unwrap() {
            spec[field.as_str()] = value.clone();
        }
        spec
    };
    let device = |device: Value| slice(json!({"devices": [device]}));
    for (spec, expected) in [
        (slice(json!({})), vec![]),
        (
            slice(json!({"nodeName": null})),
            vec![
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            ],
        ),
        (
            slice(json!({"allNodes": true, "pool": {"name": "", "generation": -1}})),
            vec![
                "spec.pool.name: Required value",
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            ],
        ),
        (
            slice(
                json!({"nodeName": null, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [{"key": "x", "operator": "In", "values": ["n"]}]}, {}]}}),
            ),
            vec![
                "spec.nodeSelector.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"x\": not a valid field selector key",
                "spec.nodeSelector.nodeSelectorTerms: Invalid value: [{\"MatchExpressions\":null,\"MatchFields\":[{\"Key\":\"x\",\"Operator\":\"In\",\"Values\":[\"n\"]}]},{\"MatchExpressions\":null,\"MatchFields\":null}]: must have exactly one node selector term",
            ],
        ),
        (
            device(
                json!({"name": "d", "bindingConditions": ["a b", "c"], "bindingFailureConditions": ["c", "c"]}),
            ),
            vec![
                "spec.devices[0].bindingConditions[0]: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "spec.devices[0].bindingFailureConditions[0]: Invalid value: \"c\": bindingFailureConditions must not overlap with bindingConditions",
                "spec.devices[0].bindingFailureConditions[1]: Duplicate value: \"c\"",
                "spec.devices[0].bindingFailureConditions[1]: Invalid value: \"c\": bindingFailureConditions must not overlap with bindingConditions",
            ],
        ),
        (
            device(
                json!({"name": "d", "attributes": {"a": {"string": "s", "int": 1}, "b": {}, "v": {"version": "1.2"}}}),
            ),
            vec![
                "spec.devices[0].attributes[a]: Invalid value: {\"IntValue\":1,\"BoolValue\":null,\"StringValue\":\"s\",\"VersionValue\":null}: exactly one value must be specified",
                "spec.devices[0].attributes[b]: Invalid value: \"\": exactly one value must be specified",
                "spec.devices[0].attributes[v].version: Invalid value: \"1.2\": must be a string compatible with semver.org spec 2.0.0",
            ],
        ),
        (
            device(json!({"name": "d", "taints": [{"key": "k", "effect": "X"}], "allNodes": true})),
            vec![
                "spec.devices[0].taints[0].effect: Unsupported value: \"X\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
                "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            ],
        ),
        (
            device(
                json!({"name": "d", "capacity": {"m": {"value": "1Gi", "requestPolicy": {"default": "1"}}}}),
            ),
            vec![
                "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true",
            ],
        ),
        (
            device(
                json!({"name": "d", "allowMultipleAllocations": true, "capacity": {"m": {"value": "4", "requestPolicy": {"default": "3", "validRange": {"min": "1", "max": "5", "step": "2"}}}, "n": {"value": "2", "requestPolicy": {"default": "1", "validRange": {"min": "1", "step": "2"}}}}}),
            ),
            vec![
                "spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: \"5\": max is larger than capacity value: 4",
                "spec.devices[0].capacity[n].requestPolicy.validRange.step: Invalid value: \"2\": one step 3 is larger than capacity value: 2",
            ],
        ),
    ] {
        assert_eq!(check(&ResourceSlice, spec.clone()), expected, "{spec}");
    }
    let mut errors = Errors::new();
    let (new, old) = (
        json!({"spec": slice(json!({"driver": "e"}))}),
        json!({"spec": slice(json!({}))}),
    );
    ResourceSlice.validate_update(&context(None), &new, &old, &mut errors);
    assert_eq!(
        texts(&errors),
        ["spec.driver: Invalid value: \"e\": field is immutable"]
    );
    let warning =
        "spec.driver: driver names should be lowercase; \"D\" contains uppercase characters";
    let mixed = json!({"spec": slice(json!({"driver": "D"}))});
    assert_eq!(ResourceSlice.warnings(&mixed, None), [warning]);
    assert!(ResourceSlice.warnings(&new, None).is_empty());
}
