//! Answers: bodies, headers, and the one place where a `Status` becomes an HTTP response.
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// The body of an answer: whole, or frames as they come (watch).
pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// An answer.
pub(crate) type Response = http::Response<Body>;
