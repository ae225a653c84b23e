//! The server: how it is built, started, called and stopped.
use super::admission::{self, Admission, webhook};
use super::alloc::{Allocators, Cidr};
use super::audit::{AuditPolicy, AuditSink, Auditor, WriteObserver};
use super::auth::token::{KeyError, ServiceAccountTokens, legacy_claims};
use super::auth::{AuthorizationMode, Authorizer};
use super::connect::Dialer;
use super::filter::identity::{authenticated, in_process};
use super::filter::limit::InFlight;
use super::filter::static_token::StaticTokens;
use super::inprocess;
use super::metrics::Metrics;
use super::registry::Registry;
use super::registry::cacher::{Cacher, CacherConfig};
use super::request::User;
use super::zpages::Program;
use super::{bootstrap, crd, kinds};
use crate::clock::Clock;
use crate::object::Status;
use crate::signal::Signal;
use crate::store::Store;
use futures::FutureExt;
use http::HeaderValue;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Decoded once, for all readers.
    pub cacher: Cacher,
    /// Which resources are served.
    pub registry: Registry,
    /// Wall time, uids and suffixes.
    pub clock: Clock,
    /// Cluster policy.
    pub admission: admission::Chain,
    /// Cluster IPs and node ports.
    pub allocators: Allocators,
    /// Is told of every write.
    pub observer: Option<Arc<dyn WriteObserver>>,
    /// Is told of every request that the policy wants audited.
    pub auditor: Option<Arc<Auditor>>,
    /// Tokens that are known from the start.
    pub tokens: StaticTokens,
    /// Whether callers from outside who show nothing are served.
    pub anonymous: bool,
    /// Whether bootstrap tokens are believed.
    pub bootstrap_tokens: bool,
    /// Issues tokens of service accounts, and believes them.
    pub service_account_tokens: ServiceAccountTokens,
    /// Decides who may do what.
    pub authorizer: Authorizer,
    /// Opens connections to nodes, pods and services.
    pub dialer: Option<Arc<dyn Dialer>>,
    /// Requests in flight.
    pub in_flight: InFlight,
    /// Who signs the certificates of clients, in PEM.
    pub client_ca: Option<String>,
    /// What is counted.
    pub metrics: Metrics,
    /// The largest body taken, in bytes.
    pub body_limit: usize,
    /// True once the server stops.
    pub stopping: Signal<bool>,
    /// Numbers the requests.
    pub requests: AtomicU64,
    /// What `/flagz` and `/statusz` show.
    pub program: Program,
}

