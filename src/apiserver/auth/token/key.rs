//! Keys that sign tokens (ES256, ES384 or RS256, as the kind of key has it) and keys that verify them, over ring.
pub use crate::pki::KeyError;
use crate::pki::der::{BIT_STRING, Element, INTEGER, OID, Reader, SEQUENCE, element};
use crate::pki::key::{Curve, EC_KEY, P256, P384, PrivateKey, RSA_KEY};
use crate::pki::pem;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use std::fmt;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Algorithm {
    Es256,
    Es384,
    Rs256,
}

impl Algorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
        }
    }
}

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct VerifyingKey {
    algorithm: Algorithm,
    /// The point of the curve, or the `RSAPublicKey`.
    bytes: Vec<u8>,
    /// Names the key in tokens.
    pub(super) id: String,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({} {})", self.algorithm.name(), self.id)
    }
}

impl VerifyingKey {
    fn new(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let info = public_key_info(algorithm, bytes);
        let digest = ring::digest::digest(&ring::digest::SHA256, &info);
        Self {
            algorithm,
            bytes: bytes.to_vec(),
            id: URL_SAFE_NO_PAD.encode(digest),
        }
    }

    /// Reads a `SubjectPublicKeyInfo`.
    fn of_info(info: &Element<'_>) -> Option<Self> {
        let mut info = info.reader();
        let mut algorithm = info.take(SEQUENCE)?.reader();
        let kind = algorithm.take(OID)?.content;
        let bytes = info.take(BIT_STRING)?.bits()?;
        let algorithm = match (kind, algorithm.any().map(|curve| curve.content)) {
            (RSA_KEY, _) => Algorithm::Rs256,
            (EC_KEY, Some(P256)) => Algorithm::Es256,
            (EC_KEY, Some(P384)) => Algorithm::Es384,
            _ => return None,
        };
        Some(Self::new(algorithm, bytes))
    }

    /// All keys in a PEM text: public keys, certificates, or private keys, of which the public part is taken.
    ///
    /// # Errors
    /// When there is none, or one cannot be used.
    pub(super) fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for block in pem::all(&String::from_utf8_lossy(text)) {
            let key = match &*block.label {
                "PUBLIC KEY" => Reader::new(&block.content)
                    .take(SEQUENCE)
                    .and_then(|info| Self::of_info(&info)),
                "RSA PUBLIC KEY" => Some(Self::new(Algorithm::Rs256, &block.content)),
                "CERTIFICATE" => certificate_key(&block.content),
                _ => match PrivateKey::of_block(&block) {
                    None => continue,
                    Some(key) => Some(SigningKey::of(key?)?.public),
                },
            };
            keys.push(key.ok_or(KeyError::Unusable("the public key is of no known kind"))?);
        }
        if keys.is_empty() {
            return Err(KeyError::Missing("public or private key"));
        }
        Ok(keys)
    }

    /// Whether the key's owner has signed this.
    pub(super) fn verifies(&self, algorithm: &str, signed: &[u8], with: &[u8]) -> bool {
        let verification: &dyn signature::VerificationAlgorithm = match self.algorithm {
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        // The key says how it signs; a token cannot choose.
        algorithm == self.algorithm.name()
            && UnparsedPublicKey::new(verification, &self.bytes)
                .verify(signed, with)
                .is_ok()
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// As a JSON Web Key.
    pub(super) fn to_jwk(&self) -> Value {
        let mut key = json!({ "use": "sig", "kid": self.id, "alg": self.algorithm.name() });
        let mut set = |name: &str, value: String| key[name] = value.into();
        match self.algorithm {
            Algorithm::Es256 | Algorithm::Es384 => {
                let point = self.bytes.get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                set("kty", "EC".to_owned());
                let curve = if self.algorithm == Algorithm::Es256 {
                    "P-256"
                } else {
                    "P-384"
                };
                set("crv", curve.to_owned());
                set("x", URL_SAFE_NO_PAD.encode(x));
                set("y", URL_SAFE_NO_PAD.encode(y));
            }
            Algorithm::Rs256 => {
                let parts = Reader::new(&self.bytes).take(SEQUENCE).and_then(|key| {
                    let mut parts = key.reader();
                    Some((parts.take(INTEGER)?.content, parts.take(INTEGER)?.content))
                });
                let (modulus, exponent) = parts.unwrap_or_default();
                let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
                set("kty", "RSA".to_owned());
                set("n", URL_SAFE_NO_PAD.encode(modulus));
                set("e", URL_SAFE_NO_PAD.encode(exponent));
            }
        }
        key
    }
}

/// The key of an X.509 certificate.
fn certificate_key(content: &[u8]) -> Option<VerifyingKey> {
    let certificate = Reader::new(content).take(SEQUENCE)?;
    let mut fields = certificate.reader().take(SEQUENCE)?.reader();
    // Of version, serial number, algorithm, issuer, validity, subject the version may be left out.
    let first = fields.any()?;
    let before = if first.tag == INTEGER { 4 } else { 5 };
    for _ in 0..before {
        fields.any()?;
    }
    VerifyingKey::of_info(&fields.take(SEQUENCE)?)
}

fn public_key_info(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        Algorithm::Es256 => [element(OID, EC_KEY), element(OID, P256)].concat(),
        Algorithm::Es384 => [element(OID, EC_KEY), element(OID, P384)].concat(),
        Algorithm::Rs256 => [element(OID, RSA_KEY), vec![0x05, 0]].concat(),
    };
    let key = [&[0][..], key].concat();
    let content = [element(SEQUENCE, &algorithm), element(BIT_STRING, &key)].concat();
    element(SEQUENCE, &content)
}

