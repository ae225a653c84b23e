//! A cluster for tests: seeded, on virtual time, with waits that need no sleeps.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::log::WriteLog;
use crate::clock::Clock;
use crate::cluster::{self, ClusterBuilder, StartError};
use crate::manifest;
use crate::reconcile::Error;
use crate::reconcile::activity::Work;
use crate::store::{Faults, FaultyStore};

/// Nothing may be written for this long before a cluster counts as settled: longer than a node may be silent.
const QUIET: Duration = Duration::from_secs(65);
/// How long [`Cluster::settle`] waits at most, in virtual time.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// A cluster in a test. It has everything that [`cluster::Cluster`] has, and more.
///
/// ```
/// # use homeostat::testing::Cluster;
/// # use k8s_openapi::api::core::v1::Pod;
/// #[tokio::main(flavor = "current_thread", start_paused = true)]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let cluster = Cluster::builder().nodes(3).seed(7).start().await?;
///     cluster.apply("
/// apiVersion: v1
/// kind: Pod
/// metadata: {name: web}
/// spec: {containers: [{name: web, image: registry.example/web:v1}]}
/// ").await?;
///     cluster.settle().await?;
///     let pods: kube::Api<Pod> = kube::Api::default_namespaced(cluster.client());
///     assert_eq!(pods.get("web").await?.status.unwrap().phase.as_deref(), Some("Running"));
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Cluster {
    cluster: cluster::Cluster,
    log: Arc<WriteLog>,
    quiet: Duration,
    /// Between the cluster and its store.
    faulty: FaultyStore,
}

impl Deref for Cluster {
    type Target = cluster::Cluster;

    fn deref(&self) -> &cluster::Cluster {
        &self.cluster
    }
}

/// A test's cluster to be set up.
#[derive(Debug)]
pub struct Builder {
    cluster: ClusterBuilder,
    seed: u64,
    quiet: Duration,
    faults: Faults,
}

/// A node, as a test handles it.
pub use crate::cluster::Node;

/// The cluster did not settle: what keeps it busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// How long was waited, in virtual time.
    pub waited: Duration,
    /// What is under way: who, on what, why last.
    pub work: Vec<Work>,
    /// The last writes, newest last.
    pub writes: Vec<String>,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "the cluster did not settle in {:?} (virtual time)",
            self.waited
        )?;
        for work in self.work.iter().take(20) {
            writeln!(f, "  under way: {work}")?;
        }
        for write in &self.writes {
            writeln!(f, "  written: {write}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Busy {}

impl Builder {
    /// Adds `count` nodes, `node-1` and on, with kubelets over fake runtimes. Default = none.
    #[must_use]
    pub fn nodes(self, count: usize) -> Self {
        self.with(|cluster| cluster.nodes(count))
    }

    /// Sets the seed from which uids, names, jitter and choices follow. Default = 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets up anything else of the cluster.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(ClusterBuilder) -> ClusterBuilder) -> Self {
        self.cluster = set(self.cluster);
        self
    }

    /// For how long nothing must be written before the cluster counts as settled. Default = 65 s, longer than the 50 s
    /// after which a silent node is noticed. On a clock that is not paused, a shorter time may be wanted.
    #[must_use]
    pub fn quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    /// The store fails like this from when the cluster has started: see [`Cluster::set_faults`]. Default = never.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(self) -> Result<Cluster, StartError> {
        let log = Arc::new(WriteLog::default());
        let clock = Clock::seeded(self.seed);
        let faulty = FaultyStore::new(self.cluster.store_or_default(), &clock);
        let cluster = self
            .cluster
            .store(Arc::new(faulty.clone()))
            .clock(clock)
            .observer(log.clone())
            .start()
            .await?;
        faulty.set(self.faults);
        Ok(Cluster {
            cluster,
            log,
            quiet: self.quiet,
            faulty,
        })
    }
}

