//! Which volume a claim gets.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use crate::object::volume::{
    BOUND_BY_CONTROLLER, OLD_STORAGE_PROVISIONER, PROVISIONED_BY, STORAGE_PROVISIONER,
    WAIT_FOR_CONSUMER, annotation, class_of_claim, path, reference_to,
};

/// By which a node is known to volumes.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A claim and what its volume depends on.
pub(super) struct Claimed<'a> {
    pub claim: &'a PersistentVolumeClaim,
    pub class: &'a StorageClass,
    /// The node that the scheduler chose.
    pub selected: Option<&'a str>,
    pub node: Option<Arc<Node>>,
}

/// Why no volume is made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The scheduler has not chosen yet.
    Waits,
    /// Not on this node.
    Elsewhere(String),
    /// Nowhere.
    Never(String),
}

/// Whether a claim asks the provisioner of this name.
pub(super) fn is_asked(claim: &PersistentVolumeClaim, provisioner: &str) -> bool {
    let asked = annotation(&claim.metadata, STORAGE_PROVISIONER)
        .or_else(|| annotation(&claim.metadata, OLD_STORAGE_PROVISIONER));
    asked == Some(provisioner) && claim.metadata.deletion_timestamp.is_none()
}

/// Whether a volume is the provisioner's to delete.
pub(super) fn is_to_go(volume: &PersistentVolume, provisioner: &str) -> bool {
    let spec = volume.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy == Some("Delete") && annotation(&volume.metadata, PROVISIONED_BY) == Some(provisioner)
}

/// The volume of a claim, in a directory of its own.
pub(super) fn volume(
    claimed: &Claimed<'_>,
    provisioner: &str,
    directory: &str,
) -> Result<PersistentVolume, Refusal> {
    let (claim, class) = (claimed.claim, claimed.class);
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(Refusal::Never("block volumes are not supported".into()));
    }
    let waits = class.volume_binding_mode.as_deref() == Some(WAIT_FOR_CONSUMER);
    let hostname = match (claimed.selected, &claimed.node) {
        (None, _) if waits => return Err(Refusal::Waits),
        (None, _) => None,
        (Some(name), None) => return Err(Refusal::Elsewhere(format!("node {name:?} not found"))),
        (Some(name), Some(node)) => {
            let labels = node.metadata.labels.as_ref();
            let label = labels.and_then(|labels| labels.get(HOSTNAME));
            let Some(label) = label else {
                let why = format!("node {name:?} has no label {HOSTNAME}");
                return Err(Refusal::Elsewhere(why));
            };
            Some(label.as_str())
        }
    };
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let name = format!("pvc-{uid}");
    let claimed_by = path(&claim.metadata).replace('/', "_");
    let place = format!("{}/{name}_{claimed_by}", directory.trim_end_matches('/'));
    let parameters = class.parameters.as_ref();
    let kind = parameters.and_then(|parameters| parameters.get("volumeType"));
    let source = match (kind.map_or("hostPath", String::as_str), hostname) {
        ("hostPath", _) => json!({"hostPath": {"path": place, "type": "DirectoryOrCreate"}}),
        ("local", Some(_)) => json!({"local": {"path": place}}),
        ("local", None) => {
            let why = "volumes of the type local need a class that waits for its first consumer";
            return Err(Refusal::Never(why.into()));
        }
        (other, _) => {
            let why = format!("parameters.volumeType: {other:?} is neither hostPath nor local");
            return Err(Refusal::Never(why));
        }
    };
    let requests = spec.resources.and_then(|resources| resources.requests);
    let size = requests.and_then(|requests| requests.get("storage").cloned());
    let mut volume = json!({
        "metadata": {
            "name": name,
            "annotations": {PROVISIONED_BY: provisioner, BOUND_BY_CONTROLLER: "yes"},
        },
        "spec": {
            "capacity": {"storage": size},
            "accessModes": spec.access_modes,
            "volumeMode": spec.volume_mode,
            "storageClassName": class_of_claim(claim),
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "mountOptions": class.mount_options,
            "claimRef": reference_to(claim),
        },
    });
    if let (Value::Object(spec), Value::Object(source)) = (&mut volume["spec"], source) {
        spec.extend(source);
    }
    if let Some(hostname) = hostname {
        let here = json!({"key": HOSTNAME, "operator": "In", "values": [hostname]});
        let terms = json!([{"matchExpressions": [here]}]);
        volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": terms}});
    }
    serde_json::from_value(volume).map_err(|error| Refusal::Never(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn made(class: &Value, selected: Option<&str>, node: Option<Value>) -> Result<Value, Refusal> {
        let claim = json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "u"},
            "spec": {
                "storageClassName": "fast", "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        });
        let claim = parse(claim);
        let class = parse(class.clone());
        let node = node.map(|node| Arc::new(parse(node)));
        let claimed = Claimed {
            claim: &claim,
            class: &class,
            selected,
            node,
        };
        volume(&claimed, "local.example", "/data/").map(|volume| json!(volume)["spec"].take())
    }

    fn class(mode: &str, kind: &str) -> Value {
        json!({"provisioner": "local.example", "volumeBindingMode": mode, "parameters": {"volumeType": kind}})
    }

    #[test]
    fn a_directory_on_the_chosen_node() {
        let node = json!({"metadata": {"name": "n", "labels": {HOSTNAME: "host"}}});
        let spec = made(
            &class(WAIT_FOR_CONSUMER, "hostPath"),
            Some("n"),
            Some(node.clone()),
        )
        .unwrap();
        assert_eq!(
            spec["hostPath"],
            json!({"path": "/data/pvc-u_ns_c", "type": "DirectoryOrCreate"})
        );
        assert_eq!(spec["capacity"], json!({"storage": "1Gi"}));
        assert_eq!(spec["claimRef"]["uid"], "u");
        let term = &spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0];
        assert_eq!(term["matchExpressions"][0]["values"], json!(["host"]));
        let spec = made(&class(WAIT_FOR_CONSUMER, "local"), Some("n"), Some(node)).unwrap();
        assert_eq!(spec["local"], json!({"path": "/data/pvc-u_ns_c"}));
        let spec = made(&class("Immediate", "hostPath"), None, None).unwrap();
        assert!(spec["nodeAffinity"].is_null());
    }

    #[test]
    fn refusals() {
        let waiting = class(WAIT_FOR_CONSUMER, "hostPath");
        let bare = json!({"metadata": {"name": "n"}});
        for (class, selected, node, why) in [
            (&waiting, None, None, Refusal::Waits),
            (
                &waiting,
                Some("n"),
                None,
                Refusal::Elsewhere("node \"n\" not found".into()),
            ),
            (
                &waiting,
                Some("n"),
                Some(bare),
                Refusal::Elsewhere("node \"n\" has no label kubernetes.io/hostname".into()),
            ),
            (
                &class("Immediate", "local"),
                None,
                None,
                Refusal::Never(
                    "volumes of the type local need a class that waits for its first consumer"
                        .into(),
                ),
            ),
            (
                &class("Immediate", "x"),
                None,
                None,
                Refusal::Never("parameters.volumeType: \"x\" is neither hostPath nor local".into()),
            ),
        ] {
            assert_eq!(made(class, selected, node), Err(why));
        }
    }
}