/// A key that signs.
pub(super) struct SigningKey {
    pair: Pair,
    pub(super) public: VerifyingKey,
}

enum Pair {
    Ec(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl fmt::Debug for SigningKey {
    /// The public part: the rest is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id)
    }
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub(super) fn generate() -> Result<Self, KeyError> {
        let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(kind, &SystemRandom::new());
        let document = document.map_err(|_| KeyError::Generate)?;
        Self::of_pkcs8(document.as_ref())
    }

    /// The first private key in a PEM text.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub(super) fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        Self::of(PrivateKey::from_pem(text)?)
    }

    fn of_pkcs8(content: &[u8]) -> Result<Self, KeyError> {
        Self::of(PrivateKey::of_pkcs8(content)?)
    }

    fn of(key: PrivateKey) -> Result<Self, KeyError> {
        let (curve, private, public) = match key {
            PrivateKey::Rsa(pair) => return Ok(Self::of_rsa(*pair)),
            PrivateKey::Ec {
                curve,
                private,
                public,
            } => (curve, private, public),
        };
        let (kind, algorithm) = match curve {
            Curve::P256 => (
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                Algorithm::Es256,
            ),
            Curve::P384 => (
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
                Algorithm::Es384,
            ),
        };
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(kind, &private, &public, &random);
        Ok(Self {
            pair: Pair::Ec(Box::new(pair.map_err(|_| KeyError::BROKEN)?)),
            public: VerifyingKey::new(algorithm, &public),
        })
    }

    fn of_rsa(pair: RsaKeyPair) -> Self {
        let public = VerifyingKey::new(Algorithm::Rs256, pair.public_key().as_ref());
        Self {
            pair: Pair::Rsa(Box::new(pair)),
            public,
        }
    }

    /// A compact JSON Web Signature of `claims`.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let header = json!({ "alg": self.public.algorithm.name(), "kid": self.public.id });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair) => pair
                .sign(&random, signed.as_bytes())
                .map(|signature| signature.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = &signature::RSA_PKCS1_SHA256;
                pair.sign(padding, &random, signed.as_bytes(), &mut signature)
                    .map(|()| signature)
            }
        };
        let signature = signature.map_err(|_| KeyError::Generate)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests;
