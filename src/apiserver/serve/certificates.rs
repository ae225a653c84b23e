//! Certificates made at start: an authority of our own, the server's, and an administrator's.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use serde_json::json;

use super::tls::{TlsConfig, TlsError};
use crate::clock::Clock;
use crate::pki::request::Wanted;
use crate::pki::{Authority, AuthorityError, Terms};

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A name is neither a DNS name nor an IP address, or a key could not be made.
    #[error("a certificate cannot be made")]
    Generate(#[from] rcgen::Error),
    /// The authority cannot sign.
    #[error(transparent)]
    Sign(#[from] AuthorityError),
    /// What was made cannot be served.
    #[error("the certificates cannot be served")]
    Tls(#[from] TlsError),
}

/// An authority, a server certificate, and the certificate of an administrator (user `kubernetes-admin` of group
/// `system:masters`); all keys are ECDSA P-256. Valid for a year, the authority for ten.
#[derive(Debug)]
pub struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    signer: Authority,
    now: Timestamp,
    authority: String,
    server: Pair,
    admin: Pair,
    tls: TlsConfig,
}

#[derive(Debug)]
struct Pair {
    certificate: String,
    key: String,
}

impl Certificates {
    /// Makes them, for a server known by these DNS names and IP addresses.
    ///
    /// # Errors
    /// When a name is neither.
    pub fn generate(clock: &Clock, names: &[impl AsRef<str>]) -> Result<Self, CertificateError> {
        let now = clock.now();
        let (from, until) = (date(now, -1), date(now, 365));
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name("homeostat-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        validity(&mut params, from, date(now, 3650));
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let server = {
            let names: Vec<String> = names.iter().map(|name| name.as_ref().to_owned()).collect();
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name = name("kube-apiserver");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            validity(&mut params, from, until);
            sign(params, &issuer)?
        };
        let signer = Authority::from_pem(&authority, &issuer.key().serialize_pem())?;
        let admin = client(&signer, now, "kubernetes-admin", &["system:masters"])?;
        let tls = TlsConfig::from_pem(
            server.certificate.as_bytes(),
            server.key.as_bytes(),
            Some(authority.as_bytes()),
        )?;
        Ok(Self {
            issuer,
            signer,
            now,
            authority,
            server,
            admin,
            tls,
        })
    }

    /// How to serve with them.
    #[must_use]
    pub fn server_tls(&self) -> TlsConfig {
        self.tls.clone()
    }

    /// The authority's certificate in PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority
    }

    /// The server's certificate and private key in PEM.
    #[must_use]
    pub fn server_pem(&self) -> (&str, &str) {
        (&self.server.certificate, &self.server.key)
    }

    /// A new client certificate and private key in PEM, for a user and its groups.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client_pem(
        &self,
        user: &str,
        groups: &[&str],
    ) -> Result<(String, String), CertificateError> {
        let pair = client(&self.signer, self.now, user, groups)?;
        Ok((pair.certificate, pair.key))
    }

    /// The authority, as who signs what is asked for through the API.
    ///
    /// # Errors
    /// When its key cannot be used.
    pub fn authority(&self) -> Result<Authority, AuthorityError> {
        Authority::from_pem(&self.authority, &self.issuer.key().serialize_pem())
    }

    /// A kubeconfig (YAML) with which the administrator reaches the server at `url`.
    #[must_use]
    pub fn kubeconfig(&self, url: &str) -> String {
        let encode = |pem: &str| STANDARD.encode(pem);
        // JSON is YAML; clients read both.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "homeostat", "cluster": {
                "server": url,
                "certificate-authority-data": encode(&self.authority),
            }}],
            "users": [{"name": "kubernetes-admin", "user": {
                "client-certificate-data": encode(&self.admin.certificate),
                "client-key-data": encode(&self.admin.key),
            }}],
            "contexts": [{"name": "homeostat", "context": {"cluster": "homeostat", "user": "kubernetes-admin"}}],
            "current-context": "homeostat",
        });
        serde_saphyr::to_string(&config).unwrap_or_else(|_| config.to_string())
    }
}

fn sign(params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<Pair, CertificateError> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?.pem();
    Ok(Pair {
        certificate,
        key: key.serialize_pem(),
    })
}

/// A certificate by which a user is known, good for a year.
fn client(
    signer: &Authority,
    now: Timestamp,
    user: &str,
    groups: &[&str],
) -> Result<Pair, CertificateError> {
    const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
    let key = KeyPair::generate()?;
    let wanted = Wanted::of(user, groups, key.subject_public_key_info());
    let usages = ["digital signature".to_owned(), "client auth".to_owned()];
    let terms = Terms {
        usages: &usages,
        life: LIFE,
        now,
    };
    Ok(Pair {
        certificate: signer.sign(&wanted, &terms)?,
        key: key.serialize_pem(),
    })
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn validity(params: &mut CertificateParams, from: (i32, u8, u8), until: (i32, u8, u8)) {
    params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
}

/// The date some days from `now`.
fn date(now: Timestamp, days: i32) -> (i32, u8, u8) {
    let now = now.to_zoned(TimeZone::UTC);
    let date = now.checked_add(days.days()).unwrap_or(now).date();
    let part = |number: i8| u8::try_from(number).unwrap_or(1);
    (i32::from(date.year()), part(date.month()), part(date.day()))
}
