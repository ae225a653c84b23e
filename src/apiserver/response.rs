//! Answers: bodies, headers, and the one place where a `Status` becomes an HTTP response.
use crate::object::Status;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The body of an answer: whole, or frames as they come (watch).
pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// An answer.
pub(crate) type Response = http::Response<Body>;

/// `application/json`
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// `application/yaml`
pub(crate) const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const WARNING: HeaderName = HeaderName::from_static("warning");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// A body that is there as a whole.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// An answer of a content type.
pub(crate) fn content(code: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.reserve(4);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    response
}

/// JSON bytes, on a line as Go's encoder writes it.
pub(crate) fn json(code: StatusCode, bytes: impl AsRef<[u8]>) -> Response {
    let line = [bytes.as_ref(), b"\n"].concat();
    content(code, JSON, full(line))
}

/// A JSON document.
pub(crate) fn document(code: StatusCode, value: &Value) -> Response {
    json(code, value.to_string())
}

/// Plain text.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response {
    content(code, TEXT, full(text))
}

/// A failure.
pub(crate) fn failure(status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // With a client that takes none of its formats the real server is not brief.
    let mut response = if status.code == 406 && status.details.is_some() {
        content(code, JSON, full(indented(status)))
    } else {
        document(code, &status.to_value())
    };
    let retry = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    // The real server suggests waiting for these only, whatever the details say.
    if retry > 0 && matches!(status.code, 429 | 503 | 504) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// The status as Go writes it with indents.
fn indented(status: &Status) -> String {
    let document = status.to_value();
    let fields = [
        "kind",
        "apiVersion",
        "metadata",
        "status",
        "message",
        "reason",
        "details",
        "code",
    ];
    let fields = fields.iter().filter_map(|field| {
        let value = document.get(*field)?;
        Some(format!("  \"{field}\": {value}"))
    });
    format!("{{\n{}\n}}", fields.collect::<Vec<_>>().join(",\n"))
}

/// Warnings for the client, in the order they came, each once. Clones share them: the service writes them into the answer,
/// be it a success or a failure. So are the notes for the audit log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<String>>>, Arc<Mutex<Notes>>);

type Notes = BTreeMap<String, String>;

impl Warnings {
    /// Adds one.
    pub(crate) fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock();
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    /// Notes things for the audit log; the first note under a key stays.
    pub(crate) fn annotate(&self, notes: Notes) {
        let mut known = self.1.lock();
        for (key, value) in notes {
            known.entry(key).or_insert(value);
        }
    }
    /// What was noted for the audit log.
    pub(crate) fn annotations(&self) -> Notes {
        self.1.lock().clone()
    }
    /// All there are.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.lock().clone()
    }
    /// Adds all.
    pub(crate) fn extend(&self, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.add(text));
    }
    /// Writes them as `Warning` headers (RFC 7234, code 299). Long ones are cut once there is much of it, as the real server does.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        const MOST: usize = 4096;
        const CUT: usize = 256;
        let texts = self.0.lock();
        let long = texts.iter().map(String::len).sum::<usize>() > MOST;
        let mut total = 0;
        for text in texts.iter() {
            let text: String = if long {
                text.chars().take(CUT).collect()
            } else {
                text.clone()
            };
            total += text.len();
            if total > MOST {
                break;
            }
            let mut quoted = String::with_capacity(text.len() + 10);
            quoted.push_str("299 - \"");
            for character in text.chars().filter(|character| !character.is_control()) {
                if matches!(character, '"' | '\\') {
                    quoted.push('\\');
                }
                quoted.push(character);
            }
            quoted.push('"');
            if let Ok(value) = HeaderValue::from_bytes(quoted.as_bytes()) {
                headers.append(WARNING, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_said_once() {
        let warnings = Warnings::default();
        warnings.add("unknown field \"a\\b\"\n");
        warnings.add("unknown field \"a\\b\"\n");
        warnings.add("");
        let mut headers = HeaderMap::new();
        warnings.write(&mut headers);
        let values: Vec<_> = headers.get_all(WARNING).iter().collect();
        assert_eq!(values, [r#"299 - "unknown field \"a\\b\"""#]);
    }

    #[test]
    fn failures_say_when_to_retry() {
        let response = failure(&Status::too_many_requests("busy", 2));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }
}
