//! Pods: what is filled in, what is refused and in which words, what may change, and who owns the status.

use serde_json::{Value, json};

use super::*;

fn context(subresource: Option<&'static str>) -> Context<'static> {
    Context {
        now: "2026-01-01T00:00:00Z",
        subresource,
        user: "",
    }
}

/// A pod of one container, changed by a merge patch, with its defaults.
fn pod(patch: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    merge(&mut pod, patch);
    Pod.default(&mut pod);
    pod
}

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

/// The errors begin with these texts.
#[track_caller]
fn check_errors(errors: &Errors, expected: &[&str]) {
    let texts = texts(errors);
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    for (text, start) in texts.iter().zip(expected) {
        assert!(text.starts_with(start), "{text:?}, not {start:?}");
    }
}

/// A new pod with this spec is refused with these words.
#[track_caller]
fn spec(patch: &Value, expected: &[&str]) {
    let mut errors = Errors::new();
    Pod.validate(&context(None), &pod(&json!({"spec": patch})), &mut errors);
    check_errors(&errors, expected);
}

/// A new pod whose container has this is refused with these words, after the container's path.
#[track_caller]
fn container(patch: &Value, expected: &[&str]) {
    let mut own = json!({"name": "c", "image": "i:1"});
    merge(&mut own, patch);
    let mut errors = Errors::new();
    let pod = pod(&json!({"spec": {"containers": [own]}}));
    Pod.validate(&context(None), &pod, &mut errors);
    let expected: Vec<String> = expected
        .iter()
        .map(|text| format!("spec.containers[0]{text}"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_errors(&errors, &expected);
}

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

#[test]
fn volumes() {
    for (volume, expected) in [
        (
            json!({"emptyDir": {"sizeLimit": "-1"}, "hostPath": {"path": "/a"}}),
            vec![
                ".emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
                ".hostPath: Forbidden: may not specify more than 1 volume type",
            ],
        ),
        (
            json!({"hostPath": {"path": "/a/../b", "type": "Foo"}}),
            vec![
                ".hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                ".hostPath.type: Unsupported value: \"Foo\": supported values: \"\", \"BlockDevice\"",
            ],
        ),
        (
            json!({"secret": {"defaultMode": 512, "items": [{"key": "k", "path": "/p"}]}}),
            vec![
                ".secret.secretName: Required value",
                ".secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                ".secret.items[0].path: Invalid value: \"/p\": must be a relative path",
            ],
        ),
        (
            json!({"gcePersistentDisk": {"partition": 300}}),
            vec![
                ".persistentDisk.pdName: Required value",
                ".persistentDisk.partition: Invalid value: 300: must be between 1 and 255, inclusive",
            ],
        ),
        (
            json!({"nfs": {"server": "s", "path": "a"}}),
            vec![".nfs.path: Invalid value: \"a\": must be an absolute path"],
        ),
        (
            json!({"iscsi": {"targetPortal": "t", "iqn": "iqn.x", "chapAuthSession": true}}),
            vec![
                ".iscsi.iqn: Invalid value: \"iqn.x\": must be valid format",
                ".iscsi.secretRef: Required value",
            ],
        ),
        (
            json!({"fc": {"targetWWNs": ["a"]}}),
            vec![".fc.lun: Required value: lun is required if targetWWNs is specified"],
        ),
        (
            json!({"flexVolume": {"driver": "d", "options": {"a.k8s.io/b": "c"}}}),
            vec![
                ".flexVolume.options[a.k8s.io/b]: Invalid value: \"a.k8s.io/b\": kubernetes.io and k8s.io namespaces are reserved",
            ],
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "p"}]}}),
            vec![".downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"],
        ),
        (
            json!({"projected": {"sources": [{"secret": {"name": "s", "items": [{"key": "k", "path": "p"}, {"key": "l", "path": "p"}]}, "configMap": {"name": "c"}}]}}),
            vec![
                ".projected: Invalid value: \"s\": conflicting duplicate paths",
                ".projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
            ],
        ),
        (
            json!({"projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 5, "path": ""}}]}}),
            vec![
                ".projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
                ".projected.path: Required value",
                ".projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
            ],
        ),
        (
            json!({"csi": {"driver": "a_b"}}),
            vec![".csi.driver: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain"],
        ),
        (
            json!({"image": {"reference": "", "pullPolicy": "X"}}),
            vec![
                ".image.pullPolicy: Unsupported value: \"X\"",
                ".image.reference: Required value",
            ],
        ),
        (
            json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "n"}, "spec": {}}}}),
            vec![
                ".ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
                ".ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode is required",
                ".ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
            ],
        ),
    ] {
        let mut volume = volume;
        volume["name"] = "v".into();
        let expected: Vec<String> = expected
            .iter()
            .map(|text| format!("spec.volumes[0]{text}"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        spec(&json!({"volumes": [volume]}), &expected);
    }
    let claim = json!({"name": "b", "persistentVolumeClaim": {"claimName": "x"}});
    spec(
        &json!({
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}, claim],
            "containers": [{"name": "c", "image": "i:1", "volumeMounts": [
                {"name": "a", "mountPath": "/m", "mountPropagation": "Bidirectional"}, {"name": "z", "mountPath": "/m", "subPath": "/s"},
                {"name": "a", "mountPath": "", "recursiveReadOnly": "Enabled"},
            ], "volumeDevices": [{"name": "a", "devicePath": "/d"}, {"name": "b", "devicePath": "/../d"}]}],
        }),
        &[
            "spec.volumes[1].name: Duplicate value: \"a\"",
            "spec.containers[0].volumeMounts[0].name: Invalid value: \"a\": must not already exist in volumeDevices",
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
            "spec.containers[0].volumeMounts[1].name: Not found: \"z\"",
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/m\": must be unique",
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"/s\": must be a relative path",
            "spec.containers[0].volumeMounts[2].mountPath: Required value",
            "spec.containers[0].volumeMounts[2].name: Invalid value: \"a\": must not already exist in volumeDevices",
            "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            "spec.containers[0].volumeDevices[0].name: Invalid value: \"a\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            "spec.containers[0].volumeDevices[0].name: Invalid value: \"a\": must not already exist in volumeMounts",
            "spec.containers[0].volumeDevices[1].devicePath: Invalid value: \"/../d\": can not contain backsteps ('..')",
        ],
    );
}

