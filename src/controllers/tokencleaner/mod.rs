//! Deletes bootstrap tokens that have expired (`token-cleaner-controller` of `kube-controller-manager`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::client;
use crate::clock::Clock;
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "token-cleaner";
/// Where bootstrap tokens are.
const NAMESPACE: &str = "kube-system";
/// The type of their secrets.
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// When one expires.
const EXPIRATION: &str = "expiration";

/// Adds the controller to `manager`.
pub fn install(manager: &Manager) {
    let secrets = manager.cache::<Secret>();
    let reconciler = Cleaner {
        client: manager.client_for(NAME),
        clock: manager.clock().clone(),
        secrets: secrets.clone(),
    };
    let tokens = |_: Option<&Arc<Secret>>, new: Option<&Arc<Secret>>| {
        let token = new.filter(|secret| is_token(secret));
        token.map(|secret| Key::of(&**secret)).into_iter().collect()
    };
    manager.add(Controller::new(NAME, reconciler).source(Source::mapped(&secrets, tokens)));
}

struct Cleaner {
    client: kube::Client,
    clock: Clock,
    secrets: Cache<Secret>,
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE) && secret.metadata.namespace.as_deref() == Some(NAMESPACE)
}

/// How long a token is still good; `None`: for ever. One whose time cannot be read has expired.
fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let data = secret.data.as_ref();
    let text = data.and_then(|data| data.get(EXPIRATION))?;
    let text = String::from_utf8_lossy(&text.0);
    if text.is_empty() {
        return None;
    }
    let until = text.parse::<Timestamp>().ok();
    let left = until.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
    Some(left.unwrap_or_default())
}

impl Reconciler for Cleaner {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(secret) = self.secrets.get(&key).filter(|secret| is_token(secret)) else {
            return Ok(Action::Done);
        };
        let Some(left) = left(&secret, self.clock.now()) else {
            return Ok(Action::Done);
        };
        if !left.is_zero() {
            return Ok(Action::Background(left));
        }
        let params = client::only(&secret.metadata);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        match secrets.delete(&key.name, &params).await {
            Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::base64;

    #[test]
    fn how_long_tokens_are_good() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (expiration, expected) in [
            (None, None),
            (Some(""), None),
            (Some("2026-01-01T00:00:10Z"), Some(10)),
            (Some("2026-01-01T01:00:00+01:00"), Some(0)),
            (Some("2025-01-01T00:00:00Z"), Some(0)),
            (Some("soon"), Some(0)),
        ] {
            let data =
                expiration.map(|text| json!({"expiration": base64::encode(text.as_bytes())}));
            let secret = serde_json::from_value(json!({"metadata": {"name": "s"}, "data": data}));
            let found = left(&secret.unwrap(), now).map(|left| left.as_secs());
            assert_eq!(found, expected, "{expiration:?}");
        }
    }
}
