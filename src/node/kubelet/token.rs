//! Tokens of service accounts in volumes: asked for, kept, and renewed before they expire, by the rules of the kubelet's own
//! manager of tokens (`pkg/kubelet/token`).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::Inner;
use super::volumes::{namespace, said};

/// How long a token is good for, unless the pod says otherwise.
const SECONDS: i64 = 3600;
/// No token is used for longer, however long it is good for.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// By how much tokens are renewed earlier, by chance, so that those of many pods are not all renewed at once.
const JITTER: Duration = Duration::from_secs(10);

/// Whose a token is: the pod's uid, the audience, and the seconds it is to be good for.
type Owner = (String, String, i64);

/// The tokens that are in use.
pub(super) type Tokens = BTreeMap<Owner, Token>;

/// A token that is in use.
#[derive(Clone, Debug)]
pub(super) struct Token {
    text: String,
    expires: Timestamp,
    renewal: Timestamp,
}

/// When a token that was given now is to be renewed, when a fifth of its life is left.
fn renewal(now: Timestamp, expires: Timestamp, jitter: Duration) -> Timestamp {
    let life = expires.duration_since(now) * 4 / 5;
    let jitter = SignedDuration::try_from(jitter).unwrap_or_default();
    now + (life.min(LONGEST) - jitter).max(SignedDuration::ZERO)
}

impl Inner {
    /// A token of the pod's service account: the one that is in use until its renewal is due, and for as long as it is good if
    /// it cannot be renewed.
    ///
    /// # Errors
    /// Why there is none, in the words of the real kubelet.
    pub(super) async fn token(
        &self,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let audience = source.audience.clone().unwrap_or_default();
        let owner = (uid, audience, source.expiration_seconds.unwrap_or(SECONDS));
        let known = self.tokens.lock().get(&owner).cloned();
        let now = self.clock.now();
        if let Some(token) = known.as_ref().filter(|token| token.renewal > now) {
            return Ok(token.text.clone());
        }
        match (self.ask_token(pod, &owner).await, known) {
            (Ok(token), _) => {
                let text = token.text.clone();
                self.tokens.lock().insert(owner, token);
                Ok(text)
            }
            (Err(error), Some(token)) if token.expires > self.clock.now() => {
                tracing::warn!(%error, pod = ?pod.metadata.name, "a token could not be renewed; the old one is still good");
                Ok(token.text)
            }
            (Err(error), _) => Err(format!("failed to fetch token: {error}")),
        }
    }

    async fn ask_token(&self, pod: &Pod, owner: &Owner) -> Result<Token, String> {
        let (uid, audience, seconds) = owner;
        let account = pod.spec.as_ref();
        let account = account.and_then(|spec| spec.service_account_name.as_deref());
        let audiences: Vec<&String> = Some(audience)
            .filter(|name| !name.is_empty())
            .into_iter()
            .collect();
        // As JSON: which fields may be absent differs between versions of the types.
        let request: TokenRequest = serde_json::from_value(json!({"spec": {
            "audiences": audiences, "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": uid},
        }}))
        .map_err(|error| error.to_string())?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace(pod));
        let account = account.unwrap_or("default");
        let made = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .map_err(|error| said(&error))?;
        let made = serde_json::to_value(&made).map_err(|error| error.to_string())?;
        let text = |path: &str| made.pointer(path).and_then(|found| found.as_str());
        let expires: Timestamp = text("/status/expirationTimestamp")
            .unwrap_or_default()
            .parse()
            .map_err(|error| format!("{error}"))?;
        let jitter = self
            .clock
            .below(u64::try_from(JITTER.as_millis()).unwrap_or_default());
        Ok(Token {
            text: text("/status/token").unwrap_or_default().to_owned(),
            expires,
            renewal: renewal(self.clock.now(), expires, Duration::from_millis(jitter)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_tokens_are_renewed() {
        let now = Timestamp::UNIX_EPOCH;
        let hours = |hours: i64| hours * 3600;
        for (life, jitter, expected) in [
            (600, 0, 480),
            (600, 10, 470),
            (3600, 5, 2875),
            // No token is used for more than a day.
            (hours(7 * 24), 0, hours(24)),
            (hours(30), 0, hours(24)),
            (hours(29), 0, hours(29) * 4 / 5),
            // One that is over at once.
            (5, 10, 0),
        ] {
            let expires = now + SignedDuration::from_secs(life);
            let due = renewal(now, expires, Duration::from_secs(jitter));
            assert_eq!(due.as_second(), expected, "{life} s, {jitter} s");
        }
    }
}
