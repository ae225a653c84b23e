//! `/flagz` and `/statusz`: how the program was started and how it fares, for people, and as documents for those who ask for them.
use super::discovery;
use super::render;
use super::request::negotiate::{self, Format, Page};
use super::response::{self, Response, Warnings};
use super::server::Shared;
use crate::object::Status;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How the real server calls itself here.
const COMPONENT: &str = "apiserver";
/// Said above each page.
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
    guarantees and is for debugging purposes only.";
/// Where paths lead that say nothing of how the server fares.
const NO_HELP: [&str; 5] = ["/.well-known", "/api", "/apis", "/openapi", "/openid"];

/// What is known of the program.
#[derive(Debug)]
pub(crate) struct Program {
    /// The flags it was started with.
    pub flags: BTreeMap<String, String>,
    pub started: Timestamp,
}

/// Whether there is such a page.
pub(crate) fn is_page(path: &str) -> bool {
    matches!(path, "/flagz" | "/statusz")
}

/// Answers a page; `None`: the path is none.
pub(crate) fn answer(
    shared: &Shared,
    path: &str,
    accept: &str,
) -> Option<Result<Response, Status>> {
    let (name, kind) = match path {
        "/flagz" => ("flagz", "Flagz"),
        "/statusz" => ("statusz", "Statusz"),
        _ => return None,
    };
    let page = match negotiate::page(accept, kind) {
        Ok(page) => page,
        Err(status) => return Some(Err(status)),
    };
    let flags = &shared.program.flags;
    let (format, version) = match page {
        Page::Document(format, version) => (format, version),
        Page::Text => {
            let lines = match kind {
                "Flagz" => shown(flags),
                _ => Fares::of(shared).shown(),
            };
            let page = format!("\n{COMPONENT} {name}\n{WARNING}\n{lines}");
            return Some(Ok(response::text(StatusCode::OK, page)));
        }
    };
    let mut document = match kind {
        "Flagz" => json!({ "flags": flags }),
        _ => Fares::of(shared).document(),
    };
    document["kind"] = kind.into();
    document["apiVersion"] = version.into();
    document["metadata"] = json!({ "name": COMPONENT });
    let mut answer = match format {
        Format::Yaml => render::yaml_document(&document),
        Format::Json | Format::Protobuf => response::document(StatusCode::OK, &document),
    };
    if version.ends_with("/v1alpha1") {
        let warnings = Warnings::default();
        warnings.add(format!(
            "This version of the {name} endpoint is deprecated. Please use a newer version."
        ));
        warnings.write(answer.headers_mut());
    }
    Some(Ok(answer))
}

fn shown(flags: &BTreeMap<String, String>) -> String {
    let lines = flags
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"));
    lines.collect()
}

/// How the server fares.
struct Fares {
    started: Timestamp,
    seconds: u64,
    /// Its version, and that of Kubernetes that it behaves as.
    versions: [String; 2],
    paths: BTreeSet<String>,
}

impl Fares {
    fn of(shared: &Shared) -> Self {
        let version = discovery::git_version().trim_start_matches('v');
        let version = version.split('+').next().unwrap_or_default();
        let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
        let paths = discovery::paths().iter().map(|path| {
            let first = path.split('/').nth(1).unwrap_or_default();
            format!("/{first}")
        });
        Self {
            started: shared.program.started,
            seconds: shared.clock.since(shared.program.started).as_secs(),
            versions: [version.to_owned(), minor.to_owned()],
            paths: paths
                .filter(|path| !NO_HELP.contains(&path.as_str()))
                .collect(),
        }
    }

    fn shown(&self) -> String {
        let started = self.started.strftime("%a %b %e %H:%M:%S UTC %Y");
        let seconds = self.seconds;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let [version, emulated] = &self.versions;
        let paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
        format!(
            "\nStarted: {started}\nUp: {hours} hr {minutes:02} min {:02} sec\nGo version: \nBinary version: {version}\n\
             Emulation version: {emulated}\nPaths: {}\n",
            seconds % 60,
            paths.join(" ")
        )
    }

    fn document(&self) -> Value {
        let [version, emulated] = &self.versions;
        json!({
            "startTime": self.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "uptimeSeconds": self.seconds,
            // No part of it was built with Go.
            "goVersion": "", "binaryVersion": version, "emulationVersion": emulated, "paths": self.paths,
        })
    }
}
