//! Tokens that are kept in secrets, do not expire, and are good as long as their secret is there.
use super::authenticate::{find, groups};
use crate::apiserver::auth::rbac::SERVICE_ACCOUNT;
use crate::apiserver::auth::secret::Shown;
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use crate::object::Document;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;

/// Who issues them, whatever the issuer of the others is called.
pub(super) const ISSUER: &str = "kubernetes/serviceaccount";
const CLAIM: &str = "kubernetes.io/serviceaccount/";

/// What such a token says.
pub(crate) fn claims(namespace: &str, account: &str, uid: &str, secret: &str) -> Value {
    json!({
        "iss": ISSUER,
        "sub": format!("{SERVICE_ACCOUNT}{namespace}:{account}"),
        format!("{CLAIM}namespace"): namespace,
        format!("{CLAIM}secret.name"): secret,
        format!("{CLAIM}service-account.name"): account,
        format!("{CLAIM}service-account.uid"): uid,
    })
}

/// Whom a token stands for whose signature was found right.
///
/// # Errors
/// Why it is not believed, as the real server says it.
pub(super) async fn authenticate(
    shared: &Arc<Shared>,
    token: Shown<'_>,
    claims: &Value,
) -> Result<User, String> {
    let claim = |name: &str| claims.str_at(&[&format!("{CLAIM}{name}")]);
    let (namespace, secret_name) = (claim("namespace"), claim("secret.name"));
    let (account_name, uid) = (claim("service-account.name"), claim("service-account.uid"));
    for (value, name) in [
        (claims.str_at(&["sub"]), "sub"),
        (namespace, "namespace"),
        (secret_name, "secretName"),
        (account_name, "serviceAccountName"),
        (uid, "serviceAccountUID"),
    ] {
        if value.is_empty() {
            return Err(format!("{name} claim is missing"));
        }
    }
    let name = format!("{SERVICE_ACCOUNT}{namespace}:{account_name}");
    if claims.str_at(&["sub"]) != name {
        return Err("sub claim is invalid".to_owned());
    }
    let secret = find(shared, "secrets", namespace, secret_name).await?;
    let secret = secret.filter(|secret| secret.deletion_timestamp().is_none());
    let secret = secret.ok_or("Token has been invalidated")?;
    let kept = STANDARD
        .decode(secret.str_at(&["data", "token"]))
        .unwrap_or_default();
    if !token.is(&kept) {
        return Err("Token does not match server's copy".to_owned());
    }
    let account = find(shared, "serviceaccounts", namespace, account_name).await?;
    let account = account.ok_or_else(|| format!("serviceaccounts {account_name:?} not found"))?;
    if account.deletion_timestamp().is_some() {
        return Err(format!(
            "ServiceAccount {namespace}/{account_name} has been deleted"
        ));
    }
    if account.uid() != uid {
        return Err(format!(
            "ServiceAccount UID ({}) does not match claim ({uid})",
            account.uid()
        ));
    }
    Ok(User {
        name,
        uid: uid.to_owned(),
        groups: groups(namespace),
        ..User::default()
    })
}
