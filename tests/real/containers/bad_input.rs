//! Pods that ask for what cannot be wait, say why, and go on when it appears.

use serde_json::{Value, json};

use super::{Guest, STAYS, cases, shell, with};

#[test]
fn what_cannot_be_is_waited_for() {
    cases(&[
        ("bad-config", config),
        ("bad-volume", volumes),
        ("bad-user", users),
    ]);
}

fn waiting(guest: &Guest, pod: &str, reason: &str, message: &str) {
    let status = guest.becomes(
        pod,
        &[("/containerStatuses/0/state/waiting/reason", json!(reason))],
    );
    assert_eq!(status["phase"], "Pending", "{status}");
    let said = &status["containerStatuses"][0]["state"]["waiting"]["message"];
    let said = said.as_str().unwrap_or_default();
    assert!(said.contains(message), "{pod}: {said:?}");
}

fn env(name: &str, from: Value) -> Value {
    with(
        shell("c", STAYS),
        json!({"env": [{"name": name, "valueFrom": from}]}),
    )
}

fn config(guest: &Guest) {
    let key = |map: &str, key: &str| json!({"configMapKeyRef": {"name": map, "key": key}});
    guest.pod("map", json!({"containers": [env("A", key("cm", "a"))]}));
    guest.pod(
        "secret",
        json!({"containers": [with(shell("c", STAYS), json!({"envFrom": [{"secretRef": {"name": "se"}}]}))]}),
    );
    waiting(
        guest,
        "map",
        "CreateContainerConfigError",
        "configmap \"cm\" not found",
    );
    waiting(
        guest,
        "secret",
        "CreateContainerConfigError",
        "secret \"se\" not found",
    );
    guest.told("map", "Failed: Error: configmap \"cm\" not found");
    guest.ok("kubectl create configmap cm --from-literal=b=two");
    guest.until("another message", || {
        let status = guest.find("pods/map")?;
        let waiting = status.pointer("/status/containerStatuses/0/state/waiting/message")?;
        waiting
            .as_str()?
            .starts_with("couldn't find key a in ConfigMap bad-config/cm")
            .then_some(())
    });
    guest.ok("kubectl patch configmap cm -p '{\"data\":{\"a\":\"one\"}}'");
    guest.ok("kubectl create secret generic se --from-literal=S=quiet");
    guest.ready("map");
    guest.ready("secret");
    assert_eq!(guest.inside("map", "echo $A"), "one");
}

fn volumes(guest: &Guest) {
    let with_volume = |source: Value| {
        let mut volume = source;
        volume["name"] = json!("v");
        let c = with(
            shell("c", STAYS),
            json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
        );
        json!({"volumes": [volume], "containers": [c]})
    };
    let (file, socket) = (guest.dir().join("f"), guest.dir().join("absent"));
    guest.ok("touch f");
    let rows = [
        (
            "map",
            json!({"configMap": {"name": "cm"}}),
            "FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"cm\" not found".to_owned(),
        ),
        (
            "secret",
            json!({"secret": {"secretName": "se"}}),
            "FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"se\" not found".to_owned(),
        ),
        (
            "item",
            json!({"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "no", "path": "no"}]}}),
            "FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap references non-existent config key: no".to_owned(),
        ),
        (
            "type",
            json!({"hostPath": {"path": file, "type": "Directory"}}),
            format!("FailedMount: MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: {} is not a directory, it's a File", file.display()),
        ),
        (
            "missing",
            json!({"hostPath": {"path": socket, "type": "File"}}),
            format!("FailedMount: MountVolume.SetUp failed for volume \"v\" : hostPath {} doesn't exist", socket.display()),
        ),
    ];
    for (name, source, _) in &rows {
        guest.pod(name, with_volume(source.clone()));
    }
    // It is on its node before the claim is there.
    let node = guest.ok("kubectl get node -o jsonpath={.items[0].metadata.name}");
    let mut claimed = with_volume(json!({"persistentVolumeClaim": {"claimName": "claim"}}));
    claimed["nodeName"] = json!(node.trim());
    guest.pod("claimed", claimed);
    guest.told("claimed", "FailedMount: MountVolume.SetUp failed for volume \"v\" : error processing PVC bad-volume/claim: failed to fetch PVC from API server: persistentvolumeclaims \"claim\" not found");
    let place = guest.dir().join("claimed");
    std::fs::create_dir_all(&place).unwrap();
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "of-bad-volume"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "hostPath": {"path": place},
        },
    });
    guest.file("pv.json", &volume.to_string());
    for (name, _, told) in &rows {
        guest.told(name, told);
        waiting(guest, name, "ContainerCreating", "");
    }
    guest.ok("kubectl create configmap cm --from-literal=a=one");
    guest.ok("kubectl create secret generic se --from-literal=a=one");
    guest.ok("kubectl patch configmap kube-root-ca.crt -p '{\"data\":{\"no\":\"yes\"}}'");
    guest.ok("rm f && mkdir f && touch absent");
    guest.create(
        "persistentvolumeclaims",
        &json!({"metadata": {"name": "claim"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "resources": {"requests": {"storage": "1Gi"}},
        }}),
    );
    guest.told(
        "claimed",
        "error processing PVC bad-volume/claim: PVC is not bound",
    );
    guest.ok("kubectl apply -f pv.json");
    guest.ready("claimed");
    for (name, ..) in rows {
        // The authority's config map is brought back to what it was; so is its pod.
        if name != "item" {
            guest.ready(name);
        }
    }
}

fn users(guest: &Guest) {
    let c = |image: &str, context: Value| {
        let image = format!("homeostat.local/{image}:1");
        with(
            shell("c", STAYS),
            json!({"image": image, "securityContext": context}),
        )
    };
    guest.pod(
        "root",
        json!({"containers": [c("busybox", json!({"runAsNonRoot": true}))]}),
    );
    guest.pod(
        "named",
        json!({"containers": [c("name", json!({"runAsNonRoot": true}))]}),
    );
    guest.pod(
        "number",
        json!({"containers": [c("number", json!({"runAsNonRoot": true}))]}),
    );
    // The image's user is in no list of users of the image.
    guest.pod("unknown", json!({"containers": [c("unknown", json!({}))]}));
    waiting(guest, "unknown", "CreateContainerError", "no users found");
    guest.ok("kubectl set image pod/unknown c=homeostat.local/name:1");
    guest.ready("unknown");
    waiting(
        guest,
        "root",
        "CreateContainerConfigError",
        "container has runAsNonRoot and image will run as root (pod: \"root_bad-user(",
    );
    waiting(
        guest,
        "named",
        "CreateContainerConfigError",
        "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root (pod: \"named_bad-user(",
    );
    guest.ready("number");
}
