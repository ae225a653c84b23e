//! What may be asked of a log or a command, and of which container (`pkg/registry/core/pod/strategy.go`).
use std::str::FromStr;

use serde_json::{Value, json};

use crate::apiserver::request::Query;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupKind, GroupVersionKind, Status};

const STREAMS: [&str; 3] = ["All", "Stderr", "Stdout"];

/// `PodLogOptions` as the query of a node's server; checked.
///
/// # Errors
/// 400 for what cannot be read, 422 for what makes no sense.
pub(super) fn log_query(query: &Query, pod: &str) -> Result<String, Status> {
    let mut out: Vec<(&str, String)> = Vec::new();
    let mut errors = Errors::new();
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) == Some(true) {
            out.push((flag, "true".to_owned()));
        }
    }
    let tail = number(query, "tailLines")?;
    let limit = number(query, "limitBytes")?;
    let seconds = number(query, "sinceSeconds")?;
    let time = time(query)?;
    if let Some(tail) = tail {
        if tail < 0 {
            let why = "must be greater than or equal to 0";
            errors.invalid(Path::new("tailLines"), tail, why);
        }
        out.push(("tailLines", tail.to_string()));
    }
    if let Some(limit) = limit {
        if limit < 1 {
            errors.invalid(Path::new("limitBytes"), limit, "must be greater than 0");
        }
        out.push(("limitBytes", limit.to_string()));
    }
    match (seconds, &time) {
        (Some(_), Some(_)) => {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.forbidden(Path::new(""), why);
        }
        (Some(seconds), None) if seconds < 1 => {
            errors.invalid(Path::new("sinceSeconds"), seconds, "must be greater than 0");
        }
        _ => {}
    }
    out.extend(seconds.map(|seconds| ("sinceSeconds", seconds.to_string())));
    out.extend(time.map(|time| ("sinceTime", time)));
    let stream = match query.text("stream") {
        "" => "All",
        stream => stream,
    };
    if !STREAMS.contains(&stream) {
        errors.not_supported(Path::new("stream"), stream, &STREAMS);
    }
    if stream != "All" && tail.is_some() {
        let why = "`tailLines` and specific `stream` are mutually exclusive for now";
        errors.forbidden(Path::new(""), why);
    }
    out.push(("stream", stream.to_owned()));
    if errors.is_empty() {
        return Ok(encode(&out));
    }
    Err(Status::invalid(
        &GroupKind::new("", "PodLogOptions"),
        pod,
        &errors,
    ))
}

fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let text = query.text(name);
    if text.is_empty() {
        return Ok(None);
    }
    i64::from_str(text).map(Some).map_err(|_| {
        Status::bad_request(format!(
            "strconv.ParseInt: parsing {text:?}: invalid syntax"
        ))
    })
}

fn time(query: &Query) -> Result<Option<String>, Status> {
    let text = query.text("sinceTime");
    if text.is_empty() {
        return Ok(None);
    }
    let time = text.parse::<jiff::Timestamp>().map_err(|_| {
        Status::bad_request(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
        ))
    })?;
    Ok(Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// What a connection is asked for, in the words of the query: `PodExecOptions` and its like, as admission sees them. `path` is
/// that of a proxied request.
///
/// # Errors
/// 400 for a port that is none.
pub(super) fn of(kind: &GroupVersionKind, query: &Query, path: &str) -> Result<Value, Status> {
    let mut options = json!({ "kind": kind.kind, "apiVersion": kind.api_version() });
    match kind.kind.as_str() {
        "PodPortForwardOptions" => {
            let ports = ports(query).map_err(|why| {
                Status::bad_request(format!(
                    "cannot convert to []int32: strconv.ParseUint: {why}"
                ))
            })?;
            if !ports.is_empty() {
                options["ports"] = ports.into();
            }
        }
        "PodExecOptions" | "PodAttachOptions" => {
            for (flag, _) in STREAM_FLAGS {
                if query.flag(flag) == Some(true) {
                    options[flag] = true.into();
                }
            }
            let container = query.text("container");
            if !container.is_empty() {
                options["container"] = container.into();
            }
            if kind.kind == "PodExecOptions" {
                let words: Vec<&str> = query.all("command").collect();
                options["command"] = if words.is_empty() {
                    Value::Null
                } else {
                    words.into()
                };
            }
        }
        _ if !path.is_empty() => options["path"] = path.into(),
        _ => {}
    }
    Ok(options)
}

/// The ports that only WebSocket clients name, separated by commas or not.
fn ports(query: &Query) -> Result<Vec<u16>, String> {
    let texts = query.all("ports").flat_map(|text| text.split(','));
    let parsed = texts.map(|text| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| {
            let why = if digits {
                "value out of range"
            } else {
                "invalid syntax"
            };
            format!("parsing {text:?}: {why}")
        })
    });
    parsed.collect()
}

