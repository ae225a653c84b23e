//! A scheduler as a program of its own, against any cluster: leader election, health and metrics endpoints, and an end in good
//! order.
//!
//! ```no_run
//! use homeostat::scheduler::config::KubeSchedulerConfiguration;
//! use homeostat::scheduler::framework::Registry;
//! use homeostat::scheduler::Standalone;
//!
//! # async fn run(stopped: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
//! let document = KubeSchedulerConfiguration::parse(&std::fs::read_to_string("scheduler.yaml")?)?;
//! let client = Standalone::client(Some("kubeconfig".as_ref())).await?;
//! Standalone::from_document(&document, &Registry::in_tree(), "host-1")?
//!     .run(client, stopped)
//!     .await?;
//! # Ok(()) }
//! ```

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::time::timeout;

use super::config::{ConfigError, KubeSchedulerConfiguration};
use super::framework::Registry;
use super::metrics::Metrics;
use super::{Drain, SchedulerConfig, install};
use crate::clock::Clock;
use crate::reconcile::leader::{Elector, LeaderConfig};
use crate::reconcile::{Error, Leadership, Manager};

/// How long pods on their way to a node are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long giving up the lease may take.
const RELEASE: Duration = Duration::from_secs(5);

/// A scheduler that runs by itself.
#[derive(Debug)]
#[must_use]
pub struct Standalone {
    config: SchedulerConfig,
    lease: Option<LeaderConfig>,
    listen: Option<SocketAddr>,
    delay: bool,
    document: Option<KubeSchedulerConfiguration>,
}

/// Why a scheduler ended, or did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandaloneError {
    /// It is configured wrongly.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is set up wrongly.
    #[error(transparent)]
    Setup(#[from] super::Error),
    /// The cluster is not reached.
    #[error("the cluster is not reached: {0}")]
    Cluster(#[source] Error),
    /// The address for health and metrics is not free.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another one leads now; start again to be a candidate again.
    #[error("leader election lost")]
    LeadershipLost,
}

impl Standalone {
    /// A scheduler with this configuration, which shares its work with nobody and shows nothing of itself.
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            config,
            lease: None,
            listen: None,
            delay: false,
            document: None,
        }
    }

    /// The scheduler of a document; `identity`, unique among its rivals, is who it is when the document has it elected.
    ///
    /// # Errors
    /// When the document names plugins that are not in `registry`.
    pub fn from_document(
        document: &KubeSchedulerConfiguration,
        registry: &Registry,
        identity: &str,
    ) -> Result<Self, ConfigError> {
        let mut made = Self::new(document.resolve(registry)?);
        made.lease = document.leader_election.candidate(identity);
        made.delay = document.delay_cache_until_active;
        made.document = Some(document.clone());
        Ok(made)
    }

    /// Makes it one of several, of which one acts. Default = it acts at once.
    pub fn elect(mut self, lease: LeaderConfig) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Reads the cluster only when it leads: as long as it does not, it needs little memory, and it takes over later by as long as
    /// reading takes. Default = it reads from the start.
    pub fn delay_cache_until_active(mut self) -> Self {
        self.delay = true;
        self
    }

    /// Answers at `/healthz`, `/livez`, `/readyz` and `/metrics` of this address, without TLS. Default = nowhere.
    #[cfg(feature = "serve")]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// A client of the cluster of this kubeconfig; `None`: whatever `KUBECONFIG`, the home directory, or a pod's service account
    /// say. TLS needs one of kube's TLS features.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn client(kubeconfig: Option<&Path>) -> Result<kube::Client, StandaloneError> {
        let failed =
            |error: &dyn std::error::Error| StandaloneError::Cluster(error.to_string().into());
        let config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| failed(&error))?;
                let options = KubeConfigOptions::default();
                let config = kube::Config::from_custom_kubeconfig(file, &options).await;
                config.map_err(|error| failed(&error))?
            }
            None => kube::Config::infer()
                .await
                .map_err(|error| failed(&error))?,
        };
        kube::Client::try_from(config).map_err(|error| failed(&error))
    }

    /// Schedules until `stopped` completes; then nothing new is begun, and what is on its way is finished. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// When it does not start, or another one leads.
    pub async fn run(
        self,
        client: kube::Client,
        stopped: impl Future<Output = ()>,
    ) -> Result<(), StandaloneError> {
        let manager = Manager::new(client, Clock::system());
        let metrics = Metrics::default();
        let drain = Drain::default();
        let config = self.config.metrics(metrics.clone());
        let installed = install(&manager, config.drained_by(drain.clone()));
        installed.map_err(|error| match &self.document {
            Some(document) => StandaloneError::Config(document.locate(&error)),
            None => StandaloneError::Setup(error),
        })?;
        let mut early = None;
        match self.lease {
            Some(lease) if self.delay => {
                let clock = manager.clock().fork("leader election");
                let client = manager.client_for("leader-election");
                early = Some(Elector::new(client, clock, lease));
            }
            Some(lease) => manager.elect(lease),
            None => {}
        }
        let shown = shown(&manager, metrics, self.listen).await?;
        let run = async {
            if let Some(elector) = &mut early {
                lead(elector, &manager).await?;
            } else {
                manager.start().await.map_err(StandaloneError::Cluster)?;
                let mut leadership = manager.leadership();
                // The manager is held here: it does not end without a word.
                let _ = leadership
                    .wait_for(|state| *state == Leadership::Lost)
                    .await;
            }
            Err(StandaloneError::LeadershipLost)
        };
        let ended = tokio::select! {
            biased;
            () = stopped => Ok(()),
            ended = run => ended,
            () = shown => Ok(()),
        };
        if ended.is_ok() && !drain.drain(PATIENCE).await {
            tracing::warn!("some pods were still on their way to a node");
        }
        manager.stop().await;
        if let Some(mut elector) = early.filter(|_| ended.is_ok()) {
            // Another one need not wait until the lease runs out.
            if let Ok(Err(error)) = timeout(RELEASE, elector.release()).await {
                tracing::warn!(%error, "the lease was not given up");
            }
        }
        ended
    }
}

/// Starts the manager once it leads; returns when it does no longer.
async fn lead(elector: &mut Elector, manager: &Manager) -> Result<(), StandaloneError> {
    elector.acquire().await;
    // The lease is renewed while the caches are filled, too.
    let start = async {
        match manager.start().await {
            Ok(()) => std::future::pending().await,
            Err(error) => StandaloneError::Cluster(error),
        }
    };
    tokio::select! {
        biased;
        () = elector.hold() => Ok(()),
        failed = start => Err(failed),
    }
}

/// Shows health and metrics for as long as it is polled.
#[cfg(feature = "serve")]
async fn shown(
    manager: &Manager,
    metrics: Metrics,
    listen: Option<SocketAddr>,
) -> Result<impl Future<Output = ()>, StandaloneError> {
    use crate::reconcile::health::Endpoints;
    let bound = match listen {
        Some(address) => {
            let endpoints = Endpoints::of(manager).text("/metrics", move || metrics.text());
            let bound = endpoints.bind(address).await;
            Some(bound.map_err(|source| StandaloneError::Listen { address, source })?)
        }
        None => None,
    };
    Ok(async move {
        match bound {
            Some(bound) => bound.serve().await,
            None => std::future::pending().await,
        }
    })
}

/// There is no server to show anything with.
#[cfg(not(feature = "serve"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn shown(
    _: &Manager,
    _: Metrics,
    _: Option<SocketAddr>,
) -> Result<impl Future<Output = ()>, StandaloneError> {
    Ok(std::future::pending())
}
