//! Who issues tokens of service accounts, with which keys, for whom.
use super::key::{KeyError, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

/// How a server issues tokens of service accounts and which ones it believes.
///
/// ```
/// use homeostat::apiserver::ServiceAccountTokens;
/// let tokens = ServiceAccountTokens::new("https://kubernetes.default.svc").audiences(["https://kubernetes.default.svc"]);
/// # let _ = tokens;
/// ```
#[derive(Debug)]
#[must_use]
pub struct ServiceAccountTokens {
    issuers: Vec<String>,
    audiences: Vec<String>,
    jwks_uri: Option<String>,
    signing: OnceLock<SigningKey>,
    verifying: Vec<VerifyingKey>,
    longest: Option<Duration>,
    extends: bool,
}

impl Default for ServiceAccountTokens {
    /// The issuer is `https://kubernetes.default.svc.cluster.local`.
    fn default() -> Self {
        Self::new("https://kubernetes.default.svc.cluster.local")
    }
}

impl ServiceAccountTokens {
    /// Tokens issued by `issuer`, which is best an `https` URL, under which others find the keys.
    pub fn new(issuer: impl Into<String>) -> Self {
        Self {
            issuers: vec![issuer.into()],
            audiences: Vec::new(),
            jwks_uri: None,
            signing: OnceLock::new(),
            verifying: Vec::new(),
            longest: None,
            extends: true,
        }
    }
    /// Believes tokens of this issuer as well, e.g. of the one before. Default = none.
    pub fn also_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }
    /// As whom this server takes tokens. Default = the issuer.
    pub fn audiences(mut self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.audiences = audiences.into_iter().map(Into::into).collect();
        self
    }
    /// Where others find the keys. Default = `/openid/v1/jwks` below the issuer.
    pub fn jwks_uri(mut self, uri: impl Into<String>) -> Self {
        self.jwks_uri = Some(uri.into());
        self
    }
    /// Tokens are good for no longer than this. Default = no limit.
    pub fn max_expiration(mut self, longest: Duration) -> Self {
        self.longest = Some(longest);
        self
    }
    /// Tokens of pods end when they say, without the year of grace that kube-apiserver gives clients that do not read them
    /// anew. Default = with it.
    pub fn without_extension(mut self) -> Self {
        self.extends = false;
        self
    }
    /// Signs with this private key: RSA, or ECDSA on P-256 or P-384, in PEM. Default = a new ECDSA key, made when first
    /// needed and gone with the server.
    ///
    /// # Errors
    /// When the text does not hold such a key.
    pub fn signing_key_pem(mut self, text: &[u8]) -> Result<Self, KeyError> {
        self.signing = OnceLock::from(SigningKey::from_pem(text)?);
        Ok(self)
    }
    /// Believes tokens signed with these keys too: public keys, certificates or private keys, in PEM. Default = none.
    ///
    /// # Errors
    /// When the text holds none, or one that cannot be used.
    pub fn verifying_keys_pem(mut self, text: &[u8]) -> Result<Self, KeyError> {
        self.verifying.extend(VerifyingKey::all_from_pem(text)?);
        Ok(self)
    }

    /// Who issues.
    pub(crate) fn issuer(&self) -> &str {
        self.issuers.first().map_or("", String::as_str)
    }

    pub(super) fn is_issuer(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|known| known == issuer)
    }

    /// As whom this server takes tokens.
    pub(crate) fn own_audiences(&self) -> Vec<String> {
        if self.audiences.is_empty() {
            self.issuers.get(..1).unwrap_or_default().to_vec()
        } else {
            self.audiences.clone()
        }
    }

    /// The longest time for which a token may be good, in seconds.
    pub(crate) fn longest(&self) -> Option<i64> {
        let longest = self.longest?.as_secs();
        Some(i64::try_from(longest).unwrap_or(i64::MAX))
    }

    /// Whether tokens of pods are good for longer than they say.
    pub(crate) fn extends(&self) -> bool {
        self.extends
    }

    fn signing(&self) -> Result<&SigningKey, KeyError> {
        if let Some(key) = self.signing.get() {
            return Ok(key);
        }
        let key = SigningKey::generate()?;
        Ok(self.signing.get_or_init(|| key))
    }

    /// Signs claims.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.signing()?.sign(claims)
    }

    /// The keys by which tokens are believed, each once.
    pub(super) fn keys(&self) -> Vec<&VerifyingKey> {
        let own = self.signing().ok().map(|key| &key.public);
        let mut keys: Vec<&VerifyingKey> = own.into_iter().collect();
        for key in &self.verifying {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// The keys as a JSON Web Key Set.
    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.keys().iter().map(|key| key.to_jwk()).collect();
        json!({ "keys": keys })
    }

    /// The OpenID discovery document; `None` when the issuer is no `https` URL, of which there is none.
    pub(crate) fn discovery(&self) -> Option<Value> {
        let issuer = self.issuer();
        if !issuer.starts_with("https://") || issuer.contains(['?', '#']) {
            return None;
        }
        let uri = self.jwks_uri.clone();
        let uri = uri.unwrap_or_else(|| format!("{}/openid/v1/jwks", issuer.trim_end_matches('/')));
        let keys = self.keys();
        let mut algorithms: Vec<&str> = keys.iter().map(|key| key.algorithm().name()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        Some(json!({
            "issuer": issuer,
            "jwks_uri": uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_find_the_keys() {
        let tokens = ServiceAccountTokens::new("https://k");
        let discovery = tokens.discovery().unwrap();
        assert_eq!(discovery["jwks_uri"], "https://k/openid/v1/jwks");
        assert_eq!(
            discovery["id_token_signing_alg_values_supported"],
            json!(["ES256"])
        );
        assert_eq!(tokens.jwks()["keys"].as_array().unwrap().len(), 1);
        assert_eq!(tokens.own_audiences(), ["https://k"]);
        assert_eq!(ServiceAccountTokens::new("k").discovery(), None);
        assert!(!format!("{tokens:?}").to_lowercase().contains("private"));
    }
}
