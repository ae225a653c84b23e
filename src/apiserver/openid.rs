//! Where others find out how tokens of service accounts are signed: `/.well-known/openid-configuration` and
//! `/openid/v1/jwks`.
use super::response::{self, Response};
use super::server::Shared;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{StatusCode, header};
use serde_json::Value;

const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=3600");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const KEYS: HeaderValue = HeaderValue::from_static("application/jwk-set+json");

/// Answers one of the two paths; `None`: it is none, or the issuer is none that others could ask.
pub(crate) fn answer(shared: &Shared, path: &str) -> Option<Response> {
    let tokens = &shared.service_account_tokens;
    let (content_type, document): (HeaderValue, Value) =
        match path.strip_suffix('/').unwrap_or(path) {
            "/.well-known/openid-configuration" => (JSON, tokens.discovery()?),
            "/openid/v1/jwks" => tokens.discovery().map(|_| (KEYS, tokens.jwks()))?,
            _ => return None,
        };
    let mut answer = response::document(StatusCode::OK, &document);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, CACHED);
    Some(answer)
}
