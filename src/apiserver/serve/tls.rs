//! What a TLS server shows and whom it trusts.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::apiserver::{CertificateError, ClientCertificate};

/// The TLS side of a served server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsConfig(pub(super) Arc<ServerConfig>);

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM text does not hold what it should.
    #[error("no {what} in PEM form: {source}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or are of an unknown kind.
    #[error("the serving certificate cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The authority of client certificates cannot be used.
    #[error("the authority of client certificates cannot be used")]
    ClientAuthority(#[source] rustls::server::VerifierBuilderError),
}

impl TlsConfig {
    /// Serves with this certificate chain and private key, both in PEM. Clients may show a certificate that one of
    /// `client_authorities` (PEM) has signed; those that show none are anonymous until they bring a token.
    ///
    /// # Errors
    /// When a text is not what it should be; see [`TlsError`].
    pub fn from_pem(
        certificate: &[u8],
        key: &[u8],
        client_authorities: Option<&[u8]>,
    ) -> Result<Self, TlsError> {
        let pem = |what| move |source| TlsError::Pem { what, source };
        let chain = certificates(certificate).map_err(pem("serving certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem("private key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Certificate)?;
        let builder = match client_authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                let authorities = certificates(authorities).map_err(pem("client authority"))?;
                for authority in authorities {
                    roots.add(authority).map_err(TlsError::Certificate)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(TlsError::ClientAuthority)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(TlsError::Certificate)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

pub(super) fn certificates(
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Err(rustls::pki_types::pem::Error::NoItemsFound);
    }
    Ok(found)
}

/// The attribute of subjects that is a user's uid.
const UID: &str = "1.3.6.1.4.1.57683.2";

/// Whom a verified certificate is for; `None` when it names nobody, or cannot be read.
pub(super) fn subject(
    certificate: &CertificateDer<'_>,
) -> Option<Result<ClientCertificate, CertificateError>> {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let common_name = subject.iter_common_name().last()?.as_str().ok()?;
    if common_name.is_empty() {
        return None;
    }
    let organizations = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok().map(str::to_owned));
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Some(uid(subject).map(|uid| ClientCertificate {
        common_name: common_name.to_owned(),
        organizations: organizations.collect(),
        uid,
        fingerprint: digits.collect(),
    }))
}

/// The uid in a subject, `""` when there is none.
///
/// # Errors
/// When there are several, or one that is no text.
fn uid(subject: &X509Name<'_>) -> Result<String, CertificateError> {
    let mut found = subject
        .iter_attributes()
        .filter(|attribute| attribute.attr_type().to_id_string() == UID);
    let Some(uid) = found.next() else {
        return Ok(String::new());
    };
    let uid = uid.as_str().ok().filter(|uid| !uid.is_empty());
    let uid = uid.ok_or(CertificateError("its uid is no text"))?;
    match found.next() {
        None => Ok(uid.to_owned()),
        Some(_) => Err(CertificateError("it has several uids")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn subjects_are_users() {
        let own = || DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]);
        let ldap = DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]);
        let key = KeyPair::generate().unwrap();
        let user = |attributes: &[(DnType, &str)]| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in attributes {
                params.distinguished_name.push(kind.clone(), *value);
            }
            let made = params.self_signed(&key).unwrap();
            let found = subject(made.der())?.map(|found| {
                assert_eq!(found.fingerprint.len(), 64);
                (found.common_name, found.organizations, found.uid)
            });
            Some(found.map_err(|why| why.0))
        };
        let name = || (DnType::CommonName, "u");
        let expected = |groups: &[&str], uid: &str| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            Some(Ok(("u".to_owned(), groups, uid.to_owned())))
        };
        assert_eq!(user(&[name()]), expected(&[], ""));
        let group = (DnType::OrganizationName, "g");
        assert_eq!(user(&[group.clone(), name()]), expected(&["g"], ""));
        assert_eq!(user(&[name(), (own(), "7")]), expected(&[], "7"));
        assert_eq!(user(&[name(), (ldap, "7")]), expected(&[], ""));
        let refused = |why| Some(Err(why));
        assert_eq!(user(&[name(), (own(), "")]), refused("its uid is no text"));
        assert_eq!(user(&[group]), None);
        assert_eq!(user(&[(DnType::CommonName, "")]), None);
    }
}
