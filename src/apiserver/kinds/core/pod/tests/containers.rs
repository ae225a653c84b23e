//! Which containers are refused, and in which words.
use super::*;

#[test]
fn containers_are_whole() {
    container(&json!({}), &[]);
    container(&json!({"name": ""}), &[".name: Required value"]);
    container(
        &json!({"name": "a.b"}),
        &[".name: Invalid value: \"a.b\": must not contain dots"],
    );
    container(&json!({"image": ""}), &[".image: Required value"]);
    container(
        &json!({"image": " i"}),
        &[".image: Invalid value: \" i\": must not have leading or trailing whitespace"],
    );
    container(
        &json!({"imagePullPolicy": "Foo", "terminationMessagePolicy": "Foo"}),
        &[
            ".terminationMessagePolicy: Unsupported value: \"Foo\": supported values: \"File\", \"FallbackToLogsOnError\"",
            ".imagePullPolicy: Unsupported value: \"Foo\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ],
    );
    container(
        &json!({"ports": [{"containerPort": 0}, {"name": "a", "containerPort": 1, "hostPort": 70000}, {"name": "a", "containerPort": 2, "protocol": "X"}]}),
        &[
            ".ports[0].containerPort: Required value",
            ".ports[1].hostPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ".ports[2].name: Duplicate value: \"a\"",
            ".ports[2].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
    container(
        &json!({"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]}),
        &[".ports[1].hostPort: Duplicate value: \"TCP//9\""],
    );
    container(
        &json!({"restartPolicyRules": [{"action": "Go", "exitCodes": {"operator": "Of"}}]}),
        &[
            ".restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            ".restartPolicyRules[0].action: Unsupported value: \"Go\"",
            ".restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Of\": supported values: \"In\", \"NotIn\"",
        ],
    );
    spec(
        &json!({"containers": []}),
        &["spec.containers: Required value"],
    );
    spec(
        &json!({"initContainers": [{"name": "c", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}}]}),
        &[
            "spec.initContainers[0].name: Duplicate value: \"c\"",
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    spec(
        &json!({"ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "z", "ports": [{"containerPort": 1}]}]}),
        &[
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"z\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ],
    );
}

#[test]
fn environments() {
    container(
        &json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a b']"}}}]}),
        &[".env[0].valueFrom.fieldRef: Invalid value: \"a b\": name part must consist"],
    );
    container(
        &json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo['x']"}}}]}),
        &[
            ".env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo['x']\": error converting fieldPath: field label does not support subscript: spec.foo['x']",
        ],
    );
    container(
        &json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]}),
        &[
            ".env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\"",
        ],
    );
    container(
        &json!({"env": [{"name": "a", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}]}),
        &[
            ".env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported",
        ],
    );
    container(
        &json!({"env": [{"name": "a", "valueFrom": {"fileKeyRef": {"key": "", "volumeName": "", "path": "../x"}}}]}),
        &[
            ".env[0].valueFrom.fileKeyRef.key: Required value",
            ".env[0].valueFrom.fileKeyRef.volumeName: Required value",
            ".env[0].valueFrom.fileKeyRef.path: Invalid value: \"../x\": must not contain '..'",
            ".env[0].valueFrom.fileKeyRef.volumeName: Not found: \"\"",
        ],
    );
    spec(
        &json!({"volumes": [{"name": "v", "configMap": {"name": "m"}}], "containers": [{"name": "c", "image": "i:1", "env": [
            {"name": "a", "valueFrom": {"fileKeyRef": {"key": "k", "volumeName": "v", "path": "f"}}},
        ]}]}),
        &[
            "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: \"v\": referenced volume must be of type emptyDir",
        ],
    );
    container(
        &json!({"envFrom": [{"prefix": "=", "secretRef": {"name": ""}}]}),
        &[
            ".envFrom[0].prefix: Invalid value: \"=\": a valid environment variable name",
            ".envFrom[0].secretRef.name: Required value",
        ],
    );
}

#[test]
fn probes_and_hooks() {
    container(
        &json!({"livenessProbe": {"exec": {"command": ["a"]}, "grpc": {"port": 0}, "successThreshold": 2, "terminationGracePeriodSeconds": 0}}),
        &[
            ".livenessProbe.grpc: Forbidden: may not specify more than 1 handler type",
            ".livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
            ".livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    container(
        &json!({"readinessProbe": {"httpGet": {"port": "A", "httpHeaders": [{"name": "a b"}]}}}),
        &[
            ".readinessProbe.httpGet.port: Invalid value: \"A\": must contain only alpha-numeric characters",
            ".readinessProbe.httpGet.port: Invalid value: \"A\": must contain at least one letter",
            ".readinessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header",
        ],
    );
    container(
        &json!({"lifecycle": {"postStart": {"sleep": {"seconds": -1}}, "preStop": {"tcpSocket": {"port": 0}}}}),
        &[
            ".lifecycle.postStart.sleep: Invalid value: -1: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ".lifecycle.preStop.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    );
}

#[test]
fn amounts() {
    for (resources, expected) in [
        (
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            vec![
                ".resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            json!({"requests": {"a.io/b": "1"}}),
            vec![
                ".resources.limits: Required value: Limit must be set for non overcommitable resources",
            ],
        ),
        (
            json!({"limits": {"a.io/b": "1500m"}, "requests": {"a.io/b": "1"}}),
            vec![
                ".resources.limits[a.io/b]: Invalid value: \"1500m\": must be an integer",
                ".resources.requests: Invalid value: \"1\": must be equal to a.io/b limit of 1500m",
            ],
        ),
        (
            json!({"limits": {"pods": "1"}}),
            vec![
                ".resources.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers",
                ".resources.requests[pods]: Invalid value: \"pods\": must be a standard resource for containers",
            ],
        ),
        (
            json!({"claims": [{"name": "x"}, {"name": "x", "request": "r"}, {"name": ""}]}),
            vec![
                ".resources.claims[0]: Not found: \"x\": must be one of the names in pod.spec.resourceClaims which is empty",
                ".resources.claims[1]: Duplicate value: \"x\"",
                ".resources.claims[1]: Not found: \"x\"",
                ".resources.claims[2]: Required value",
            ],
        ),
    ] {
        container(&json!({"resources": resources}), &expected);
    }
    container(
        &json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "cpu", "restartPolicy": ""}]}),
        &[
            ".resizePolicy[1]: Duplicate value: \"cpu\"",
            ".resizePolicy: Required value",
        ],
    );
    spec(
        &json!({"initContainers": [{"name": "i", "image": "i:1", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]}),
        &[
            "spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: \"RestartContainer\": must not be set to 'RestartContainer' for non-sidecar",
        ],
    );
    spec(
        &json!({"os": {"name": "windows"}, "resources": {"requests": {"a.io/b": "1"}}}),
        &["spec.resources: Forbidden: may not be set for a windows pod"],
    );
    spec(
        &json!({"resources": {"requests": {"cpu": "1", "a.io/b": "1"}, "limits": {"cpu": "1", "a.io/b": "1"}},
                "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}]}),
        &[
            "spec.resources.limits[a.io/b]: Unsupported value: \"a.io/b\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
            "spec.resources.requests[a.io/b]: Unsupported value",
            "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
            "spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1",
        ],
    );
}
