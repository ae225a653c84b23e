//! `AdmissionReview`: what a webhook is asked, and whether its answer is one (`plugin/webhook/request`).
use super::hook::Hook;
use crate::apiserver::admission::matching::Match;
use crate::apiserver::admission::{AdmissionRequest, attributes};
use crate::object::{Document, base64};
use serde_json::{Value, json};

/// What a webhook says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Response {
    pub allowed: bool,
    /// The `Status` of a refusal.
    pub status: Option<Value>,
    /// The JSON patch, encoded.
    pub patch: Vec<u8>,
    pub annotations: Vec<(String, String)>,
    pub warnings: Vec<String>,
}

/// The review that is sent. The object is in the version that was matched.
pub(super) fn request(
    request: &AdmissionRequest<'_>,
    hook: &Hook,
    found: &Match,
    object: Option<&Value>,
    uid: &str,
) -> Value {
    let shown = |object: Option<&Value>| object.map_or(Value::Null, |object| found.convert(object));
    let mut body = attributes::of(request, found);
    for (field, value) in [
        ("uid", uid.into()),
        ("object", shown(object)),
        ("oldObject", shown(request.old)),
    ] {
        body[field] = value;
    }
    let version = hook.review.unwrap_or("v1");
    json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": body})
}

/// Reads the answer.
///
/// # Errors
/// Why it is none.
pub(super) fn response(
    answer: &Value,
    version: &str,
    uid: &str,
    mutating: bool,
) -> Result<Response, String> {
    let body = answer
        .get("response")
        .filter(|body| body.is_object())
        .ok_or("webhook response was absent")?;
    let v1 = version == "v1";
    if v1 {
        let expected = "admission.k8s.io/v1, Kind=AdmissionReview";
        let found = format!("{}, Kind={}", answer.api_version(), answer.kind());
        if found != expected {
            return Err(format!(
                "expected webhook response of {expected}, got {found}"
            ));
        }
        if body.str_at(&["uid"]) != uid {
            let found = body.str_at(&["uid"]);
            return Err(format!("expected response.uid={uid:?}, got {found:?}"));
        }
    }
    let patch = body.str_at(&["patch"]);
    let kind = body.str_at(&["patchType"]);
    let has_kind = body.get("patchType").is_some_and(|kind| !kind.is_null());
    if v1 && mutating {
        match (patch.is_empty(), has_kind) {
            (true, true) => {
                return Err("webhook returned response.patchType but not response.patch".to_owned());
            }
            (false, false) => {
                return Err("webhook returned response.patch but not response.patchType".to_owned());
            }
            (false, true) if kind != "JSONPatch" => {
                return Err(format!(
                    "webhook returned invalid response.patchType of {kind:?}"
                ));
            }
            _ => {}
        }
    }
    if v1 && !mutating {
        if !patch.is_empty() {
            return Err("validating webhook may not return response.patch".to_owned());
        }
        if has_kind {
            return Err("validating webhook may not return response.patchType".to_owned());
        }
    }
    let decoded = base64::decode(patch).ok_or("illegal base64 data in response.patch")?;
    let texts = |field: &str| {
        let items = body.list_at(&[field]).iter().filter_map(Value::as_str);
        items.map(str::to_owned).collect()
    };
    let annotations = body.get("auditAnnotations").and_then(Value::as_object);
    Ok(Response {
        allowed: body.bool_at(&["allowed"]) == Some(true),
        status: body
            .get("status")
            .filter(|status| status.is_object())
            .cloned(),
        patch: if mutating { decoded } else { Vec::new() },
        annotations: annotations
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        warnings: texts("warnings"),
    })
}
