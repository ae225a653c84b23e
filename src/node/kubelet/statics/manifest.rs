//! A pod from a manifest on the node's disk (`pkg/kubelet/config/common.go`). Pure.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe, Toleration, Volume};
use serde_json::Value;

use super::{HASH, SOURCE};
use crate::object::Document as _;

/// Reads a manifest, gives the pod its name on this node and its uid, and fills in what the API server would.
///
/// # Errors
/// Why it is no pod that can run without an API server.
pub(super) fn read(text: &[u8], file: &Path, node: &str) -> Result<Pod, String> {
    let unread = |why: &dyn std::fmt::Display| {
        format!(
            "{}: couldn't parse as pod({why}), please check config file",
            file.display()
        )
    };
    let value: Value = serde_saphyr::from_slice(text).map_err(|error| unread(&error))?;
    let (version, kind) = (value.api_version(), value.kind());
    if (version, kind) != ("v1", "Pod") {
        return Err(unread(&format!(
            "no kind {kind:?} is registered for version {version:?} of pods"
        )));
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|error| unread(&error))?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    if name.is_empty() {
        return Err("invalid pod: name is needed for the pod".to_owned());
    }
    let spec = pod.spec.get_or_insert_default();
    default_spec(spec);
    if pod.metadata.uid.as_deref().unwrap_or_default().is_empty() {
        let pod_text = serde_json::to_vec(&pod).map_err(|error| error.to_string())?;
        let source = format!("host:{node}file:{}", file.display());
        pod.metadata.uid = Some(fnv([&pod_text, source.as_bytes()].concat()));
    }
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    pod.metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    let namespace = &mut pod.metadata.namespace;
    if namespace.as_deref().unwrap_or_default().is_empty() {
        *namespace = Some("default".to_owned());
    }
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), uid);
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    tolerate_everything(spec);
    pod.status = None;
    let problems = problems(spec);
    if !problems.is_empty() {
        return Err(format!("invalid pod: [{}]", problems.join(", ")));
    }
    match reference(spec) {
        Some(resource) => Err(format!("static pods may not reference {resource}")),
        None => Ok(pod),
    }
}

/// FNV-1a with 128 bits, in hexadecimal digits: what the kubelet makes uids of.
fn fnv(bytes: Vec<u8>) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = bytes.into_iter().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    format!("{hash:032x}")
}

/// A pod of the node is not chased away by the node's troubles.
fn tolerate_everything(spec: &mut PodSpec) {
    let all = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&all) {
        tolerations.push(all);
    }
}

/// The defaults of the fields that a kubelet reads.
fn default_spec(spec: &mut PodSpec) {
    let text = |field: &mut Option<String>, default: &str| {
        if field.as_deref().unwrap_or_default().is_empty() {
            *field = Some(default.to_owned());
        }
    };
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.dns_policy, "ClusterFirst");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    let on_node = spec.host_network == Some(true);
    let init = spec.init_containers.iter_mut().flatten();
    for container in init.chain(&mut spec.containers) {
        text(
            &mut container.termination_message_path,
            "/dev/termination-log",
        );
        text(&mut container.termination_message_policy, "File");
        if container.image_pull_policy.is_none() {
            let image = container.image.as_deref().unwrap_or_default();
            container.image_pull_policy = Some(pull_policy(image).to_owned());
        }
        for port in container.ports.iter_mut().flatten() {
            text(&mut port.protocol, "TCP");
            if on_node {
                port.host_port.get_or_insert(port.container_port);
            }
        }
        for probe in [
            &mut container.startup_probe,
            &mut container.liveness_probe,
            &mut container.readiness_probe,
        ] {
            probe.iter_mut().for_each(default_probe);
        }
        // What is limited is requested.
        if let Some(resources) = &mut container.resources {
            for (name, limit) in resources.limits.iter().flatten() {
                let requests = resources.requests.get_or_insert_with(BTreeMap::new);
                requests
                    .entry(name.clone())
                    .or_insert_with(|| limit.clone());
            }
        }
    }
}

fn default_probe(probe: &mut Probe) {
    for (field, default) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        if field.is_none_or(|own| own == 0) {
            *field = Some(default);
        }
    }
}