impl Shared {
    /// Whether the server takes no more requests.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
    /// A new id for a request that brings none.
    pub(crate) fn audit_id(&self) -> HeaderValue {
        HeaderValue::from(self.requests.fetch_add(1, Ordering::Relaxed))
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The ranges of cluster IPs are not one range or one of each family, of IPv4 from /12 to /30 and of IPv6 from /64 to /126.
    #[error("{0:?} is no range for cluster IPs (IPv4: /12 to /30, IPv6: /64 to /126, one or both)")]
    ClusterIpRange(String),
    /// There is no admission plugin of this name, or it is not built in and cannot be enabled.
    #[error("{0:?} is no admission plugin of this server")]
    UnknownAdmissionPlugin(String),
    /// A type of [`ApiServerBuilder::resource`] cannot be served.
    #[error("the resource cannot be served: {0}")]
    Resource(String),
    /// The store could not be read, or what must be there could not be written.
    #[error("the API server cannot start: {0}")]
    Bootstrap(#[source] Status),
}

/// How an [`ApiServer`] is built; from [`ApiServer::builder`].
#[derive(Debug)]
#[must_use]
pub struct ApiServerBuilder {
    store: Arc<dyn Store>,
    clock: Option<Clock>,
    admission: admission::Chain,
    cluster_ip_range: String,
    node_ports: RangeInclusive<u16>,
    body_limit: usize,
    most_reading: usize,
    most_writing: usize,
    cacher: CacherConfig,
    observer: Option<Arc<dyn WriteObserver>>,
    auditor: Option<Arc<Auditor>>,
    tokens: StaticTokens,
    anonymous: Option<bool>,
    bootstrap_tokens: bool,
    authorization: Vec<AuthorizationMode>,
    definitions: Vec<Value>,
    service_account_tokens: ServiceAccountTokens,
    dialer: Option<Arc<dyn Dialer>>,
    metrics_api: bool,
    client_ca: Option<String>,
    flags: BTreeMap<String, String>,
}

impl ApiServerBuilder {
    /// Wall time, uids and name suffixes. Default = the machine's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }
    /// Adds an admission plugin after those that are there. Default = those built in only.
    pub fn admission(mut self, plugin: Arc<dyn Admission>) -> Self {
        self.admission = self.admission.with(plugin);
        self
    }
    /// Leaves out the admission plugin of this name, as `--disable-admission-plugins`. Default = none is left out.
    pub fn without_admission(mut self, name: &str) -> Self {
        self.admission = self.admission.without(name);
        self
    }
    /// Turns on a built-in admission plugin that is off by default, as `--enable-admission-plugins`. Default = all are on but
    /// `NodeRestriction`, `OwnerReferencesPermissionEnforcement`, and `ServiceAccount`, which needs a controller that makes the
    /// default accounts: a whole cluster ([`Cluster`](crate::cluster::Cluster)) has one and turns it on.
    pub fn with_admission(mut self, name: &str) -> Self {
        self.admission = self.admission.enable(name);
        self
    }
    /// Turns on a built-in admission plugin unless it was turned off by name.
    pub(crate) fn suggest_admission(mut self, name: &str) -> Self {
        self.admission = self.admission.suggest(name);
        self
    }
    /// Answers for the webhooks, of admission and of conversion, with this URL (of a service:
    /// `https://name.namespace.svc:port/path`) by a function in this process: it gets the review with the request and gives
    /// the one with the response. No socket is opened, so it works on virtual time. Default = webhooks are called by the
    /// transport.
    pub fn webhook<F, Fut>(self, url: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Value> + Send + 'static,
    {
        let handler = Arc::new(move |review| handler(review).boxed());
        self.admission.transports().register(url.into(), handler);
        self
    }
    /// How other webhooks are called. Default = over HTTPS, with the feature `serve`.
    pub fn webhook_transport(self, transport: Arc<dyn webhook::Transport>) -> Self {
        self.admission.transports().set(transport);
        self
    }
    /// How nodes, pods and services are reached, for logs, commands, ports and proxies: `serve::TcpDialer` over the network.
    /// Default = they are not, and such requests are answered with 501. A cluster leads to its own nodes.
    pub fn dialer(mut self, dialer: Arc<dyn Dialer>) -> Self {
        self.dialer = Some(dialer);
        self
    }
    /// Serves what nodes and pods use (`metrics.k8s.io/v1beta1`, which `kubectl top` asks) by asking the nodes, as
    /// metrics-server does beside a real server. Default = not; a cluster does.
    pub fn metrics_api(mut self) -> Self {
        self.metrics_api = true;
        self
    }
    /// Whether somebody was given who reaches nodes.
    pub(crate) fn has_dialer(&self) -> bool {
        self.dialer.is_some()
    }
    /// Where cluster IPs come from: a range of IPv4 or IPv6, or one of each with a comma between, the cluster's own family first.
    /// Default = `10.96.0.0/12`.
    pub fn cluster_ip_range(mut self, cidr: impl Into<String>) -> Self {
        self.cluster_ip_range = cidr.into();
        self
    }
    /// Where node ports come from. Default = 30000 to 32767.
    pub fn node_ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.node_ports = ports;
        self
    }
    /// The largest request body in bytes; larger ones are answered with 413. Default = 3 MiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }
    /// How many reading and how many writing requests may be in flight; those beyond are answered with 429. Watches do not
    /// count. Default = 4096 each: in one process requests hardly ever wait for one another.
    pub fn max_in_flight(mut self, reading: usize, writing: usize) -> Self {
        self.most_reading = reading;
        self.most_writing = writing;
        self
    }
    /// How many events per resource are kept for watches that resume. Default = 4096.
    pub fn watch_history(mut self, events: usize) -> Self {
        self.cacher.history = events;
        self
    }
    /// How long a read waits for a revision that is still to come. Default = 3 s.
    pub fn read_wait(mut self, wait: Duration) -> Self {
        self.cacher.wait = wait;
        self
    }
    /// The tokens by which callers from outside are known. Default = none.
    pub fn tokens(mut self, tokens: StaticTokens) -> Self {
        self.tokens = tokens;
        self
    }
    /// How tokens of service accounts are issued and believed. Default = [`ServiceAccountTokens::default`].
    pub fn service_account_tokens(mut self, tokens: ServiceAccountTokens) -> Self {
        self.service_account_tokens = tokens;
        self
    }
    /// Who signs the certificates of clients, in PEM: published for extension servers. Whether certificates are believed is the
    /// matter of the connection that brings them. Default = not published.
    pub fn client_ca(mut self, pem: impl Into<String>) -> Self {
        self.client_ca = Some(pem.into());
        self
    }
    /// The flags that the program was started with, names without dashes and values, which `/flagz` shows to those who may read
    /// it: what a value keeps secret has to be left out. Default = none.
    pub fn flags<K: Into<String>, V: Into<String>>(
        mut self,
        flags: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let flags = flags.into_iter();
        self.flags = flags
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self
    }
    /// Believes bootstrap tokens: secrets of type `bootstrap.kubernetes.io/token` in `kube-system`, by which machines that want
    /// to join are known as `system:bootstrap:<id>` of group `system:bootstrappers`. Default = it does not.
    pub fn bootstrap_tokens(mut self) -> Self {
        self.bootstrap_tokens = true;
        self
    }
    /// Refuses callers from outside who show neither a certificate nor a token. Default = they are `system:anonymous`, but for
    /// [`AuthorizationMode::AlwaysAllow`], which would let them do everything.
    pub fn without_anonymous(mut self) -> Self {
        self.anonymous = Some(false);
        self
    }
    /// Serves callers from outside who show neither a certificate nor a token as `system:anonymous`, whatever they may do then.
    pub fn with_anonymous(mut self) -> Self {
        self.anonymous = Some(true);
        self
    }
    /// Who may do what: the modes are asked in turn. In this process [`ApiServer::client`] and [`ApiServer::client_as`] may do
    /// everything in any mode. Default = [`AuthorizationMode::AlwaysAllow`].
    pub fn authorization(mut self, modes: impl IntoIterator<Item = AuthorizationMode>) -> Self {
        self.authorization = modes.into_iter().collect();
        self
    }
    /// Serves a custom resource by its Rust type alone, from the start and without a CustomResourceDefinition in the store. It
    /// is checked, pruned and filled in as one that is defined there. Default = none.
    ///
    /// ```
    /// use homeostat::apiserver::ApiServer;
    /// use homeostat::store::MemoryStore;
    /// use kube::api::PostParams;
    /// use kube::{Api, CustomResource};
    /// use schemars::JsonSchema;
    /// use serde::{Deserialize, Serialize};
    /// use std::sync::Arc;
    ///
    /// #[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
    /// #[kube(group = "example.com", version = "v1", kind = "Lamp", namespaced)]
    /// struct LampSpec {
    ///     watts: u32,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Arc::new(MemoryStore::default());
    /// let server = ApiServer::builder(store).resource::<Lamp>().start().await?;
    /// let lamps = Api::<Lamp>::namespaced(server.client(), "default");
    /// lamps.create(&PostParams::default(), &Lamp::new("desk", LampSpec { watts: 4 })).await?;
    /// assert_eq!(lamps.get("desk").await?.spec.watts, 4);
    /// # server.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resource<K: kube::CustomResourceExt>(self) -> Self {
        // What cannot be written as JSON is no definition, and refused at the start.
        self.definition(serde_json::to_value(K::crd()).unwrap_or_default())
    }
    /// As [`ApiServerBuilder::resource`], from a definition as a document.
    pub(crate) fn definition(mut self, definition: Value) -> Self {
        self.definitions.push(definition);
        self
    }
    /// Is told of every committed write. Default = nobody.
    pub fn observer(mut self, observer: Arc<dyn WriteObserver>) -> Self {
        self.observer = Some(observer);
        self
    }
    /// Sends the audit events of requests, of this process and from outside, to `sink`; `policy` says of which and what. Default =
    /// nobody is told.
    pub fn audit(mut self, sink: Arc<dyn AuditSink>, policy: AuditPolicy) -> Self {
        self.auditor = Some(Arc::new(Auditor { sink, policy }));
        self
    }

    /// Starts the server: learns what the store holds, and creates what every cluster has.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(self) -> Result<ApiServer, StartError> {
        if let Some(name) = self.admission.unknown() {
            return Err(StartError::UnknownAdmissionPlugin(name.to_owned()));
        }
        let ranges = Cidr::parse_list(&self.cluster_ip_range)
            .ok_or(StartError::ClusterIpRange(self.cluster_ip_range))?;
        let clock = self.clock.unwrap_or_else(Clock::system);
        let registry = Registry::default();
        for resource in kinds::builtin() {
            registry.insert(resource);
        }
        if self.metrics_api {
            for resource in kinds::metrics() {
                registry.insert(resource);
            }
        }
        for definition in &self.definitions {
            let resources = crd::native::resources(definition).map_err(StartError::Resource)?;
            for resource in resources {
                if resource.gvk.group == "scheduling.k8s.io" && resource.plural == "podgroups" {
                    kinds::grouped_pods().map(|pods| registry.insert(pods));
                }
                registry.insert(resource);
            }
        }
        let shared = Shared {
            cacher: Cacher::new(self.store.clone(), self.cacher),
            store: self.store,
            registry,
            admission: self.admission,
            allocators: Allocators::new(ranges, self.node_ports, &clock),
            observer: self.observer,
            auditor: self.auditor,
            tokens: self.tokens,
            anonymous: self
                .anonymous
                .unwrap_or_else(|| !self.authorization.contains(&AuthorizationMode::AlwaysAllow)),
            bootstrap_tokens: self.bootstrap_tokens,
            service_account_tokens: self.service_account_tokens,
            authorizer: Authorizer::new(self.authorization),
            client_ca: self.client_ca,
            metrics: Metrics::default(),
            dialer: self.dialer,
            in_flight: InFlight::new(self.most_reading, self.most_writing),
            body_limit: self.body_limit,
            stopping: Signal::new(false),
            requests: AtomicU64::new(1),
            program: Program {
                flags: self.flags,
                started: clock.now(),
            },
            clock,
        };
        let server = ApiServer {
            shared: Arc::new(shared),
        };
        // Much at once makes a large future; on the heap it does not lie in those of all callers.
        Box::pin(bootstrap::run(server.shared()))
            .await
            .map_err(StartError::Bootstrap)?;
        crd::controller::start(server.shared())
            .await
            .map_err(StartError::Bootstrap)?;
        Ok(server)
    }
}

