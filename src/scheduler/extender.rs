//! Extenders over HTTP (`k8s.io/kube-scheduler/extender/v1`): programs beside the scheduler that filter and score nodes, look at
//! victims of preemption, and bind pods.
//!
//! What is said to an extender goes through a [`Transport`]; [`HttpTransport`] is the one for real programs, a function the one
//! for programs in this process.
//!
//! ```
//! use std::sync::Arc;
//! use homeostat::scheduler::config::Extender;
//! use homeostat::scheduler::extender::{HttpExtender, Reply, transport_fn};
//!
//! let mut config = Extender::new("http://gpus.example:8888/scheduler");
//! config.filter_verb = "filter".to_owned();
//! let transport = transport_fn(|url, body| {
//!     assert_eq!(url, "http://gpus.example:8888/scheduler/filter");
//!     let nodes = body["Nodes"].clone();
//!     Ok(Reply::ok(&serde_json::json!({"Nodes": nodes})))
//! });
//! let extender = HttpExtender::new(config, Arc::new(transport));
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Container;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::config::{Extender as Config, ExtenderTlsConfig};
use super::framework::{
    Candidates, Extended, Extender, NodeInfo, PodInfo, Snapshot, Status, Victims,
};
use crate::object::base64;
use crate::reconcile::Error;

/// The best score an extender can give a node.
pub const MAX_EXTENDER_SCORE: i64 = 10;
/// How much of ours one of its points is.
const SCALE: i64 = super::framework::MAX_SCORE / MAX_EXTENDER_SCORE;
/// Longer answers are refused: a list of 100,000 nodes is shorter.
const LONGEST: usize = 1 << 30;

/// What an extender answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The HTTP status.
    pub code: u16,
    /// The body, in JSON.
    pub body: Bytes,
}

impl Reply {
    /// An answer.
    pub fn new(code: u16, body: impl Into<Bytes>) -> Self {
        Self {
            code,
            body: body.into(),
        }
    }

    /// A success.
    #[must_use]
    pub fn ok(body: &Value) -> Self {
        Self::new(200, body.to_string())
    }
}

/// Carries what is said to an extender, and its answer back.
#[async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// Posts `body`, which is JSON, to `url`. Whoever calls gives up after the extender's timeout.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn post(&self, url: &str, body: Bytes) -> Result<Reply, Error>;
}

const _: () = {
    const fn is_object<T: ?Sized + Send + Sync>() {}
    is_object::<dyn Transport>();
};

/// A function in the place of an extender: the URL and what is said in, the answer out.
pub fn transport_fn<F>(answer: F) -> impl Transport
where
    F: Fn(&str, &Value) -> Result<Reply, Error> + Send + Sync + 'static,
{
    Function(answer)
}

struct Function<F>(F);

impl<F> Debug for Function<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("transport_fn(…)")
    }
}

#[async_trait]
impl<F> Transport for Function<F>
where
    F: Fn(&str, &Value) -> Result<Reply, Error> + Send + Sync + 'static,
{
    async fn post(&self, url: &str, body: Bytes) -> Result<Reply, Error> {
        (self.0)(url, &serde_json::from_slice(&body)?)
    }
}

/// Reaches an extender over HTTP, by the stack that kube's clients have: `https` needs one of kube's TLS features.
pub struct HttpTransport {
    server: Kubeconfig,
    client: OnceCell<kube::Client>,
}

impl HttpTransport {
    /// To the extender of this configuration. Nothing is read or connected before the first call.
    ///
    /// # Errors
    /// Never, as far as kube can read what we wrote for it.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let none = ExtenderTlsConfig::default();
        let tls = config.tls_config.as_ref().unwrap_or(&none);
        let has_authority = !tls.ca_data.is_empty() || !tls.ca_file.is_empty();
        let insecure = tls.insecure || (config.enable_https && !has_authority);
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let data = |pem: &[u8]| (!pem.is_empty()).then(|| base64::encode(pem));
        let server = json!({
            "current-context": "extender",
            "clusters": [{"name": "extender", "cluster": {
                "server": config.url_prefix,
                "insecure-skip-tls-verify": insecure,
                "tls-server-name": given(&tls.server_name),
                "certificate-authority": given(&tls.ca_file).filter(|_| tls.ca_data.is_empty()),
                "certificate-authority-data": data(&tls.ca_data),
            }}],
            "users": [{"name": "extender", "user": {
                "client-certificate": given(&tls.cert_file).filter(|_| tls.cert_data.is_empty()),
                "client-certificate-data": data(&tls.cert_data),
                "client-key": given(&tls.key_file).filter(|_| tls.key_data.is_empty()),
                "client-key-data": data(&tls.key_data),
            }}],
            "contexts": [{"name": "extender", "context": {"cluster": "extender", "user": "extender"}}],
        });
        Ok(Self {
            server: serde_json::from_value(server)?,
            client: OnceCell::new(),
        })
    }

    async fn connect(&self) -> Result<kube::Client, Error> {
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(self.server.clone(), &options).await?;
        Ok(kube::Client::try_from(config)?)
    }
}

