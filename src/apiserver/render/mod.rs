//! The formats of answers. They are made as JSON; who wants YAML or protobuf gets it from that.
mod yaml;

use super::protobuf;
use super::request::Query;
use super::request::negotiate::{self, Endpoint, Format};
use super::response::{self, Response};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

const PROTOBUF: HeaderValue = HeaderValue::from_static(protobuf::MEDIA);

/// The answer in the format that the `Accept` header asks for of its endpoint. Kinds without a protobuf form stay JSON.
pub(crate) async fn render(accept: &str, answer: Response) -> Response {
    // Nearly everybody who is not a Go client.
    let may_differ = accept.contains("yaml") || accept.contains("protobuf");
    if !is_json(&answer) || !may_differ {
        return answer;
    }
    let endpoint = answer.extensions().get::<Endpoint>().copied();
    let endpoint = match endpoint.filter(|_| answer.status().is_success()) {
        Some(endpoint) => endpoint,
        None if answer.status().is_success() => Endpoint::Discovery,
        None => Endpoint::Failure,
    };
    match negotiate::output(accept, endpoint).map(|output| output.format) {
        Ok(Format::Yaml) => {
            let yaml = |document: &Value| Some(yaml::to_string(document).into_bytes());
            whole(answer, response::YAML, yaml).await
        }
        Ok(Format::Protobuf) => whole(answer, PROTOBUF, protobuf::encode).await,
        _ => answer,
    }
}

fn is_json(answer: &Response) -> bool {
    answer.headers().get(CONTENT_TYPE) == Some(&response::JSON)
}

/// JSON for people: those who say so, browsers and what is used at a prompt get lines and indents.
pub(crate) async fn pretty(parts: &Parts, accept: &str, answer: Response) -> Response {
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let wanted = match query.text("pretty") {
        "" => {
            let agent = parts.headers.get(USER_AGENT);
            let agent = agent
                .and_then(|agent| agent.to_str().ok())
                .unwrap_or_default();
            let people = ["curl", "Wget", "Mozilla/5.0"];
            people.iter().any(|start| agent.starts_with(start)) || accept.contains("pretty=1")
        }
        flag => matches!(flag, "1" | "t" | "T" | "true" | "True" | "TRUE"),
    };
    if !wanted || !is_json(&answer) {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    Response::from_parts(parts, response::full(indented(&bytes)))
}

/// JSON with lines and indents, as Go writes it.
fn indented(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_text {
            out.push(byte);
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if let Some(end) = bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'"' => {
                in_text = true;
                out.push(byte);
            }
            other => out.push(other),
        }
    }
    out
}

/// A document in YAML.
pub(crate) fn yaml_document(document: &Value) -> Response {
    let body = response::full(yaml::to_string(document));
    response::content(StatusCode::OK, response::YAML, body)
}

/// An item of a list in YAML.
pub(crate) fn yaml_item(item: Value) -> String {
    yaml::to_string(&Value::Array(vec![item]))
}

/// A list in YAML that has no items yet: what goes before them, and what goes after.
pub(crate) fn yaml_around(list: &Value, empty: bool) -> (String, String) {
    let mut head = yaml::to_string(list);
    let fields = ["items", "rows"].into_iter();
    let mut places = fields.filter_map(|field| {
        let line = format!("{field}: []\n");
        let at = if head.starts_with(&line) {
            0
        } else {
            head.find(&format!("\n{line}"))? + 1
        };
        Some((at + field.len() + 1, at + line.len()))
    });
    match places.next().filter(|_| !empty) {
        Some((colon, next)) => {
            let end = head.split_off(next);
            head.truncate(colon);
            head.push('\n');
            (head, end)
        }
        None => (head, String::new()),
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

#[cfg(test)]
mod tests {
    use super::indented;
    use serde_json::{Value, json};

    #[test]
    fn people_get_lines() {
        for value in [
            json!({}),
            json!([]),
            json!({"a": [1, {"b": null, "c": []}], "d": {}, "e": "x\"{[,:\\", "f": {"g": [[]]}}),
        ] {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let shown = indented(value.to_string().as_bytes());
            assert_eq!(String::from_utf8(shown).unwrap(), pretty);
            let again = indented(pretty.as_bytes());
            assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), value);
        }
    }
}
