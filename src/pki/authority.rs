//! An authority that signs certificates (`pkg/controller/certificates/authority`).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{self, EcdsaKeyPair, RsaKeyPair};

use super::certificate::{self, Certificate};
use super::der::{BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, OID, element, sequence};
use super::key::{Curve, KeyError, PrivateKey};
use super::pem;
use super::request::{OTHER_NAMES, Wanted};

/// Certificates begin to be good this long before now: not all clocks agree.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// What is good for longer than this ends that much earlier.
const SHORT: Duration = Duration::from_secs(8 * 3600);

const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];

/// The bits of what a key may be used for, by the names of the API.
const USAGES: [(&str, u8); 10] = [
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// What else a certificate may be used for, in the order of Go's constants.
const EXTENDED: [(&str, &[u8]); 13] = [
    ("any", &[0x55, 0x1d, 0x25, 0x00]),
    ("server auth", &[0x2b, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[0x2b, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[0x2b, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[0x2b, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[0x2b, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[0x2b, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[0x2b, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[0x2b, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[0x2b, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[0x2b, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 3]),
    (
        "netscape sgc",
        &[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 4, 1],
    ),
];

/// Why an authority cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// There is no certificate in the text, or it is broken.
    #[error("the text does not contain a certificate in PEM form")]
    Certificate,
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The authority's own certificate is over.
    #[error("refusing to sign a certificate that expired in the past")]
    Expired,
    /// A certificate would be for something that is not known.
    #[error("unrecognized usage values: {0:?}")]
    Usages(Vec<String>),
}

/// Who signs certificates: a certificate of an authority and its private key.
pub struct Authority {
    text: String,
    certificate: Certificate,
    key: Key,
}

enum Key {
    Ec(Curve, Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl fmt::Debug for Authority {
    /// Without the key, which is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// For what and how long a certificate is good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// As the API names them.
    pub(crate) usages: &'a [String],
    pub(crate) life: Duration,
    pub(crate) now: Timestamp,
}

impl Authority {
    /// An authority from its certificate and its private key in PEM (ECDSA on P-256 or P-384, or RSA).
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let parsed = Certificate::from_pem(certificate).ok_or(AuthorityError::Certificate)?;
        let key = match PrivateKey::from_pem(key.as_bytes())? {
            PrivateKey::Rsa(pair) => Key::Rsa(pair),
            PrivateKey::Ec {
                curve,
                private,
                public,
            } => {
                let kind = match curve {
                    Curve::P256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                    Curve::P384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                };
                let random = SystemRandom::new();
                let pair =
                    EcdsaKeyPair::from_private_key_and_public_key(kind, &private, &public, &random);
                Key::Ec(curve, Box::new(pair.map_err(|_| KeyError::BROKEN)?))
            }
        };
        Ok(Self {
            text: certificate.to_owned(),
            certificate: parsed,
            key,
        })
    }

    /// Its certificate in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.text
    }

    /// Signs what is wanted; gives the certificate in PEM. Of what the request says besides its name and key, other names alone
    /// are taken over.
    ///
    /// # Errors
    /// When it has expired, or the usages are not known.
    pub(crate) fn sign(
        &self,
        wanted: &Wanted,
        terms: &Terms<'_>,
    ) -> Result<String, AuthorityError> {
        let Terms { usages, life, now } = *terms;
        if now >= self.certificate.until {
            return Err(AuthorityError::Expired);
        }
        let life = if life < SHORT {
            life
        } else {
            life.saturating_sub(BACKDATE)
        };
        let until = (now + life).min(self.certificate.until);
        let validity = [certificate::time(now - BACKDATE), certificate::time(until)];
        let algorithm = self.algorithm();
        let signed = sequence(&[
            // Version 3.
            element(0xa0, &element(INTEGER, &[2])),
            element(INTEGER, &serial()?),
            algorithm.clone(),
            self.certificate.subject.clone(),
            sequence(&validity),
            wanted.subject.clone(),
            wanted.key.clone(),
            element(0xa3, &sequence(&self.extensions(wanted, usages)?)),
        ]);
        let signature = self.signature(&signed)?;
        let signature = element(BIT_STRING, &[&[0][..], &signature].concat());
        let whole = sequence(&[signed, algorithm, signature]);
        Ok(pem::write("CERTIFICATE", &whole))
    }

    fn algorithm(&self) -> Vec<u8> {
        match &self.key {
            Key::Ec(Curve::P256, _) => sequence(&[element(OID, ECDSA_SHA256)]),
            Key::Ec(Curve::P384, _) => sequence(&[element(OID, ECDSA_SHA384)]),
            Key::Rsa(_) => sequence(&[element(OID, RSA_SHA256), vec![0x05, 0]]),
        }
    }

    fn signature(&self, signed: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Ec(_, pair) => pair
                .sign(&random, signed)
                .map(|signature| signature.as_ref().to_vec()),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &signature::RSA_PKCS1_SHA256,
                    &random,
                    signed,
                    &mut signature,
                )
                .map(|()| signature)
            }
        };
        Ok(signature.map_err(|_| KeyError::Generate)?)
    }

    fn extensions(
        &self,
        wanted: &Wanted,
        usages: &[String],
    ) -> Result<Vec<Vec<u8>>, AuthorityError> {
        let has = |name: &str| usages.iter().any(|usage| usage == name);
        let is_known = |usage: &String| {
            USAGES.iter().any(|(name, _)| name == usage)
                || EXTENDED.iter().any(|(name, _)| name == usage)
        };
        let unknown: Vec<String> = usages
            .iter()
            .filter(|usage| !is_known(usage))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(AuthorityError::Usages(unknown));
        }
        let mut extensions = Vec::new();
        let bits: BTreeSet<u8> = USAGES
            .iter()
            .filter(|(name, _)| has(name))
            .map(|(_, bit)| *bit)
            .collect();
        if !bits.is_empty() {
            extensions.push(extension(KEY_USAGE, true, &bit_string(&bits)));
        }
        let mut extended: Vec<Vec<u8>> = EXTENDED
            .iter()
            .filter(|(name, _)| has(name))
            .map(|(_, oid)| element(OID, oid))
            .collect();
        extended.dedup();
        if !extended.is_empty() {
            extensions.push(extension(EXTENDED_USAGE, false, &sequence(&extended)));
        }
        extensions.push(extension(CONSTRAINTS, true, &sequence(&[])));
        let key_id = &self.certificate.key_id;
        if !key_id.is_empty() {
            let value = sequence(&[element(0x80, key_id)]);
            extensions.push(extension(AUTHORITY_KEY_ID, false, &value));
        }
        if !wanted.names.is_empty() {
            extensions.push(extension(OTHER_NAMES, false, &wanted.names));
        }
        Ok(extensions)
    }
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![element(OID, oid)];
    if critical {
        parts.push(element(BOOLEAN, &[0xff]));
    }
    parts.push(element(OCTET_STRING, value));
    sequence(&parts)
}

/// Named bits, without the zeros at their end.
fn bit_string(bits: &BTreeSet<u8>) -> Vec<u8> {
    let last = bits.last().copied().unwrap_or(0);
    let mut bytes = vec![0_u8; usize::from(last / 8) + 1];
    for bit in bits {
        if let Some(byte) = bytes.get_mut(usize::from(bit / 8)) {
            *byte |= 0x80 >> (bit % 8);
        }
    }
    let unused = 7 - last % 8;
    element(BIT_STRING, &[&[unused][..], &bytes].concat())
}

/// A number that no other certificate has: positive, of 127 bits.
fn serial() -> Result<[u8; 16], AuthorityError> {
    let mut number = [0; 16];
    let filled = SystemRandom::new().fill(&mut number);
    filled.map_err(|_| KeyError::Generate)?;
    // Positive, and without zeros before it.
    number[0] = (number[0] & 0x7f) | 0x40;
    Ok(number)
}
