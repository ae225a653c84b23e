//! One call of a webhook, and what becomes of the request.
use super::hook::Hook;
use super::review::{self, Response};
use super::transport::{Target, Transports};
use crate::apiserver::admission::AdmissionRequest;
use crate::apiserver::admission::matching::Match;
use crate::object::status::{Cause, Details};
use crate::object::{Document, Reason, Status};
use bytes::Bytes;
use serde_json::Value;

/// Why a call did not let the request be.
#[derive(Debug)]
pub(super) enum Failure {
    /// The webhook says no, or the request cannot be made of it.
    Refused(Status),
    /// The call failed, which the webhook may want to be ignored.
    Call(String),
}

/// Asks a webhook.
///
/// # Errors
/// That it refuses, or that it cannot be asked.
pub(super) async fn ask(
    request: &AdmissionRequest<'_>,
    transports: &Transports,
    hook: &Hook,
    found: &Match,
    object: Option<&Value>,
    mutating: bool,
) -> Result<Response, Failure> {
    let harmless = matches!(hook.spec.str_at(&["sideEffects"]), "None" | "NoneOnDryRun");
    if request.dry_run && !harmless {
        return Err(Failure::Refused(Status::bad_request(format!(
            "admission webhook {:?} does not support dry run",
            hook.name
        ))));
    }
    let Some(version) = hook.review else {
        return Err(Failure::Call(
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
                .to_owned(),
        ));
    };
    let uid = request
        .view
        .shared()
        .map_or_else(|| "uid".to_owned(), |shared| shared.clock.uid());
    let review = review::request(request, hook, found, object, &uid);
    let outcome = post(transports, &hook.target, Bytes::from(review.to_string())).await;
    let body = outcome.map_err(|why| Failure::Call(format!("failed to call webhook: {why}")))?;
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|error| Failure::Call(format!("failed to call webhook: {error}")))?;
    let response = review::response(&answer, version, &uid, mutating)
        .map_err(|why| Failure::Call(format!("received invalid webhook response: {why}")))?;
    for (key, value) in &response.annotations {
        request
            .session
            .annotate(format!("{}/{key}", hook.name), value.as_str());
    }
    for warning in &response.warnings {
        request.warn(warning.as_str());
    }
    if response.allowed {
        Ok(response)
    } else {
        Err(Failure::Refused(denied(&hook.name, response.status)))
    }
}

/// Posts a review and gives the answer to it.
///
/// # Errors
/// Why there is none, as Go's client tells of it.
pub(crate) async fn post(
    transports: &Transports,
    target: &Target,
    review: Bytes,
) -> Result<Bytes, String> {
    let called = transports.call(target, review);
    match tokio::time::timeout(target.timeout, called).await {
        Ok(Ok(reply)) if (200..300).contains(&reply.code) => Ok(reply.body),
        Ok(Ok(reply)) => Err(refusal_of(reply.code, &reply.body)),
        Ok(Err(why)) => Err(posted(target, &why)),
        Err(_) => Err(posted(target, "context deadline exceeded")),
    }
}

/// As Go's client tells of a request that did not get through.
fn posted(target: &Target, why: &str) -> String {
    let seconds = target.timeout.as_secs();
    format!("Post \"{}?timeout={seconds}s\": {why}", target.url)
}

/// As Go's client tells of an answer that is no success.
fn refusal_of(code: u16, body: &[u8]) -> String {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = status.str_at(&["message"]);
    if status.kind() == "Status" && !message.is_empty() {
        return message.to_owned();
    }
    match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => "forbidden".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later"
            .to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request"
            .to_owned(),
        500.. => {
            let text = String::from_utf8_lossy(body);
            format!(
                "an error on the server ({:?}) has prevented the request from succeeding",
                text.trim()
            )
        }
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}

/// What becomes of a request that a webhook could not be asked about; `Ok`: that is ignored.
///
/// # Errors
/// 500.
pub(super) fn failed(request: &AdmissionRequest<'_>, hook: &Hook, why: &str) -> Result<(), Status> {
    let text = format!("failed calling webhook {:?}: {why}", hook.name);
    if hook.ignores_failures() {
        tracing::warn!(webhook = hook.name, "{text}; the failure is ignored");
        request.session.annotate(
            format!("failed-open.webhook.admission.k8s.io/{}", hook.key),
            hook.name.as_str(),
        );
        return Ok(());
    }
    Err(Status::internal(&text))
}

/// The refusal of a webhook as the client sees it.
fn denied(name: &str, status: Option<Value>) -> Status {
    let status = status.unwrap_or_default();
    let start = format!("admission webhook {name:?} denied the request");
    let (message, reason) = (status.str_at(&["message"]), status.str_at(&["reason"]));
    let text = match (message, reason) {
        ("", "") => format!("{start} without explanation"),
        ("", reason) => format!("{start}: {reason}"),
        (message, _) => format!("{start}: {message}"),
    };
    let code = status
        .i64_at(&["code"])
        .and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let mut refused = Status::new(code, reason_of(reason), text);
    refused.details = details_of(&status).map(Box::new);
    refused
}

fn reason_of(text: &str) -> Reason {
    const KNOWN: [Reason; 19] = [
        Reason::BadRequest,
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::AlreadyExists,
        Reason::Conflict,
        Reason::Gone,
        Reason::Expired,
        Reason::Invalid,
        Reason::ServerTimeout,
        Reason::StoreReadError,
        Reason::Timeout,
        Reason::TooManyRequests,
        Reason::MethodNotAllowed,
        Reason::NotAcceptable,
        Reason::RequestEntityTooLarge,
        Reason::UnsupportedMediaType,
        Reason::InternalError,
        Reason::ServiceUnavailable,
    ];
    let known = KNOWN
        .into_iter()
        .find(|reason| format!("{reason:?}") == text);
    known.unwrap_or(Reason::Unknown)
}

fn details_of(status: &Value) -> Option<Details> {
    let details = status
        .get("details")
        .filter(|details| details.is_object())?;
    let text = |field: &str| details.str_at(&[field]).to_owned();
    let causes = details.list_at(&["causes"]).iter().map(|cause| Cause {
        reason: cause.str_at(&["reason"]).to_owned(),
        message: cause.str_at(&["message"]).to_owned(),
        field: cause.str_at(&["field"]).to_owned(),
    });
    let retry = details.i64_at(&["retryAfterSeconds"]).unwrap_or(0);
    Some(Details {
        name: text("name"),
        group: text("group"),
        kind: text("kind"),
        uid: text("uid"),
        causes: causes.collect(),
        retry_after_seconds: u32::try_from(retry).unwrap_or(0),
    })
}
