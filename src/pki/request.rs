//! PKCS#10 certification requests (RFC 2986): that they are whole, and signed by the key they name.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::der::{
    BIT_STRING, BOOLEAN, OCTET_STRING, OID, Reader, SEQUENCE, SET, UTF8_STRING, element, sequence,
};
use super::key::{EC_KEY, P256, P384, RSA_KEY};
use super::pem;

const MALFORMED: &str = "asn1: structure error: malformed certificate request";
/// The tag of what a request has besides name and key.
const ATTRIBUTES: u8 = 0xa0;
/// That of the extensions of the certificate.
const EXTENSIONS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
pub(super) const OTHER_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const UNKNOWN: &str = "x509: cannot verify signature: algorithm unimplemented";

/// Checks the PEM text of a request.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(text: &str) -> Result<(), &'static str> {
    let block = block(text)?;
    let request = parse(&block.content).ok_or(MALFORMED)?;
    let (algorithm, failure) = algorithm(&request).ok_or(UNKNOWN)?;
    UnparsedPublicKey::new(algorithm, request.key)
        .verify(request.signed, request.signature)
        .map_err(|_| failure)
}

fn block(text: &str) -> Result<pem::Block, &'static str> {
    let block = pem::first(text).map(|(block, _)| block);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
    block.ok_or("PEM block type must be CERTIFICATE REQUEST")
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// For whom: the name in DER …
    pub(crate) subject: Vec<u8>,
    /// … its common name …
    pub(crate) common_name: String,
    /// … and its organizations.
    pub(crate) organizations: Vec<String>,
    /// The key with its algorithm, in DER.
    pub(crate) key: Vec<u8>,
    /// Other names, in DER; empty: none.
    pub(crate) names: Vec<u8>,
    /// How many of them are DNS names, mail addresses, IP addresses and URIs.
    pub(crate) dns: usize,
    pub(crate) emails: usize,
    pub(crate) ips: usize,
    pub(crate) uris: usize,
}

impl Wanted {
    /// A certificate for a user of these groups; `key` with its algorithm, in DER.
    #[cfg_attr(
        not(feature = "serve"),
        allow(dead_code, reason = "only servers make them")
    )]
    pub(crate) fn of(user: &str, groups: &[&str], key: Vec<u8>) -> Self {
        let part = |kind: &[u8], text: &str| {
            let value = element(UTF8_STRING, text.as_bytes());
            element(SET, &sequence(&[element(OID, kind), value]))
        };
        let groups_first = groups.iter().map(|group| part(ORGANIZATION, group));
        let name: Vec<Vec<u8>> = groups_first.chain([part(COMMON_NAME, user)]).collect();
        Self {
            subject: sequence(&name),
            common_name: user.to_owned(),
            organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
            key,
            ..Self::default()
        }
    }

    /// Reads the PEM text of a request, which must be whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, &'static str> {
        check(text)?;
        Self::parse(&block(text)?.content).ok_or(MALFORMED)
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let mut request = Reader::new(content).take(SEQUENCE)?.reader();
        let mut parts = request.take(SEQUENCE)?.reader();
        let (_version, subject) = (parts.any()?, parts.take(SEQUENCE)?);
        let mut wanted = Self {
            subject: subject.whole.to_vec(),
            key: parts.take(SEQUENCE)?.whole.to_vec(),
            ..Self::default()
        };
        wanted.read_subject(subject.reader())?;
        if let Some(attributes) = parts.take(ATTRIBUTES) {
            let mut attributes = attributes.reader();
            while !attributes.is_empty() {
                let mut attribute = attributes.take(SEQUENCE)?.reader();
                let is_extensions = attribute.take(OID)?.content == EXTENSIONS;
                let mut values = attribute.take(SET)?.reader();
                if is_extensions {
                    wanted.read_extensions(values.take(SEQUENCE)?.reader())?;
                }
            }
        }
        Some(wanted)
    }

    fn read_subject(&mut self, mut names: Reader<'_>) -> Option<()> {
        while !names.is_empty() {
            let mut set = names.take(SET)?.reader();
            while !set.is_empty() {
                let mut attribute = set.take(SEQUENCE)?.reader();
                let kind = attribute.take(OID)?.content;
                let text = String::from_utf8_lossy(attribute.any()?.content).into_owned();
                match kind {
                    COMMON_NAME => self.common_name = text,
                    ORGANIZATION => self.organizations.push(text),
                    _ => {}
                }
            }
        }
        Some(())
    }

    fn read_extensions(&mut self, mut extensions: Reader<'_>) -> Option<()> {
        while !extensions.is_empty() {
            let mut extension = extensions.take(SEQUENCE)?.reader();
            let is_names = extension.take(OID)?.content == OTHER_NAMES;
            let mut value = extension.any()?;
            if value.tag == BOOLEAN {
                value = extension.any()?;
            }
            if value.tag != OCTET_STRING {
                return None;
            }
            if !is_names {
                continue;
            }
            self.names = value.content.to_vec();
            let mut names = value.reader().take(SEQUENCE)?.reader();
            while !names.is_empty() {
                let count = match names.any()?.tag {
                    0x81 => &mut self.emails,
                    0x82 => &mut self.dns,
                    0x86 => &mut self.uris,
                    0x87 => &mut self.ips,
                    _ => continue,
                };
                *count += 1;
            }
        }
        Some(())
    }
}

