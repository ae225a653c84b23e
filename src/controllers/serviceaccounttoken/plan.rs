//! What is to be done with a secret.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::ObjectMeta;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
const TOKEN: &str = "token";
const NAMESPACE: &str = "namespace";
const AUTHORITY: &str = "ca.crt";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Something is missing in it.
    Fill,
    /// Its account is not there.
    Remove,
}

/// Whether the secret is one for a token.
pub(super) fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE)
}

/// Whether it has its token.
pub(super) fn has_token(secret: &Secret) -> bool {
    !field(secret, TOKEN).is_empty()
}

/// The account it names.
pub(super) fn account_name(secret: &Secret) -> Option<&str> {
    annotation(secret, ACCOUNT).filter(|name| !name.is_empty())
}

/// Namespace and name of the account it names.
pub(super) fn account_of(secret: &Secret) -> Option<String> {
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let account = account_name(secret).filter(|_| is_token(secret))?;
    Some(format!("{namespace}/{account}"))
}

/// Namespace and name.
pub(super) fn path(meta: &ObjectMeta) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&meta.namespace), part(&meta.name))
}

/// What the secret needs, of the account of that name.
pub(super) fn step(secret: &Secret, account: Option<&ServiceAccount>, bundle: &str) -> Step {
    let wanted = annotation(secret, UID).filter(|uid| !uid.is_empty());
    let is_its =
        |account: &ServiceAccount| wanted.is_none() || wanted == account.metadata.uid.as_deref();
    let Some(account) = account.filter(|account| is_its(account)) else {
        return Step::Remove;
    };
    let whole = has_token(secret)
        && !field(secret, NAMESPACE).is_empty()
        && (bundle.is_empty() || field(secret, AUTHORITY) == bundle.as_bytes())
        && annotation(secret, UID) == account.metadata.uid.as_deref();
    if whole { Step::Nothing } else { Step::Fill }
}

/// The secret with what it needs; `token` is a new one, if it has none.
pub(super) fn filled(
    secret: &Secret,
    account: &ServiceAccount,
    token: Option<String>,
    bundle: &str,
) -> Secret {
    let mut secret = secret.clone();
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    let data = secret.data.get_or_insert_default();
    let mut set = |key: &str, text: String| data.insert(key.into(), ByteString(text.into_bytes()));
    if let Some(token) = token {
        set(TOKEN, token);
    }
    if !bundle.is_empty() {
        set(AUTHORITY, bundle.to_owned());
    }
    set(NAMESPACE, namespace);
    let annotations = secret.metadata.annotations.get_or_insert_default();
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    annotations.insert(ACCOUNT.into(), part(&account.metadata.name));
    annotations.insert(UID.into(), part(&account.metadata.uid));
    secret
}

/// The account without the secret; `None`: it does not name it.
pub(super) fn without(account: &ServiceAccount, secret: &str) -> Option<ServiceAccount> {
    let names = |reference: &k8s_openapi::api::core::v1::ObjectReference| {
        reference.name.as_deref() == Some(secret)
    };
    if !account.secrets.iter().flatten().any(names) {
        return None;
    }
    let mut account = account.clone();
    if let Some(secrets) = &mut account.secrets {
        secrets.retain(|reference| !names(reference));
    }
    Some(account)
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let annotations = secret.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

fn field<'a>(secret: &'a Secret, key: &str) -> &'a [u8] {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    data.map_or(&[], |bytes| &bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn secret(annotations: Value, data: Value) -> Secret {
        serde_json::from_value(json!({
            "metadata": { "name": "s", "namespace": "ns", "annotations": annotations }, "type": TYPE, "data": data,
        }))
        .unwrap()
    }

    fn account(uid: &str) -> ServiceAccount {
        serde_json::from_value(json!({
            "metadata": { "name": "a", "namespace": "ns", "uid": uid }, "secrets": [{ "name": "s" }, { "name": "t" }],
        }))
        .unwrap()
    }

    #[test]
    fn steps() {
        let whole = json!({ "token": "eA==", "namespace": "bnM=", "ca.crt": "UEVN" });
        let both = json!({ ACCOUNT: "a", UID: "u" });
        for (annotations, data, uid, expected) in [
            (json!({ ACCOUNT: "a" }), json!({}), Some("u"), Step::Fill),
            (
                json!({ ACCOUNT: "a" }),
                whole.clone(),
                Some("u"),
                Step::Fill,
            ),
            (both.clone(), whole.clone(), Some("u"), Step::Nothing),
            (
                both.clone(),
                json!({ "token": "eA==", "namespace": "bnM=" }),
                Some("u"),
                Step::Fill,
            ),
            (both.clone(), whole.clone(), Some("other"), Step::Remove),
            (both, whole, None, Step::Remove),
        ] {
            let account = uid.map(account);
            let step = step(&secret(annotations, data), account.as_ref(), "PEM");
            assert_eq!(step, expected);
        }
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let empty = secret(json!({ ACCOUNT: "a" }), json!({ "own": "eA==" }));
        let whole = filled(&empty, &account("u"), Some("tok".into()), "PEM");
        assert_eq!(step(&whole, Some(&account("u")), "PEM"), Step::Nothing);
        assert_eq!(field(&whole, "token"), b"tok");
        assert_eq!(field(&whole, "own"), b"x");
        assert_eq!(account_of(&whole).as_deref(), Some("ns/a"));
        let changed = filled(&whole, &account("u"), None, "NEW");
        assert_eq!(
            (field(&changed, "token"), field(&changed, "ca.crt")),
            (&b"tok"[..], &b"NEW"[..])
        );
    }

    #[test]
    fn accounts_forget_a_secret() {
        let left = without(&account("u"), "s").unwrap();
        assert_eq!(left.secrets.unwrap().len(), 1);
        assert_eq!(without(&account("u"), "x"), None);
    }
}
