//! Deletes old requests for certificates (`certificatesigningrequest-cleaner-controller` of `kube-controller-manager`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::DeleteParams;
use tokio::time::sleep;

use super::csrutil;
use crate::client;
use crate::clock::Clock;
use crate::pki::certificate::Certificate;
use crate::reconcile::{Cache, Error, Manager};

/// The name under which the controller runs and writes.
const NAME: &str = "csrcleaner";
/// How often all requests are looked at.
const PERIOD: Duration = Duration::from_secs(3600);
/// How long those stay that were signed, denied or have failed, …
const DECIDED: Duration = Duration::from_secs(3600);
/// … that were approved and nobody signs, and that nobody has looked at.
const PENDING: Duration = Duration::from_secs(24 * 3600);

/// Adds the controller to `manager`.
pub fn install(manager: &Manager) {
    let (client, clock) = (manager.client_for(NAME), manager.clock().clone());
    let requests = manager.cache::<CertificateSigningRequest>();
    manager.add_task(NAME, move || {
        run(client.clone(), clock.clone(), requests.clone())
    });
}

async fn run(
    client: kube::Client,
    clock: Clock,
    requests: Cache<CertificateSigningRequest>,
) -> Result<(), Error> {
    let api: Api<CertificateSigningRequest> = Api::all(client);
    loop {
        for request in requests.list() {
            if !is_old(&request, clock.now()) {
                continue;
            }
            let name = request.metadata.name.as_deref().unwrap_or_default();
            match api.delete(name, &DeleteParams::default()).await {
                Err(error) if !client::is_not_found(&error) => {
                    tracing::warn!(%error, csr = name, "Error while attempting to clean CSR");
                }
                _ => {}
            }
        }
        sleep(PERIOD).await;
    }
}

/// Whether nobody needs a request any more.
fn is_old(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let is_past = |time: Timestamp, life: Duration| {
        now.duration_since(time).unsigned_abs() > life && time < now
    };
    let status = request.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let of = |type_: &str| {
        let mut all = conditions.into_iter().flatten();
        let found = all.find(|condition| condition.type_ == type_)?;
        found.last_update_time.as_ref().map(|time| time.0)
    };
    if conditions.is_none_or(Vec::is_empty) {
        let made = request.metadata.creation_timestamp.as_ref();
        return made.is_some_and(|made| is_past(made.0, PENDING));
    }
    let approved = of("Approved");
    if csrutil::is_issued(request) {
        let text = status.and_then(|status| status.certificate.as_ref());
        let text = text.map(|text| String::from_utf8_lossy(&text.0).into_owned());
        let certificate = text.and_then(|text| Certificate::from_pem(&text));
        let expired = certificate.is_some_and(|certificate| now > certificate.until);
        return approved.is_some_and(|time| expired || is_past(time, DECIDED));
    }
    let over = |type_: &str, life| of(type_).is_some_and(|time| is_past(time, life));
    over("Denied", DECIDED) || over("Failed", DECIDED) || over("Approved", PENDING)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn who_is_old() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let condition = |type_: &str, time: &str| json!([{"type": type_, "status": "True", "lastUpdateTime": format!("2026-01-02T{time}Z")}]);
        let none = json!([]);
        for (made, conditions, signed, expected) in [
            ("2026-01-01T13:00:00Z", none.clone(), false, false),
            ("2026-01-01T11:00:00Z", none, false, true),
            (
                "2026-01-01T11:00:00Z",
                condition("Approved", "11:30:00"),
                true,
                false,
            ),
            (
                "2026-01-01T11:00:00Z",
                condition("Approved", "10:30:00"),
                true,
                true,
            ),
            (
                "2026-01-01T11:00:00Z",
                condition("Approved", "10:30:00"),
                false,
                false,
            ),
            (
                "2026-01-01T11:00:00Z",
                condition("Denied", "10:30:00"),
                false,
                true,
            ),
            (
                "2026-01-01T11:00:00Z",
                condition("Failed", "10:30:00"),
                false,
                true,
            ),
            (
                "2026-01-01T11:00:00Z",
                condition("Denied", "11:30:00"),
                false,
                false,
            ),
        ] {
            let certificate = if signed { json!("eA==") } else { Value::Null };
            let request = serde_json::from_value(json!({
                "metadata": {"name": "r", "creationTimestamp": made},
                "spec": {"request": "", "signerName": "s"},
                "status": {"conditions": conditions, "certificate": certificate},
            }))
            .unwrap();
            assert_eq!(is_old(&request, now), expected, "{conditions} {signed}");
        }
    }
}
