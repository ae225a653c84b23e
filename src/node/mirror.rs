//! Mirrors: what shows in the API the pods that a node runs by itself.

use k8s_openapi::api::core::v1::Pod;

/// Which manifest a pod was made from: its hash, which is also its uid.
pub(super) const HASH: &str = "kubernetes.io/config.hash";
/// The same of the pod that a mirror shows.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
/// Where a pod comes from.
pub(super) const SOURCE: &str = "kubernetes.io/config.source";
/// When it was seen first.
pub(super) const SEEN: &str = "kubernetes.io/config.seen";

/// The uid of the pod that a mirror shows.
pub(super) fn mirror_of(pod: &Pod) -> Option<&str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get(MIRROR).map(String::as_str)
}

/// Whether a pod only shows one that its node runs by itself.
pub(super) fn is_mirror(pod: &Pod) -> bool {
    mirror_of(pod).is_some()
}

/// The uid under which the runtime has a pod.
pub(super) fn runtime_uid(pod: &Pod) -> Option<&str> {
    mirror_of(pod).or(pod.metadata.uid.as_deref())
}