/// An API server in this process, over any [`Store`]. Cheap to clone; clones are the same server.
///
/// It is a [`tower::Service`] that takes HTTP requests with any body. It is always ready, and failures are `Status` bodies.
///
/// ```
/// use homeostat::apiserver::ApiServer;
/// use homeostat::store::{MemoryConfig, MemoryStore};
/// use k8s_openapi::api::core::v1::Namespace;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new(MemoryConfig::default()));
/// let server = ApiServer::builder(store).start().await?;
/// let namespaces = kube::Api::<Namespace>::all(server.client());
/// assert!(namespaces.get_opt("kube-system").await?.is_some());
/// server.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

impl ApiServer {
    /// Builds a server over `store`.
    pub fn builder(store: Arc<dyn Store>) -> ApiServerBuilder {
        ApiServerBuilder {
            store,
            clock: None,
            admission: admission::Chain::default(),
            cluster_ip_range: "10.96.0.0/12".into(),
            node_ports: 30000..=32767,
            body_limit: 3 * 1024 * 1024,
            most_reading: 4096,
            most_writing: 4096,
            cacher: CacherConfig::default(),
            observer: None,
            auditor: None,
            tokens: StaticTokens::default(),
            anonymous: None,
            bootstrap_tokens: false,
            authorization: vec![AuthorizationMode::AlwaysAllow],
            definitions: Vec::new(),
            service_account_tokens: ServiceAccountTokens::default(),
            dialer: None,
            metrics_api: false,
            client_ca: None,
            flags: BTreeMap::new(),
        }
    }

