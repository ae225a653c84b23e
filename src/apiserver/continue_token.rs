//! Continue tokens: where a list goes on, and as of which revision. Opaque to clients.
use crate::apiserver::schema::scan;
use crate::store::Revision;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

/// A parsed continue token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContinueToken {
    /// The revision of the list; `None`: whatever is newest, at the price of an inconsistent list.
    pub revision: Option<Revision>,
    /// The key after which the list goes on.
    pub after: String,
}

#[derive(Deserialize, Serialize)]
struct Encoded {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

impl ContinueToken {
    /// The token's text. Keys are written without `prefix`.
    pub(crate) fn encode(&self, prefix: &str) -> String {
        let revision = self
            .revision
            .and_then(|revision| i64::try_from(revision).ok());
        let key = self.after.strip_prefix(prefix).unwrap_or(&self.after);
        let encoded = Encoded {
            v: VERSION.to_owned(),
            rv: revision.unwrap_or(-1),
            start: format!("{key}\0"),
        };
        // A struct of two strings and a number always has a JSON form.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&encoded).unwrap_or_default())
    }

    /// Reads a token for the keys below `prefix`.
    ///
    /// # Errors
    /// The text that Kubernetes gives for it.
    pub(crate) fn decode(token: &str, prefix: &str) -> Result<Self, String> {
        let generic = "continue key is not valid";
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => token.len(),
            };
            format!("{generic}: illegal base64 data at input byte {at}")
        })?;
        let value = scan::parse(&bytes).map_err(|error| format!("{generic}: {error}"))?;
        let encoded: Encoded = serde_json::from_value(value.into_value())
            .map_err(|error| format!("{generic}: {error}"))?;
        if encoded.v != VERSION {
            return Err(format!(
                "{generic}: server does not recognize this encoded version {}",
                encoded.v
            ));
        }
        if encoded.rv == 0 {
            return Err(format!(
                "{generic}: incorrect encoded start resourceVersion (version {VERSION})"
            ));
        }
        if encoded.start.is_empty() {
            return Err(format!(
                "{generic}: encoded start key empty (version {VERSION})"
            ));
        }
        // A key must not lead out of the prefix.
        let key = encoded.start.strip_prefix('/').unwrap_or(&encoded.start);
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("{generic}: {}", encoded.start));
        }
        // The key that was last, with the least character after it: what follows sorts after the last key.
        let last = key.strip_suffix('\0').unwrap_or(key);
        Ok(Self {
            revision: Revision::try_from(encoded.rv).ok(),
            after: format!("{prefix}{last}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refusals() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for (token, error) in [
            (
                "!".to_owned(),
                "continue key is not valid: illegal base64 data at input byte 0",
            ),
            (
                encode(r#"{"v":"v2","rv":1,"start":"a"}"#),
                "continue key is not valid: server does not recognize this encoded version v2",
            ),
            (
                "abc".to_owned(),
                "continue key is not valid: invalid character 'i' looking for beginning of value",
            ),
            (
                encode(r#"{"v":"#),
                "continue key is not valid: unexpected end of JSON input",
            ),
            (
                encode(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
                "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                encode(r#"{"v":"meta.k8s.io/v1","rv":1}"#),
                "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)",
            ),
            (
                encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#),
                "continue key is not valid: ../secrets/a",
            ),
        ] {
            assert_eq!(
                ContinueToken::decode(&token, "/registry/pods/"),
                Err(error.to_owned())
            );
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(revision in proptest::option::of(1..u64::MAX / 4), name in "[a-z]{1,8}(/[a-z.-]{1,8}x)?") {
            let token = ContinueToken { revision, after: format!("/registry/pods/{name}") };
            prop_assert_eq!(ContinueToken::decode(&token.encode("/registry/pods/"), "/registry/pods/").unwrap(), token);
        }

        #[test]
        fn never_panics(token in "[A-Za-z0-9_=-]*") {
            let _ = ContinueToken::decode(&token, "/registry/pods/");
        }
    }
}