/// The parts of a request.
#[derive(Debug)]
struct Request<'a> {
    signed: &'a [u8],
    key: &'a [u8],
    key_algorithm: &'a [u8],
    /// The named curve of a key on one.
    curve: &'a [u8],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

fn parse(content: &[u8]) -> Option<Request<'_>> {
    let mut outer = Reader::new(content);
    let mut request = outer.take(SEQUENCE)?.reader();
    if !outer.is_empty() {
        return None;
    }
    let info = request.take(SEQUENCE)?;
    let signature_algorithm = request.take(SEQUENCE)?.reader().take(OID)?.content;
    let signature = request.take(BIT_STRING)?.bits()?;
    let mut parts = info.reader();
    let (_version, _subject) = (parts.any()?, parts.take(SEQUENCE)?);
    let mut key_info = parts.take(SEQUENCE)?.reader();
    let mut key_algorithm = key_info.take(SEQUENCE)?.reader();
    let key_oid = key_algorithm.take(OID)?.content;
    let curve = key_algorithm.any().map_or(&[][..], |curve| curve.content);
    Some(Request {
        signed: info.whole,
        key: key_info.take(BIT_STRING)?.bits()?,
        key_algorithm: key_oid,
        curve,
        signature_algorithm,
        signature,
    })
}

/// How the request is to be verified, and what is said when it fails.
fn algorithm(request: &Request<'_>) -> Option<(&'static dyn VerificationAlgorithm, &'static str)> {
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    const RSA_WITH: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_WITH: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let hash = *request.signature_algorithm.last()?;
    let of = |prefix: &[u8]| {
        request
            .signature_algorithm
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == 1)
    };
    let algorithm: &'static dyn VerificationAlgorithm = match request.key_algorithm {
        RSA_KEY if of(RSA_WITH) => match hash {
            11 => &signature::RSA_PKCS1_2048_8192_SHA256,
            12 => &signature::RSA_PKCS1_2048_8192_SHA384,
            13 => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return None,
        },
        EC_KEY if of(ECDSA_WITH) => match (request.curve, hash) {
            (P256, 2) => &signature::ECDSA_P256_SHA256_ASN1,
            (P256, 3) => &signature::ECDSA_P256_SHA384_ASN1,
            (P384, 2) => &signature::ECDSA_P384_SHA256_ASN1,
            (P384, 3) => &signature::ECDSA_P384_SHA384_ASN1,
            _ => return None,
        },
        ED25519 if request.signature_algorithm == ED25519 => &signature::ED25519,
        _ => return None,
    };
    let failure = match request.key_algorithm {
        RSA_KEY => "crypto/rsa: verification error",
        EC_KEY => "x509: ECDSA verification failure",
        _ => "x509: Ed25519 verification failure",
    };
    Some((algorithm, failure))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::object::base64;

    /// A request of a fresh P-256 key for `CN=u`, made with openssl for this test.
    pub(crate) const REQUEST: &str = include_str!("test-request.pem");

    #[test]
    fn requests_are_checked() {
        assert_eq!(check(REQUEST), Ok(()));
        let content = pem::first(REQUEST).unwrap().0.content;
        let pem = |content: &[u8]| {
            let text = base64::encode(content);
            format!(
                "-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
            )
        };
        let mut other_name = content.clone();
        let at = content
            .windows(4)
            .position(|bytes| bytes == [0x0c, 1, b'u', b'0'])
            .unwrap();
        other_name[at + 2] = b'v';
        for (text, expected) in [
            (String::new(), "PEM block type must be CERTIFICATE REQUEST"),
            (
                REQUEST.replace(" REQUEST", ""),
                "PEM block type must be CERTIFICATE REQUEST",
            ),
            (pem(&other_name), "x509: ECDSA verification failure"),
            (pem(&content[..content.len() - 1]), MALFORMED),
            (pem(b""), MALFORMED),
            (pem(&[&content[..], b"x"].concat()), MALFORMED),
        ] {
            assert_eq!(check(&text), Err(expected), "{text}");
        }
        // Whatever bytes are wrong, there is an answer.
        for at in 0..content.len() {
            for value in [0, 0x30, 0xff] {
                let mut broken = content.clone();
                broken[at] = value;
                let _ = check(&pem(&broken));
            }
        }
    }

    /// Requests for `O=system:nodes, O=system:masters, CN=system:node:n` with three other names, and for a plain node.
    pub(crate) const NAMES: &str = include_str!("test-names.pem");
    pub(crate) const NODE: &str = include_str!("test-node.pem");

    #[test]
    fn what_is_wanted_is_read() {
        let wanted = Wanted::read(NAMES).unwrap();
        assert_eq!(wanted.common_name, "system:node:n");
        assert_eq!(wanted.organizations, ["system:nodes", "system:masters"]);
        let counts = (wanted.dns, wanted.ips, wanted.emails, wanted.uris);
        assert_eq!(counts, (2, 1, 0, 0));
        let plain = Wanted::read(NODE).unwrap();
        assert_eq!(plain.organizations, ["system:nodes"]);
        assert!(plain.names.is_empty());
        assert_eq!(Wanted::read(REQUEST).unwrap().common_name, "u");
    }
}
