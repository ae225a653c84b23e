//! Which volumes are refused, and in which words.
use super::*;

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
