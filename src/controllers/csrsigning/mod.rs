//! Signs the approved requests for certificates of the cluster's own signers
//! (`certificatesigningrequest-signing-controller` of `kube-controller-manager`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;

use super::csrutil;
use crate::client;
use crate::clock::Clock;
use crate::pki::request::Wanted;
use crate::pki::{Authority, Terms};
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "csrsigning";
/// The shortest life of a certificate.
const LEAST: Duration = Duration::from_secs(600);

/// How certificates are signed.
#[derive(Clone, Debug)]
pub struct SigningConfig {
    /// Who signs them.
    pub authority: Arc<Authority>,
    /// How long they are good at most, and unless a request says less. Default = a year.
    pub life: Duration,
}

impl SigningConfig {
    /// Signs as `authority`, with the defaults.
    #[must_use]
    pub fn new(authority: Authority) -> Self {
        Self {
            authority: Arc::new(authority),
            life: Duration::from_secs(365 * 24 * 3600),
        }
    }
}

/// Adds the controller to `manager`; `workers` requests are handled at once.
pub fn install(manager: &Manager, config: SigningConfig, workers: usize) {
    let requests = manager.cache::<CertificateSigningRequest>();
    let reconciler = Signer {
        client: manager.client_for(NAME),
        clock: manager.clock().clone(),
        requests: requests.clone(),
        config,
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&requests))
            .workers(workers),
    );
}

struct Signer {
    client: kube::Client,
    clock: Clock,
    requests: Cache<CertificateSigningRequest>,
    config: SigningConfig,
}

/// Whether a request is one for the signer it names; `None`: the signer is somebody else.
fn check(signer: &str, wanted: &Wanted, usages: &[String]) -> Option<Result<(), String>> {
    Some(match signer {
        csrutil::KUBELET_CLIENT => csrutil::check_kubelet_client(wanted, usages),
        csrutil::KUBELET_SERVING => csrutil::check_kubelet_serving(wanted, usages),
        csrutil::CLIENT => csrutil::check_client(usages),
        _ => return None,
    })
}

impl SigningConfig {
    /// How long a certificate is good for which so many seconds were asked.
    fn life(&self, seconds: Option<i32>) -> Duration {
        let asked = seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        match asked {
            Some(asked) if asked <= self.life => asked.max(LEAST),
            _ => self.life,
        }
    }
}

impl Reconciler for Signer {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(request) = self.requests.get(&key) else {
            return Ok(Action::Done);
        };
        if csrutil::is_issued(&request)
            || !csrutil::has(&request, "Approved")
            || csrutil::has(&request, "Denied")
            || csrutil::has(&request, "Failed")
        {
            return Ok(Action::Done);
        }
        let spec = &request.spec;
        let usages = spec.usages.as_deref().unwrap_or_default();
        let wanted = csrutil::wanted(&request)
            .map_err(|why| format!("unable to parse csr {:?}: {why}", &*key.name))?;
        let Some(checked) = check(&spec.signer_name, &wanted, usages) else {
            return Ok(Action::Done);
        };
        let mut answer = CertificateSigningRequest::clone(&request);
        let status = answer.status.get_or_insert_default();
        if let Err(why) = checked {
            let conditions = status.conditions.get_or_insert_default();
            conditions.push(CertificateSigningRequestCondition {
                type_: "Failed".to_owned(),
                status: "True".to_owned(),
                reason: Some("SignerValidationFailure".to_owned()),
                message: Some(why),
                last_update_time: Some(Time(self.clock.now())),
                ..CertificateSigningRequestCondition::default()
            });
        } else {
            let terms = Terms {
                usages,
                life: self.config.life(spec.expiration_seconds),
                now: self.clock.now(),
            };
            let signed = self.config.authority.sign(&wanted, &terms);
            let signed = signed.map_err(|error| format!("error auto signing csr: {error}"))?;
            status.certificate = Some(ByteString(signed.into_bytes()));
        }
        let requests: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        let params = PostParams::default();
        match requests.replace_status(&key.name, &params, &answer).await {
            Ok(written) => self.requests.caught_up(&written).await,
            Err(error) if client::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Action::Done)
    }
}
