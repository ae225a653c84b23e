//! Fields of features that are off in Kubernetes 1.36 unless asked for: they are taken out of what clients send.

use serde_json::{Map, Value};

use super::CONTAINER_LISTS;
use crate::object::Document;

/// Takes them out of a spec. `grouped`: GenericWorkload is on.
pub(super) fn drop_disabled(spec: &mut Value, grouped: bool) {
    if !grouped {
        spec.remove_at(&["schedulingGroup"]);
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        let sources = volume.at_mut(&["projected", "sources"]);
        for source in sources.and_then(Value::as_array_mut).into_iter().flatten() {
            // ClusterTrustBundleProjection and PodCertificateRequest.
            for field in ["clusterTrustBundle", "podCertificate"] {
                source.remove_at(&[field]);
            }
        }
    }
    for list in CONTAINER_LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            // ContainerStopSignals.
            let dropped = container.remove_at(&["lifecycle", "stopSignal"]).is_some();
            let left = container.get("lifecycle").and_then(Value::as_object);
            if dropped && left.is_some_and(Map::is_empty) {
                container.remove_at(&["lifecycle"]);
            }
        }
    }
}
