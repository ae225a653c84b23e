//! How a review gets to a webhook and its answer back.
use crate::object::{Document, base64};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where a webhook is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// `https://host:port/path`; of a service `https://name.namespace.svc:port/path`.
    pub url: String,
    /// Namespace, name and port of the service, when it is one.
    pub service: Option<(String, String, u16)>,
    /// The certificates, PEM, by one of which the webhook's must be signed.
    pub ca_bundle: Vec<u8>,
    /// How long the webhook may take. Whoever calls the transport gives up then.
    pub timeout: Duration,
}

/// What a webhook answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The HTTP status.
    pub code: u16,
    /// The body: an `AdmissionReview`.
    pub body: Bytes,
}

impl Target {
    /// From a `clientConfig`.
    pub(crate) fn of(config: &Value, timeout: Duration) -> Self {
        let mut target = Self {
            url: config.str_at(&["url"]).to_owned(),
            ca_bundle: base64::decode(config.str_at(&["caBundle"])).unwrap_or_default(),
            timeout,
            ..Self::default()
        };
        if let Some(service) = config.get("service").filter(|service| service.is_object()) {
            let (namespace, name) = (service.str_at(&["namespace"]), service.str_at(&["name"]));
            let port = service.i64_at(&["port"]).unwrap_or(443);
            let port = u16::try_from(port).unwrap_or(443);
            let path = service.str_at(&["path"]).trim_start_matches('/');
            target.url = format!("https://{name}.{namespace}.svc:{port}/{path}");
            target.service = Some((namespace.to_owned(), name.to_owned(), port));
        }
        target
    }
}

impl Reply {
    /// An answer.
    pub fn new(code: u16, body: impl Into<Bytes>) -> Self {
        Self {
            code,
            body: body.into(),
        }
    }
}

/// Carries reviews to webhooks.
#[async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// Posts `review`, an `AdmissionReview` in JSON, to `target`.
    ///
    /// # Errors
    /// Why there is no answer, as the client is to be told.
    async fn call(&self, target: &Target, review: Bytes) -> Result<Reply, String>;
}

/// Tells where a service is reached. A service has no address of its own here unless somebody gives it one.
pub trait ServiceResolver: Debug + Send + Sync + 'static {
    /// Where to connect to for this port of a service; `None`: there is no such service.
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Option<SocketAddr>;
}

const _: () = {
    const fn is_object<T: ?Sized + Send + Sync>() {}
    is_object::<dyn Transport>();
    is_object::<dyn ServiceResolver>();
};

/// A webhook in this process: the review in, the review with the response out.
pub(crate) type Handler = Arc<dyn Fn(Value) -> BoxFuture<'static, Value> + Send + Sync>;

#[derive(Default)]
struct Ways {
    handlers: BTreeMap<String, Handler>,
    other: Option<Arc<dyn Transport>>,
}

/// The ways to webhooks. Clones are the same ways.
#[derive(Clone, Default)]
pub(crate) struct Transports(Arc<RwLock<Ways>>);

impl Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = self.0.read();
        f.debug_struct("Transports")
            .field("handlers", &ways.handlers.keys())
            .field("other", &ways.other)
            .finish()
    }
}

impl Transports {
    /// A function answers for this URL.
    pub(crate) fn register(&self, url: String, handler: Handler) {
        self.0.write().handlers.insert(url, handler);
    }

    /// Whoever answers for all other URLs.
    pub(crate) fn set(&self, transport: Arc<dyn Transport>) {
        self.0.write().other = Some(transport);
    }

    /// Posts a review.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn call(&self, target: &Target, review: Bytes) -> Result<Reply, String> {
        let (handler, other) = {
            let ways = self.0.read();
            (ways.handlers.get(&target.url).cloned(), ways.other.clone())
        };
        if let Some(handler) = handler {
            let review = serde_json::from_slice(&review).unwrap_or_default();
            let answer = handler(review).await;
            return Ok(Reply::new(200, answer.to_string()));
        }
        match other {
            Some(other) => other.call(target, review).await,
            None => otherwise(target, review).await,
        }
    }
}

/// What is done when nobody was named.
#[cfg(feature = "serve")]
async fn otherwise(target: &Target, review: Bytes) -> Result<Reply, String> {
    super::Https::default().call(target, review).await
}

/// What is done when nobody was named: there is no way out of this process.
#[cfg(not(feature = "serve"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn otherwise(_: &Target, _: Bytes) -> Result<Reply, String> {
    Err("this server was built without a transport for webhooks".to_owned())
}
