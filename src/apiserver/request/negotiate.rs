//! Media types: what bodies may be, and what a client wants back (`k8s.io/apiserver/pkg/endpoints/handlers/negotiation`).
use crate::apiserver::protobuf;
use crate::apiserver::registry::Resource;
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
    /// `Table` of this version of `meta.k8s.io`.
    Table(&'static str),
    /// `PartialObjectMetadata`, likewise.
    Metadata(&'static str),
    /// `PartialObjectMetadataList`, likewise.
    MetadataList(&'static str),
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
        _ if !has_parameters(content_type) => Err(unsupported(ACCEPTED)),
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        _ => Err(unsupported(ACCEPTED)),
    }
}

/// Whether what follows the media type are parameters: `name=value`. A semicolon may be left at the end.
fn has_parameters(content_type: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
    };
    let mut parts = content_type.trim().trim_end_matches(';').split(';').skip(1);
    parts.all(|part| {
        part.trim().split_once('=').is_some_and(|(name, value)| {
            let quoted = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            is_token(name) && (is_token(value) || quoted.is_some())
        })
    })
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

/// Who answers, for what may be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Built-in resources, behind a router that looks at media types first; on this path watches are answered too, or not.
    BuiltIn { streams: bool },
    /// Custom resources, which have no protobuf form.
    Custom,
    /// Discovery, behind a router, and with nothing to convert.
    Discovery,
    /// Failures: nothing to convert, and no router has been in the way.
    Failure,
}

/// The formats in the order in which they are tried.
const FORMATS: [(Format, &str); 3] = [
    (Format::Json, "json"),
    (Format::Yaml, "yaml"),
    (Format::Protobuf, "vnd.kubernetes.protobuf"),
];

impl Endpoint {
    /// That of a resource; on the path watches are answered too, or not.
    pub(crate) fn of(resource: &Resource, streams: bool) -> Self {
        if resource.strategy.custom() {
            Self::Custom
        } else {
            Self::BuiltIn { streams }
        }
    }

    /// Whether an answer can be had in this form and format.
    fn allows(self, as_: As, format: Format) -> bool {
        match (self, as_) {
            (Self::Custom, As::Itself) | (_, As::Table(_)) if format == Format::Protobuf => false,
            (Self::Discovery | Self::Failure, as_) => as_ == As::Itself,
            _ => true,
        }
    }

    /// What the router says where nothing in the header is one of its media types.
    fn routed(self, accept: &str) -> Result<(), Status> {
        let streams = match self {
            Self::BuiltIn { streams: true } => STREAMS,
            Self::BuiltIn { streams: false } | Self::Discovery => "",
            Self::Custom | Self::Failure => return Ok(()),
        };
        let known = |media: &str| {
            media == "*/*"
                || media == protobuf::MEDIA
                || matches!(media, "application/json" | "application/yaml")
        };
        let mut media = accept
            .split(',')
            .map(|clause| clause.split(';').next().unwrap_or_default().trim());
        if media.any(known) {
            return Ok(());
        }
        let why = format!("406: Not Acceptable\n\nAvailable representations: {ACCEPTED}{streams}");
        Err(Status::new(406, Reason::NotAcceptable, why).with_details(Details::default()))
    }
}

/// What this `Accept` header asks for.
///
/// # Errors
/// 406 when nothing it names can be given.
pub(crate) fn output(accept: &str, endpoint: Endpoint) -> Result<Output, Status> {
    if accept.is_empty() {
        return Ok(Output::default());
    }
    endpoint.routed(accept)?;
    for clause in clauses(accept) {
        let formats = FORMATS.iter().filter(|(_, name)| clause.names(name));
        for (format, _) in formats {
            let allowed = |as_: &As| endpoint.allows(*as_, *format) && clause.streams(*format);
            if let Some(as_) = clause.form().filter(allowed) {
                return Ok(Output {
                    format: *format,
                    as_,
                });
            }
        }
    }
    let why = format!("only the following media types are accepted: {ACCEPTED}");
    Err(Status::new(406, Reason::NotAcceptable, why))
}

/// What is shown of the server itself (`k8s.io/apiserver/pkg/server/flagz` and `statusz`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// For people.
    Text,
    /// A document in this format and of this version of `config.k8s.io`.
    Document(Format, &'static str),
}

