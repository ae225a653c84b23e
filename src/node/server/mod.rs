//! What a node lets others look into: logs, commands, attachments, ports, statistics, its pods and its health.
//!
//! The paths are the kubelet's, so that any API server can use them. Connections come over TLS ([`NodeServerConfig`], feature
//! `serve`), where callers are known by certificate or token and the API server is asked what they may do; or from this
//! process, where whoever can call owns the process.

mod auth;
mod channels;
mod command;
mod disks;
#[cfg(feature = "serve")]
mod listen;
mod logs;
mod metrics;
mod negotiate;
mod pods;
mod portforward;
pub(crate) mod query;
mod rotate;
mod spdy;
mod stats;
mod tunnel;

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use self::auth::Authority;
pub(super) use self::auth::Caller;
#[cfg(feature = "serve")]
pub use self::listen::{NodeServerConfig, NodeServing, NodeServingError, ServingCertificate};
use self::query::Query;
pub use self::rotate::LogRotation;
use super::kubelet::{KubeletConfig, Monitor};
use crate::clock::Clock;
use crate::cri::ContainerRuntime;
use crate::reconcile::{Cache, Manager};

/// The body of an answer.
type Body = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Response<Body>;

/// The server of one node. Clones are the same server.
#[derive(Clone)]
pub struct NodeServer {
    inner: Arc<Inner>,
}

struct Inner {
    node: String,
    pods: Cache<Pod>,
    runtime: Arc<dyn ContainerRuntime>,
    clock: Clock,
    authority: Authority,
    usage: stats::Usage,
    /// How the node's disks are measured, where they are.
    disks: Option<Disks>,
    /// Whether the node's own use is that of this machine.
    machine: bool,
    /// Streams that go on after their requests were answered.
    streams: Mutex<JoinSet<()>>,
}

/// The disks of a node, and who measures them.
struct Disks {
    monitor: Arc<dyn Monitor>,
    /// Where volumes of pods are.
    root: PathBuf,
    /// Where logs of pods are.
    logs: Option<PathBuf>,
}

impl std::fmt::Debug for NodeServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeServer")
            .field("node", &self.inner.node)
            .finish_non_exhaustive()
    }
}

impl NodeServer {
    /// The server of the node `node`, whose pods it sees through the cache of `manager` and whose containers `runtime` has.
    #[must_use]
    pub fn new(
        manager: &Manager,
        node: impl Into<String>,
        runtime: Arc<dyn ContainerRuntime>,
    ) -> Self {
        Self::with(manager, node.into(), runtime, false, None)
    }

    /// The same for a node that is this machine: its own use of processor and memory is the machine's.
    #[must_use]
    pub fn of_this_machine(
        manager: &Manager,
        node: impl Into<String>,
        runtime: Arc<dyn ContainerRuntime>,
    ) -> Self {
        Self::with(manager, node.into(), runtime, true, None)
    }

    /// The same, with what a kubelet of these options measures: its file systems, and what containers and volumes use of them.
    #[must_use]
    pub fn of_this_kubelet(
        manager: &Manager,
        node: impl Into<String>,
        runtime: Arc<dyn ContainerRuntime>,
        config: &KubeletConfig,
    ) -> Self {
        let disks = config.monitor.clone().map(|monitor| Disks {
            monitor,
            root: PathBuf::from(&config.root),
            logs: config.logs.as_ref().map(PathBuf::from),
        });
        Self::with(manager, node.into(), runtime, true, disks)
    }

    fn with(
        manager: &Manager,
        node: String,
        runtime: Arc<dyn ContainerRuntime>,
        machine: bool,
        disks: Option<Disks>,
    ) -> Self {
        let inner = Inner {
            authority: Authority::new(manager.client_for("kubelet"), node.clone()),
            node,
            pods: manager.cache::<Pod>(),
            runtime,
            clock: manager.clock().clone(),
            usage: stats::Usage::default(),
            disks,
            machine,
            streams: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Serves a connection from this process until it ends; whoever made it may do everything.
    pub async fn serve(&self, io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        self.speak(io, Caller::InProcess).await;
    }

    async fn speak(
        &self,
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        caller: Caller,
    ) {
        let inner = self.inner.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (inner, caller) = (inner.clone(), caller.clone());
            async move { Ok::<_, Infallible>(inner.answer(request, &caller).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, node = %self.inner.node, "a connection to the node's server ended");
        }
    }
}

impl Inner {
    async fn answer(self: &Arc<Self>, mut request: Request<Incoming>, caller: &Caller) -> Answer {
        let path = request.uri().path().to_owned();
        if let Err(refused) = self.authority.admit(&request, caller, &path).await {
            return *refused.0;
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let parts: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(query::unescape)
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let streams = matches!(*request.method(), Method::GET | Method::POST);
        match parts[..] {
            ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => text(StatusCode::OK, "ok"),
            ["pods"] if reads => json(&self.pod_list()),
            ["runningpods"] if reads => match self.running_pods().await {
                Ok(list) => json(&list),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
            ["stats", "summary"] if reads => match self.summary().await {
                Ok(summary) => json(&summary),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
            ["metrics"] if reads => metrics_text(self.metrics().await),
            ["metrics", "resource"] if reads => metrics_text(self.resource_metrics().await),
            ["containerLogs", namespace, pod, container] if reads => {
                self.logs(namespace, pod, container, &query).await
            }
            [what @ ("exec" | "attach"), namespace, pod, container]
            | [what @ ("exec" | "attach"), namespace, pod, _, container]
                if streams =>
            {
                let place = command::Place {
                    namespace,
                    pod,
                    container,
                };
                self.command(&mut request, what == "exec", place, &query)
                    .await
            }
            ["run", namespace, pod, container] | ["run", namespace, pod, _, container]
                if *request.method() == Method::POST =>
            {
                self.run(namespace, pod, container, query.get("cmd")).await
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] if streams => {
                self.port_forward(&mut request, namespace, pod, &query)
                    .await
            }
            [
                "healthz" | "pods" | "runningpods" | "stats" | "metrics" | "containerLogs",
                ..,
            ] if !reads => {
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
                answer
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET"));
                answer
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    /// Runs `stream` beside the requests, until it ends or the server is gone.
    fn spawn(&self, stream: impl Future<Output = ()> + Send + 'static) {
        let mut streams = self.streams.lock();
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

fn of_type(code: StatusCode, type_: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(bytes));
    *answer.status_mut() = code;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(type_));
    answer
}

fn text(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    of_type(code, "text/plain; charset=utf-8", text)
}

/// An answer that says why something is not done.
#[derive(Debug)]
struct Refusal(Box<Answer>);

fn refuse(code: StatusCode, why: impl Into<Bytes>) -> Refusal {
    Refusal(Box::new(text(code, why)))
}

fn metrics_text(text: String) -> Answer {
    let type_ = "text/plain; version=0.0.4; charset=utf-8";
    of_type(StatusCode::OK, type_, text)
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => of_type(StatusCode::OK, "application/json", bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