/// An image whose tag moves is looked for each time.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let by_digest = name.contains('@');
    let tag = name.split_once(':').map_or("latest", |(_, tag)| tag);
    if tag == "latest" && !by_digest {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// What no kubelet could run. The API server checks more, when the pod is shown there.
fn problems(spec: &PodSpec) -> Vec<String> {
    let mut problems = Vec::new();
    if spec.containers.is_empty() {
        problems.push("spec.containers: Required value".to_owned());
    }
    let lists = [
        (
            "initContainers",
            spec.init_containers.as_deref().unwrap_or_default(),
        ),
        ("containers", &spec.containers),
    ];
    let mut names: Vec<&str> = Vec::new();
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let at = |field: &str| format!("spec.{list}[{index}].{field}");
            let image = container.image.as_deref().unwrap_or_default();
            for (field, text) in [("name", &*container.name), ("image", image)] {
                if text.is_empty() {
                    problems.push(format!("{}: Required value", at(field)));
                }
            }
            if names.contains(&&*container.name) {
                let (at, name) = (at("name"), &container.name);
                problems.push(format!("{at}: Duplicate value: {name:?}"));
            }
            names.push(&container.name);
        }
    }
    problems
}

/// The object of the API that a pod needs, which may not be there yet, as its resource is named.
fn reference(spec: &PodSpec) -> Option<&'static str> {
    let account = spec.service_account_name.as_deref().unwrap_or_default();
    if !account.is_empty() {
        return Some("serviceaccounts");
    }
    let containers = || {
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers)
    };
    if spec.image_pull_secrets.iter().flatten().next().is_some()
        || containers().any(has_secret)
        || volumes(spec).any(of_secret)
    {
        return Some("secrets");
    }
    if containers().any(has_config_map) || volumes(spec).any(of_config_map) {
        return Some("configmaps");
    }
    if spec.resource_claims.iter().flatten().next().is_some() {
        return Some("resourceclaims");
    }
    volumes(spec).find_map(of_api)
}

fn volumes(spec: &PodSpec) -> impl Iterator<Item = &Volume> {
    spec.volumes.iter().flatten()
}

fn has_secret(container: &Container) -> bool {
    let mut from = container.env_from.iter().flatten();
    let mut env = container.env.iter().flatten();
    from.any(|source| source.secret_ref.is_some())
        || env.any(|variable| {
            let source = variable.value_from.as_ref();
            source.is_some_and(|source| source.secret_key_ref.is_some())
        })
}

fn has_config_map(container: &Container) -> bool {
    let mut from = container.env_from.iter().flatten();
    let mut env = container.env.iter().flatten();
    from.any(|source| source.config_map_ref.is_some())
        || env.any(|variable| {
            let source = variable.value_from.as_ref();
            source.is_some_and(|source| source.config_map_key_ref.is_some())
        })
}

fn of_secret(volume: &Volume) -> bool {
    let mut sources = sources(volume);
    volume.secret.is_some() || sources.any(|source| source.secret.is_some())
}

fn of_config_map(volume: &Volume) -> bool {
    let mut sources = sources(volume);
    volume.config_map.is_some() || sources.any(|source| source.config_map.is_some())
}

fn sources(volume: &Volume) -> impl Iterator<Item = &k8s_openapi::api::core::v1::VolumeProjection> {
    let projected = volume.projected.iter();
    projected.flat_map(|projected| projected.sources.iter().flatten())
}

