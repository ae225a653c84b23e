//! The contract between the scheduler and its plugins: a trait for each extension point of the Kubernetes scheduling
//! framework, the objects they see, and the verdicts they give.

mod affinity;
mod built;
mod event;
mod explain;
mod extender;
mod handle;
mod hooks;
mod node;
mod panics;
mod pod;
mod profile;
mod snapshot;
mod state;
mod status;
mod trial;
mod waiting;
mod zones;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub use self::affinity::{PodAffinity, PodTerm};
pub use self::built::Framework;
pub use self::event::{Actions, ClusterEvent, EventPattern, Hint, Resource};
pub use self::explain::{Explain, Explanation, NodeExplanation, PluginScore};
pub use self::extender::{Candidates, Extended, Extender, Victims};
pub use self::handle::Handle;
pub use self::hooks::{ArgsError, Factory, Hooks, Point, Registry};
pub use self::node::NodeInfo;
pub(crate) use self::panics::{guarded, panic_text};
pub use self::pod::PodInfo;
pub use self::profile::{Profile, ProfileError};
pub use self::snapshot::{Mark, Snapshot};
pub use self::state::{ClassId, CycleState};
pub(crate) use self::status::histogram;
pub use self::status::{Code, Status};
pub(crate) use self::trial::Judges;
pub use self::trial::{Trial, TrialNode, Verdicts};
pub use self::waiting::{WaitingPod, WaitingPods};
pub use crate::object::Resources;
pub use crate::object::selector::NodeTerm;
use crate::reconcile::{Error, Key};

/// The best score a plugin can give a node, after normalisation.
pub const MAX_SCORE: i64 = 100;

/// What all plugins have. Extension points are traits of their own; a plugin implements those it needs.
///
/// Hooks of the decision (all that are not `async`) are called one after another and do no I/O. One that panics fails its pod.
pub trait Plugin: Debug + Send + Sync + 'static {
    /// Its name, as configurations and messages show it.
    fn name(&self) -> &str;

    /// The events that may make a pod schedulable which this plugin rejected. Asked once. Default: all.
    fn events(&self) -> Vec<EventPattern> {
        vec![EventPattern::any()]
    }

    /// Queueing hint: whether `event`, one of [`Plugin::events`], may make `pod` schedulable, which this plugin rejected.
    /// Default: any may.
    fn hint(&self, _event: &ClusterEvent<'_>, _pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        Hint::Queue
    }
}

/// On what a plugin's word on a pod and a node depends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// On anything: it is asked anew for each pod.
    #[default]
    Cluster,
    /// Only on the pod's namespace, labels, owner references and spec (but for the names of claims, which stand for what they
    /// name), and on the node with its pods. What it says of one pod is then remembered for others that are alike in these, until the node changes. Such a hook may read what the plugin's own
    /// pre-filter or pre-score wrote for the pod, as long as that depends on the same.
    Node,
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

/// What a pre-filter says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreFiltered {
    /// Whether the pod may go on. `Skip`: this plugin's filter need not run.
    pub status: Status,
    /// The names of the only nodes that the pod can go to; `None`: all. Several plugins' sets are intersected.
    pub nodes: Option<BTreeSet<Arc<str>>>,
}

impl PreFiltered {
    /// Only these nodes can run the pod.
    #[must_use]
    pub fn only(nodes: BTreeSet<Arc<str>>) -> Self {
        Self {
            status: Status::success(),
            nodes: Some(nodes),
        }
    }
}

impl From<Status> for PreFiltered {
    fn from(status: Status) -> Self {
        Self {
            status,
            nodes: None,
        }
    }
}

/// Prepares what [`Filter`] needs, once for each pod.
pub trait PreFilter: Plugin {
    /// Looks at the pod and the cluster; may reject the pod at once, or name the only nodes that come into question.
    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, snapshot: &Snapshot)
    -> PreFiltered;

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

    /// Whether [`Filter::filter`] would succeed, where that is cheaper to find out than why not. Default: `None`, ask it.
    fn fits(&self, _state: &CycleState, _pod: &PodInfo, _node: &NodeInfo) -> Option<bool> {
        None
    }

    /// On what the verdict depends for this pod. Default: on anything.
    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Cluster
    }
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
        node: Arc<str>,
        /// Who has to go.
        victims: Vec<Arc<PodInfo>>,
        /// How many of them a disruption budget protects.
        violations: usize,
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

    /// Brings the scores of all nodes that fit into 0 to [`MAX_SCORE`]. Default: they are already.
    fn normalize(&self, _state: &CycleState, _pod: &PodInfo, _scores: &mut [i64]) {}

    /// On what the score (before it is normalized) depends for this pod. Default: on anything.
    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Cluster
    }
}