#[test]
fn security() {
    spec(
        &json!({"hostNetwork": true, "shareProcessNamespace": true, "hostPID": true, "hostUsers": false, "securityContext": {
            "runAsUser": -1, "supplementalGroups": [5_000_000_000_i64], "fsGroupChangePolicy": "X",
            "sysctls": [{"name": "net.ipv4.x", "value": "1"}, {"name": "A"}],
            "seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "x"},
        }}),
        &[
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive",
            "spec.securityContext.supplementalGroups[0]: Invalid value: 5000000000: must be between 0",
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            "spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.x\": may not be specified when 'hostNetwork' is true",
            "spec.securityContext.sysctls[1].name: Invalid value: \"A\": must have at most 253 characters and match regex ^([a-z0-9]",
            "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnRootMismatch\"",
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            "spec.securityContext.appArmorProfile.localhostProfile: Invalid value: \"x\": can only be set when AppArmor type is Localhost",
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
            "spec.HostPID: Forbidden: when `hostUsers` is false",
        ],
    );
    container(
        &json!({"securityContext": {"procMount": "Unmasked", "seccompProfile": {"type": "Unconfined", "localhostProfile": "x"}, "windowsOptions": {"runAsUserName": "a\\"}}}),
        &[
            ".securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            ".securityContext.seccompProfile.localhostProfile: Invalid value: {\"Type\":\"Unconfined\",\"LocalhostProfile\":\"x\"}: can only be set when seccomp type is Localhost",
            ".securityContext.windowsOptions.runAsUserName: Invalid value: \"a\\\\\": runAsUserName's User cannot be empty",
        ],
    );
    spec(
        &json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"fsGroup": 1},
                "containers": [{"name": "c", "image": "i:1", "securityContext": {"privileged": false}}]}),
        &[
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
            "spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
            "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
        ],
    );
    spec(
        &json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {"hostProcess": true}}}),
        &[
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ],
    );
    spec(
        &json!({"os": {"name": "x"}}),
        &["spec.os: Unsupported value: \"x\": supported values: \"linux\", \"windows\""],
    );
}

