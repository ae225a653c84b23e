//! THE composition root: wires store, API server, controllers, scheduler and nodes into one system.

mod builder;
mod dialer;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::builder::{ClusterBuilder, StartError};
use crate::apiserver::ApiServer;
use crate::clock::Clock;
use crate::cri::FakeRuntime;
use crate::manifest::{self, Manifest};
use crate::node::{Kubelet, NodeAgent};
use crate::reconcile::{Error, Manager};

/// A whole cluster in this process.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use homeostat::cluster::Cluster;
/// use k8s_openapi::api::core::v1::Node;
/// let cluster = Cluster::builder().nodes(2).start().await?;
/// let nodes: kube::Api<Node> = kube::Api::all(cluster.client());
/// assert_eq!(nodes.list(&Default::default()).await?.items.len(), 2);
/// cluster.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Cluster {
    server: ApiServer,
    manager: Manager,
    clock: Clock,
    nodes: BTreeMap<String, Node>,
    agents: Vec<Arc<dyn NodeAgent>>,
}

/// A node of a cluster: its agent and the fake runtime it runs pods on.
#[derive(Clone, Debug)]
pub struct Node {
    name: String,
    kubelet: Arc<Kubelet>,
    runtime: FakeRuntime,
    dialer: Arc<dialer::InProcess>,
}

impl Cluster {
    /// A cluster to be set up.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// A client with all rights, whose default namespace is `default`.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.server.client()
    }

    /// The API server.
    #[must_use]
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// The manager of the controllers, whose caches others may share.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The nodes with kubelets, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Applies the YAML or JSON documents in `text`, in the order in which they need one another.
    ///
    /// # Errors
    /// When a document does not parse, or the server refuses an object; its message names the field.
    pub async fn apply(&self, text: &str) -> Result<(), manifest::Error> {
        Manifest::parse(text)?.apply(&self.client()).await
    }

    /// Stops everything in the order opposite to the start: nodes, controllers, server.
    pub async fn stop(&self) {
        self.stop_parts().await;
        self.server.stop().await;
    }

    /// Stops everything but the API server, for a server on the wire, which ends with its connections.
    pub async fn stop_parts(&self) {
        for agent in &self.agents {
            agent.stop().await;
        }
        self.manager.stop().await;
    }
}

impl Node {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The runtime it runs pods on, to be scripted.
    #[must_use]
    pub fn runtime(&self) -> &FakeRuntime {
        &self.runtime
    }

    /// Shuts the node down: its pods end, then its agent is to be stopped ([`Kubelet::shutdown`]).
    pub async fn shutdown(&self) {
        self.kubelet.shutdown().await;
    }

    /// Ends the node's agent, as when its process is killed or the machine loses its network: nothing is heard of the
    /// node any more, and its containers go on.
    pub async fn stop(&self) {
        self.dialer.set_up(&self.name, false);
        self.kubelet.stop().await;
    }

    /// Starts the agent again.
    ///
    /// # Errors
    /// When the node cannot be registered.
    pub async fn start(&self) -> Result<(), Error> {
        self.dialer.set_up(&self.name, true);
        self.kubelet.start().await
    }

    /// Turns the machine off: the agent and everything it runs are gone.
    pub async fn crash(&self) {
        self.stop().await;
        self.runtime.power_off();
    }
}
