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
                json!({"name": "d", "allowMultipleAllocations": true, "capacity": {"m": {"value": "4", "requestPolicy": {"default": "3", "validRange": {"min": "1", "max": "5", "step": "2"}}}}}),
            ),
            vec![
                "spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: \"5\": max is larger than capacity value: 4",
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
}
