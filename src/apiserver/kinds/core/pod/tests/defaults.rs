//! What is filled in.
use super::*;

#[test]
fn defaults() {
    let pod = pod(&json!({"spec": {
        "hostNetwork": true, "serviceAccount": "a", "terminationGracePeriodSeconds": -5,
        "containers": [{
            "name": "c", "image": "host:5000/i", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}, "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"grpc": {"port": 1}},
        }],
        "volumes": [
            {"name": "a"}, {"name": "b", "hostPath": {"path": "/"}}, {"name": "c", "secret": {"secretName": "s"}},
            {"name": "d", "image": {"reference": "i:1"}}, {"name": "e", "iscsi": {}}, {"name": "f", "azureDisk": {}},
            {"name": "g", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
        ],
    }}));
    let expected = json!({
        "hostNetwork": true, "serviceAccount": "a", "serviceAccountName": "a", "terminationGracePeriodSeconds": 1,
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {}, "schedulerName": "default-scheduler",
        "enableServiceLinks": true,
        "containers": [{
            "name": "c", "image": "host:5000/i", "imagePullPolicy": "Always",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
            "livenessProbe": {
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
            },
            "readinessProbe": {
                "grpc": {"port": 1, "service": ""},
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
            },
        }],
        "volumes": [
            {"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/", "type": ""}},
            {"name": "c", "secret": {"secretName": "s", "defaultMode": 420}},
            {"name": "d", "image": {"reference": "i:1", "pullPolicy": "IfNotPresent"}},
            {"name": "e", "iscsi": {"iscsiInterface": "default"}},
            {"name": "f", "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "kind": "Shared", "readOnly": false}},
            {"name": "g", "ephemeral": {"volumeClaimTemplate": {"spec": {"volumeMode": "Filesystem"}}}},
        ],
    });
    assert_eq!(pod["spec"], expected);
    let mut errors = Errors::new();
    validate_spec(
        &json!({}),
        &Path::new("template").child("spec"),
        &mut errors,
    );
    assert!(
        errors
            .0
            .iter()
            .all(|error| error.path.as_str().starts_with("template.spec."))
    );
}

#[test]
fn resources_of_the_whole_pod_follow_from_its_containers() {
    let limits = json!({"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "4Mi"});
    let container = json!({"name": "c", "image": "i:1", "resources": {"limits": limits}});
    for (own, expected) in [
        (
            json!({"limits": {"cpu": "3"}}),
            json!({
                "limits": {"cpu": "3", "hugepages-2Mi": "4Mi"}, "requests": {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "4Mi"},
            }),
        ),
        (
            json!({"requests": {"cpu": "2", "hugepages-2Mi": "4Mi"}}),
            json!({
                "requests": {"cpu": "2", "hugepages-2Mi": "4Mi"}, "limits": {"cpu": "1", "memory": "1Gi"},
            }),
        ),
        (json!({}), json!({})),
    ] {
        let pod = pod(&json!({"spec": {"resources": own, "containers": [container]}}));
        assert_eq!(pod["spec"]["resources"], expected);
    }
}

#[test]
fn label_keys_are_written_out() {
    let mut pod = pod(
        &json!({"metadata": {"labels": {"a": "1"}}, "spec": {"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["a", "b"], "labelSelector": {"matchLabels": {"a": "1"}}},
        ]}}),
    );
    Pod::PLAIN.prepare_create(&context(None), &mut pod);
    let selector = &pod["spec"]["topologySpreadConstraints"][0]["labelSelector"];
    assert_eq!(
        selector["matchExpressions"],
        json!([{"key": "a", "operator": "In", "values": ["1"]}])
    );
    let mut errors = Errors::new();
    Pod::PLAIN.validate(&context(None), &pod, &mut errors);
    check_errors(
        &errors,
        &[
            "spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector",
        ],
    );
}