#[test]
fn placement() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    spec(
        &json!({"affinity": {"nodeAffinity": {
            required: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Gt", "values": ["x y"]}], "matchFields": [{"key": "x", "operator": "Exists"}]}]},
            preferred: [{"weight": 0, "preference": {}}],
        }}}),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].values[0]: Invalid value: \"x y\"",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"x\": not a valid field selector key",
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
        ],
    );
    spec(
        &json!({"affinity": {"podAntiAffinity": {required: [{"namespaces": ["A"], "matchLabelKeys": ["a"]}]}}}),
        &[
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace: Invalid value: \"A\": a lowercase RFC 1123 label",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must be non-empty",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must consist",
        ],
    );
    let twice = json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"});
    spec(
        &json!({"topologySpreadConstraints": [twice, twice, {"maxSkew": 0, "whenUnsatisfiable": "X", "minDomains": 0, "nodeTaintsPolicy": "Y"}]}),
        &[
            "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{z, ScheduleAnyway}\"",
            "spec.topologySpreadConstraints[2].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[2].topologyKey: Required value: can not be empty",
            "spec.topologySpreadConstraints[2].whenUnsatisfiable: Unsupported value: \"X\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            "spec.topologySpreadConstraints[2].minDomains: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[2].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not X",
            "spec.topologySpreadConstraints[2].nodeTaintsPolicy: Unsupported value: \"Y\": supported values: \"Honor\", \"Ignore\"",
        ],
    );
    spec(
        &json!({"tolerations": [{"operator": "Equal", "effect": "X"}, {"key": "a", "operator": "Exists", "value": "b"}, {"key": "a", "operator": "Foo", "tolerationSeconds": 1}]}),
        &[
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty",
            "spec.tolerations[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            "spec.tolerations[1].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
            "spec.tolerations[2].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            "spec.tolerations[2].operator: Unsupported value: \"Foo\": supported values: \"Equal\", \"Exists\"",
        ],
    );
}

