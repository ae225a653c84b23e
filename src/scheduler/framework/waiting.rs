//! Pods that have a node and wait at permit until plugins let them go on, or their time is over.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{PodInfo, Status};
use crate::reconcile::Key;

/// The pods that wait at permit, in the order of their keys. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct WaitingPods {
    pods: Arc<Mutex<BTreeMap<Key, WaitingPod>>>,
}

impl WaitingPods {
    /// All that wait.
    #[must_use]
    pub fn list(&self) -> Vec<WaitingPod> {
        self.pods.lock().values().cloned().collect()
    }

    /// The pod of this key, if it waits.
    #[must_use]
    pub fn get(&self, pod: &Key) -> Option<WaitingPod> {
        self.pods.lock().get(pod).cloned()
    }

    pub(crate) fn insert(&self, pod: &WaitingPod) {
        self.pods.lock().insert(pod.pod.key.clone(), pod.clone());
    }

    pub(crate) fn remove(&self, pod: &Key) {
        self.pods.lock().remove(pod);
    }
}

/// A pod that waits at permit. Clones share it.
#[derive(Clone, Debug)]
pub struct WaitingPod {
    pod: Arc<PodInfo>,
    node: Arc<str>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

/// No plugin lets a pod wait for longer (`maxTimeout` of kube-scheduler).
const MOST_PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
struct State {
    /// The plugins that have not said yes yet, and how long each waits.
    pending: BTreeMap<String, (Instant, Duration)>,
    rejection: Option<Status>,
}

impl WaitingPod {
    /// A pod for which these plugins wait, each for so long at most.
    pub(crate) fn new(pod: Arc<PodInfo>, node: Arc<str>, waits: Vec<(String, Duration)>) -> Self {
        let now = Instant::now();
        let capped = waits
            .into_iter()
            .map(|(plugin, patience)| (plugin, patience.min(MOST_PATIENCE)));
        let pending = capped
            .map(|(plugin, patience)| (plugin, (now + patience, patience)))
            .collect();
        let state = Mutex::new(State {
            pending,
            rejection: None,
        });
        let changed = Notify::new();
        Self {
            pod,
            node,
            shared: Arc::new(Shared { state, changed }),
        }
    }

    /// The pod.
    #[must_use]
    pub fn pod(&self) -> &Arc<PodInfo> {
        &self.pod
    }

    /// The node it is to be bound to.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The plugins that it waits for.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.shared.state.lock().pending.keys().cloned().collect()
    }

    /// Whether `plugin` is one of those it waits for.
    #[must_use]
    pub fn awaits(&self, plugin: &str) -> bool {
        self.shared.state.lock().pending.contains_key(plugin)
    }

    /// Whether it goes back to the queue.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.shared.state.lock().rejection.is_some()
    }

    /// `plugin` lets the pod go on. It does so when no other plugin keeps it.
    pub fn allow(&self, plugin: &str) {
        self.shared.state.lock().pending.remove(plugin);
        self.shared.changed.notify_one();
    }

    /// `plugin` sends the pod back to the queue. The first word counts.
    pub fn reject(&self, plugin: &str, reason: impl Into<std::borrow::Cow<'static, str>>) {
        let mut state = self.shared.state.lock();
        if state.rejection.is_none() {
            state.rejection = Some(Status::unschedulable(reason).by(plugin));
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Waits until all have said yes, one says no, or the time of one is over. Cancellation-safe.
    pub(crate) async fn decided(&self) -> Result<(), Status> {
        loop {
            let changed = self.shared.changed.notified();
            let (plugin, due, patience) = {
                let state = self.shared.state.lock();
                if let Some(rejection) = &state.rejection {
                    return Err(rejection.clone());
                }
                let first = state.pending.iter().min_by_key(|(_, (due, _))| *due);
                let Some((plugin, (due, patience))) = first else {
                    return Ok(());
                };
                (plugin.clone(), *due, *patience)
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(due) => {
                    let why = format!("rejected due to timeout after waiting {patience:?} at plugin {plugin}");
                    return Err(Status::unschedulable(why).by(&plugin));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(waits: &[(&str, u64)]) -> WaitingPod {
        let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "ns"}});
        let pod = PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()));
        let waits = waits.iter();
        let waits =
            waits.map(|(plugin, seconds)| ((*plugin).to_owned(), Duration::from_secs(*seconds)));
        WaitingPod::new(Arc::new(pod), "n".into(), waits.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn all_must_agree_and_the_first_refusal_counts() {
        let pod = waiting(&[("a", 5), ("b", 9)]);
        pod.allow("a");
        assert_eq!(pod.pending(), ["b"]);
        pod.allow("b");
        assert_eq!(pod.decided().await, Ok(()));
        let pod = waiting(&[("a", 5), ("b", 9)]);
        pod.reject("b", "no");
        pod.reject("a", "never");
        let status = pod.decided().await.unwrap_err();
        assert_eq!((status.plugin.as_str(), &*status.reasons[0]), ("b", "no"));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let pod = waiting(&[("a", 50), ("b", 9)]);
        let status = pod.decided().await.unwrap_err();
        let why = "rejected due to timeout after waiting 9s at plugin b";
        assert_eq!((status.plugin.as_str(), &*status.reasons[0]), ("b", why));
        let pod = waiting(&[("a", u64::MAX)]);
        let status = pod.decided().await.unwrap_err();
        let why = "rejected due to timeout after waiting 900s at plugin a";
        assert_eq!(&*status.reasons[0], why);
        let pod = waiting(&[("a", 5)]);
        let decided = tokio::spawn({
            let pod = pod.clone();
            async move { pod.decided().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        pod.allow("a");
        assert_eq!(decided.await.unwrap(), Ok(()));
    }
}
