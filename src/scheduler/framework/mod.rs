//! The contract between the scheduler and its plugins: a trait for each extension point of the Kubernetes scheduling
//! framework, the objects they see, and the verdicts they give.

mod affinity;
mod node;
mod pod;
mod profile;
mod snapshot;
mod state;
mod status;
mod trial;

use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::affinity::{PodAffinity, PodTerm};
pub use self::node::NodeInfo;
pub use self::pod::PodInfo;
pub use self::profile::Profile;
pub use self::snapshot::Snapshot;
pub use self::state::CycleState;
pub(crate) use self::status::histogram;
pub use self::status::{Code, Status};
pub(crate) use self::trial::Judges;
pub use self::trial::{Trial, TrialNode};
pub use crate::object::Resources;
pub use crate::object::selector::NodeTerm;
use crate::reconcile::Error;

/// The best score a plugin can give a node, after normalisation.
pub const MAX_SCORE: i64 = 100;

/// Something that happened in the cluster and may let a waiting pod fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// A node appeared.
    NodeAdded,
    /// What a node can give out changed.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints or its cordon changed.
    NodeTaints,
    /// A pod came to a node, or changed its labels there.
    PodAssigned,
    /// A pod left a node.
    PodDeleted,
    /// The waiting pod itself changed.
    PodUpdated,
}

/// What all plugins have. Extension points are traits of their own; a plugin implements those it needs.
pub trait Plugin: Debug + Send + Sync + 'static {
    /// Its name, as messages show it.
    fn name(&self) -> &str;

    /// Queueing hint: whether `event` may make a pod schedulable that this plugin rejected. Default: any may.
    fn wakes(&self, _event: ClusterEvent, _pod: &PodInfo) -> bool {
        true
    }
}

/// Whether a pod may enter the queue at all.
pub trait PreEnqueue: Plugin {
    /// Rejects a pod that has to wait for something other than a node.
    fn pre_enqueue(&self, pod: &PodInfo) -> Status;
}

/// The order in which pods are scheduled. A profile has exactly one.
pub trait QueueSort: Plugin {
    /// `Less`: `a` goes first. Pods that compare equal go in the order of their arrival.
    fn compare(&self, a: &PodInfo, b: &PodInfo) -> Ordering;
}

/// Prepares what [`Filter`] needs, once for each pod.
pub trait PreFilter: Plugin {
    /// Looks at the pod and the cluster; may reject the pod at once. `Skip`: this plugin's filter need not run.
    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, snapshot: &Snapshot) -> Status;

    /// Accounts for `added`, which is thought to be on `node` (preemption and nomination try such things out).
    fn add_pod(
        &self,
        _state: &mut CycleState,
        _pod: &PodInfo,
        _added: &PodInfo,
        _node: &NodeInfo,
        _snapshot: &Snapshot,
    ) {
    }

    /// Accounts for `removed`, which is thought to be gone from `node`.
    fn remove_pod(
        &self,
        _state: &mut CycleState,
        _pod: &PodInfo,
        _removed: &PodInfo,
        _node: &NodeInfo,
        _snapshot: &Snapshot,
    ) {
    }
}

/// Whether a node can run a pod.
pub trait Filter: Plugin {
    /// Judges one node.
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status;
}

/// What a [`PostFilter`] found for a pod that fits nowhere.
#[derive(Clone, Debug)]
pub enum Rescue {
    /// Nothing can be done; why, for the pod's condition and event.
    None(String),
    /// Nothing is to be done now; why. A nomination that the pod has stays.
    Wait(String),
    /// The pod is nominated to a node, which it will fit once these pods have left it. The scheduler evicts them.
    Room {
        /// The node.
        node: String,
        /// Who has to go.
        victims: Vec<Arc<PodInfo>>,
    },
}

/// Called when no node can run a pod: may make room.
pub trait PostFilter: Plugin {
    /// Finds room, trying out on copies of nodes.
    fn post_filter(&self, trial: &Trial<'_>) -> Rescue;
}

/// Prepares what [`Score`] needs, once for each pod.
pub trait PreScore: Plugin {
    /// Looks at the nodes that can run the pod. `Skip`: this plugin's score need not run.
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Status;
}

/// How good a node is for a pod.
pub trait Score: Plugin {
    /// Scores one node; any number, if [`Score::normalize`] brings it into 0 to [`MAX_SCORE`].
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64;

    /// Brings the scores of all nodes into 0 to [`MAX_SCORE`]. Default: they are already.
    fn normalize(&self, _state: &CycleState, _pod: &PodInfo, _scores: &mut [i64]) {}
}

/// Reserves what a pod will use on the node that was chosen.
pub trait Reserve: Plugin {
    /// Reserves; a failure unreserves what other plugins did and puts the pod back.
    fn reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> Status;
    /// Undoes it. Must be idempotent.
    fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str);
}

/// What [`Permit`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The pod is bound now.
    Allow,
    /// It goes back to the queue.
    Deny,
    /// It waits for this long at most, and is then judged again; still waiting then is denied.
    Wait(Duration),
}

/// Holds a pod back before it is bound, for instance until its gang is complete.
pub trait Permit: Plugin {
    /// Judges. Called again when a wait has passed.
    fn permit(&self, pod: &PodInfo, node: &str) -> Permission;
}

/// Does what has to be done before a pod is bound, such as provisioning a volume.
#[async_trait]
pub trait PreBind: Plugin {
    /// Prepares.
    ///
    /// # Errors
    /// The pod goes back to the queue.
    async fn pre_bind(&self, pod: &PodInfo, node: &str) -> Result<(), Error>;
}

/// Binds a pod to its node. A profile has at least one; the first that does not skip counts.
#[async_trait]
pub trait Bind: Plugin {
    /// Binds through `client`; `Ok(false)`: this plugin leaves it to the next.
    ///
    /// # Errors
    /// The pod goes back to the queue.
    async fn bind(&self, client: &kube::Client, pod: &PodInfo, node: &str) -> Result<bool, Error>;
}

/// Is told of bound pods.
pub trait PostBind: Plugin {
    /// The pod is bound to `node`.
    fn post_bind(&self, pod: &PodInfo, node: &str);
}
