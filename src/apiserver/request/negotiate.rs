//! Media types: what bodies may be, and what a client wants back (`k8s.io/apiserver/pkg/endpoints/handlers/negotiation`).
use crate::apiserver::protobuf;
use crate::object::{Reason, Status, status::Details};

/// The media types, as the real server's messages list them.
const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAMS: &str =
    ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// How a body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    Yaml,
    /// Of answers only: bodies are turned into JSON before anybody looks at them.
    Protobuf,
}

/// What an answer is turned into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum As {
    /// The object or list itself.
    #[default]
    Itself,
    /// `meta.k8s.io` `Table`.
    Table,
    /// `meta.k8s.io` `PartialObjectMetadata`.
    Metadata,
    /// `meta.k8s.io` `PartialObjectMetadataList`.
    MetadataList,
}

/// What a client wants back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    pub format: Format,
    pub as_: As,
}

/// The format of a request body of this `Content-Type`.
///
/// # Errors
/// 415 for anything but JSON and YAML.
pub(crate) fn input(content_type: &str) -> Result<Format, Status> {
    match media_type(content_type).as_str() {
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        _ => Err(unsupported(ACCEPTED)),
    }
}

/// The media type without its parameters, in lower case.
pub(crate) fn media_type(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// 415 that names the accepted types.
pub(crate) fn unsupported(accepted: &str) -> Status {
    Status::new(
        415,
        Reason::UnsupportedMediaType,
        format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        ),
    )
}

/// What this `Accept` header asks for. `streams`: the path also answers watches.
///
/// # Errors
/// 406 when nothing it names can be given.
pub(crate) fn output(accept: &str, streams: bool) -> Result<Output, Status> {
    if accept.is_empty() {
        return Ok(Output::default());
    }
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    // Stable: of equal quality the first named wins.
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    let mut known = false;
    for clause in &clauses {
        let format = match clause.media_type.as_str() {
            "application/json" | "*/*" => Format::Json,
            "application/yaml" => Format::Yaml,
            protobuf::MEDIA => Format::Protobuf,
            _ => continue,
        };
        known = true;
        if let Some(as_) = clause.form() {
            return Ok(Output { format, as_ });
        }
    }
    Err(if known {
        Status::new(
            406,
            Reason::NotAcceptable,
            format!("only the following media types are accepted: {ACCEPTED}"),
        )
    } else {
        let streams = if streams { STREAMS } else { "" };
        Status::new(
            406,
            Reason::NotAcceptable,
            format!("406: Not Acceptable\n\nAvailable representations: {ACCEPTED}{streams}"),
        )
        .with_details(Details::default())
    })
}

/// The media types of an `Accept` header without their parameters, the most wanted first.
pub(crate) fn preferences(accept: &str) -> impl Iterator<Item = String> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    clauses.into_iter().map(|clause| clause.media_type)
}

/// One clause of an `Accept` header.
struct Clause<'a> {
    media_type: String,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            .collect();
        let quality = parameters
            .iter()
            .find(|(key, _)| *key == "q")
            .map_or(1000, |(_, value)| thousandths(value));
        (!media_type.is_empty()).then_some(Self {
            media_type,
            parameters,
            quality,
        })
    }
    fn parameter(&self, name: &str) -> &'a str {
        self.parameters
            .iter()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    }
    /// The form asked for; `None` when there is no such form.
    fn form(&self) -> Option<As> {
        let as_ = match self.parameter("as") {
            "" => return Some(As::Itself),
            "Table" => As::Table,
            "PartialObjectMetadata" => As::Metadata,
            "PartialObjectMetadataList" => As::MetadataList,
            _ => return None,
        };
        let meta =
            self.parameter("g") == "meta.k8s.io" && matches!(self.parameter("v"), "v1" | "v1beta1");
        meta.then_some(as_)
    }
}

/// `0.8` as 800; what is no quality counts as 1.
fn thousandths(text: &str) -> u32 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = format!("{part:0<3}").chars().take(3).collect();
    match (whole.parse::<u32>(), digits.parse::<u32>()) {
        (Ok(0), Ok(part)) => part,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers_choose() {
        let json = Output::default();
        let yaml = Output {
            format: Format::Yaml,
            as_: As::Itself,
        };
        let table = Output {
            format: Format::Json,
            as_: As::Table,
        };
        let cases = [
            ("", Ok(json)),
            ("*/*", Ok(json)),
            ("application/json", Ok(json)),
            ("application/json;q=0.1,application/yaml", Ok(yaml)),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Ok(json),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Ok(table),
            ),
            (
                "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
                Ok(json),
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Ok(Output {
                    format: Format::Protobuf,
                    as_: As::Itself,
                }),
            ),
            ("application/*", Err("406: Not Acceptable")),
            ("text/html", Err("406: Not Acceptable")),
            ("application/cbor", Err("406: Not Acceptable")),
            ("application/json;as=Bogus", Err("only the following")),
        ];
        for (accept, expected) in cases {
            match (output(accept, true), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{accept}"),
                (Err(status), Err(start)) => {
                    assert_eq!(status.code, 406);
                    assert!(
                        status.message.starts_with(start),
                        "{accept}: {}",
                        status.message
                    );
                }
                (found, _) => panic!("{accept}: {found:?}"),
            }
        }
    }

    #[test]
    fn bodies_are_json_or_yaml() {
        for (content_type, expected) in [
            ("", Some(Format::Json)),
            ("application/json; charset=utf-8", Some(Format::Json)),
            ("APPLICATION/JSON", Some(Format::Json)),
            ("application/yaml", Some(Format::Yaml)),
            ("application/cbor", None),
            ("application/vnd.kubernetes.protobuf", None),
            ("*/*", None),
        ] {
            assert_eq!(input(content_type).ok(), expected, "{content_type}");
        }
    }
}
