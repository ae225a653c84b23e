//! Which namespaces are to have the account, and how it looks.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::ObjectMeta;

use crate::reconcile::Key;

/// The account that pods run as when they name none.
pub(super) const DEFAULT: &str = "default";

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

    #[test]
    fn only_the_default_account_is_missed() {
        let mut account = account("ns");
        assert_eq!(namespace_of(&account), Some(Key::cluster("ns")));
        account.metadata.name = Some("other".into());
        assert_eq!(namespace_of(&account), None);
    }
}
