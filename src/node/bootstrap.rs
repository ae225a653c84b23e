//! How a node comes to its certificate, and keeps having one: it asks the cluster, and somebody there approves and signs.
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tokio::time::{sleep, timeout};

use crate::client::{self, Frame, Path, Watch};
use crate::clock::Clock;
use crate::pki::certificate::Certificate;

/// Who signs the client certificates of nodes.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// A certificate is renewed when this part of its life is over …
const RENEW_FROM: f64 = 0.7;
/// … and up to this much more of it, by chance: not all nodes ask at once.
const RENEW_WITHIN: f64 = 0.2;
/// After a watch that is over, this long until the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a node gets no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The request cannot be made.
    #[error("the request for a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// The cluster cannot be asked.
    #[error("the cluster cannot be asked for a certificate")]
    Ask(#[from] kube::Error),
    /// The request was denied, or could not be fulfilled.
    #[error(
        "certificate signing request {name} is not approved, reason: {reason}, message: {message}"
    )]
    Refused {
        /// The request's name.
        name: String,
        /// Why, in a word.
        reason: String,
        /// Why.
        message: String,
    },
    /// Nobody answered in time.
    #[error("nobody has signed certificate signing request {0}")]
    Late(String),
}

/// Asks for a client certificate of the node `node` (user `system:node:<node>` of group `system:nodes`) with `client`, mostly
/// one with a bootstrap token. Gives the certificate and its new private key, both in PEM, once the request was approved and
/// signed, which must be within `patience`.
///
/// # Errors
/// See [`BootstrapError`].
pub async fn request_certificate(
    client: &kube::Client,
    node: &str,
    patience: Duration,
) -> Result<(String, String), BootstrapError> {
    let mut params = CertificateParams::new(Vec::new())?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "system:nodes");
    subject.push(DnType::CommonName, format!("system:node:{node}"));
    params.distinguished_name = subject;
    let key = KeyPair::generate()?;
    let request = params.serialize_request(&key)?.pem()?;
    let request = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("csr-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: SIGNER.to_owned(),
            usages: Some(vec![
                "digital signature".to_owned(),
                "client auth".to_owned(),
            ]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let made = requests.create(&PostParams::default(), &request).await?;
    let name = made.metadata.name.unwrap_or_default();
    let signed = timeout(patience, signed(client, &name)).await;
    let certificate = signed.unwrap_or(Err(BootstrapError::Late(name)))?;
    Ok((certificate, key.serialize_pem()))
}

async fn signed(client: &kube::Client, name: &str) -> Result<String, BootstrapError> {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let path = Path {
        fields: format!("metadata.name={name}"),
        ..Path::of::<CertificateSigningRequest>()
    };
    loop {
        let found = requests.get(name).await?;
        let revision = found.metadata.resource_version.clone();
        if let Some(answer) = answer(found) {
            return answer;
        }
        match client::watch(client, &path, &revision.unwrap_or_default()).await {
            Ok(watch) => {
                if let Some(answer) = follow(watch).await {
                    return answer;
                }
            }
            Err(error) => tracing::debug!(%error, name, "the request cannot be watched"),
        }
        sleep(PAUSE).await;
    }
}

/// Follows a request until it is answered; `None`: the watch is over before.
async fn follow(mut watch: Watch) -> Option<Result<String, BootstrapError>> {
    loop {
        match watch.next::<CertificateSigningRequest>().await {
            Ok(Some(Frame::Applied(request))) => {
                if let Some(answer) = answer(request) {
                    return Some(answer);
                }
            }
            Ok(Some(Frame::Bookmark(_))) => {}
            // Whoever asks for it next learns that it is gone.
            Ok(Some(Frame::Deleted(_)) | None) | Err(_) => return None,
        }
    }
}

/// What became of a request; `None`: nothing yet.
fn answer(request: CertificateSigningRequest) -> Option<Result<String, BootstrapError>> {
    let status = request.status.unwrap_or_default();
    let mut conditions = status.conditions.iter().flatten();
    if let Some(refused) = conditions.find(|one| matches!(&*one.type_, "Denied" | "Failed")) {
        return Some(Err(BootstrapError::Refused {
            name: request.metadata.name.unwrap_or_default(),
            reason: refused.reason.clone().unwrap_or_default(),
            message: refused.message.clone().unwrap_or_default(),
        }));
    }
    let ByteString(certificate) = status.certificate?;
    let certificate = String::from_utf8(certificate).ok()?;
    (!certificate.is_empty()).then_some(Ok(certificate))
}

/// When the client certificate of a node (the first one in a PEM text) is to be renewed: after 70 to 90 % of its life, by
/// chance. `None`: there is no certificate in the text, or it is good no more.
#[must_use]
pub fn renew_after(certificate: &str, clock: &Clock) -> Option<Duration> {
    let certificate = Certificate::from_pem(certificate)?;
    let now = clock.now();
    if now >= certificate.until {
        return None;
    }
    let life = Duration::try_from(certificate.until.duration_since(certificate.from)).ok()?;
    let after = clock.jitter(life.mul_f64(RENEW_FROM), RENEW_WITHIN / RENEW_FROM);
    let due = certificate.from.checked_add(after).ok()?;
    Some(Duration::try_from(due.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::serve::Certificates;

    #[test]
    fn certificates_are_renewed_before_they_end() {
        const DAY: u64 = 24 * 3600;
        let clock = Clock::seeded(3);
        let made = Certificates::generate(&clock, &["localhost"]).unwrap();
        let (certificate, _) = made.client_pem("u", &[]).unwrap();
        // Good from yesterday and for a year.
        let after = renew_after(&certificate, &clock).unwrap().as_secs();
        assert!((254 * DAY..329 * DAY).contains(&after), "{after}");
        assert_eq!(renew_after("", &clock), None);
    }
}
