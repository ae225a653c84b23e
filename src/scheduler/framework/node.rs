//! Nodes as the scheduler sees them: what they can give out, what is taken, and by whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use super::PodInfo;
use crate::object::{Quantity, Resources};
use crate::reconcile::Key;

/// A node and the pods that are on it or assumed to be.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its position among the snapshot's nodes; may change when nodes come and go.
    pub position: usize,
    /// The node; `None` while only pods name it.
    pub node: Option<Arc<Node>>,
    /// What it can give out.
    pub allocatable: Resources,
    /// How many pods it can run.
    pub allowed_pods: usize,
    /// What its pods request.
    pub requested: Resources,
    /// The same, with a small amount for pods that request nothing; scoring uses it.
    pub non_zero: (i64, i64),
    /// Its pods.
    pub pods: BTreeMap<Key, Arc<PodInfo>>,
    /// How many of them have pod affinity or anti-affinity.
    pub with_affinity: usize,
    /// How many of them require anti-affinity.
    pub with_anti_affinity: usize,
    /// The images it has, by all their names, and their sizes in bytes.
    pub images: BTreeMap<String, i64>,
    /// Under which zone the snapshot counts it.
    pub(super) zone: Option<Arc<str>>,
}

impl NodeInfo {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            position: 0,
            node: None,
            allocatable: Resources::default(),
            allowed_pods: 0,
            requested: Resources::default(),
            non_zero: (0, 0),
            pods: BTreeMap::new(),
            with_affinity: 0,
            with_anti_affinity: 0,
            images: BTreeMap::new(),
            zone: None,
        }
    }

    /// A node without pods, for tests of plugins.
    #[must_use]
    pub fn of(node: Arc<Node>) -> Self {
        let mut info = Self::new(node.metadata.name.as_deref().unwrap_or_default());
        info.set_node(Some(node));
        info
    }

    pub(crate) fn set_node(&mut self, node: Option<Arc<Node>>) {
        let allocatable = node
            .as_ref()
            .and_then(|node| node.status.as_ref()?.allocatable.as_ref());
        self.allocatable = Resources::of(allocatable);
        let pods = allocatable.and_then(|list| Quantity::parse(&list.get("pods")?.0).ok());
        self.allowed_pods = pods
            .and_then(|pods| usize::try_from(pods.value()).ok())
            .unwrap_or(0);
        let images = node
            .iter()
            .filter_map(|node| node.status.as_ref()?.images.as_ref())
            .flatten();
        let named = images.flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image
                .names
                .iter()
                .flatten()
                .map(move |name| (name.clone(), size))
        });
        self.images = named.collect();
        self.node = node;
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.node.as_ref()?.metadata.labels.as_ref()
    }

    /// The label `key`.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.get(key).map(String::as_str)
    }

    /// Its taints.
    #[must_use]
    pub fn taints(&self) -> &[Taint] {
        self.node
            .as_ref()
            .and_then(|node| node.spec.as_ref()?.taints.as_deref())
            .unwrap_or_default()
    }

    /// Whether it is cordoned.
    #[must_use]
    pub fn is_unschedulable(&self) -> bool {
        self.node
            .as_ref()
            .and_then(|node| node.spec.as_ref()?.unschedulable)
            == Some(true)
    }

    /// Whether `new` differs from the node that is known in nothing but its heartbeats and versions.
    pub(crate) fn heartbeat(&self, new: Option<&Arc<Node>>) -> bool {
        let (Some(old), Some(new)) = (self.node.as_ref(), new) else {
            return false;
        };
        let (was, is) = (old.status.as_ref(), new.status.as_ref());
        old.metadata.labels == new.metadata.labels
            && old.metadata.annotations == new.metadata.annotations
            && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
            && old.spec == new.spec
            && was.map(|status| (&status.allocatable, &status.capacity, &status.images))
                == is.map(|status| (&status.allocatable, &status.capacity, &status.images))
            && was.map(|status| (&status.features, &status.runtime_handlers))
                == is.map(|status| (&status.features, &status.runtime_handlers))
            && statuses(old).eq(statuses(new))
    }

    /// Puts the new state of a pod in the place of the old one; whether that makes a difference to anyone.
    pub(crate) fn replace_pod(&mut self, pod: &Arc<PodInfo>) -> bool {
        let (mut same, mut alike) = (false, false);
        if let Some(old) = self.pods.get(&pod.key) {
            alike = old.requests == pod.requests
                && old.non_zero == pod.non_zero
                && old.affinity == pod.affinity;
            same = alike
                && old.priority == pod.priority
                && old.labels() == pod.labels()
                && old.is_terminating() == pod.is_terminating()
                && old.host_ports == pod.host_ports
                && old.has_same_volumes(pod);
        }
        if alike {
            self.pods.insert(pod.key.clone(), pod.clone());
        } else {
            self.remove_pod(&pod.key);
            self.add_pod(pod);
        }
        !same
    }

    pub(crate) fn add_pod(&mut self, pod: &Arc<PodInfo>) {
        if self.pods.insert(pod.key.clone(), pod.clone()).is_none() {
            self.requested.add(&pod.requests);
            self.non_zero.0 += pod.non_zero.0;
            self.non_zero.1 += pod.non_zero.1;
            self.with_affinity += usize::from(pod.affinity.any());
            self.with_anti_affinity += usize::from(!pod.affinity.required_anti.is_empty());
        }
    }

    pub(crate) fn remove_pod(&mut self, key: &Key) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.requested.subtract(&pod.requests);
        self.non_zero.0 -= pod.non_zero.0;
        self.non_zero.1 -= pod.non_zero.1;
        self.with_affinity -= usize::from(pod.affinity.any());
        self.with_anti_affinity -= usize::from(!pod.affinity.required_anti.is_empty());
        Some(pod)
    }
}

/// The conditions of a node and whether they hold.
fn statuses(node: &Node) -> impl Iterator<Item = (&str, &str)> {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .map(|condition| (condition.type_.as_str(), condition.status.as_str()))
}