impl Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest has a key in it.
        f.debug_struct("HttpTransport").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn post(&self, url: &str, body: Bytes) -> Result<Reply, Error> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        // The client puts the server and its path in front of what it is given.
        let prefix = self.server.clusters.first();
        let prefix = prefix.and_then(|cluster| cluster.cluster.as_ref()?.server.as_deref());
        let path = url.strip_prefix(prefix.unwrap_or_default().trim_end_matches('/'));
        let request = http::Request::post(path.unwrap_or(url))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_vec()))?;
        let response = client.send(request).await?;
        let code = response.status().as_u16();
        let body = http_body_util::Limited::new(response.into_body(), LONGEST);
        let body = http_body_util::BodyExt::collect(body).await?;
        Ok(Reply::new(code, body.to_bytes()))
    }
}

/// An extender that is configured.
#[derive(Debug)]
pub struct HttpExtender {
    config: Config,
    transport: Arc<dyn Transport>,
}

impl HttpExtender {
    /// The extender of this configuration, reached through `transport`.
    #[must_use]
    pub fn new(config: Config, transport: Arc<dyn Transport>) -> Self {
        Self { config, transport }
    }

    /// The extender of this configuration, reached over HTTP.
    ///
    /// # Errors
    /// As [`HttpTransport::new`].
    pub fn connect(config: Config) -> Result<Self, Error> {
        let transport = Arc::new(HttpTransport::new(&config)?);
        Ok(Self::new(config, transport))
    }

    async fn send(&self, verb: &str, message: &Value) -> Result<Value, Error> {
        let url = format!("{}/{verb}", self.config.url_prefix.trim_end_matches('/'));
        let posted = self.transport.post(&url, message.to_string().into());
        let reply = tokio::time::timeout(self.config.http_timeout, posted)
            .await
            .map_err(|_| format!("Post {url:?}: context deadline exceeded"))??;
        if reply.code != 200 {
            let code = reply.code;
            return Err(format!("failed {verb} with extender at URL {url}, code {code}").into());
        }
        Ok(serde_json::from_slice(&reply.body)?)
    }

    /// The nodes, whole or by their names.
    fn arguments(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Value {
        let (whole, names) = if self.config.node_cache_capable {
            let names: Vec<&str> = nodes.iter().map(|node| &*node.name).collect();
            (Value::Null, json!(names))
        } else {
            let items: Vec<_> = nodes
                .iter()
                .filter_map(|node| node.node.as_deref())
                .collect();
            (json!({"metadata": {}, "items": items}), Value::Null)
        };
        json!({"Pod": &*pod.pod, "Nodes": whole, "NodeNames": names})
    }

    fn manages(&self, containers: &[Container]) -> bool {
        let resources = containers
            .iter()
            .filter_map(|container| container.resources.as_ref());
        let mut names = resources.flat_map(|resources| {
            let lists = [&resources.requests, &resources.limits];
            lists.into_iter().flatten().flat_map(BTreeMap::keys)
        });
        names.any(|name| {
            let managed = &self.config.managed_resources;
            managed.iter().any(|resource| resource.name == *name)
        })
    }
}

/// A field by its name, which Go matches in any case.
fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let fields = value.as_object().into_iter().flatten();
    let mut matching = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    matching.next().map_or(&Value::Null, |(_, value)| value)
}

/// The error that an answer may carry.
fn refused(answer: &Value) -> Result<(), Error> {
    match field(answer, "Error").as_str() {
        None | Some("") => Ok(()),
        Some(error) => Err(error.into()),
    }
}

