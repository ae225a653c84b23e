//! Large answers go out compressed to clients that take gzip, as the real server does.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame, SizeHint};

use crate::apiserver::Body;

/// Smaller answers are sent as they are.
const LEAST: u64 = 128 << 10;
/// How much is compressed at a time, so that one large answer does not hold up the others on its thread.
const STEP: usize = 64 << 10;

/// Whether the client takes gzip.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| {
            let mut part = part.split(';').map(str::trim);
            part.next() == Some("gzip") && !part.any(|weight| matches!(weight, "q=0" | "q=0.0"))
        })
}

/// Compresses a large answer of known length. Watches, whose length is unknown, stay as they are.
pub(super) fn compress(response: Response<Body>) -> Response<Compressed> {
    let large = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|bytes| bytes >= LEAST);
    let (mut parts, body) = response.into_parts();
    if !large || parts.headers.contains_key(CONTENT_ENCODING) {
        return Response::from_parts(parts, Compressed::Plain(body));
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts
        .headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts
        .headers
        .append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    Response::from_parts(
        parts,
        Compressed::Gzip(Box::new(Gzip {
            body,
            pending: Bytes::new(),
            encoder: Some(encoder),
        })),
    )
}

/// A body, perhaps compressed on its way.
#[derive(Debug)]
pub(super) enum Compressed {
    /// As it is.
    Plain(Body),
    /// Compressed as it is read.
    Gzip(Box<Gzip>),
}

/// A body that is compressed on its way.
#[derive(Debug)]
pub(super) struct Gzip {
    body: Body,
    /// Read, not yet compressed.
    pending: Bytes,
    /// `None` once it has ended.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzip {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        loop {
            let Some(encoder) = &mut self.encoder else {
                return Poll::Ready(None);
            };
            if self.pending.is_empty() {
                match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                    Some(Ok(frame)) => {
                        self.pending = frame.into_data().unwrap_or_default();
                        continue;
                    }
                    Some(Err(never)) => match never {},
                    None => {
                        let rest = self
                            .encoder
                            .take()
                            .map_or(Ok(Vec::new()), GzEncoder::finish)?;
                        return Poll::Ready(Some(Ok(Frame::data(rest.into()))));
                    }
                }
            }
            let step = self.pending.len().min(STEP);
            encoder.write_all(self.pending.get(..step).unwrap_or_default())?;
            self.pending.advance(step);
            let made = std::mem::take(encoder.get_mut());
            if !made.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(made.into()))));
            }
        }
    }
}

impl http_body::Body for Compressed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Plain(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Gzip(gzip) => gzip.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Gzip(gzip) => gzip.encoder.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Gzip(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::response;
    use http_body_util::BodyExt;
    use std::io::Read as _;

    #[test]
    fn the_client_is_heeded() {
        for (header, expected) in [
            ("gzip", true),
            ("deflate, gzip;q=1.0", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("xgzip", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(header));
            assert_eq!(is_wanted(&headers), expected, "{header}");
        }
    }

    #[tokio::test]
    async fn large_answers_are_compressed_and_small_ones_are_not() {
        for size in [10, 1 << 20] {
            let text = "homeostat ".repeat(size / 10);
            let answer = compress(Response::new(response::full(text.clone())));
            let large = size > 10;
            assert_eq!(answer.headers().contains_key(CONTENT_ENCODING), large);
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            if large {
                assert!(bytes.len() < size / 10);
                let mut plain = String::new();
                flate2::read::GzDecoder::new(&bytes[..])
                    .read_to_string(&mut plain)
                    .unwrap();
                assert_eq!(plain, text);
            } else {
                assert_eq!(bytes, text);
            }
        }
    }
}