impl Cluster {
    /// A cluster to be set up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            cluster: cluster::Cluster::builder(),
            seed: 0,
            quiet: QUIET,
            faults: Faults::default(),
        }
    }

    /// Applies YAML or JSON documents.
    ///
    /// # Errors
    /// When a document does not parse or the server refuses an object.
    pub async fn apply(&self, text: &str) -> Result<(), manifest::Error> {
        self.cluster.apply(text).await
    }

    /// The node of this name.
    ///
    /// # Panics
    /// When there is none: that is a mistake in the test.
    #[must_use]
    #[track_caller]
    #[expect(
        clippy::panic,
        reason = "a test that names a node which is not there is wrong"
    )]
    pub fn node(&self, name: &str) -> &Node {
        match self.cluster.node(name) {
            Some(node) => node,
            None => panic!("the cluster has no node {name:?}"),
        }
    }

    /// Who wrote what so far.
    #[must_use]
    pub fn log(&self) -> &WriteLog {
        &self.log
    }

    /// Runs until nothing but heartbeats is left to do: no work is under way or due, and nothing else was written for the
    /// quiet time, so that a node which has just fallen silent has been noticed and dealt with.
    ///
    /// # Errors
    /// [`Busy`] after half an hour of virtual time: it names what keeps the cluster busy, such as a crash loop.
    pub async fn settle(&self) -> Result<(), Busy> {
        let start = Instant::now();
        let activity = self.cluster.manager().activity();
        // What this very task has just asked for must get its turn first.
        let mut calm_since = Instant::now();
        loop {
            let last = self
                .log
                .last_foreground()
                .map_or(calm_since, |last| last.max(calm_since));
            let calm_for = last.elapsed();
            let pending = activity.pending();
            if pending.is_empty() && calm_for >= self.quiet {
                return Ok(());
            }
            if start.elapsed() >= PATIENCE {
                return Err(self.busy(start.elapsed(), pending));
            }
            if pending.is_empty() {
                sleep(self.quiet.saturating_sub(calm_for)).await;
            } else {
                let due = pending.iter().map(|work| work.due).min().flatten();
                let until = due.map_or(Duration::from_millis(10), |due| {
                    due.saturating_duration_since(Instant::now())
                });
                sleep(until.clamp(Duration::from_millis(10), Duration::from_secs(10))).await;
                calm_since = Instant::now();
            }
        }
    }

    /// Checks that a settled cluster stays so for `duration`: nothing but heartbeats is written.
    ///
    /// # Errors
    /// [`Busy`] with the writes that were made.
    pub async fn stays_settled(&self, duration: Duration) -> Result<(), Busy> {
        let before = self.log.last_foreground();
        sleep(duration).await;
        if self.log.last_foreground() == before {
            return Ok(());
        }
        Err(self.busy(duration, self.cluster.manager().activity().pending()))
    }

    /// The store fails like this from now on, by chance from the cluster's seed. Of a server that was given a store of its own
    /// ([`ClusterBuilder::server`]) it does not.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use homeostat::store::Faults;
    /// # use homeostat::testing::Cluster;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = Cluster::builder().nodes(1).seed(7).start().await?;
    /// cluster.set_faults(Faults::default().after_commit(50).watches(50).compactions(50));
    /// cluster.advance(Duration::from_secs(60)).await;
    /// cluster.set_faults(Faults::default());
    /// cluster.settle().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_faults(&self, faults: Faults) {
        self.faulty.set(faults);
    }

    /// Lets time pass.
    pub async fn advance(&self, duration: Duration) {
        sleep(duration).await;
    }

    /// Stops everything.
    pub async fn stop(&self) {
        self.cluster.stop().await;
    }

    fn busy(&self, waited: Duration, work: Vec<Work>) -> Busy {
        let entries = self.log.entries();
        let writes = entries
            .iter()
            .rev()
            .filter(|entry| !entry.key.starts_with("leases/"))
            .take(10);
        let mut writes: Vec<String> = writes.map(ToString::to_string).collect();
        writes.reverse();
        Busy {
            waited,
            work,
            writes,
        }
    }
}

const _: fn() = || {
    fn is_error<E: Into<Error>>() {}
    is_error::<Busy>();
};
