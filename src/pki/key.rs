//! Private keys, as texts have them: PKCS#8, SEC 1 and PKCS#1.

use std::fmt;

use ring::signature::RsaKeyPair;

use super::der::{BIT_STRING, OCTET_STRING, OID, Reader, SEQUENCE};
use super::pem::{self, Block};

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no key in the text.
    #[error("the text does not contain a {0} in PEM form")]
    Missing(&'static str),
    /// The key is broken, or of a kind that is not used here.
    #[error("the key cannot be used: {0}")]
    Unusable(&'static str),
    /// The operating system gave no randomness.
    #[error("a key cannot be made")]
    Generate,
}

impl KeyError {
    pub(crate) const BROKEN: Self = Self::Unusable("the ECDSA key is broken");
}

pub(crate) const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(crate) const RSA_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(crate) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(crate) const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// A curve that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

/// A private key.
pub(crate) enum PrivateKey {
    /// The number and the point of a key on a curve.
    Ec {
        curve: Curve,
        private: Vec<u8>,
        public: Vec<u8>,
    },
    Rsa(Box<RsaKeyPair>),
}

impl fmt::Debug for PrivateKey {
    /// Its kind: the rest is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ec { .. } => "PrivateKey(EC)",
            Self::Rsa(_) => "PrivateKey(RSA)",
        })
    }
}

impl PrivateKey {
    /// The first private key in a PEM text.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::all(&String::from_utf8_lossy(text));
        let key = blocks.iter().find_map(Self::of_block);
        key.ok_or(KeyError::Missing("private key"))?
    }

    /// The key in a block; `None` when the block holds something else.
    pub(crate) fn of_block(block: &Block) -> Option<Result<Self, KeyError>> {
        Some(match &*block.label {
            "PRIVATE KEY" => Self::of_pkcs8(&block.content),
            "EC PRIVATE KEY" => Self::of_ec(&block.content, None),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&block.content)
                .map(|pair| Self::Rsa(Box::new(pair)))
                .map_err(|_| KeyError::Unusable("the RSA key is broken or shorter than 2048 bits")),
            _ => return None,
        })
    }

    pub(crate) fn of_pkcs8(content: &[u8]) -> Result<Self, KeyError> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(content) {
            return Ok(Self::Rsa(Box::new(pair)));
        }
        // The private key within is as in SEC 1, with the curve beside it.
        let parts = Reader::new(content).take(SEQUENCE).and_then(|info| {
            let mut info = info.reader();
            let (_version, algorithm) = (info.any()?, info.take(SEQUENCE)?);
            let mut algorithm = algorithm.reader();
            let kind = algorithm.take(OID)?.content;
            let curve = algorithm.take(OID)?.content;
            let key = info.take(OCTET_STRING)?.content;
            (kind == EC_KEY).then_some((curve, key))
        });
        let (curve, key) =
            parts.ok_or(KeyError::Unusable("it is neither an RSA nor an ECDSA key"))?;
        Self::of_ec(key, Some(curve))
    }

    fn of_ec(content: &[u8], curve: Option<&[u8]>) -> Result<Self, KeyError> {
        let parts = Reader::new(content).take(SEQUENCE).and_then(|key| {
            let mut fields = key.reader();
            let (_version, private) = (fields.any()?, fields.take(OCTET_STRING)?.content);
            let (mut named, mut public) = (curve, None);
            while let Some(field) = fields.any() {
                match field.tag {
                    0xa0 => named = Some(field.reader().take(OID)?.content),
                    0xa1 => public = field.reader().take(BIT_STRING)?.bits(),
                    _ => {}
                }
            }
            Some((named?, private, public?))
        });
        let (curve, private, public) = parts.ok_or(KeyError::BROKEN)?;
        let curve = match curve {
            P256 => Curve::P256,
            P384 => Curve::P384,
            _ => return Err(KeyError::Unusable("the curve must be P-256 or P-384")),
        };
        Ok(Self::Ec {
            curve,
            private: private.to_vec(),
            public: public.to_vec(),
        })
    }
}
