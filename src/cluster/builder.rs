//! How a cluster is set up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

use super::dialer::InProcess;
use super::{Cluster, Node};
use crate::apiserver::{ApiServer, ApiServerBuilder, Dialer, WriteObserver};
use crate::clock::Clock;
use crate::controllers;
use crate::controllers::csrsigning::SigningConfig;
use crate::controllers::localprovisioner::LocalProvisionerConfig;
use crate::controllers::nodelifecycle::NodeLifecycleConfig;
use crate::cri::FakeRuntime;
use crate::node::{Hollow, Kubelet, KubeletConfig, NodeAgent, NodeServer, NodeSpec, Stage};
use crate::reconcile::leader::LeaderConfig;
use crate::reconcile::{Error, Key, Manager};
use crate::scheduler::{self, SchedulerConfig};
use crate::store::{MemoryStore, Store};

/// Why a cluster does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The API server does not start.
    #[error("the API server does not start")]
    Server(#[from] crate::apiserver::StartError),
    /// The scheduler's configuration is wrong.
    #[error("the scheduler is not configured right")]
    Scheduler(#[from] scheduler::Error),
    /// Controllers or nodes do not start.
    #[error("{what} do not start: {source}")]
    Parts {
        /// Which.
        what: &'static str,
        /// Why.
        source: Error,
    },
    /// Two nodes have one name.
    #[error("two nodes are named {0:?}")]
    DuplicateNode(String),
}

/// What a cluster is made of. All parts have defaults.
#[derive(Debug, Default)]
pub struct ClusterBuilder {
    clock: Option<Clock>,
    store: Option<Arc<dyn Store>>,
    server: Option<ApiServerBuilder>,
    nodes: Vec<NodeSpec>,
    hollow: Vec<NodeSpec>,
    stages: Vec<Stage>,
    observer: Option<Arc<dyn WriteObserver>>,
    scheduler: SchedulerConfig,
    lifecycle: NodeLifecycleConfig,
    provisioner: Option<LocalProvisionerConfig>,
    kubelets: KubeletConfig,
    only_api: bool,
    elect: Option<LeaderConfig>,
    dialer: Option<Arc<dyn Dialer>>,
    definitions: Vec<serde_json::Value>,
    root_ca: String,
    signing: Option<SigningConfig>,
}

impl ClusterBuilder {
    /// Adds `count` nodes, named `node-1` and on, each with a kubelet over a fake runtime. Default = none.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        let from = self.nodes.len() + 1;
        let spec = |number| {
            NodeSpec::new(format!("node-{number}")).address(format!("192.168.1.{}", number % 256))
        };
        self.nodes.extend((from..from + count).map(spec));
        self
    }

    /// Adds a node with a kubelet over a fake runtime.
    #[must_use]
    pub fn node(mut self, spec: NodeSpec) -> Self {
        self.nodes.push(spec);
        self
    }

    /// Options of every kubelet, such as what its machine is short of. Default = [`KubeletConfig::default`].
    #[must_use]
    pub fn kubelets(mut self, config: KubeletConfig) -> Self {
        self.kubelets = config;
        self
    }

    /// Adds `count` hollow nodes, named `hollow-1` and on: they only pretend to run pods, all in one task. Default = none.
    #[must_use]
    pub fn hollow_nodes(mut self, count: usize) -> Self {
        self.hollow
            .extend((1..=count).map(|number| NodeSpec::new(format!("hollow-{number}"))));
        self
    }

    /// How pods and nodes live on hollow nodes: see [`Hollow::with_stages`]. Default = pods run at once.
    #[must_use]
    pub fn stages(mut self, stages: Vec<Stage>) -> Self {
        self.stages = stages;
        self
    }

    /// Keeps its state here. Default = a new `MemoryStore`.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The store that was set, or a new one.
    pub(crate) fn store_or_default(&self) -> Arc<dyn Store> {
        self.store
            .clone()
            .unwrap_or_else(|| Arc::new(MemoryStore::default()))
    }

    /// The API server, with settings and a store of its own: [`ClusterBuilder::store`] has no effect then. It takes the
    /// cluster's clock. Default = one with default settings.
    #[must_use]
    pub fn server(mut self, server: ApiServerBuilder) -> Self {
        self.server = Some(server);
        self
    }

    /// Takes time and chance from here. Default = the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Is told of every write.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn WriteObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// How pods are scheduled. Default = `default-scheduler` with the default plugins.
    #[must_use]
    pub fn scheduler(mut self, config: SchedulerConfig) -> Self {
        self.scheduler = config;
        self
    }

    /// How long nodes may be silent. Default = as `kube-controller-manager`.
    #[must_use]
    pub fn node_lifecycle(mut self, config: NodeLifecycleConfig) -> Self {
        self.lifecycle = config;
        self
    }

    /// Makes volumes for claims: directories on the nodes. Default = nobody does.
    #[must_use]
    pub fn local_provisioner(mut self, config: LocalProvisionerConfig) -> Self {
        self.provisioner = Some(config);
        self
    }

    /// Serves a custom resource by its Rust type alone: see [`ApiServerBuilder::resource`]. Default = none.
    #[must_use]
    pub fn resource<K: kube::CustomResourceExt>(mut self) -> Self {
        self.definitions
            .push(serde_json::to_value(K::crd()).unwrap_or_default());
        self
    }

    /// How nodes and pods are reached that are not of this cluster's own nodes, for logs, commands, ports and proxies.
    /// Default = they are not.
    #[must_use]
    pub fn dialer(mut self, dialer: Arc<dyn Dialer>) -> Self {
        self.dialer = Some(dialer);
        self
    }

    /// The certificates in PEM by which pods know the API server: published in every namespace, and put into pods with their
    /// tokens. Default = none, for a server that is not reached over TLS.
    #[must_use]
    pub fn root_ca(mut self, pem: impl Into<String>) -> Self {
        self.root_ca = pem.into();
        self
    }

    /// Signs the certificates that nodes and other clients ask for, once their requests are approved. Default = nobody does.
    #[must_use]
    pub fn signing(mut self, config: SigningConfig) -> Self {
        self.signing = Some(config);
        self
    }

    /// Runs the API server alone, without controllers and scheduler, as envtest does. As there, pods need no service account
    /// then: nobody makes the accounts.
    #[must_use]
    pub fn only_api(mut self) -> Self {
        self.only_api = true;
        self
    }

    /// Makes this cluster one of several over one store, of which one runs the controllers and the scheduler: see
    /// [`Manager::elect`]. Each serves the API and runs its own nodes. Default = the only one.
    #[must_use]
    pub fn elect(mut self, lease: LeaderConfig) -> Self {
        self.elect = Some(lease);
        self
    }

    /// Starts everything: server, controllers and scheduler, nodes. Returns when the nodes are registered. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(self) -> Result<Cluster, StartError> {
        let store = self.store_or_default();
        let clock = self.clock.unwrap_or_else(Clock::system);
        let server = self.server.unwrap_or_else(|| ApiServer::builder(store));
        let mut server = server.clock(clock.fork("apiserver"));
        if let Some(observer) = self.observer {
            server = server.observer(observer);
        }
        if !self.only_api {
            server = server.metrics_api();
        }
        let mut dialer = InProcess::new(self.dialer);
        if !self.only_api {
            dialer = dialer.with_components();
        }
        let dialer = Arc::new(dialer);
        if !server.has_dialer() {
            server = server.dialer(dialer.clone());
        }
        for definition in self.definitions {
            server = server.definition(definition);
        }
        if !self.only_api {
            server = server.suggest_admission("ServiceAccount");
        }
        let server = server.start().await?;
        let manager = Manager::new(server.client(), clock.clone());
        if let Some(lease) = self.elect {
            manager.elect(lease);
        }
        if !self.only_api {
            install_controllers(&manager, self.lifecycle);
            install_accounts(&manager, &server, &self.root_ca);
            if let Some(config) = self.signing {
                controllers::csrsigning::install(&manager, config, 5);
            }
            scheduler::install(&manager, self.scheduler)?;
            if let Some(config) = self.provisioner {
                controllers::localprovisioner::install(&manager, config);
            }
        }
        let mut nodes = BTreeMap::new();
        let mut agents: Vec<Arc<dyn NodeAgent>> = Vec::new();
        for (index, spec) in self.nodes.into_iter().enumerate() {
            let node = kubelet(&manager, index, spec, self.kubelets.clone(), &dialer);
            agents.push(node.kubelet.clone());
            if let Some(twin) = nodes.insert(node.name.clone(), node) {
                return Err(StartError::DuplicateNode(twin.name));
            }
        }
        if !self.hollow.is_empty() {
            agents.push(Arc::new(Hollow::with_stages(
                &manager,
                self.hollow,
                self.stages,
            )));
        }
        manager.start().await.map_err(|source| StartError::Parts {
            what: "controllers",
            source,
        })?;
        if !self.only_api {
            wait_for_account(&manager).await;
        }
        for agent in &agents {
            agent.start().await.map_err(|source| StartError::Parts {
                what: "nodes",
                source,
            })?;
        }
        Ok(Cluster {
            server,
            manager,
            clock,
            nodes,
            agents,
        })
    }
}

