//! Why a pod is scheduled as it is, or is not: per node and plugin the verdict and the score, what the pod waits for, and which
//! event would have it tried again.
//!
//! - [`explain_pod`] explains any pod of any cluster, whoever schedules it.
//! - An [`Explainer`] is given the decisions that a running scheduler makes, about the pods that somebody asked about. Decisions
//!   about other pods cost nothing more.
//! - [`evaluate`] is the plain function under both.
//!
//! ```no_run
//! use homeostat::scheduler::SchedulerConfig;
//! use homeostat::scheduler::explain::explain_pod;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = kube::Client::try_default().await?;
//! let explanation = explain_pod(client, SchedulerConfig::default(), "default", "web-0").await?;
//! println!("{explanation}");
//! # Ok(()) }
//! ```

mod evaluate;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node as CoreNode, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::evaluate::evaluate;
pub use self::value::{Explanation, Node, Score, Verdict, Wait};
use super::framework::{self, Explain, Handle, PodInfo, Snapshot};
use super::{Error as SetupError, SchedulerConfig};
use crate::clock::Clock;
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{Cache, Error, Key, Manager, Recorder};

/// Why a pod cannot be explained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// There is no such pod.
    #[error("pod {0} is not there")]
    NotFound(String),
    /// The configuration has no profile for it.
    #[error("no profile has the scheduler name {0:?}")]
    NoProfile(String),
    /// The scheduler cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The cluster cannot be read.
    #[error("the cluster cannot be read: {0}")]
    Read(#[source] Error),
}

/// Explains a pod as a scheduler with `config` sees it now. Reads the whole cluster, and writes nothing. A pod that has a node is
/// looked at as if it had none.
///
/// # Errors
/// When there is no such pod, no profile for it, or the cluster cannot be read.
pub async fn explain_pod(
    client: kube::Client,
    config: SchedulerConfig,
    namespace: &str,
    name: &str,
) -> Result<Explanation, ExplainError> {
    let manager = Manager::new(client, Clock::system());
    let handle = Handle::new(&manager, "scheduler-explain");
    let frameworks = config.frameworks(&handle)?;
    let caches = Caches::of(&manager);
    manager.start().await.map_err(ExplainError::Read)?;
    let explained = caches.explain(&frameworks, &Key::new(namespace, name));
    manager.stop().await;
    explained
}

struct Caches {
    pods: Cache<Pod>,
    nodes: Cache<CoreNode>,
    budgets: Cache<PodDisruptionBudget>,
    namespaces: Cache<Namespace>,
}

impl Caches {
    fn of(manager: &Manager) -> Self {
        Self {
            pods: manager.cache(),
            nodes: manager.cache(),
            budgets: manager.cache(),
            namespaces: manager.cache(),
        }
    }

    fn explain(
        &self,
        frameworks: &[Arc<framework::Framework>],
        key: &Key,
    ) -> Result<Explanation, ExplainError> {
        let pod = self.pods.get(key);
        let mut pod = pod.ok_or_else(|| ExplainError::NotFound(key.to_string()))?;
        if let Some(spec) = &mut Arc::make_mut(&mut pod).spec {
            spec.node_name = None;
        }
        let pod = Arc::new(PodInfo::new(pod));
        let name = pod.scheduler_name();
        let mut frameworks = frameworks.iter();
        let framework = frameworks
            .find(|framework| framework.name() == name)
            .ok_or_else(|| ExplainError::NoProfile(name.to_owned()))?;
        let snapshot = self.snapshot(key);
        Ok(evaluate(framework, &pod, &snapshot).into())
    }

    /// The cluster, without the pod.
    fn snapshot(&self, without: &Key) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for namespace in self.namespaces.list() {
            let key = Key::of(&*namespace);
            snapshot.set_namespace(&key.name, Some(namespace));
        }
        for budget in self.budgets.list() {
            snapshot.set_budget(Key::of(&*budget), Some(budget));
        }
        for node in self.nodes.list() {
            let key = Key::of(&*node);
            snapshot.set_node(&key.name, Some(node));
        }
        for pod in self.pods.list() {
            let info = Arc::new(PodInfo::new(pod));
            let status = info.pod.status.as_ref();
            let phase = status.and_then(|status| status.phase.as_deref());
            if matches!(phase, Some("Succeeded" | "Failed")) {
                continue;
            }
            let nominated = status.and_then(|status| status.nominated_node_name.as_deref());
            if info.node_name().is_empty() {
                if let Some(node) = nominated.filter(|node| !node.is_empty()) {
                    snapshot.nominate(&info, node);
                }
            } else if info.key != *without {
                snapshot.add_pod(info.node_name(), &info);
            }
        }
        snapshot
    }
}

/// So many pods can be asked about at once.
const MOST: usize = 1000;

/// Tells of each explanation of one pod.
type Told = watch::Sender<Option<Arc<Explanation>>>;

/// Keeps the newest explanation of each pod that somebody asked about, as a running scheduler decides: give it to
/// [`SchedulerConfig::explain`]. Clones share it.
#[derive(Clone, Default)]
pub struct Explainer {
    asked: Arc<Mutex<BTreeMap<Key, Told>>>,
    recorder: Option<Recorder>,
}

impl Explainer {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records each explanation as an event `Explained` of its pod, too.
    #[must_use]
    pub fn with_events(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Asks about a pod: the receiver is given the explanation of each decision about it from now on. Of more than 1,000 pods the
    /// first by name is forgotten.
    #[must_use]
    pub fn ask(&self, namespace: &str, name: &str) -> watch::Receiver<Option<Arc<Explanation>>> {
        let key = Key::new(namespace, name);
        let mut asked = self.asked.lock();
        if asked.len() >= MOST && !asked.contains_key(&key) {
            asked.pop_first();
        }
        asked.entry(key).or_default().subscribe()
    }

    /// The newest explanation of a pod that was asked about.
    #[must_use]
    pub fn latest(&self, namespace: &str, name: &str) -> Option<Arc<Explanation>> {
        let asked = self.asked.lock();
        asked.get(&Key::new(namespace, name))?.borrow().clone()
    }

    /// Asks about a pod no more.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.asked.lock().remove(&Key::new(namespace, name));
    }
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explainer")
            .field("asked", &self.asked.lock().len())
            .finish_non_exhaustive()
    }
}

impl Explain for Explainer {
    fn wants(&self, pod: &PodInfo) -> bool {
        self.asked.lock().contains_key(&pod.key)
    }

    fn explain(&self, explanation: framework::Explanation) {
        let pod = explanation.pod.clone();
        let explanation = Arc::new(Explanation::from(explanation));
        if let Some(recorder) = &self.recorder {
            let about = reference(&*pod.pod);
            recorder.event(about, EventType::Normal, "Explained", explanation.event());
        }
        if let Some(asked) = self.asked.lock().get(&pod.key) {
            asked.send_replace(Some(explanation));
        }
    }
}
