//! What the controllers of certificate signing requests have in common (`pkg/apis/certificates`). Pure.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use crate::pki::request::Wanted;

/// Who signs the certificates by which kubelets are known.
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Who signs those with which kubelets serve.
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Who signs those of other clients.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";

/// Whether a request has a condition that holds.
pub(super) fn has(request: &CertificateSigningRequest, type_: &str) -> bool {
    let status = request.status.as_ref();
    let mut all = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    all.any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Whether a request was signed.
pub(super) fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request
        .status
        .as_ref()
        .and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

/// What a request asks for.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn wanted(request: &CertificateSigningRequest) -> Result<Wanted, &'static str> {
    Wanted::read(&String::from_utf8_lossy(&request.spec.request.0))
}

/// Whether the usages are exactly these, of which key encipherment may be missing: not every key can.
fn match_usages(usages: &[String], purpose: &str) -> Result<(), String> {
    let required = [purpose, "digital signature", "key encipherment"];
    let has = |usage: &str| usages.iter().any(|own| own == usage);
    let only = usages.iter().all(|own| required.contains(&&**own));
    if only && has(purpose) && has("digital signature") {
        return Ok(());
    }
    let mut required = required;
    required.sort_unstable();
    Err(format!("usages did not match [{}]", required.join(" ")))
}

/// Checks a request for the certificate by which a kubelet is known.
///
/// # Errors
/// Why it is none.
pub(super) fn check_kubelet_client(wanted: &Wanted, usages: &[String]) -> Result<(), String> {
    for (wrong, why) in [
        (
            wanted.organizations != [NODES],
            "subject organization is not system:nodes",
        ),
        (wanted.dns > 0, "DNS subjectAltNames are not allowed"),
        (wanted.emails > 0, "Email subjectAltNames are not allowed"),
        (wanted.ips > 0, "IP subjectAltNames are not allowed"),
        (wanted.uris > 0, "URI subjectAltNames are not allowed"),
        (
            !wanted.common_name.starts_with(NODE),
            "subject common name does not begin with system:node:",
        ),
    ] {
        if wrong {
            return Err(why.to_owned());
        }
    }
    match_usages(usages, "client auth")
}

/// Checks a request for the certificate with which a kubelet serves.
///
/// # Errors
/// Why it is none.
pub(super) fn check_kubelet_serving(wanted: &Wanted, usages: &[String]) -> Result<(), String> {
    for (wrong, why) in [
        (
            wanted.organizations != [NODES],
            "subject organization is not system:nodes",
        ),
        (
            wanted.dns + wanted.ips == 0,
            "DNS or IP subjectAltName is required",
        ),
        (wanted.emails > 0, "Email subjectAltNames are not allowed"),
        (wanted.uris > 0, "URI subjectAltNames are not allowed"),
    ] {
        if wrong {
            return Err(why.to_owned());
        }
    }
    match_usages(usages, "server auth")?;
    if !wanted.common_name.starts_with(NODE) {
        return Err("subject common name does not begin with system:node:".to_owned());
    }
    Ok(())
}

/// Checks a request for the certificate of any client.
///
/// # Errors
/// Why it is none.
pub(super) fn check_client(usages: &[String]) -> Result<(), String> {
    const NEEDED: &str = "client auth";
    for usage in usages {
        if !["digital signature", "key encipherment", NEEDED].contains(&&**usage) {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    if !usages.iter().any(|usage| usage == NEEDED) {
        return Err(format!(
            "missing required usage for client certificate: {NEEDED}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(organizations: &[&str], common_name: &str, counts: [usize; 4]) -> Wanted {
        let [dns, emails, ips, uris] = counts;
        Wanted {
            organizations: organizations.iter().map(|one| (*one).to_owned()).collect(),
            common_name: common_name.to_owned(),
            dns,
            emails,
            ips,
            uris,
            ..Wanted::default()
        }
    }

    fn usages(of: &[&str]) -> Vec<String> {
        of.iter().map(|usage| (*usage).to_owned()).collect()
    }

    #[test]
    fn who_may_have_which_certificate() {
        const CLIENT: &[&str] = &["digital signature", "client auth"];
        const SERVING: &[&str] = &["key encipherment", "digital signature", "server auth"];
        let node = |counts| wanted(&["system:nodes"], "system:node:n", counts);
        for (own, of, expected) in [
            (node([0; 4]), CLIENT, ""),
            (
                node([0; 4]),
                SERVING,
                "usages did not match [client auth digital signature key encipherment]",
            ),
            (
                node([1, 0, 0, 0]),
                CLIENT,
                "DNS subjectAltNames are not allowed",
            ),
            (
                node([0, 0, 1, 0]),
                CLIENT,
                "IP subjectAltNames are not allowed",
            ),
            (
                wanted(&["system:nodes", "system:masters"], "system:node:n", [0; 4]),
                CLIENT,
                "subject organization is not system:nodes",
            ),
            (
                wanted(&["system:nodes"], "n", [0; 4]),
                CLIENT,
                "subject common name does not begin with system:node:",
            ),
        ] {
            let found = check_kubelet_client(&own, &usages(of)).err();
            assert_eq!(found.unwrap_or_default(), expected);
        }
        for (own, of, expected) in [
            (node([1, 0, 1, 0]), SERVING, ""),
            (
                node([0; 4]),
                SERVING,
                "DNS or IP subjectAltName is required",
            ),
            (
                node([1, 1, 0, 0]),
                SERVING,
                "Email subjectAltNames are not allowed",
            ),
            (
                node([1, 0, 0, 0]),
                CLIENT,
                "usages did not match [digital signature key encipherment server auth]",
            ),
        ] {
            let found = check_kubelet_serving(&own, &usages(of)).err();
            assert_eq!(found.unwrap_or_default(), expected);
        }
        for (of, expected) in [
            (CLIENT, ""),
            (SERVING, "invalid usage for client certificate: server auth"),
            (
                &["digital signature"],
                "missing required usage for client certificate: client auth",
            ),
        ] {
            let found = check_client(&usages(of)).err();
            assert_eq!(found.unwrap_or_default(), expected);
        }
    }
}
