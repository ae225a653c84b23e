//! Extenders: deciders outside the process that are asked after the plugins.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{NodeInfo, PodInfo, Snapshot, Status};
use crate::reconcile::Error;

/// What an extender says of nodes that the filters let through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// The names of those that it lets through, too.
    pub fitting: Vec<Arc<str>>,
    /// What it says of the rest; nodes that are named in neither are dropped without a word.
    pub rejected: BTreeMap<Arc<str>, Status>,
}

/// Who would have to leave a node.
#[derive(Clone, Debug, Default)]
pub struct Victims {
    /// The pods.
    pub pods: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    pub violations: usize,
}

/// The nodes on which room could be made, by name.
pub type Candidates = BTreeMap<Arc<str>, Victims>;

/// A decider outside the process. While it is asked, no other pod is decided about.
#[async_trait]
pub trait Extender: Debug + Send + Sync + 'static {
    /// Its name, as messages show it.
    fn name(&self) -> &str;

    /// Whether it has a say about this pod.
    fn is_interested(&self, pod: &PodInfo) -> bool;

    /// Whether scheduling goes on without it when it fails.
    fn is_ignorable(&self) -> bool {
        false
    }

    /// Judges nodes. Default: all fit.
    ///
    /// # Errors
    /// The pod goes back to the queue, unless the extender is ignorable.
    async fn filter(&self, _pod: &PodInfo, nodes: &[&NodeInfo]) -> Result<Extended, Error> {
        Ok(Extended {
            fitting: nodes.iter().map(|node| node.name.clone()).collect(),
            rejected: BTreeMap::new(),
        })
    }

    /// Scores nodes, in their order: 0 to [`MAX_SCORE`](super::MAX_SCORE) times the extender's weight. Default: none.
    ///
    /// # Errors
    /// Scores are then missing; the decision goes on.
    async fn prioritize(&self, _pod: &PodInfo, _nodes: &[&NodeInfo]) -> Result<Vec<i64>, Error> {
        Ok(Vec::new())
    }

    /// Whether it has a say about who has to leave for a pod that fits nowhere. Default: no.
    fn preempts(&self) -> bool {
        false
    }

    /// Looks at the nodes on which room could be made, and who would have to leave each. What it gives back is what is left of
    /// them; it may name other victims. Asked only when [`Extender::preempts`]. Default: it agrees.
    ///
    /// # Errors
    /// No room is made, unless the extender is ignorable.
    async fn preempt(
        &self,
        _pod: &PodInfo,
        candidates: &Candidates,
        _snapshot: &Snapshot,
    ) -> Result<Candidates, Error> {
        Ok(candidates.clone())
    }

    /// Binds the pod, in the place of the bind plugins; `Ok(false)`: it leaves that to them. Default.
    ///
    /// # Errors
    /// The pod goes back to the queue.
    async fn bind(&self, _pod: &PodInfo, _node: &str) -> Result<bool, Error> {
        Ok(false)
    }
}