/// In which form this `Accept` header asks for a page that has the kind `kind` as a document.
///
/// # Errors
/// 406 when nothing it names can be given.
pub(crate) fn page(accept: &str, kind: &str) -> Result<Page, Status> {
    if accept.trim().is_empty() {
        return Ok(Page::Text);
    }
    for clause in clauses(accept) {
        if !(clause.parameter("stream").is_empty() && clause.parameter("sv").is_empty()) {
            continue;
        }
        let document = clause.target().and_then(|target| match target {
            (as_, "config.k8s.io", "v1beta1") if as_ == kind => Some("config.k8s.io/v1beta1"),
            (as_, "config.k8s.io", "v1alpha1") if as_ == kind => Some("config.k8s.io/v1alpha1"),
            _ => None,
        });
        // Protobuf is not to be had.
        let format = FORMATS[..2].iter().find(|(_, name)| clause.names(name));
        if let (Some((format, _)), Some(version)) = (format, document) {
            return Ok(Page::Document(*format, version));
        }
        let is_text =
            matches!(clause.type_, "*" | "text") && matches!(clause.subtype, "*" | "plain");
        if is_text && clause.target().is_none() {
            return Ok(Page::Text);
        }
    }
    let why = format!("only the following media types are accepted: {ACCEPTED}, text/plain");
    Err(Status::new(406, Reason::NotAcceptable, why))
}

/// The media types of an `Accept` header without their parameters, the most wanted first.
pub(crate) fn preferences(accept: &str) -> impl Iterator<Item = String> {
    clauses(accept)
        .into_iter()
        .map(|clause| format!("{}/{}", clause.type_, clause.subtype))
}

/// The clauses of the header, the most wanted first. What has no wildcard comes before what has, whatever their quality.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut sorted: Vec<Clause<'_>> = Vec::new();
    for clause in accept.split(',').filter_map(Clause::parse) {
        let after = sorted
            .iter()
            .rposition(|before| !clause.goes_before(before));
        sorted.insert(after.map_or(0, |at| at + 1), clause);
    }
    sorted
}

