//! `/healthz`, `/livez`, `/readyz`, `/metrics` and `/metrics/slis`.
use super::request::Query;
use super::response::{self, Response};
use super::server::Shared;
use http::StatusCode;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the store may take to say that it works, as kube-apiserver's `--etcd-healthcheck-timeout`.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The checks, by name; all but those of the store and `shutdown` hold as long as the server answers at all.
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

/// Where the checks are asked for.
const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// Whether the path is about health: those are answered while the server stops.
pub(crate) fn is_health(path: &str) -> bool {
    matches!(
        path.split('/').nth(1),
        Some("healthz" | "livez" | "readyz" | "metrics")
    )
}

/// Answers a health path; `None`: it is none.
pub(crate) async fn answer(shared: &Arc<Shared>, path: &str, query: &Query) -> Option<Response> {
    let mut parts = path.trim_matches('/').splitn(2, '/');
    let (endpoint, check) = (parts.next()?, parts.next());
    if endpoint == "metrics" && check.is_none() {
        return Some(response::text(StatusCode::OK, shared.metrics.text(shared)));
    }
    if (endpoint, check) == ("metrics", Some("slis")) {
        return Some(response::text(StatusCode::OK, indicators(shared).await));
    }
    if !ENDPOINTS.contains(&endpoint) {
        return None;
    }
    let checks = checks_of(endpoint);
    match check {
        Some(check) => {
            let check = checks.into_iter().find(|name| *name == check)?;
            Some(one(run(shared, check).await))
        }
        None => Some(all(shared, endpoint, &checks, query).await),
    }
}

fn checks_of(endpoint: &str) -> Vec<&'static str> {
    let mut checks = CHECKS.to_vec();
    if endpoint == "readyz" {
        checks.splice(3..3, ["etcd-readiness", "informer-sync"]);
        checks.push("shutdown");
    }
    checks
}

/// The checks as metrics, by which those who watch over servers see how often they fail.
async fn indicators(shared: &Shared) -> String {
    const NAME: &str = "kubernetes_healthcheck";
    let mut text = format!(
        "# HELP {NAME} [STABLE] This metric records the result of a single healthcheck.\n# TYPE {NAME} gauge\n"
    );
    let store = u8::from(run(shared, "etcd").await.is_ok());
    for endpoint in ENDPOINTS {
        for check in checks_of(endpoint) {
            let passed = match check {
                _ if asks_store(check) => store,
                _ => u8::from(run(shared, check).await.is_ok()),
            };
            let _ = writeln!(text, "{NAME}{{name={check:?},type={endpoint:?}}} {passed}");
        }
    }
    text
}

/// The answer of a single check. Whoever may ask for it may know what is wrong.
fn one(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => response::text(StatusCode::OK, "ok"),
        Err(error) => response::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("internal server error: {error}\n"),
        ),
    }
}

/// The answer of all checks but those that the query excludes.
async fn all(shared: &Shared, endpoint: &str, checks: &[&str], query: &Query) -> Response {
    let mut excluded: BTreeSet<&str> = query.all("exclude").collect();
    // Checks that look at the same thing look at it once.
    let mut store = None;
    let mut text = String::new();
    let mut passed = true;
    for check in checks {
        if excluded.remove(check) {
            let _ = writeln!(text, "[+]{check} excluded: ok");
            continue;
        }
        let result = match (asks_store(check), &store) {
            (true, Some(known)) => Clone::clone(known),
            _ => run(shared, check).await,
        };
        let _ = match &result {
            Ok(()) => writeln!(text, "[+]{check} ok"),
            Err(error) => {
                tracing::warn!(check, %error, "the server is not healthy");
                passed = false;
                writeln!(text, "[-]{check} failed: reason withheld")
            }
        };
        if asks_store(check) {
            store = Some(result);
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let _ = writeln!(
            text,
            "warn: some health checks cannot be excluded: no matches for {}",
            names.join(",")
        );
    }
    if passed && query.get("verbose").is_none() {
        return response::text(StatusCode::OK, "ok");
    }
    let (code, verdict) = if passed {
        (StatusCode::OK, "passed")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "failed")
    };
    let _ = writeln!(text, "{endpoint} check {verdict}");
    response::text(code, text)
}

/// Runs a check; in the failure is said what is wrong.
async fn run(shared: &Shared, check: &str) -> Result<(), String> {
    match check {
        "shutdown" if shared.is_stopping() => Err("process is shutting down".to_owned()),
        _ if asks_store(check) => {
            match timeout(STORE_ANSWERS_WITHIN, shared.store.health()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(format!("error getting data from etcd: {error}")),
                Err(_) => Err("error getting data from etcd: context deadline exceeded".to_owned()),
            }
        }
        _ => Ok(()),
    }
}

/// Whether the check is of the store, which those who watch over servers know by this name.
fn asks_store(check: &str) -> bool {
    matches!(check, "etcd" | "etcd-readiness")
}