    /// An all-powerful client of this server, without sockets. It behaves as one of a served server: answers 429, 503 and 504 are
    /// tried again, up to 15 times with growing waits.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as [`kube::Client::new`].
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client_as("homeostat", "kubernetes-admin")
    }

    /// As [`ApiServer::client`], for a component that writes as `user` and is known by its own `user_agent`: by its part up to
    /// the first slash as the manager of the fields it writes, and to the write observer.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn client_as(&self, user_agent: &str, user: &str) -> kube::Client {
        inprocess::client(self.clone(), user_agent, in_process(user))
    }

    /// A client without sockets for a user who may do only what the authorizer allows: one of these groups and of
    /// `system:authenticated`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn client_of(&self, user: &str, groups: &[&str]) -> kube::Client {
        let user = User {
            name: user.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..User::default()
        };
        inprocess::client(self.clone(), "homeostat", Arc::new(authenticated(user)))
    }

    /// Makes the service `kubernetes` lead to this address, at which the server can be reached: writes its Endpoints and its
    /// EndpointSlice, in place of those of a server before. [`ServeConfig::advertise`](super::serve::ServeConfig::advertise)
    /// does it for a server on the wire.
    ///
    /// # Errors
    /// When the address can be none of a service (a loopback device), and when the store fails.
    pub async fn advertise(&self, address: SocketAddr) -> Result<(), Status> {
        bootstrap::advertise(&self.shared, address).await
    }

    /// The token of a service account for a secret that keeps it, good for as long as the secret holds it: what the controller
    /// of such secrets fills in.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn secret_token(
        &self,
        namespace: &str,
        account: &str,
        uid: &str,
        secret: &str,
    ) -> Result<String, KeyError> {
        let claims = legacy_claims(namespace, account, uid, secret);
        self.shared.service_account_tokens.sign(&claims)
    }

    /// Stops taking requests and ends the watches once those in flight are answered. Everybody's later requests are answered 503.
    pub async fn stop(&self) {
        /// Longer than any request may take.
        const LONGEST: Duration = Duration::from_secs(61);
        const STEP: Duration = Duration::from_millis(10);
        self.shared.stopping.set(true);
        let drained = async {
            while self.shared.in_flight.now() != (0, 0) {
                tokio::time::sleep(STEP).await;
            }
        };
        if tokio::time::timeout(LONGEST, drained).await.is_err() {
            tracing::warn!("requests were still in flight when the API server stopped");
        }
        for resource in self.shared.registry.all() {
            self.shared.cacher.forget(&resource);
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}
