//! What a pod refers to.
use crate::object::Document;
use serde_json::Value;
use std::collections::BTreeSet;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Names in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refs {
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) claims: BTreeSet<String>,
    pub(crate) resource_claims: BTreeSet<String>,
    pub(crate) account: String,
}

/// Volumes of a pod that name a secret, and where they do.
const POD_SECRETS: [&[&str]; 11] = [
    &["secret", "secretName"],
    &["azureFile", "secretName"],
    &["cephfs", "secretRef", "name"],
    &["cinder", "secretRef", "name"],
    &["csi", "nodePublishSecretRef", "name"],
    &["flexVolume", "secretRef", "name"],
    &["iscsi", "secretRef", "name"],
    &["rbd", "secretRef", "name"],
    &["scaleIO", "secretRef", "name"],
    &["storageos", "secretRef", "name"],
    &["glusterfs", "secretRef", "name"],
];

impl Refs {
    /// Of a pod. A mirror pod gets nothing: the kubelet makes it itself.
    pub(crate) fn of(pod: &Value) -> Self {
        let mut refs = Self::default();
        if pod.annotation(MIRROR).is_some() {
            return refs;
        }
        pod.str_at(&["spec", "serviceAccountName"])
            .clone_into(&mut refs.account);
        for secret in pod.list_at(&["spec", "imagePullSecrets"]) {
            add(&mut refs.secrets, secret, &["name"]);
        }
        for containers in ["initContainers", "containers", "ephemeralContainers"] {
            for container in pod.list_at(&["spec", containers]) {
                refs.of_container(container);
            }
        }
        for volume in pod.list_at(&["spec", "volumes"]) {
            refs.of_volume(pod.name(), volume);
        }
        for claim in pod.list_at(&["spec", "resourceClaims"]) {
            add(&mut refs.resource_claims, claim, &["resourceClaimName"]);
        }
        for claim in pod.list_at(&["status", "resourceClaimStatuses"]) {
            add(&mut refs.resource_claims, claim, &["resourceClaimName"]);
        }
        let extended = &["status", "extendedResourceClaimStatus", "resourceClaimName"];
        add(&mut refs.resource_claims, pod, extended);
        refs
    }

    fn of_container(&mut self, container: &Value) {
        for from in container.list_at(&["envFrom"]) {
            add(&mut self.secrets, from, &["secretRef", "name"]);
            add(&mut self.config_maps, from, &["configMapRef", "name"]);
        }
        for variable in container.list_at(&["env"]) {
            let secret = &["valueFrom", "secretKeyRef", "name"];
            add(&mut self.secrets, variable, secret);
            let config_map = &["valueFrom", "configMapKeyRef", "name"];
            add(&mut self.config_maps, variable, config_map);
        }
    }

    fn of_volume(&mut self, pod: &str, volume: &Value) {
        for path in POD_SECRETS {
            add(&mut self.secrets, volume, path);
        }
        add(&mut self.config_maps, volume, &["configMap", "name"]);
        for source in volume.list_at(&["projected", "sources"]) {
            add(&mut self.secrets, source, &["secret", "name"]);
            add(&mut self.config_maps, source, &["configMap", "name"]);
        }
        let claim = &["persistentVolumeClaim", "claimName"];
        add(&mut self.claims, volume, claim);
        if volume.get("ephemeral").is_some_and(Value::is_object) {
            let name = volume.str_at(&["name"]);
            self.claims.insert(format!("{pod}-{name}"));
        }
    }
}

fn add(names: &mut BTreeSet<String>, value: &Value, path: &[&str]) {
    let name = value.str_at(path);
    if !name.is_empty() {
        names.insert(name.to_owned());
    }
}

/// The secrets that a persistent volume names and a kubelet needs: their namespaces and names.
pub(crate) fn volume_secrets(volume: &Value) -> Vec<(String, String)> {
    const REFERENCES: [(&str, &str); 9] = [
        ("cephfs", "secretRef"),
        ("cinder", "secretRef"),
        ("csi", "nodeExpandSecretRef"),
        ("csi", "nodePublishSecretRef"),
        ("csi", "nodeStageSecretRef"),
        ("flexVolume", "secretRef"),
        ("iscsi", "secretRef"),
        ("rbd", "secretRef"),
        ("scaleIO", "secretRef"),
    ];
    let own = volume.str_at(&["spec", "claimRef", "namespace"]);
    let mut found = Vec::new();
    let mut add = |namespace: &str, name: &str| {
        if !name.is_empty() {
            let namespace = if namespace.is_empty() { own } else { namespace };
            found.push((namespace.to_owned(), name.to_owned()));
        }
    };
    for (kind, reference) in REFERENCES {
        let part = |part: &str| volume.str_at(&["spec", kind, reference, part]);
        add(part("namespace"), part("name"));
    }
    let azure = |part: &str| volume.str_at(&["spec", "azureFile", part]);
    add(azure("secretNamespace"), azure("secretName"));
    let storage_os = |part: &str| volume.str_at(&["spec", "storageos", "secretRef", part]);
    add(storage_os("namespace"), storage_os("name"));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn pods_refer_to_things() {
        let pod = json!({
            "metadata": { "name": "p" },
            "spec": {
                "serviceAccountName": "sa",
                "imagePullSecrets": [{ "name": "pull" }],
                "initContainers": [{ "envFrom": [{ "secretRef": { "name": "s1" } }, { "configMapRef": { "name": "c1" } }] }],
                "containers": [{ "env": [
                    { "valueFrom": { "secretKeyRef": { "name": "s2" } } }, { "valueFrom": { "configMapKeyRef": { "name": "c2" } } }, { "value": "x" },
                ] }],
                "volumes": [
                    { "secret": { "secretName": "s3" } }, { "configMap": { "name": "c3" } },
                    { "projected": { "sources": [{ "secret": { "name": "s4" } }, { "configMap": { "name": "c4" } }] } },
                    { "csi": { "nodePublishSecretRef": { "name": "s5" } } },
                    { "persistentVolumeClaim": { "claimName": "pvc" } }, { "name": "tmp", "ephemeral": {} },
                ],
                "resourceClaims": [{ "name": "a", "resourceClaimName": "r1" }, { "name": "b", "resourceClaimTemplateName": "t" }],
            },
            "status": { "resourceClaimStatuses": [{ "name": "b", "resourceClaimName": "r2" }] },
        });
        let refs = Refs::of(&pod);
        assert_eq!(refs.secrets, names(&["pull", "s1", "s2", "s3", "s4", "s5"]));
        assert_eq!(refs.config_maps, names(&["c1", "c2", "c3", "c4"]));
        assert_eq!(refs.claims, names(&["pvc", "p-tmp"]));
        assert_eq!(refs.resource_claims, names(&["r1", "r2"]));
        assert_eq!(refs.account, "sa");
        let mut mirror = pod;
        mirror.set_at(&["metadata", "annotations", MIRROR], "x");
        assert_eq!(Refs::of(&mirror), Refs::default());
    }

    #[test]
    fn volumes_refer_to_secrets() {
        let volume = json!({ "spec": {
            "claimRef": { "namespace": "a" },
            "csi": { "nodeStageSecretRef": { "name": "s1", "namespace": "b" }, "controllerPublishSecretRef": { "name": "no" } },
            "azureFile": { "secretName": "s2" },
        } });
        let expected = [("b", "s1"), ("a", "s2")]
            .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        assert_eq!(volume_secrets(&volume), expected);
    }
}
