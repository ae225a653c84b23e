//! Approves the requests of kubelets for the certificates by which they are known, where the requester may have such
//! (`certificatesigningrequest-approving-controller` of `kube-controller-manager`).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use kube::Api;
use kube::api::PostParams;

use super::csrutil;
use crate::client;
use crate::pki::request::Wanted;
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "csrapproving";
/// A request that may not be approved is looked at again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// Adds the controller to `manager`; `workers` requests are handled at once.
pub fn install(manager: &Manager, workers: usize) {
    let requests = manager.cache::<CertificateSigningRequest>();
    let reconciler = Approver {
        client: manager.client_for(NAME),
        requests: requests.clone(),
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&requests))
            .workers(workers),
    );
}

struct Approver {
    client: kube::Client,
    requests: Cache<CertificateSigningRequest>,
}

/// For which permissions a request is looked at, and what is said when it is approved by one.
fn recognize(
    request: &CertificateSigningRequest,
    wanted: &Wanted,
) -> Vec<(&'static str, &'static str)> {
    let spec = &request.spec;
    let usages = spec.usages.as_deref().unwrap_or_default();
    if spec.signer_name != csrutil::KUBELET_CLIENT
        || csrutil::check_kubelet_client(wanted, usages).is_err()
    {
        return Vec::new();
    }
    let own = (
        "selfnodeclient",
        "Auto approving self kubelet client certificate after SubjectAccessReview.",
    );
    let any = (
        "nodeclient",
        "Auto approving kubelet client certificate after SubjectAccessReview.",
    );
    if spec.username.as_deref() == Some(wanted.common_name.as_str()) {
        vec![own, any]
    } else {
        vec![any]
    }
}

impl Reconciler for Approver {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(request) = self.requests.get(&key) else {
            return Ok(Action::Done);
        };
        if csrutil::is_issued(&request)
            || csrutil::has(&request, "Approved")
            || csrutil::has(&request, "Denied")
        {
            return Ok(Action::Done);
        }
        let wanted = csrutil::wanted(&request)
            .map_err(|why| format!("unable to parse csr {:?}: {why}", &*key.name))?;
        let mut tried = Vec::new();
        for (permission, message) in recognize(&request, &wanted) {
            if self.may(&request, permission).await? {
                return self.approve(&request, message).await;
            }
            tried.push(permission);
        }
        if !tried.is_empty() {
            // Somebody else may approve it, or the requester be given the permission.
            tracing::debug!(csr = %key.name, ?tried, "recognized csr but subject access review was not approved");
            return Ok(Action::Background(AGAIN));
        }
        Ok(Action::Done)
    }
}

impl Approver {
    /// Whether the requester may have such a certificate.
    async fn may(
        &self,
        request: &CertificateSigningRequest,
        permission: &str,
    ) -> Result<bool, Error> {
        let spec = &request.spec;
        let extra: Option<BTreeMap<String, Vec<String>>> = spec.extra.clone();
        let asked = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra,
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    subresource: Some(permission.to_owned()),
                    verb: Some("create".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &asked).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn approve(
        &self,
        request: &CertificateSigningRequest,
        message: &str,
    ) -> Result<Action, Error> {
        let mut request = request.clone();
        let status = request.status.get_or_insert_default();
        let conditions = status.conditions.get_or_insert_default();
        conditions.push(CertificateSigningRequestCondition {
            type_: "Approved".to_owned(),
            status: "True".to_owned(),
            reason: Some("AutoApproved".to_owned()),
            message: Some(message.to_owned()),
            ..CertificateSigningRequestCondition::default()
        });
        let requests: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        let name = request.metadata.name.clone().unwrap_or_default();
        let written = requests
            .replace_subresource("approval", &name, &PostParams::default(), &request)
            .await;
        match written {
            Ok(written) => self.requests.caught_up(&written).await,
            Err(error) if client::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::base64;
    use crate::pki::request::tests::{NAMES, NODE};

    #[test]
    fn who_is_recognized() {
        let of = |user: &str, signer: &str, text: &str, usages: &[&str]| {
            let request: CertificateSigningRequest = serde_json::from_value(json!({
                "metadata": {"name": "r"},
                "spec": {
                    "username": user, "signerName": signer, "usages": usages,
                    "request": base64::encode(text.as_bytes()),
                },
            }))
            .unwrap();
            let wanted = csrutil::wanted(&request).unwrap();
            let found: Vec<&str> = recognize(&request, &wanted)
                .into_iter()
                .map(|(permission, _)| permission)
                .collect();
            found.join(" ")
        };
        let usages = ["digital signature", "client auth"];
        let kubelet = csrutil::KUBELET_CLIENT;
        for (user, signer, text, expected) in [
            ("system:bootstrap:abcdef", kubelet, NODE, "nodeclient"),
            ("system:node:n", kubelet, NODE, "selfnodeclient nodeclient"),
            ("system:node:n", csrutil::CLIENT, NODE, ""),
            ("system:node:n", kubelet, NAMES, ""),
        ] {
            assert_eq!(of(user, signer, text, &usages), expected, "{user}");
        }
        assert_eq!(of("system:node:n", kubelet, NODE, &["client auth"]), "");
    }
}