/// Every controller, with as many workers as upstream gives it.
fn install_controllers(manager: &Manager, lifecycle: NodeLifecycleConfig) {
    controllers::deployment::install(manager, 5);
    controllers::replicaset::install(manager, 5);
    controllers::namespace::install(manager, 10);
    controllers::nodelifecycle::install(manager, lifecycle);
    controllers::tainteviction::install(manager, 8);
    controllers::podgc::install(manager, 12_500);
    controllers::clusterroleaggregation::install(manager, 5);
    controllers::gc::install(manager, 20);
    controllers::persistentvolume::install(manager);
    controllers::storageprotection::install(manager, 10);
    controllers::ephemeralvolume::install(manager, 10);
    #[cfg(feature = "cel")]
    controllers::policystatus::install(manager, 5);
    controllers::csrapproving::install(manager, 5);
    controllers::csrcleaner::install(manager);
    controllers::tokencleaner::install(manager);
}

/// Waits until pods can be made in the namespace `default`. A cluster over a store in trouble starts without that.
async fn wait_for_account(manager: &Manager) {
    const LONGEST: Duration = Duration::from_secs(5);
    let accounts = manager.cache::<ServiceAccount>();
    let account = Key::new("default", "default");
    let there = async {
        let mut changes = accounts.subscribe();
        while accounts.get(&account).is_none() && changes.next().await.is_some() {}
    };
    if tokio::time::timeout(LONGEST, there).await.is_err() {
        tracing::warn!("the cluster starts without the service account of the namespace default");
    }
}