fn of_api(volume: &Volume) -> Option<&'static str> {
    if volume.csi.is_some() {
        return Some("csidrivers (via CSI volumes)");
    }
    if volume.glusterfs.is_some() {
        return Some("endpoints (via glusterFS volumes)");
    }
    if volume.persistent_volume_claim.is_some() {
        return Some("persistentvolumeclaims");
    }
    if volume.ephemeral.is_some() {
        return Some("persistentvolumeclaims (via ephemeral volumes)");
    }
    if volume.azure_file.is_some() {
        return Some("secrets (via azureFile volumes)");
    }
    sources(volume).find_map(|source| {
        if source.service_account_token.is_some() {
            Some("serviceaccounts (via projected volumes)")
        } else if source.cluster_trust_bundle.is_some() {
            Some("clustertrustbundles")
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "/etc/kubernetes/manifests/web.yaml";

    fn parsed(text: &str) -> Result<Pod, String> {
        read(text.as_bytes(), Path::new(FILE), "Node-1")
    }

    #[test]
    fn what_a_pod_becomes() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  hostNetwork: true\n  containers:\n  - {name: c, image: \"a/b:latest\", ports: [{containerPort: 80}], livenessProbe: {tcpSocket: {port: 80}}, resources: {limits: {cpu: 1}}}\n";
        let pod = parsed(text).unwrap();
        let uid = pod.metadata.uid.clone().unwrap();
        assert_eq!(uid.len(), 32);
        let shown = serde_json::to_value(&pod).unwrap();
        assert_eq!(
            shown["metadata"],
            json!({
                "name": "web-node-1", "namespace": "default", "uid": uid,
                "annotations": {"kubernetes.io/config.hash": uid, "kubernetes.io/config.source": "file"},
            })
        );
        let spec = &shown["spec"];
        assert_eq!(spec["nodeName"], "Node-1");
        assert_eq!(
            spec["tolerations"],
            json!([{"operator": "Exists", "effect": "NoExecute"}])
        );
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(
            container["ports"],
            json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}])
        );
        assert_eq!(container["livenessProbe"]["failureThreshold"], 3);
        assert_eq!(container["resources"]["requests"], json!({"cpu": "1"}));
        // The same file, the same uid; another one, another uid.
        assert_eq!(parsed(text).unwrap(), pod);
        let other = parsed(&text.replace("a/b", "a/c")).unwrap();
        assert_ne!(other.metadata.uid, pod.metadata.uid);
        let elsewhere = read(text.as_bytes(), Path::new("/other"), "Node-1").unwrap();
        assert_ne!(elsewhere.metadata.uid, pod.metadata.uid);
    }

    #[test]
    fn what_cannot_be() {
        let of = |spec: &str| {
            let text = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                "spec": serde_saphyr::from_str::<Value>(spec).unwrap(),
            });
            parsed(&text.to_string()).unwrap_err()
        };
        let with = |rest: &str| of(&format!("{{containers: [{{name: c, image: i}}], {rest}}}"));
        let volume = |source: &str| with(&format!("volumes: [{{name: v, {source}}}]"));
        for (found, expected) in [
            (
                of("{containers: []}"),
                "invalid pod: [spec.containers: Required value]",
            ),
            (
                of("{containers: [{name: c}], initContainers: [{name: c, image: i}]}"),
                "invalid pod: [spec.containers[0].image: Required value, spec.containers[0].name: Duplicate value: \"c\"]",
            ),
            (
                with("serviceAccountName: a"),
                "static pods may not reference serviceaccounts",
            ),
            (
                with("imagePullSecrets: [{name: a}]"),
                "static pods may not reference secrets",
            ),
            (
                of("{containers: [{name: c, image: i, envFrom: [{configMapRef: {name: a}}]}]}"),
                "static pods may not reference configmaps",
            ),
            (
                volume("secret: {secretName: s}"),
                "static pods may not reference secrets",
            ),
            (
                volume("persistentVolumeClaim: {claimName: c}"),
                "static pods may not reference persistentvolumeclaims",
            ),
            (
                volume("projected: {sources: [{serviceAccountToken: {path: p}}]}"),
                "static pods may not reference serviceaccounts (via projected volumes)",
            ),
            (
                parsed("{apiVersion: v1, kind: Pod, spec: {}}").unwrap_err(),
                "invalid pod: name is needed for the pod",
            ),
        ] {
            assert_eq!(found, expected);
        }
        assert!(parsed("kind: Service").unwrap_err().starts_with(FILE));
        assert!(
            parsed("a: [")
                .unwrap_err()
                .contains("couldn't parse as pod(")
        );
    }

    #[test]
    fn hashes_are_fnv() {
        assert_eq!(fnv(Vec::new()), "6c62272e07bb014262b821756295c58d");
        assert_eq!(fnv(b"a".to_vec()), "d228cb696f1a8caf78912b704e4a8964");
    }

    #[test]
    fn policies_by_tag() {
        for (image, expected) in [
            ("a", "Always"),
            ("a:latest", "Always"),
            ("host:5000/a", "Always"),
            ("a:v1", "IfNotPresent"),
            ("a@sha256:0", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }
}