/// Which streams a client wants, and what a node's server calls them.
const STREAM_FLAGS: [(&str, &str); 4] = [
    ("stdin", "input"),
    ("stdout", "output"),
    ("stderr", "error"),
    ("tty", "tty"),
];

/// The options of a command, an attachment or ports as the query of a node's server.
pub(super) fn node_query(options: &Value) -> String {
    let mut out = Vec::new();
    for (flag, sent) in STREAM_FLAGS {
        if options.bool_at(&[flag]) == Some(true) {
            out.push((sent, "1".to_owned()));
        }
    }
    let words = options.list_at(&["command"]).iter();
    out.extend(words.filter_map(|word| Some(("command", word.as_str()?.to_owned()))));
    let ports = options.list_at(&["ports"]).iter();
    let ports: Vec<String> = ports.map(ToString::to_string).collect();
    if !ports.is_empty() {
        out.push(("port", ports.join(",")));
    }
    encode(&out)
}

/// The container that is meant: the one named, or the only one.
///
/// # Errors
/// 400 when there is no such container, or none is named and there are several.
pub(super) fn container(pod: &Value, asked: &str) -> Result<String, Status> {
    let names = |field: &str| {
        let list = pod.list_at(&["spec", field]);
        list.iter()
            .map(|one| one.str_at(&["name"]).to_owned())
            .collect::<Vec<_>>()
    };
    let containers = names("containers");
    let all: Vec<String> = [
        names("initContainers"),
        containers.clone(),
        names("ephemeralContainers"),
    ]
    .concat();
    if asked.is_empty() {
        return match &containers[..] {
            [only] => Ok(only.clone()),
            [] => Err(Status::bad_request(format!(
                "a container name must be specified for pod {}",
                pod.name()
            ))),
            _ => Err(Status::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                pod.name(),
                all.join(" ")
            ))),
        };
    }
    if all.iter().any(|name| name == asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!(
        "container {asked} is not valid for pod {}",
        pod.name()
    )))
}

