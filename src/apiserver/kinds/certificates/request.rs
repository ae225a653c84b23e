//! PKCS#10 certification requests (RFC 2986): that they are whole, and signed by the key they name.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use crate::apiserver::pki::der::{BIT_STRING, OID, Reader, SEQUENCE};
use crate::apiserver::pki::pem;

const MALFORMED: &str = "asn1: structure error: malformed certificate request";
const UNKNOWN: &str = "x509: cannot verify signature: algorithm unimplemented";

/// Checks the PEM text of a request.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    let block = pem::first(text).map(|(block, _)| block);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let request = parse(&block.content).ok_or(MALFORMED)?;
    let (algorithm, failure) = algorithm(&request).ok_or(UNKNOWN)?;
    UnparsedPublicKey::new(algorithm, request.key)
        .verify(request.signed, request.signature)
        .map_err(|_| failure)
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
    const RSA_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
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
pub(super) mod tests {
    use super::*;
    use crate::object::base64;

    /// A request of a fresh P-256 key for `CN=u`, made with openssl for this test.
    pub(in super::super) const REQUEST: &str = include_str!("test-request.pem");

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
}