#[test]
fn other_fields() {
    for (patch, expected) in [
        (
            json!({"restartPolicy": "X"}),
            vec![
                "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        ),
        (
            json!({"dnsPolicy": "X"}),
            vec![
                "spec.dnsPolicy: Unsupported value: \"X\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
            ],
        ),
        (
            json!({"dnsPolicy": "None"}),
            vec![
                "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
            ],
        ),
        (
            json!({"dnsConfig": {"nameservers": ["1.2.3", "01.2.3.4"], "searches": ["_a.b.", ".", "A"], "options": [{}]}}),
            vec![
                "spec.dnsConfig.nameservers[0]: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.dnsConfig.nameservers[1]: Invalid value: \"01.2.3.4\": must not have leading 0s",
                "spec.dnsConfig.searches[2]: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_'",
                "spec.dnsConfig.options[0]: Required value: must not be empty",
            ],
        ),
        (
            json!({"hostname": "a.b", "subdomain": "_"}),
            vec![
                "spec.hostname: Invalid value: \"a.b\": must not contain dots",
                "spec.subdomain: Invalid value: \"_\"",
            ],
        ),
        (
            json!({"hostnameOverride": "a", "hostNetwork": true, "setHostnameAsFQDN": true}),
            vec![
                "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
                "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
            ],
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            vec![
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            ],
        ),
        (
            json!({"hostAliases": [{"ip": "x", "hostnames": ["A"]}]}),
            vec![
                "spec.hostAliases[0].ip: Invalid value",
                "spec.hostAliases[0].hostnames[0]: Invalid value",
            ],
        ),
        (
            json!({"preemptionPolicy": "X"}),
            vec![
                "spec.preemptionPolicy: Unsupported value: \"X\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ],
        ),
        (
            json!({"runtimeClassName": "", "priorityClassName": "A", "nodeName": "A"}),
            vec![
                "spec.nodeName: Invalid value",
                "spec.priorityClassName: Invalid value",
                "spec.runtimeClassName: Invalid value",
            ],
        ),
        (
            json!({"overhead": {"cpu": "-1"}}),
            vec![
                "spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
        (
            json!({"schedulingGates": [{"name": "a"}, {"name": "a"}], "nodeName": "n"}),
            vec![
                "spec.schedulingGates[1]: Duplicate value: \"a\"",
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
        (
            json!({"readinessGates": [{"conditionType": "a b"}]}),
            vec!["spec.readinessGates[0].conditionType: Invalid value"],
        ),
        (
            json!({"resourceClaims": [{"name": "a"}]}),
            vec![
                "spec.resourceClaims[0]: Invalid value: {\"Name\":\"a\",\"ResourceClaimName\":null,\"ResourceClaimTemplateName\":null}: must specify one of",
            ],
        ),
        (
            json!({"nodeSelector": {"a b": "c"}}),
            vec!["spec.nodeSelector: Invalid value: \"a b\""],
        ),
    ] {
        spec(&patch, &expected);
    }
}

#[test]
fn annotations() {
    let mut errors = Errors::new();
    let pod = pod(&json!({"metadata": {"annotations": {
        "kubernetes.io/config.mirror": "x", "controller.kubernetes.io/pod-deletion-cost": "+1",
        "container.apparmor.security.beta.kubernetes.io/z": "bad", "seccomp.security.alpha.kubernetes.io/pod": "localhost/../x",
    }}}));
    Pod.validate(&context(None), &pod, &mut errors);
    check_errors(
        &errors,
        &[
            "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"../x\": must not contain '..'",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/z]: Invalid value: \"z\": container not found",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/z]: Invalid value: \"bad\": invalid AppArmor profile name: \"bad\"",
        ],
    );
}

/// A change of a pod by this patch is refused with these words; `from` is what the pod was before.
#[track_caller]
fn change(subresource: Option<&'static str>, from: &Value, patch: &Value, expected: &[&str]) {
    let mut old = pod(from);
    if old.get("status").is_none() {
        old["status"] = json!({"qosClass": qos::class(&old["spec"])});
    }
    let mut new = old.clone();
    merge(&mut new, patch);
    Pod.default(&mut new);
    let context = context(subresource);
    Pod.prepare_update(&context, &mut new, &old);
    let mut errors = Errors::new();
    Pod.validate_update(&context, &new, &old, &mut errors);
    check_errors(&errors, expected);
}

#[test]
fn changes_of_the_spec() {
    let containers = |image: &str| json!({"spec": {"containers": [{"name": "c", "image": image}]}});
    let none = json!({});
    change(None, &none, &containers("j:2"), &[]);
    change(
        None,
        &none,
        &json!({"spec": {"nodeName": "n"}}),
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,",
        ],
    );
    change(
        None,
        &none,
        &json!({"spec": {"containers": []}}),
        &[
            "spec.containers: Required value",
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ],
    );
    let deadline = json!({"spec": {"activeDeadlineSeconds": 10}});
    change(None, &none, &deadline, &[]);
    change(
        None,
        &deadline,
        &json!({"spec": {"activeDeadlineSeconds": 11}}),
        &[
            "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value",
        ],
    );
    change(
        None,
        &deadline,
        &json!({"spec": {"activeDeadlineSeconds": null}}),
        &[
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ],
    );
    let tolerations = |list: Value| json!({"spec": {"tolerations": list}});
    let one =
        json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let longer =
        json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9});
    change(
        None,
        &tolerations(json!([one])),
        &tolerations(json!([longer, {"key": "b", "operator": "Exists"}])),
        &[],
    );
    change(
        None,
        &tolerations(json!([one])),
        &tolerations(json!([])),
        &[
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ],
    );
    let gated = |gates: Value, selector: Value| json!({"spec": {"schedulingGates": gates, "nodeSelector": selector}});
    let from = gated(json!([{"name": "a"}, {"name": "b"}]), json!({"x": "1"}));
    change(
        None,
        &from,
        &gated(json!([{"name": "a"}]), json!({"x": "1", "y": "2"})),
        &[],
    );
    change(
        None,
        &from,
        &gated(json!([{"name": "c"}]), json!({"x": "2"})),
        &[
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'",
            "spec.nodeSelector: Invalid value: {\"x\":\"2\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ],
    );
}

#[test]
fn the_difference_is_shown() {
    let mut errors = Errors::new();
    let (old, new) = (pod(&json!({})), pod(&json!({"spec": {"hostname": "h"}})));
    Pod.validate_update(&context(None), &new, &old, &mut errors);
    let text = texts(&errors).concat();
    assert!(
        text.contains("\n-  \"Hostname\": \"\",\n+  \"Hostname\": \"h\",\n")
            || text.contains("\n- \"Hostname\": \"\",\n+ \"Hostname\": \"h\",\n"),
        "{text}"
    );
}

#[test]
fn ephemeral_containers_only_come() {
    let list = |list: Value| json!({"spec": {"ephemeralContainers": list}});
    let (one, other) = (
        json!({"name": "e", "image": "i"}),
        json!({"name": "e", "image": "j"}),
    );
    let sub = Some("ephemeralcontainers");
    change(sub, &json!({}), &list(json!([one])), &[]);
    change(
        sub,
        &list(json!([one])),
        &list(json!([])),
        &[
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n",
        ],
    );
    change(
        sub,
        &list(json!([one])),
        &list(json!([other])),
        &[
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be changed\n@@ ",
        ],
    );
    // Whatever else is sent along is dropped.
    change(
        sub,
        &json!({}),
        &json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeName": "n"}}),
        &[],
    );
}

#[test]
fn sizes_change_through_resize() {
    let of = |resources: Value| json!({"spec": {"containers": [{"name": "c", "image": "i:1", "resources": resources}]}});
    let from = of(json!({"requests": {"cpu": "1"}, "limits": {"a.io/b": "1"}}));
    let sub = Some("resize");
    change(
        sub,
        &from,
        &of(json!({"requests": {"cpu": "2", "a.io/b": "1"}, "limits": {"a.io/b": "1"}})),
        &[],
    );
    change(
        sub,
        &from,
        &of(json!({"requests": {"a.io/b": "2"}, "limits": {"a.io/b": "2"}})),
        &[
            "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            "spec: Forbidden: only cpu and memory resources are mutable",
        ],
    );
    change(
        sub,
        &from,
        &json!({"spec": {"containers": [{"name": "d", "image": "i:1"}]}}),
        &[
            "spec: Invalid value: \"Burstable\": Pod QOS Class may not change",
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        ],
    );
    // The pod as a whole can get more, too.
    let whole = |resources: Value| json!({"spec": {"resources": resources}});
    let small = whole(json!({"requests": {"cpu": "1"}}));
    change(sub, &small, &whole(json!({"requests": {"cpu": "2"}})), &[]);
    change(
        sub,
        &whole(json!({"requests": {"cpu": "1", "memory": "1"}})),
        &whole(json!({"requests": {"memory": null}})),
        &["spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"],
    );
}

#[test]
fn statuses() {
    let sub = Some("status");
    let from = json!({"spec": {"restartPolicy": "Never"}, "status": {
        "qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}],
    }});
    for (status, expected) in [
        (
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
            vec![],
        ),
        (
            json!({"podIPs": [{"ip": "bad"}]}),
            vec!["status.podIPs[0]: Invalid value: \"bad\": must be a valid IP address"],
        ),
        (
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}),
            vec![
                "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.1\"}]: may specify no more than one IP for each IP family",
            ],
        ),
        (
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "bad"}]}),
            vec![
                "status.podIPs[1]: Invalid value: \"bad\": must be a valid IP address",
                "status.podIPs: Internal error: failed to check for dual stack with error:invalid IP[1]: bad",
                "status.podIPs: Invalid value",
            ],
        ),
        (
            json!({"hostIPs": [{"ip": "10.0.0.1"}]}),
            vec!["status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`"],
        ),
        (
            json!({"qosClass": "Burstable"}),
            vec!["status.qosClass: Invalid value: \"Burstable\": field is immutable"],
        ),
        (json!({"qosClass": null}), vec![]),
        (
            json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]}),
            vec![
                "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            ],
        ),
        (
            json!({"conditions": [{"type": "a b", "status": "True"}]}),
            vec!["status.conditions[0].Type: Invalid value: \"a b\""],
        ),
        (
            json!({"observedGeneration": -1, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": -1}]}),
            vec![
                "status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer",
                "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
            ],
        ),
        (
            json!({"nominatedNodeName": "A"}),
            vec!["status.nominatedNodeName: Invalid value: \"A\""],
        ),
        (
            json!({"resourceClaimStatuses": [{"name": "z"}]}),
            vec![
                "status.resourceClaimStatuses[0].name: Invalid value: \"z\": must match the name of an entry in `spec.resourceClaims`",
            ],
        ),
    ] {
        change(sub, &from, &json!({"status": status}), &expected);
    }
    // The first of all addresses is told twice.
    let pod = pod(&json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.2"}]}}));
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": "10.0.0.1"}]));
}

#[test]
fn writers_of_the_spec_and_of_the_status_keep_out_of_each_others_way() {
    let mut new =
        pod(&json!({"status": {"phase": "Running"}, "spec": {"schedulingGates": [{"name": "g"}]}}));
    Pod.prepare_create(&context(None), &mut new);
    assert_eq!(new["status"]["phase"], "Pending");
    assert_eq!(new["status"]["conditions"][0]["reason"], "SchedulingGated");
    let mut old = new.clone();
    old["status"]["observedGeneration"] = 3.into();
    new["status"]["phase"] = "Failed".into();
    Pod.prepare_update(&context(None), &mut new, &old);
    assert_eq!(new["status"], old["status"]);
    let mut status = json!({"spec": old["spec"], "status": {"phase": "Running"}});
    Pod.prepare_update(&context(Some("status")), &mut status, &old);
    assert_eq!(
        status["status"],
        json!({"phase": "Running", "qosClass": "BestEffort", "observedGeneration": 3})
    );
}

#[test]
fn label_keys_are_written_out() {
    let mut pod = pod(
        &json!({"metadata": {"labels": {"a": "1"}}, "spec": {"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["a", "b"], "labelSelector": {"matchLabels": {"a": "1"}}},
        ]}}),
    );
    Pod.prepare_create(&context(None), &mut pod);
    let selector = &pod["spec"]["topologySpreadConstraints"][0]["labelSelector"];
    assert_eq!(
        selector["matchExpressions"],
        json!([{"key": "a", "operator": "In", "values": ["1"]}])
    );
    let mut errors = Errors::new();
    Pod.validate(&context(None), &pod, &mut errors);
    check_errors(
        &errors,
        &[
            "spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector",
        ],
    );
}

