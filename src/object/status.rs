//! `Status`: how the API says that something failed (or was done), made in one place.
use super::{GroupKind, GroupResource, field};
use serde::Serialize;
use serde_json::Value;

/// Why a request failed, as a machine reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the variants are the documented reasons of the Kubernetes API, by their own names"
)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    Invalid,
    ServerTimeout,
    StoreReadError,
    Timeout,
    TooManyRequests,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    ServiceUnavailable,
    /// No reason given: it is left out of the body.
    #[serde(rename = "")]
    Unknown,
}

/// One cause of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// `FieldValueInvalid`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// In words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field's path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object's group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The object's kind, or its resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The causes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// A failure of a request. Its JSON form ([`Status::to_value`]) is the body of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// What about.
    pub details: Option<Box<Details>>,
}

impl Status {
    /// Any failure.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }
    /// With details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }
    fn about(resource: &GroupResource, name: &str) -> Details {
        Details {
            name: name.into(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        }
    }
    /// 404: `pods "x" not found`.
    #[must_use]
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(
            404,
            Reason::NotFound,
            format!("{resource} {} not found", field::quoted(name)),
        )
        .with_details(Self::about(resource, name))
    }
    /// 404 for a path that is not served.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(
            404,
            Reason::NotFound,
            "the server could not find the requested resource",
        )
        .with_details(Details::default())
    }
    /// 409: `pods "x" already exists`.
    #[must_use]
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(
            409,
            Reason::AlreadyExists,
            format!("{resource} {} already exists", field::quoted(name)),
        )
        .with_details(Self::about(resource, name))
    }
    /// 409: `Operation cannot be fulfilled on pods "x": why`.
    #[must_use]
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        Self::new(
            409,
            Reason::Conflict,
            format!(
                "Operation cannot be fulfilled on {resource} {}: {why}",
                field::quoted(name)
            ),
        )
        .with_details(Self::about(resource, name))
    }
    /// 422: `Deployment.apps "x" is invalid: …` with one cause per error.
    #[must_use]
    pub fn invalid(kind: &GroupKind, name: &str, errors: &field::Errors) -> Self {
        // Equal messages are shown once, as `utilerrors.Aggregate` does.
        let mut texts: Vec<String> = Vec::new();
        for error in &errors.0 {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let text = if let [one] = &texts[..] {
            one.clone()
        } else {
            format!("[{}]", texts.join(", "))
        };
        let causes = errors
            .0
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason().into(),
                message: error.message.clone(),
                field: error.path.to_string(),
            })
            .collect();
        Self::new(
            422,
            Reason::Invalid,
            format!("{kind} {} is invalid: {text}", field::quoted(name)),
        )
        .with_details(Details {
            name: name.into(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            ..Details::default()
        })
    }
    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }
    /// 403: `pods "x" is forbidden: why`.
    #[must_use]
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let subject = if name.is_empty() {
            resource.to_string()
        } else {
            format!("{resource} {}", field::quoted(name))
        };
        Self::new(
            403,
            Reason::Forbidden,
            format!("{subject} is forbidden: {why}"),
        )
        .with_details(Self::about(resource, name))
    }
    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )
        .with_details(Details::default())
    }
    /// 405: `create is not supported on resources of kind "foos.example.com"`.
    #[must_use]
    pub fn not_supported(resource: &GroupResource, action: &str) -> Self {
        let message = format!(
            "{action} is not supported on resources of kind {:?}",
            resource.to_string()
        );
        Self::new(405, Reason::MethodNotAllowed, message).with_details(Self::about(resource, ""))
    }
    /// 410 with reason `Expired`.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }
    /// 500: `Internal error occurred: why`.
    #[must_use]
    pub fn internal(why: &str) -> Self {
        Self::new(
            500,
            Reason::InternalError,
            format!("Internal error occurred: {why}"),
        )
        .with_details(Details {
            causes: vec![Cause {
                message: why.into(),
                ..Cause::default()
            }],
            ..Details::default()
        })
    }
    /// 429 with a time to wait.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, Reason::TooManyRequests, message).with_details(Details {
            retry_after_seconds,
            ..Details::default()
        })
    }
    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message)
    }
    /// The `v1.Status` document.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message, "code": self.code,
        });
        if let Value::Object(map) = &mut value {
            if self.reason != Reason::Unknown {
                map.insert("reason".into(), serde_json::json!(self.reason));
            }
            if let Some(details) = &self.details {
                map.insert("details".into(), serde_json::json!(details));
            }
        }
        value
    }
}