/// Nodes and what is said of them.
fn failed(answer: &Value, name: &str) -> BTreeMap<Arc<str>, String> {
    let nodes = field(answer, name).as_object().into_iter().flatten();
    nodes
        .map(|(node, why)| {
            (
                node.as_str().into(),
                why.as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

#[async_trait]
impl Extender for HttpExtender {
    fn name(&self) -> &str {
        &self.config.url_prefix
    }

    fn is_interested(&self, pod: &PodInfo) -> bool {
        if self.config.managed_resources.is_empty() {
            return true;
        }
        pod.spec().is_some_and(|spec| {
            let first = spec.init_containers.as_deref().unwrap_or_default();
            self.manages(&spec.containers) || self.manages(first)
        })
    }

    fn is_ignorable(&self) -> bool {
        self.config.ignorable
    }

    async fn filter(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Result<Extended, Error> {
        let verb = &self.config.filter_verb;
        let all = || nodes.iter().map(|node| node.name.clone());
        if verb.is_empty() {
            return Ok(Extended {
                fitting: all().collect(),
                rejected: BTreeMap::new(),
            });
        }
        let answer = self.send(verb, &self.arguments(pod, nodes)).await?;
        refused(&answer)?;
        let (names, items) = (
            field(&answer, "NodeNames").as_array(),
            field(field(&answer, "Nodes"), "items").as_array(),
        );
        let let_through: Vec<&str> = match (names.filter(|_| self.config.node_cache_capable), items)
        {
            (Some(names), _) => names.iter().filter_map(Value::as_str).collect(),
            (None, Some(items)) => {
                let names = items
                    .iter()
                    .map(|node| field(field(node, "metadata"), "name"));
                names.filter_map(Value::as_str).collect()
            }
            (None, None) => Vec::new(),
        };
        let known: BTreeSet<&str> = nodes.iter().map(|node| &*node.name).collect();
        if let Some(unknown) = let_through.iter().find(|name| !known.contains(**name)) {
            return Err(format!(
                "extender {:?} claims a filtered node {unknown:?} which is not found in the input node list",
                self.config.url_prefix
            )
            .into());
        }
        let let_through: BTreeSet<&str> = let_through.into_iter().collect();
        let rejected = failed(&answer, "FailedNodes").into_iter();
        let mut rejected: BTreeMap<_, _> = rejected
            .map(|(node, why)| (node, Status::unschedulable(why)))
            .collect();
        // Whoever is in both is not helped by making room.
        let hopeless = failed(&answer, "FailedAndUnresolvableNodes").into_iter();
        rejected.extend(hopeless.map(|(node, why)| (node, Status::unresolvable(why))));
        Ok(Extended {
            fitting: all().filter(|name| let_through.contains(&**name)).collect(),
            rejected,
        })
    }

    async fn prioritize(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Result<Vec<i64>, Error> {
        let verb = &self.config.prioritize_verb;
        if verb.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.send(verb, &self.arguments(pod, nodes)).await?;
        let mut scores = BTreeMap::new();
        for entry in answer.as_array().into_iter().flatten() {
            if let (Some(host), Some(score)) = (
                field(entry, "Host").as_str(),
                field(entry, "Score").as_i64(),
            ) {
                *scores.entry(host).or_insert(0) += score;
            }
        }
        let points = self.config.weight.saturating_mul(SCALE);
        let of = |node: &&NodeInfo| scores.get(&*node.name).copied().unwrap_or(0_i64);
        Ok(nodes
            .iter()
            .map(|node| of(node).saturating_mul(points))
            .collect())
    }

    fn preempts(&self) -> bool {
        !self.config.preempt_verb.is_empty()
    }

    async fn preempt(
        &self,
        pod: &PodInfo,
        candidates: &Candidates,
        snapshot: &Snapshot,
    ) -> Result<Candidates, Error> {
        let whole = !self.config.node_cache_capable;
        let shown = candidates.iter().map(|(node, victims)| {
            let pods = victims.pods.iter();
            let pods: Vec<Value> = if whole {
                pods.map(|victim| json!(&*victim.pod)).collect()
            } else {
                pods.map(|victim| json!({"UID": victim.pod.metadata.uid}))
                    .collect()
            };
            let victims = json!({"Pods": pods, "NumPDBViolations": victims.violations});
            (node.to_string(), victims)
        });
        let shown: serde_json::Map<String, Value> = shown.collect();
        let (of_pods, of_names) = if whole {
            (json!(shown), Value::Null)
        } else {
            (Value::Null, json!(shown))
        };
        let message = json!({
            "Pod": &*pod.pod, "NodeNameToVictims": of_pods, "NodeNameToMetaVictims": of_names,
        });
        let answer = self.send(&self.config.preempt_verb, &message).await?;
        let left = field(&answer, "NodeNameToMetaVictims").as_object();
        let mut agreed = Candidates::new();
        for (name, victims) in left.into_iter().flatten() {
            let node = snapshot
                .get(name)
                .ok_or_else(|| format!("nodeinfo not found for node name {name:?}"))?;
            let mut pods = Vec::new();
            for victim in field(victims, "Pods").as_array().into_iter().flatten() {
                let uid = field(victim, "UID").as_str();
                let mut there = node.pods.values();
                let found = there.find(|pod| pod.pod.metadata.uid.as_deref() == uid);
                let found = found.ok_or_else(|| {
                    format!(
                        "extender: {} claims to preempt pod (UID: {}) on node: {name}, but the pod is not found on that node",
                        self.config.url_prefix,
                        uid.unwrap_or_default()
                    )
                })?;
                pods.push(found.clone());
            }
            if pods.is_empty() {
                if self.config.ignorable {
                    continue;
                }
                return Err(format!("expected at least one victim pod on node {name:?}").into());
            }
            let violations = field(victims, "NumPDBViolations").as_u64().unwrap_or(0);
            let violations = usize::try_from(violations).unwrap_or(usize::MAX);
            agreed.insert(node.name.clone(), Victims { pods, violations });
        }
        Ok(agreed)
    }

    async fn bind(&self, pod: &PodInfo, node: &str) -> Result<bool, Error> {
        let verb = &self.config.bind_verb;
        if verb.is_empty() {
            return Ok(false);
        }
        let binding = json!({
            "PodName": &*pod.key.name, "PodNamespace": &*pod.key.namespace, "PodUID": pod.pod.metadata.uid, "Node": node,
        });
        refused(&self.send(verb, &binding).await?)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
