//! Which namespaces are to have the account, and how it looks.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::ObjectMeta;

use crate::reconcile::Key;

/// The account that pods run as when they name none.
pub(super) const DEFAULT: &str = "default";

/// Whether accounts can be made in the namespace.
pub(super) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase != Some("Terminating") && namespace.metadata.deletion_timestamp.is_none()
}

/// The namespace of an account that it must have.
pub(super) fn namespace_of(account: &ServiceAccount) -> Option<Key> {
    let namespace = account.metadata.namespace.as_deref()?;
    (account.metadata.name.as_deref() == Some(DEFAULT)).then(|| Key::cluster(namespace))
}

/// The account as it is made.
pub(super) fn account(namespace: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.into()),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_active_namespaces_get_one() {
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

    #[test]
    fn only_the_default_account_is_missed() {
        let mut account = account("ns");
        assert_eq!(namespace_of(&account), Some(Key::cluster("ns")));
        account.metadata.name = Some("other".into());
        assert_eq!(namespace_of(&account), None);
    }
}
