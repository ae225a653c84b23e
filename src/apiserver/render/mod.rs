//! The formats of answers. They are made as JSON; who wants YAML or protobuf gets it from that.
mod yaml;

use super::protobuf;
use super::request::negotiate::{self, Format};
use super::response::{self, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use serde_json::Value;

const PROTOBUF: HeaderValue = HeaderValue::from_static(protobuf::MEDIA);
const PROTOBUF_WATCH: HeaderValue =
    HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");

/// The answer in the format that the `Accept` header asks for. Kinds without a protobuf form stay JSON. `watch`: it is a stream
/// of events, which have such a form or not.
pub(crate) async fn render(accept: &str, watch: Option<bool>, answer: Response) -> Response {
    let is_json = answer.headers().get(CONTENT_TYPE) == Some(&response::JSON);
    // Nearly everybody who is not a Go client.
    let may_differ = accept.contains("yaml") || accept.contains("protobuf");
    if !is_json || !may_differ {
        return answer;
    }
    match negotiate::output(accept, true).map(|output| output.format) {
        Ok(Format::Yaml) => {
            let yaml = |document: &Value| Some(yaml::to_string(document).into_bytes());
            whole(answer, response::YAML, yaml).await
        }
        Ok(Format::Protobuf) => match watch.filter(|_| answer.status().is_success()) {
            Some(true) => events(answer),
            Some(false) => answer,
            None => whole(answer, PROTOBUF, protobuf::encode).await,
        },
        _ => answer,
    }
}

async fn whole(
    answer: Response,
    content_type: HeaderValue,
    encode: impl Fn(&Value) -> Option<Vec<u8>>,
) -> Response {
    let (mut parts, body) = answer.into_parts();
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let document = serde_json::from_slice::<Value>(&bytes).ok();
    match document.as_ref().and_then(encode) {
        Some(encoded) => {
            parts.headers.insert(CONTENT_TYPE, content_type);
            Response::from_parts(parts, response::full(encoded))
        }
        None => Response::from_parts(parts, response::full(bytes)),
    }
}

/// The events of a watch, each frame of whose body is one.
fn events(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    parts.headers.insert(CONTENT_TYPE, PROTOBUF_WATCH);
    let body = body.map_frame(|frame| {
        frame.map_data(|line| {
            let event = serde_json::from_slice::<Value>(&line).ok();
            let encoded = event.as_ref().and_then(protobuf::watch_event);
            encoded.map_or_else(Bytes::new, Bytes::from)
        })
    });
    Response::from_parts(parts, body.boxed_unsync())
}
