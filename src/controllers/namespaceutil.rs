//! Questions that several controllers ask of namespaces.

use k8s_openapi::api::core::v1::Namespace;

/// Whether objects can be made in the namespace.
pub(super) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase != Some("Terminating") && namespace.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn namespaces_on_their_way_out_get_nothing() {
        for (namespace, active) in [
            (json!({}), true),
            (json!({ "status": { "phase": "Active" } }), true),
            (json!({ "status": { "phase": "Terminating" } }), false),
            (
                json!({ "metadata": { "deletionTimestamp": "2030-01-01T00:00:00Z" } }),
                false,
            ),
        ] {
            let namespace: Namespace = serde_json::from_value(namespace).unwrap();
            assert_eq!(is_active(&namespace), active, "{namespace:?}");
        }
    }
}
