//! Bootstrap tokens: secrets of `kube-system` by which machines that want to join are known for a while
//! (`plugin/pkg/auth/authenticator/token/bootstrap`).
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::authenticate::find;
use crate::apiserver::auth::secret::Shown;
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use crate::object::{Document, base64};

const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of all who show one.
const GROUP: &str = "system:bootstrappers";
/// What their names begin with.
const USER: &str = "system:bootstrap:";

/// Whom the token stands for. `None`: it is none, or is not believed.
///
/// # Errors
/// When the secret cannot be looked for.
pub(super) async fn authenticate(
    shared: &Arc<Shared>,
    token: Shown<'_>,
) -> Result<Option<User>, String> {
    let Some((id, secret)) = parse(token) else {
        return Ok(None);
    };
    let name = format!("bootstrap-token-{id}");
    let Some(found) = find(shared, "secrets", "kube-system", &name).await? else {
        tracing::debug!(name, "No secret to match bootstrap bearer token");
        return Ok(None);
    };
    Ok(match user(&found, id, secret, shared.clock.now()) {
        Ok(user) => Some(user),
        Err(why) => {
            tracing::debug!(name, why, "a bootstrap secret is not believed");
            None
        }
    })
}

/// The two parts of a token: `[a-z0-9]{6}.[a-z0-9]{16}`.
fn parse(token: Shown<'_>) -> Option<(&str, Shown<'_>)> {
    let (id, secret) = token.reveal().split_once('.')?;
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret))
        .then(|| (id, Shown::new(secret)))
}

/// Whom a secret makes of somebody who shows these parts.
///
/// # Errors
/// Why it makes nothing of them.
fn user(found: &Value, id: &str, secret: Shown<'_>, now: Timestamp) -> Result<User, String> {
    if found.deletion_timestamp().is_some() {
        return Err("is deleted and awaiting removal".to_owned());
    }
    if found.str_at(&["type"]) != TYPE {
        return Err(format!("has invalid type, expected {TYPE}."));
    }
    let data = |key: &str| {
        let bytes = base64::decode(found.str_at(&["data", key])).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if !secret.is(data("token-secret").as_bytes()) {
        return Err("has invalid value for key token-secret".to_owned());
    }
    if data("token-id") != id {
        return Err(format!(
            "has invalid value for key token-id, expected {id}."
        ));
    }
    let expiration = data("expiration");
    if !expiration.is_empty() {
        let until = expiration.parse::<Timestamp>();
        if until.is_err() || until.is_ok_and(|until| until <= now) {
            return Err("has expired".to_owned());
        }
    }
    if data("usage-bootstrap-authentication") != "true" {
        return Err("not marked usage-bootstrap-authentication=true.".to_owned());
    }
    let mut groups = BTreeSet::from([GROUP.to_owned()]);
    let more = data("auth-extra-groups");
    for group in more.split(',').filter(|_| !more.is_empty()) {
        if !is_group(group) {
            return Err(format!(
                "has invalid value for key auth-extra-groups: bootstrap group {group:?} is invalid"
            ));
        }
        groups.insert(group.to_owned());
    }
    Ok(User {
        name: format!("{USER}{id}"),
        groups: groups.into_iter().collect(),
        ..User::default()
    })
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn is_group(group: &str) -> bool {
    let Some(rest) = group
        .strip_prefix(GROUP)
        .and_then(|rest| rest.strip_prefix(':'))
    else {
        return false;
    };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().next_back().is_some_and(is_plain)
        && rest
            .bytes()
            .all(|byte| is_plain(byte) || matches!(byte, b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whom_tokens_stand_for() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let with = |changes: &[(&str, &str)]| {
            let mut data = json!({});
            for (key, value) in [
                ("token-id", "abcdef"),
                ("token-secret", "0123456789abcdef"),
                ("usage-bootstrap-authentication", "true"),
            ]
            .iter()
            .chain(changes)
            {
                data[*key] = base64::encode(value.as_bytes()).into();
            }
            let secret = json!({"type": TYPE, "data": data});
            user(&secret, "abcdef", Shown::new("0123456789abcdef"), now)
                .map(|user| (user.name, user.groups))
        };
        let plain = vec![GROUP.to_owned()];
        let name = || "system:bootstrap:abcdef".to_owned();
        assert_eq!(with(&[]), Ok((name(), plain)));
        let (_, groups) = with(&[(
            "auth-extra-groups",
            "system:bootstrappers:b,system:bootstrappers:a-1",
        )])
        .unwrap();
        assert_eq!(
            groups,
            [GROUP, "system:bootstrappers:a-1", "system:bootstrappers:b"]
        );
        assert!(with(&[("expiration", "2026-01-01T00:00:01Z")]).is_ok());
        for (key, value, why) in [
            ("token-id", "abcdeg", "token-id"),
            ("token-secret", "0123456789abcdee", "token-secret"),
            ("expiration", "2026-01-01T00:00:00Z", "expired"),
            ("expiration", "soon", "expired"),
            ("usage-bootstrap-authentication", "yes", "not marked"),
            ("auth-extra-groups", "system:masters", "bootstrap group"),
            (
                "auth-extra-groups",
                "system:bootstrappers:",
                "bootstrap group",
            ),
            (
                "auth-extra-groups",
                "system:bootstrappers:a,",
                "bootstrap group",
            ),
        ] {
            let found = with(&[(key, value)]).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn tokens_have_two_parts() {
        let (id, secret) = parse(Shown::new("abcdef.0123456789abcdef")).unwrap();
        assert_eq!((id, secret.reveal()), ("abcdef", "0123456789abcdef"));
        for token in [
            "abcdef",
            "abcdef.0123",
            "Abcdef.0123456789abcdef",
            "a.b.c",
            "",
        ] {
            assert!(parse(Shown::new(token)).is_none(), "{token}");
        }
    }
}
