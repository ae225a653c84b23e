//! Watches, decoded frame by frame.
//!
//! In process each body frame is exactly one event and is decoded where it lies; over a network an event may come in any
//! number of pieces, which are put together here.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::list::{Path, failure};

/// How long the server is asked to keep a watch. It ends it a little later at the most, and the caller resumes.
const TIMEOUT_SECONDS: &str = "290";

/// How long nothing may be heard of a watch: longer than bookmarks are apart and than the server keeps it.
const SILENCE: Duration = Duration::from_secs(300);

/// An event is not larger than this, in bytes.
const MOST_BYTES: usize = 16 << 20;

/// What a watch delivers.
#[derive(Clone, Debug)]
pub enum Frame<K> {
    /// The object was created or changed (or came to fit the selector).
    Applied(K),
    /// The object was deleted (or no longer fits the selector); its last state.
    Deleted(K),
    /// Everything up to this revision has been delivered.
    Bookmark(String),
}

/// A watch under way. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    body: Body,
    buffer: BytesMut,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    type_: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
struct BookmarkMeta {
    #[serde(rename = "resourceVersion")]
    resource_version: String,
}

/// Watches a collection from the first change after `resource_version`, with bookmarks.
///
/// # Errors
/// [`super::is_expired`] when changes after that revision are no longer kept: list again.
pub async fn watch(
    client: &Client,
    path: &Path,
    resource_version: &str,
) -> Result<Watch, kube::Error> {
    let query = [
        ("watch", "true"),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", TIMEOUT_SECONDS),
        ("resourceVersion", resource_version),
    ];
    let accept = if path.metadata_only {
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    } else {
        "application/json"
    };
    let mut request = path.request(&query, accept)?;
    // Compressing a stream would hold events back.
    let identity = http::HeaderValue::from_static("identity");
    request
        .headers_mut()
        .insert(http::header::ACCEPT_ENCODING, identity);
    let response = client.send(request).await?;
    let status = response.status();
    let body = response.into_body();
    if !status.is_success() {
        return Err(failure(status.as_u16(), &body.collect().await?.to_bytes()));
    }
    Ok(Watch {
        body,
        buffer: BytesMut::new(),
    })
}

impl Watch {
    /// The next event; `None` when the server ended the watch, which is normal: resume from the last revision seen.
    ///
    /// # Errors
    /// As [`watch`], or when the connection broke, was silent for too long, or an event does not decode. The watch is over then.
    pub async fn next<K: DeserializeOwned>(&mut self) -> Result<Option<Frame<K>>, kube::Error> {
        while let Some(line) = self.line().await? {
            if let Some(frame) = decode(&line)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// The next line.
    async fn line(&mut self) -> Result<Option<Bytes>, kube::Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                return Ok(Some(line));
            }
            let next = tokio::time::timeout(SILENCE, self.body.frame()).await;
            let Ok(next) = next else {
                return Err(broken("nothing was heard of the watch for 300 seconds"));
            };
            let Some(frame) = next else { return Ok(None) };
            let Ok(mut data) = frame?.into_data() else {
                continue;
            };
            // The common case in process: one frame, one line, nothing copied.
            if self.buffer.is_empty()
                && data.last() == Some(&b'\n')
                && data.iter().position(|byte| *byte == b'\n') == Some(data.len() - 1)
            {
                data.truncate(data.len() - 1);
                return Ok(Some(data));
            }
            if self.buffer.len() + data.len() > MOST_BYTES {
                return Err(broken("an event of the watch is too large"));
            }
            self.buffer.extend_from_slice(&data);
        }
    }
}

fn broken(why: &str) -> kube::Error {
    kube::Error::Service(Box::from(why))
}

fn decode<K: DeserializeOwned>(line: &[u8]) -> Result<Option<Frame<K>>, kube::Error> {
    let event: Event<'_> = serde_json::from_slice(line).map_err(kube::Error::SerdeError)?;
    let object = event.object.get();
    let frame = match event.type_ {
        "ADDED" | "MODIFIED" => {
            Frame::Applied(serde_json::from_str(object).map_err(kube::Error::SerdeError)?)
        }
        "DELETED" => Frame::Deleted(serde_json::from_str(object).map_err(kube::Error::SerdeError)?),
        "BOOKMARK" => {
            let bookmark: Bookmark =
                serde_json::from_str(object).map_err(kube::Error::SerdeError)?;
            Frame::Bookmark(bookmark.metadata.resource_version)
        }
        "ERROR" => return Err(failure(500, object.as_bytes())),
        // A kind of event that is not known yet is no reason to fail.
        _ => return Ok(None),
    };
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body::Frame as HttpFrame;
    use http_body_util::StreamBody;
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    /// A watch whose answer has the given body.
    async fn of<B>(body: B) -> Watch
    where
        B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let mut body = Some(body);
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let body = body.take().unwrap();
            async move { Ok::<_, Infallible>(http::Response::new(body)) }
        });
        let client = Client::new(service, "default");
        watch(&client, &Path::of::<ConfigMap>(), "1").await.unwrap()
    }

    /// A watch of an answer that comes in the given pieces.
    async fn in_pieces(pieces: Vec<Vec<u8>>) -> Watch {
        let frames = pieces
            .into_iter()
            .map(|piece| Ok::<_, Infallible>(HttpFrame::data(Bytes::from(piece))));
        of(StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))).await
    }

    const EVENTS: &str = concat!(
        r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#,
        "\n",
        r#"{"type":"NEWS","object":{}}"#,
        "\n",
        r#"{"type":"DELETED","object":{"metadata":{"name":"b"}}}"#,
        "\n",
        r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}"#,
        "\n",
    );

    async fn read(mut watch: Watch) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(frame) = watch.next::<ConfigMap>().await.unwrap() {
            seen.push(match frame {
                Frame::Applied(object) => format!("+{}", object.metadata.name.unwrap()),
                Frame::Deleted(object) => format!("-{}", object.metadata.name.unwrap()),
                Frame::Bookmark(revision) => revision,
            });
        }
        seen
    }

    #[tokio::test]
    async fn pieces_of_any_size_make_the_same_events() {
        for size in [1, 7, 60, EVENTS.len()] {
            let pieces = EVENTS.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
            assert_eq!(
                read(in_pieces(pieces).await).await,
                ["+a", "-b", "7"],
                "{size}"
            );
        }
    }

    #[tokio::test]
    async fn an_error_event_ends_the_watch() {
        let gone = r#"{"type":"ERROR","object":{"status":"Failure","code":410,"reason":"Expired","message":"too old"}}"#;
        let mut watch = in_pieces(vec![format!("{gone}\n").into_bytes()]).await;
        let error = watch.next::<ConfigMap>().await.unwrap_err();
        assert!(crate::client::is_expired(&error), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_error() {
        let mut watch = of(StreamBody::new(stream::pending::<
            Result<HttpFrame<Bytes>, Infallible>,
        >()))
        .await;
        assert!(watch.next::<ConfigMap>().await.is_err());
    }
}