/// Writes a query string.
pub(super) fn encode(pairs: &[(&str, String)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", escape(value, b"")));
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encodes what is not plain, but for the bytes in `kept`.
pub(super) fn escape(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || kept.contains(&byte)
        {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for half in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(half), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn log_options_are_checked() {
        for (query, expected) in [
            ("", Ok("stream=All")),
            (
                "follow=true&previous=0&timestamps&container=c&pretty=1",
                Ok("follow=true&timestamps=true&stream=All"),
            ),
            (
                "tailLines=5&limitBytes=7&sinceSeconds=9",
                Ok("tailLines=5&limitBytes=7&sinceSeconds=9&stream=All"),
            ),
            (
                "sinceTime=2024-01-02T03:04:05%2B01:00",
                Ok("sinceTime=2024-01-02T02%3A04%3A05Z&stream=All"),
            ),
            ("stream=Stderr", Ok("stream=Stderr")),
            (
                "tailLines=-1",
                Err("tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ),
            (
                "limitBytes=0",
                Err("limitBytes: Invalid value: 0: must be greater than 0"),
            ),
            (
                "sinceSeconds=0",
                Err("sinceSeconds: Invalid value: 0: must be greater than 0"),
            ),
            (
                "sinceSeconds=1&sinceTime=2024-01-02T03:04:05Z",
                Err("at most one of `sinceTime` or `sinceSeconds` may be specified"),
            ),
            (
                "stream=x",
                Err(
                    "stream: Unsupported value: \"x\": supported values: \"All\", \"Stderr\", \"Stdout\"",
                ),
            ),
            (
                "stream=Stdout&tailLines=1",
                Err("`tailLines` and specific `stream` are mutually exclusive for now"),
            ),
            (
                "tailLines=x",
                Err("strconv.ParseInt: parsing \"x\": invalid syntax"),
            ),
        ] {
            let found = log_query(&Query::parse(query), "p");
            match expected {
                Ok(expected) => assert_eq!(found.unwrap(), expected, "{query}"),
                Err(expected) => {
                    let message = found.unwrap_err().message;
                    assert!(message.contains(expected), "{query}: {message}");
                }
            }
        }
    }

    #[test]
    fn containers_are_found() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]}});
        let two = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c"}, {"name": "d"}], "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "e"}]}});
        for (pod, asked, expected) in [
            (&one, "", Ok("c")),
            (&one, "i", Ok("i")),
            (&two, "e", Ok("e")),
            (&one, "x", Err("container x is not valid for pod p")),
            (
                &two,
                "",
                Err("a container name must be specified for pod p, choose one of: [i c d e]"),
            ),
        ] {
            let found = container(pod, asked).map_err(|status| status.message);
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        }
    }

    #[test]
    fn options_are_read_from_the_query() {
        let of = |kind: &str, query: &str, path: &str| {
            let found = of(
                &GroupVersionKind::new("", "v1", kind),
                &Query::parse(query),
                path,
            );
            let mut found =
                found.map_err(|status| format!("{} {}", status.code, status.message))?;
            assert_eq!((found.api_version(), found.kind()), ("v1", kind));
            found.remove_at(&["kind"]);
            found.remove_at(&["apiVersion"]);
            Ok::<_, String>((found.clone(), node_query(&found)))
        };
        let cannot = |why: &str| {
            Err(format!(
                "400 cannot convert to []int32: strconv.ParseUint: parsing {why}"
            ))
        };
        for (kind, query, path, expected) in [
            (
                "PodExecOptions",
                "command=sh&command=-c&command=echo+%22a%26b%22&stdout=1&tty=false&container=c",
                "",
                Ok((
                    json!({"command": ["sh", "-c", "echo \"a&b\""], "stdout": true, "container": "c"}),
                    "output=1&command=sh&command=-c&command=echo%20%22a%26b%22".to_owned(),
                )),
            ),
            (
                "PodExecOptions",
                "",
                "",
                Ok((json!({"command": null}), String::new())),
            ),
            (
                "PodAttachOptions",
                "stdin&stderr=true&tty=x&command=no",
                "",
                Ok((
                    json!({"stdin": true, "stderr": true, "tty": true}),
                    "input=1&error=1&tty=1".to_owned(),
                )),
            ),
            (
                "PodPortForwardOptions",
                "ports=80,81&ports=82",
                "",
                Ok((
                    json!({"ports": [80, 81, 82]}),
                    "port=80%2C81%2C82".to_owned(),
                )),
            ),
            (
                "PodPortForwardOptions",
                "",
                "",
                Ok((json!({}), String::new())),
            ),
            (
                "PodPortForwardOptions",
                "ports=x",
                "",
                cannot("\"x\": invalid syntax"),
            ),
            (
                "PodPortForwardOptions",
                "ports=",
                "",
                cannot("\"\": invalid syntax"),
            ),
            (
                "PodPortForwardOptions",
                "ports=+1",
                "",
                cannot("\" 1\": invalid syntax"),
            ),
            (
                "PodPortForwardOptions",
                "ports=65536",
                "",
                cannot("\"65536\": value out of range"),
            ),
            (
                "ServiceProxyOptions",
                "path=no",
                "/a/b",
                Ok((json!({"path": "/a/b"}), String::new())),
            ),
            ("NodeProxyOptions", "", "", Ok((json!({}), String::new()))),
        ] {
            assert_eq!(of(kind, query, path), expected, "{kind} {query}");
        }
    }
}
