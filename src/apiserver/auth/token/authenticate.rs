//! Whom a token of a service account stands for.
use super::claims::{Bound, Claims, LEEWAY, Named};
use super::config::ServiceAccountTokens;
use super::legacy;
use crate::apiserver::admission::View;
use crate::apiserver::auth::rbac::SERVICE_ACCOUNT;
use crate::apiserver::auth::secret::Shown;
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use crate::object::Document;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

const UNEXPECTED: &str =
    "service account token claims could not be validated due to unexpected private claim";
const INVALIDATED: &str = "service account token has been invalidated";
/// What tokens say of their bearers, before the name of each thing.
const EXTRA: &str = "authentication.kubernetes.io";

/// Whom the token stands for, and which of the wanted audiences it is for. `None`: it is no token of ours.
///
/// # Errors
/// Why a token of ours is not believed.
pub(super) async fn authenticate(
    shared: &Arc<Shared>,
    token: Shown<'_>,
    audiences: &[String],
) -> Result<Option<(User, Vec<String>)>, String> {
    let tokens = &shared.service_account_tokens;
    let Some(body) = verify(tokens, token.reveal())? else {
        return Ok(None);
    };
    if body.str_at(&["iss"]) == legacy::ISSUER {
        // They name no audience: they are for this server.
        let own = tokens.own_audiences().into_iter();
        let matching: Vec<String> = own.filter(|own| audiences.contains(own)).collect();
        if matching.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(&tokens.own_audiences()),
                quoted(audiences)
            ));
        }
        let user = legacy::authenticate(shared, token, &body).await?;
        return Ok(Some((user, matching)));
    }
    let claims = Claims::from_value(&body).ok_or(UNEXPECTED)?;
    let matching: Vec<String> = claims
        .audiences
        .iter()
        .filter(|audience| audiences.contains(audience))
        .cloned()
        .collect();
    if matching.is_empty() {
        return Err(format!(
            "token audiences {} is invalid for the target audiences {}",
            quoted(&claims.audiences),
            quoted(audiences)
        ));
    }
    check_time(&claims, shared.clock.now())?;
    check_objects(shared, &claims).await?;
    Ok(Some((user(&claims), matching)))
}

fn quoted(texts: &[String]) -> String {
    crate::apiserver::auth::rbac::quoted(texts)
}

/// What the token says, when one of our keys has signed it. `None`: it is of another issuer, or no token.
fn verify(tokens: &ServiceAccountTokens, token: &str) -> Result<Option<Value>, String> {
    let decode = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    };
    let mut parts = token.splitn(3, '.');
    let (Some(header), Some(payload), Some(signature)) = (parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let (Some(head), Some(body)) = (decode(header), decode(payload)) else {
        return Ok(None);
    };
    let issuer = body.str_at(&["iss"]);
    if issuer != legacy::ISSUER && !tokens.is_issuer(issuer) {
        return Ok(None);
    }
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
        return Ok(None);
    };
    let signed = token
        .get(..=header.len() + payload.len())
        .unwrap_or_default();
    let keys = tokens.keys();
    let named = keys.iter().filter(|key| key.id == head.str_at(&["kid"]));
    let mut named: Vec<_> = named.collect();
    if named.is_empty() {
        named = keys.iter().collect();
    }
    let algorithm = head.str_at(&["alg"]);
    let verifies = named
        .iter()
        .any(|key| key.verifies(algorithm, signed.as_bytes(), &signature));
    if !verifies {
        return Err("go-jose/go-jose: error in cryptographic primitive".to_owned());
    }
    Ok(Some(body))
}

fn check_time(claims: &Claims, now: Timestamp) -> Result<(), String> {
    let now = now.as_second();
    if now + LEEWAY < claims.not_before {
        return Err("service account token is not valid yet".to_owned());
    }
    if now - LEEWAY > claims.expires {
        return Err("service account token has expired".to_owned());
    }
    Ok(())
}

/// Whether the account, and what the token is bound to, is still there.
async fn check_objects(shared: &Arc<Shared>, claims: &Claims) -> Result<(), String> {
    let namespace = &claims.namespace;
    let name = &claims.account.name;
    let account = find(shared, "serviceaccounts", namespace, name).await?;
    let account = account.ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
    if is_gone(shared, &account) {
        return Err(format!(
            "service account {namespace}/{name} has been deleted"
        ));
    }
    if account.uid() != claims.account.uid {
        let (uid, claimed) = (account.uid(), &claims.account.uid);
        return Err(format!(
            "service account UID ({uid}) does not match claim ({claimed})"
        ));
    }
    let (plural, kind, namespace, named) = match &claims.bound {
        None => return Ok(()),
        Some(Bound::Pod(pod, _)) => ("pods", "pod", namespace.as_str(), pod),
        Some(Bound::Secret(secret)) => ("secrets", "secret", namespace.as_str(), secret),
        Some(Bound::Node(node)) => ("nodes", "node", "", node),
    };
    let object = find(shared, plural, namespace, &named.name).await?;
    let object = object.filter(|object| !is_gone(shared, object));
    let object = object.ok_or(INVALIDATED)?;
    if object.uid() != named.uid {
        return Err(format!(
            "{kind} UID ({}) does not match service account {kind} ref claim ({})",
            object.uid(),
            named.uid
        ));
    }
    Ok(())
}

pub(super) async fn find(
    shared: &Arc<Shared>,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, String> {
    View::of(shared)
        .get("", "v1", plural, namespace, name)
        .await
        .map_err(|status| status.message)
}

/// Whether the object is as good as deleted: it should be gone for a while.
fn is_gone(shared: &Shared, object: &Value) -> bool {
    let deleted = object
        .deletion_timestamp()
        .and_then(|time| time.parse::<Timestamp>().ok());
    deleted.is_some_and(|deleted| deleted.as_second() < shared.clock.now().as_second() - LEEWAY)
}

fn user(claims: &Claims) -> User {
    let mut user = User {
        name: format!(
            "{SERVICE_ACCOUNT}{}:{}",
            claims.namespace, claims.account.name
        ),
        uid: claims.account.uid.clone(),
        groups: groups(&claims.namespace),
        ..User::default()
    };
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            let key = format!("{EXTRA}/{key}");
            user.extra.insert(key, vec![value.to_owned()]);
        }
    };
    if !claims.id.is_empty() {
        add("credential-id", &format!("JTI={}", claims.id));
    }
    let node = |add: &mut dyn FnMut(&str, &str), node: &Named| {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    };
    match &claims.bound {
        Some(Bound::Pod(pod, on)) => {
            add("pod-name", &pod.name);
            add("pod-uid", &pod.uid);
            if let Some(on) = on {
                node(&mut add, on);
            }
        }
        Some(Bound::Node(on)) => node(&mut add, on),
        Some(Bound::Secret(_)) | None => {}
    }
    user
}

/// The groups of the service accounts of a namespace.
pub(crate) fn groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}