#[test]
fn warnings() {
    let object = pod(
        &json!({"metadata": {"name": "a.b", "annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}}, "spec": {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": "s"}, {"name": "s"}, {}], "hostAliases": [{"ip": "FD00::1"}],
            "volumes": [{"name": "v", "rbd": {"image": "i", "monitors": ["m"]}}],
            "containers": [{
                "name": "c", "image": "i:1", "resources": {"limits": {"memory": "1500m"}},
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}],
                "ports": [{"containerPort": 1}, {"containerPort": 1, "hostPort": 2}],
            }],
        }}),
    );
    let expected = [
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
        "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
        "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
        "spec.imagePullSecrets[1].name: duplicate name \"s\"",
        "spec.imagePullSecrets[2].name: invalid empty name \"\"",
        "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
        "spec.containers[0].resources.requests[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
        "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
        "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
        "spec.hostAliases[0].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
    ];
    assert_eq!(Pod.warnings(&object, None), expected);
    assert!(Pod.warnings(&object, Some(&object)).is_empty());
}

#[test]
fn templates() {
    let template = json!({"metadata": {"labels": {"a b": "c"}}, "spec": {"ephemeralContainers": [{}], "terminationGracePeriodSeconds": -1}});
    let mut template = template;
    default_template(&mut template);
    let mut errors = Errors::new();
    validate_template(&template, &Path::new("spec").child("template"), &mut errors);
    let texts = texts(&errors);
    assert!(
        texts[0].starts_with("spec.template.labels: Invalid value: \"a b\""),
        "{texts:?}"
    );
    assert!(texts.contains(&"spec.template.spec.containers: Required value".to_owned()));
    assert_eq!(
        texts.last().unwrap(),
        "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
    );
    assert_eq!(
        template_warnings(&template, &Path::new("spec").child("template")),
        [
            "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ]
    );
}
