//! Labels that every runtime puts on what it makes, by which tools find a pod's sandboxes and containers.

use std::collections::BTreeMap;

use super::SandboxMetadata;

/// The pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// The pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// The container's name in the pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// Adds the labels of a sandbox.
pub(super) fn of_sandbox(labels: &mut BTreeMap<String, String>, metadata: &SandboxMetadata) {
    for (label, value) in [
        (POD_NAME, &metadata.name),
        (POD_NAMESPACE, &metadata.namespace),
        (POD_UID, &metadata.uid),
    ] {
        labels.insert(label.to_owned(), value.clone());
    }
}

/// Adds the labels of a container.
pub(super) fn of_container(
    labels: &mut BTreeMap<String, String>,
    metadata: &SandboxMetadata,
    name: &str,
) {
    of_sandbox(labels, metadata);
    labels.insert(CONTAINER_NAME.to_owned(), name.to_owned());
}

/// Whether all that is wanted is there.
pub(super) fn hold(wanted: &BTreeMap<String, String>, have: &BTreeMap<String, String>) -> bool {
    let mut wanted = wanted.iter();
    wanted.all(|(label, value)| have.get(label) == Some(value))
}