/// The controllers of service accounts and of what their pods find.
fn install_accounts(manager: &Manager, server: &ApiServer, root_ca: &str) {
    let signer = server.clone();
    let sign = move |account: &ServiceAccount, secret: &Secret| {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let (account, secret) = (&account.metadata, &secret.metadata);
        let namespace = part(&secret.namespace);
        let (name, uid) = (part(&account.name), part(&account.uid));
        let token = signer.secret_token(&namespace, &name, &uid, &part(&secret.name));
        token.map_err(|error| error.to_string())
    };
    controllers::serviceaccount::install(manager, 1);
    controllers::rootcapublisher::install(manager, root_ca, 1);
    controllers::serviceaccounttoken::install(manager, Arc::new(sign), root_ca, 5);
}

/// The node number `index`, whose pods have addresses of a subnet of their own.
fn kubelet(
    manager: &Manager,
    index: usize,
    spec: NodeSpec,
    config: KubeletConfig,
    dialer: &Arc<InProcess>,
) -> Node {
    let name = spec.name().to_owned();
    let subnet = format!("10.{}.{}", 244 + index / 256 % 8, index % 256);
    let runtime = FakeRuntime::new(manager.clock().fork(&name), subnet);
    let server = NodeServer::new(manager, name.as_str(), Arc::new(runtime.clone()));
    dialer.add(name.clone(), server, runtime.clone());
    let kubelet = Kubelet::with_config(manager, spec, Arc::new(runtime.clone()), config);
    let kubelet = Arc::new(kubelet);
    Node {
        name,
        kubelet,
        runtime,
        dialer: dialer.clone(),
    }
}
