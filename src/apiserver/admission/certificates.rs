//! `CertificateApproval`, `CertificateSigning` and `CertificateSubjectRestriction`: who may approve and sign which certificate
//! signing requests, and for whom no certificate is made.
use super::{Admission, AdmissionRequest, Operation, authorizer};
use crate::object::{Document, Status, base64};
use crate::pki::request::Wanted;
use async_trait::async_trait;
use serde_json::Value;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

/// `CertificateApproval`
#[derive(Debug)]
pub(super) struct Approval;

#[async_trait]
impl Admission for Approval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        if request.operation != Operation::Update
            || !request.is_for(GROUP, REQUESTS)
            || request.subresource != "approval"
        {
            return Ok(());
        }
        let signer = request
            .old
            .map_or("", |old| old.str_at(&["spec", "signerName"]));
        if may(request, "approve", signer).await? {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {signer:?}");
        Err(request.forbidden(object, &why))
    }
}

/// `CertificateSigning`
#[derive(Debug)]
pub(super) struct Signing;

#[async_trait]
impl Admission for Signing {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let (Some(new), Some(old)) = (object, request.old) else {
            return Ok(());
        };
        if request.operation != Operation::Update
            || !request.is_for(GROUP, REQUESTS)
            || request.subresource != "status"
        {
            return Ok(());
        }
        let same = |path: &[&str]| new.at(path) == old.at(path);
        if same(&["status", "certificate"]) && same(&["status", "conditions"]) {
            return Ok(());
        }
        let signer = old.str_at(&["spec", "signerName"]);
        if may(request, "sign", signer).await? {
            return Ok(());
        }
        let why = format!("user not permitted to sign requests with signerName {signer:?}");
        Err(request.forbidden(object, &why))
    }
}

/// Whether the user may do so with the requests for a signer, or for all of its domain.
async fn may(request: &AdmissionRequest<'_>, verb: &str, signer: &str) -> Result<bool, Status> {
    let mut asked = authorizer::about(verb, GROUP, "signers");
    signer.clone_into(&mut asked.name);
    if authorizer::allows(request, &asked).await? {
        return Ok(true);
    }
    let domain = signer.split('/').next().unwrap_or_default();
    asked.name = format!("{domain}/*");
    authorizer::allows(request, &asked).await
}

/// `CertificateSubjectRestriction`
#[derive(Debug)]
pub(super) struct SubjectRestriction;

#[async_trait]
impl Admission for SubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        if request.operation != Operation::Create
            || !request.writes(GROUP, REQUESTS)
            || object.str_at(&["spec", "signerName"]) != CLIENT
        {
            return Ok(());
        }
        let groups = organizations(object.str_at(&["spec", "request"]));
        if groups.iter().any(|group| group == MASTERS) {
            let why = format!("use of {CLIENT} signer with {MASTERS} group is not allowed");
            return Err(request.forbidden(Some(object), &why));
        }
        Ok(())
    }
}

/// The organizations that a certificate signing request, base64 of PEM, names. What is no signing request is refused by the
/// kind's own rules.
fn organizations(request: &str) -> Vec<String> {
    let text = base64::decode(request).unwrap_or_default();
    let wanted = Wanted::read(&String::from_utf8_lossy(&text));
    wanted.unwrap_or_default().organizations
}