/// One clause of an `Accept` header.
struct Clause<'a> {
    type_: &'a str,
    subtype: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (type_, subtype) = match parts.next()? {
            "*" => ("*", "*"),
            media => media.split_once('/')?,
        };
        let (type_, subtype) = (type_.trim(), subtype.trim());
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let quality = parameters
            .iter()
            .find(|(key, _)| *key == "q")
            .map_or(1000, |(_, value)| thousandths(value));
        Some(Self {
            type_,
            subtype,
            parameters,
            quality,
        })
    }
    fn goes_before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.type_ != "*" && other.type_ == "*")
            || (self.subtype != "*" && other.subtype == "*")
    }
    /// Whether it names `application/<subtype>`.
    fn names(&self, subtype: &str) -> bool {
        match (self.type_, self.subtype) {
            ("*" | "application", "*") => true,
            (type_, own) => type_ == "application" && own == subtype,
        }
    }
    fn parameter(&self, name: &str) -> &'a str {
        self.parameters
            .iter()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    }
    /// Whether the stream and the version of the server that it wants are there.
    fn streams(&self, format: Format) -> bool {
        let stream = match self.parameter("stream") {
            "" => true,
            stream => stream == "watch" && format != Format::Yaml,
        };
        stream && matches!(self.parameter("sv"), "" | "v1")
    }
    /// The kind, group and version that the answer is to be turned into.
    fn target(&self) -> Option<(&'a str, &'a str, &'a str)> {
        let mut names = self.parameters.iter().map(|(name, _)| *name);
        names
            .any(|name| matches!(name, "as" | "g" | "v"))
            .then(|| ["as", "g", "v"].map(|name| self.parameter(name)).into())
    }
    /// The form asked for; `None` when there is no such form.
    fn form(&self) -> Option<As> {
        let Some((as_, group, version)) = self.target() else {
            return Some(As::Itself);
        };
        let version = match (group, version) {
            ("meta.k8s.io", "v1") => "meta.k8s.io/v1",
            ("meta.k8s.io", "v1beta1") => "meta.k8s.io/v1beta1",
            _ => return None,
        };
        match as_ {
            "Table" => Some(As::Table(version)),
            "PartialObjectMetadata" => Some(As::Metadata(version)),
            "PartialObjectMetadataList" => Some(As::MetadataList(version)),
            _ => None,
        }
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
        use Format::{Json, Protobuf, Yaml};
        const V1: &str = "meta.k8s.io/v1";
        let pods = Endpoint::BuiltIn { streams: true };
        let of = |format, as_| Ok(Output { format, as_ });
        let json = of(Json, As::Itself);
        let table = of(Json, As::Table(V1));
        let meta = "v=v1;g=meta.k8s.io";
        let router = || Err("406: Not Acceptable");
        let server = || Err("only the following");
        let cases = [
            ("", pods, json),
            ("*/*", pods, json),
            ("application/json", pods, json),
            (
                "application/json;q=0.1,application/yaml",
                pods,
                of(Yaml, As::Itself),
            ),
            (
                "application/json;q=0.1,application/yaml;q=0.2",
                pods,
                of(Yaml, As::Itself),
            ),
            // What is named goes before what is not, even where it is wanted less.
            ("*/*,application/yaml;q=0.1", pods, of(Yaml, As::Itself)),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                pods,
                json,
            ),
            (
                &format!("application/json;as=Table;{meta},application/json"),
                pods,
                table,
            ),
            (&format!("*/*;as=Table;{meta}"), pods, table),
            (
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                pods,
                of(Json, As::Table("meta.k8s.io/v1beta1")),
            ),
            (
                "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
                pods,
                json,
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                pods,
                of(Protobuf, As::Itself),
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Endpoint::Custom,
                json,
            ),
            (
                &format!("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;{meta}"),
                Endpoint::Custom,
                of(Protobuf, As::Metadata(V1)),
            ),
            // Tables have no protobuf form.
            (
                &format!("application/vnd.kubernetes.protobuf;as=Table;{meta},application/yaml"),
                pods,
                of(Yaml, As::Itself),
            ),
            (
                "application/vnd.kubernetes.protobuf",
                Endpoint::Custom,
                server(),
            ),
            (
                "application/vnd.kubernetes.protobuf",
                Endpoint::Failure,
                of(Protobuf, As::Itself),
            ),
            (
                &format!("application/json;as=Table;{meta}"),
                Endpoint::Failure,
                server(),
            ),
            ("application/*", pods, router()),
            ("application/*", Endpoint::Custom, json),
            ("*", Endpoint::Custom, json),
            ("*", pods, router()),
            ("text/html", pods, router()),
            ("text/html", Endpoint::Custom, server()),
            ("APPLICATION/JSON", pods, router()),
            ("application/cbor", pods, router()),
            ("application/json;as=Bogus", pods, server()),
            ("application/json;v=v1", pods, server()),
            ("application/json;stream=watch", pods, json),
            ("application/json;stream=other", pods, server()),
            ("application/yaml;stream=watch", pods, server()),
            ("application/json;sv=v2", pods, server()),
            ("application/json;indent=4", pods, json),
        ];
        for (accept, endpoint, expected) in cases {
            match (output(accept, endpoint), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{accept}"),
                (Err(status), Err(start)) => {
                    assert_eq!(status.code, 406);
                    assert!(
                        status.message.starts_with(start),
                        "{accept}: {}",
                        status.message
                    );
                }
                (found, _) => panic!("{accept} of {endpoint:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn pages_are_text_or_documents() {
        let document = |format, version| Some(Page::Document(format, version));
        let config = "g=config.k8s.io;as=Flagz";
        for (accept, expected) in [
            ("", Some(Page::Text)),
            (" ", Some(Page::Text)),
            ("*/*", Some(Page::Text)),
            ("text/*", Some(Page::Text)),
            ("text/plain; charset=utf-8", Some(Page::Text)),
            (
                &format!("application/json;v=v1beta1;{config}"),
                document(Format::Json, "config.k8s.io/v1beta1"),
            ),
            (
                &format!("application/yaml;v=v1beta1;{config}"),
                document(Format::Yaml, "config.k8s.io/v1beta1"),
            ),
            (
                &format!(
                    "application/json;v=v1alpha1;{config},application/json;v=v1beta1;{config}"
                ),
                document(Format::Json, "config.k8s.io/v1alpha1"),
            ),
            (
                &format!("application/json;v=foo;{config},*/*"),
                Some(Page::Text),
            ),
            (&format!("text/plain;v=v1beta1;{config}"), None),
            (
                &format!("application/vnd.kubernetes.protobuf;v=v1beta1;{config}"),
                None,
            ),
            (
                "application/json;v=v1beta1;g=config.k8s.io;as=Statusz",
                None,
            ),
            ("application/json;v=v1beta1;g=config.k8s.io", None),
            ("application/json", None),
            ("application/xml", None),
            ("text/plain;stream=watch", None),
        ] {
            let found = page(accept, "Flagz");
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{accept}");
        }
    }

    #[test]
    fn bodies_are_json_or_yaml() {
        for (content_type, expected) in [
            ("", Some(Format::Json)),
            ("application/json; charset=utf-8", Some(Format::Json)),
            ("APPLICATION/JSON", Some(Format::Json)),
            ("application/yaml", Some(Format::Yaml)),
            (
                "application/json; charset=\"utf-8\"; a=b",
                Some(Format::Json),
            ),
            ("application/json;", Some(Format::Json)),
            ("application/json; charset", None),
            ("application/json; =utf-8", None),
            ("application/cbor", None),
            ("application/vnd.kubernetes.protobuf", None),
            ("*/*", None),
        ] {
            assert_eq!(input(content_type).ok(), expected, "{content_type}");
        }
    }
}
