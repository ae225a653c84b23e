//! `/healthz`, `/livez`, `/readyz` and `/metrics` of a program that runs a manager, over plain HTTP (feature `serve`).
//!
//! ```no_run
//! use homeostat::reconcile::Manager;
//! use homeostat::reconcile::health::Endpoints;
//!
//! # async fn run(manager: Manager) -> std::io::Result<()> {
//! let endpoints = Endpoints::of(&manager).bind(([0, 0, 0, 0], 8080).into()).await?;
//! // Answers until it is dropped.
//! endpoints.serve().await;
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Leadership, Manager};

/// So many connections are served at a time; further ones wait.
const CONNECTIONS: usize = 64;
/// A client must have sent its request by then.
const HEADERS: Duration = Duration::from_secs(10);

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
type Text = Arc<dyn Fn() -> String + Send + Sync>;

/// What is answered at which path.
#[derive(Clone, Default)]
pub struct Endpoints {
    checks: BTreeMap<String, Vec<(String, Check)>>,
    texts: BTreeMap<String, Text>,
}

impl Endpoints {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of a manager: it is healthy unless it lost its leadership, ready when its caches are filled, and its metrics are
    /// shown.
    #[must_use]
    pub fn of(manager: &Manager) -> Self {
        let (lost, synced, counted) = (
            manager.leadership(),
            manager.downgrade(),
            manager.downgrade(),
        );
        let mut endpoints = Self::new();
        for path in ["/healthz", "/livez"] {
            let lost = lost.clone();
            endpoints =
                endpoints
                    .check(path, "ping", || Ok(()))
                    .check(path, "leaderElection", move || match *lost.borrow() {
                        Leadership::Lost => Err("the lease is lost".to_owned()),
                        Leadership::Candidate | Leadership::Leader => Ok(()),
                    });
        }
        endpoints
            .check("/readyz", "ping", || Ok(()))
            .check("/readyz", "informer-sync", move || {
                let unhealthy = synced.upgrade().map(|manager| manager.unhealthy());
                match unhealthy {
                    Some(unhealthy) if unhealthy.is_empty() => Ok(()),
                    Some(unhealthy) => Err(unhealthy.join(", ")),
                    None => Err("stopped".to_owned()),
                }
            })
            .text("/metrics", move || {
                let manager = counted.upgrade();
                manager.map_or_else(String::new, |manager| manager.metrics_text())
            })
    }

    /// Adds a check to a path, which answers 200 when all of its checks succeed.
    #[must_use]
    pub fn check(
        mut self,
        path: &str,
        name: &str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let checks = self.checks.entry(path.to_owned()).or_default();
        checks.push((name.to_owned(), Arc::new(check)));
        self
    }

    /// Answers with a text at a path, after those that are answered with there.
    #[must_use]
    pub fn text(mut self, path: &str, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let text: Text = match self.texts.remove(path) {
            Some(first) => Arc::new(move || first() + &text()),
            None => Arc::new(text),
        };
        self.texts.insert(path.to_owned(), text);
        self
    }

    /// Listens; port 0 picks a free one.
    ///
    /// # Errors
    /// When the address is not free.
    pub async fn bind(self, address: SocketAddr) -> io::Result<Bound> {
        let listener = TcpListener::bind(address).await?;
        Ok(Bound {
            address: listener.local_addr()?,
            listener,
            endpoints: self,
        })
    }

    fn answer(&self, method: &Method, path: &str, query: &str) -> (StatusCode, String) {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed".to_owned(),
            );
        }
        if let Some(text) = self.texts.get(path) {
            return (StatusCode::OK, text());
        }
        let Some(checks) = self.checks.get(path) else {
            return (StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
        };
        let (mut lines, mut all) = (String::new(), true);
        for (name, check) in checks {
            // Writing to a string cannot fail.
            let _ = match check() {
                Ok(()) => writeln!(lines, "[+]{name} ok"),
                Err(why) => {
                    all = false;
                    writeln!(lines, "[-]{name} failed: {why}")
                }
            };
        }
        let endpoint = path.trim_start_matches('/');
        if !all {
            lines.push_str(endpoint);
            lines.push_str(" check failed\n");
            return (StatusCode::INTERNAL_SERVER_ERROR, lines);
        }
        let verbose = query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("verbose"));
        if verbose {
            lines.push_str(endpoint);
            lines.push_str(" check passed\n");
            return (StatusCode::OK, lines);
        }
        (StatusCode::OK, "ok".to_owned())
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.checks.keys().chain(self.texts.keys());
        f.debug_set().entries(paths).finish()
    }
}

/// Endpoints that listen.
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    listener: TcpListener,
    endpoints: Endpoints,
}

impl Bound {
    /// Where they listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped.
    pub async fn serve(self) {
        let endpoints = Arc::new(self.endpoints);
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS {
                connections.join_next().await;
            }
            // Those that have ended are forgotten.
            while connections.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let endpoints = endpoints.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let (path, query) = (request.uri().path(), request.uri().query());
                let (code, text) =
                    endpoints.answer(request.method(), path, query.unwrap_or_default());
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = code;
                let plain =
                    http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response
                    .headers_mut()
                    .insert(http::header::CONTENT_TYPE, plain);
                std::future::ready(Ok::<_, Infallible>(response))
            });
            connections.spawn(async move {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADERS)
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection broke");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let endpoints = Endpoints::new()
            .check("/readyz", "ping", || Ok(()))
            .check("/readyz", "caches", || Err("2 are empty".to_owned()))
            .check("/healthz", "ping", || Ok(()))
            .text("/metrics", || "a 1\n".to_owned())
            .text("/metrics", || "b 2\n".to_owned());
        for (path, query, code, text) in [
            ("/healthz", "", 200, "ok"),
            (
                "/healthz",
                "verbose",
                200,
                "[+]ping ok\nhealthz check passed\n",
            ),
            (
                "/readyz",
                "",
                500,
                "[+]ping ok\n[-]caches failed: 2 are empty\nreadyz check failed\n",
            ),
            ("/metrics", "", 200, "a 1\nb 2\n"),
            ("/other", "", 404, "404 page not found\n"),
        ] {
            let (found, body) = endpoints.answer(&Method::GET, path, query);
            assert_eq!(
                (found.as_u16(), body.as_str()),
                (code, text),
                "{path}?{query}"
            );
        }
        let (code, _) = endpoints.answer(&Method::POST, "/healthz", "");
        assert_eq!(code.as_u16(), 405);
    }
}