/// Reserves what a pod will use on the node that was chosen.
pub trait Reserve: Plugin {
    /// Reserves; a failure unreserves what other plugins did and puts the pod back.
    fn reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> Status;
    /// Undoes it. Must be idempotent; called also when this plugin's own reservation failed.
    fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str);
}

/// What [`Permit`] decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// As far as this plugin is concerned the pod is bound now.
    Allow,
    /// It goes back to the queue, for this reason.
    Deny(Status),
    /// It waits until the plugin allows or rejects it ([`WaitingPods`]), for this long but no more than 15 minutes; then it
    /// is rejected.
    Wait(Duration),
}

/// Pods that are scheduled together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gang {
    /// The name of the plugin that says so.
    pub plugin: Arc<str>,
    /// All of them, those that have a node, too.
    pub members: Vec<Key>,
    /// So many of them must have a node at once.
    pub quorum: usize,
}

/// What a run decided about a gang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GangVerdict {
    /// Enough of it are given their nodes.
    Scheduled,
    /// Not enough of it fit; why.
    Unschedulable(String),
    /// Something failed.
    Failed(String),
}

/// Holds a pod back before it is bound, for instance until its gang is complete. Pods that wait keep their place on the node.
pub trait Permit: Plugin {
    /// The pods that are scheduled together with `pod` or not at all. One run decides about all of them; those that fit are told to
    /// this plugin, which has each of them wait, and are let go on when they are enough. Default: it is scheduled by itself.
    ///
    /// # Errors
    /// The pod waits for the plugin's events.
    fn gang(&self, _pod: &PodInfo) -> Result<Option<Gang>, Status> {
        Ok(None)
    }

    /// A run has decided about the gang of `pod`; what is to be done about that beside the next decisions, such as telling the
    /// API. Default: nothing.
    fn gang_decided(
        &self,
        _pod: &PodInfo,
        _verdict: GangVerdict,
    ) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Judges.
    fn permit(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> Permission;
}

/// Does what has to be done before a pod is bound, such as provisioning a volume.
#[async_trait]
pub trait PreBind: Plugin {
    /// Prepares. Is dropped when it takes longer than the scheduler's binding timeout.
    ///
    /// # Errors
    /// The pod goes back to the queue.
    async fn pre_bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Result<(), Error>;
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
    fn post_bind(&self, state: &CycleState, pod: &PodInfo, node: &str);
}

/// What was decided about a pod.
#[derive(Debug)]
pub enum Decision {
    /// The pod goes to this node; with what the plugins noted, for the rest of its way.
    Node(Arc<str>, CycleState),
    /// It fits nowhere.
    Unfit(Unfit),
    /// A plugin failed; the pod is tried again after a backoff.
    Failed(String),
}

/// Why a pod fits nowhere, and what may be done about it.
#[derive(Clone, Debug, Default)]
pub struct Unfit {
    /// In the words of the pod's condition and event.
    pub message: String,
    /// The plugins that rejected it: their events have it tried again.
    pub rejectors: BTreeSet<String>,
    /// The node that it will fit once these pods have left; the scheduler nominates and evicts.
    pub room: Option<(Arc<str>, Vec<Arc<PodInfo>>)>,
    /// A nomination that it has stays.
    pub waits: bool,
}

/// The whole decision. The queue, the snapshot, permits and bindings stay as they are when a user puts another one in the
/// place of [`SchedulingCycle`](super::SchedulingCycle).
#[async_trait]
pub trait Scheduler: Debug + Send {
    /// Decides about one pod, on the state of this moment. Nothing else is decided meanwhile; a future that waits stops the
    /// scheduler for so long.
    async fn schedule(
        &mut self,
        framework: &Framework,
        pod: &Arc<PodInfo>,
        snapshot: &Snapshot,
    ) -> Decision;
}
