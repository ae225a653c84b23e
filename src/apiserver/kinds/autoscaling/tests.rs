//! Tables of what autoscalers fill in, refuse and become in the other version.

use serde_json::{Value, json};

use super::*;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::Errors;

fn autoscaler(change: &Value) -> Value {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3,
    });
    for (field, value) in change.as_object().unwrap() {
        spec[field.as_str()] = value.clone();
    }
    let mut object = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec,
    });
    HorizontalPodAutoscaler.default(&mut object);
    object
}

fn check(change: &Value) -> Vec<String> {
    let context = Context {
        now: "",
        subresource: None,
        user: "",
    };
    let mut errors = Errors::new();
    HorizontalPodAutoscaler.validate(&context, &autoscaler(change), &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_filled_in() {
    let object = autoscaler(&json!({"behavior": {"scaleDown": {"selectPolicy": "Min"}}}));
    assert_eq!(object["spec"]["minReplicas"], 1);
    assert_eq!(
        object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        80
    );
    let behavior = &object["spec"]["behavior"];
    assert_eq!(
        behavior["scaleUp"]["policies"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
    assert_eq!(
        behavior["scaleDown"],
        json!({"selectPolicy": "Min", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]})
    );
}

#[test]
fn rules() {
    let metric = |metric: Value| json!({"metrics": [metric]});
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"minReplicas": 0, "maxReplicas": 0}),
            vec![
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
            ],
        ),
        (
            json!({"minReplicas": 5}),
            vec![
                "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
            ],
        ),
        (
            json!({"scaleTargetRef": {"kind": "a/b"}}),
            vec![
                "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
                "spec.scaleTargetRef.name: Required value",
                "spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group",
            ],
        ),
        (
            metric(json!({"type": "Resource"})),
            vec![
                "spec.metrics[0].resource: Required value: must populate information for the given metric source",
            ],
        ),
        (
            metric(
                json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}),
            ),
            vec![
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ],
        ),
        (
            metric(
                json!({"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "X", "averageValue": "0"}}}),
            ),
            vec![
                "spec.metrics[0].pods.metric.name: Required value: must specify a metric name",
                "spec.metrics[0].pods.target.type: Invalid value: \"X\": must be either Utilization, Value, or AverageValue",
                "spec.metrics[0].pods.target.averageValue: Invalid value: \"0\": must be positive",
            ],
        ),
        (
            json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "selectPolicy": "X", "policies": [{"type": "Y", "value": 0, "periodSeconds": 1801}]}}}),
            vec![
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"X\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"Y\": supported values: \"Percent\", \"Pods\"",
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ],
        ),
        (
            json!({"behavior": {"scaleDown": {"policies": []}}}),
            vec![
                "spec.behavior.scaleDown.policies: Required value: must specify at least one Policy",
            ],
        ),
    ] {
        assert_eq!(check(&change), expected, "{change}");
    }
}

#[test]
fn the_versions() {
    let mut object = autoscaler(&json!({
        "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
            {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
    }));
    let v2 = object.clone();
    HorizontalPodAutoscaler.convert(&mut object, "autoscaling/v2", "autoscaling/v1");
    assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 50);
    assert!(object["spec"].get("metrics").is_none());
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(
        annotations["autoscaling.alpha.kubernetes.io/metrics"],
        "[{\"type\":\"Pods\",\"pods\":{\"metricName\":\"rps\",\"targetAverageValue\":\"10\"}}]"
    );
    assert_eq!(
        annotations["autoscaling.alpha.kubernetes.io/behavior"],
        "{\"ScaleUp\":{\"StabilizationWindowSeconds\":0,\"SelectPolicy\":\"Max\",\"Policies\":[{\"Type\":\"Pods\",\"Value\":4,\"PeriodSeconds\":15},{\"Type\":\"Percent\",\"Value\":100,\"PeriodSeconds\":15}],\"Tolerance\":null},\"ScaleDown\":{\"StabilizationWindowSeconds\":60,\"SelectPolicy\":\"Max\",\"Policies\":[{\"Type\":\"Percent\",\"Value\":100,\"PeriodSeconds\":15}],\"Tolerance\":null}}"
    );
    HorizontalPodAutoscaler.convert(&mut object, "autoscaling/v1", "autoscaling/v2");
    assert_eq!(object["spec"], v2["spec"]);
    assert!(object["metadata"].get("annotations").is_none());
}
