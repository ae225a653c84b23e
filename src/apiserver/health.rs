//! `/healthz`, `/livez`, `/readyz` and `/metrics`.
use super::request::Query;
use super::response::{self, Response};
use super::server::Shared;
use http::StatusCode;
use std::sync::Arc;

/// The checks, by name; all but `shutdown` hold as long as the server answers at all.
const CHECKS: [&str; 8] = [
    "ping",
    "log",
    "etcd",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/bootstrap-controller",
];

/// Whether the path is about health: those are answered while the server stops.
pub(crate) fn is_health(path: &str) -> bool {
    matches!(
        path.split('/').nth(1),
        Some("healthz" | "livez" | "readyz" | "metrics")
    )
}

/// Answers a health path; `None`: it is none.
pub(crate) fn answer(shared: &Arc<Shared>, path: &str, query: &Query) -> Option<Response> {
    let mut parts = path.trim_matches('/').splitn(2, '/');
    let (endpoint, check) = (parts.next()?, parts.next());
    if endpoint == "metrics" && check.is_none() {
        return Some(response::text(StatusCode::OK, shared.metrics.text(shared)));
    }
    if !matches!(endpoint, "healthz" | "livez" | "readyz") {
        return None;
    }
    let stopping = shared.is_stopping();
    let mut checks: Vec<(&str, bool)> = CHECKS.iter().map(|name| (*name, true)).collect();
    if endpoint == "readyz" {
        checks.insert(3, ("etcd-readiness", true));
        checks.insert(4, ("informer-sync", true));
        checks.push(("shutdown", !stopping));
    }
    if let Some(check) = check {
        let ok = checks.iter().find(|(name, _)| *name == check)?.1;
        let code = if ok {
            StatusCode::OK
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        return Some(response::text(code, if ok { "ok" } else { "not ok" }));
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    checks.retain(|(name, _)| !excluded.contains(name));
    let ok = checks.iter().all(|(_, ok)| *ok);
    if ok && query.get("verbose").is_none() {
        return Some(response::text(StatusCode::OK, "ok"));
    }
    let lines = checks.iter().map(|(name, ok)| match ok {
        true => format!("[+]{name} ok\n"),
        false => format!("[-]{name} failed: reason withheld\n"),
    });
    let verdict = if ok { "passed" } else { "failed" };
    let text = lines
        .chain([format!("{endpoint} check {verdict}\n")])
        .collect::<String>();
    let code = if ok {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    Some(response::text(code, text))
}
