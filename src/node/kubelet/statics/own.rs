//! The pods of a node: those that the API binds to it, and those that its own manifests name.
//!
//! A pod of a manifest is shown in the API by a mirror, which has its name and a uid of its own. In here it has the uid of its
//! manifest and the mirror's status; mirrors are not seen. A pod whose manifest is gone or is another one now is "being
//! deleted" until it has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;

use super::{is_mirror, mirror_of};
use crate::reconcile::{Cache, Key};

/// The pods of one node.
pub(in crate::node::kubelet) struct OwnPods {
    api: Cache<Pod>,
    node: String,
    statics: Mutex<BTreeMap<Key, Static>>,
}

/// A pod of a manifest.
struct Static {
    pod: Arc<Pod>,
    /// What comes after it has ended.
    next: Option<Arc<Pod>>,
    /// What was found of it last, for as long as no mirror says it.
    status: Option<PodStatus>,
}

impl OwnPods {
    pub(in crate::node::kubelet) fn new(api: Cache<Pod>, node: &str) -> Self {
        Self {
            api,
            node: node.to_owned(),
            statics: Mutex::default(),
        }
    }

    /// The cache of all pods of the API.
    pub(in crate::node::kubelet) fn api(&self) -> &Cache<Pod> {
        &self.api
    }

    /// Whether the API binds the pod to this node.
    pub(in crate::node::kubelet) fn owns(&self, pod: &Pod) -> bool {
        pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&self.node)
    }

    /// The pod of this name, if it is this node's.
    pub(in crate::node::kubelet) fn get(&self, key: &Key) -> Option<Arc<Pod>> {
        if let Some(own) = self.statics.lock().get(key) {
            return Some(own.shown(self.mirror(key).as_deref()));
        }
        let pod = self.api.get(key)?;
        (self.owns(&pod) && !is_mirror(&pod)).then_some(pod)
    }

    /// All pods of this node.
    pub(in crate::node::kubelet) fn list(&self) -> Vec<Arc<Pod>> {
        let statics = self.statics.lock();
        let mut pods = self.api.list();
        pods.retain(|pod| {
            self.owns(pod) && !is_mirror(pod) && !statics.contains_key(&Key::of(&**pod))
        });
        let own = statics.iter();
        pods.extend(own.map(|(key, own)| own.shown(self.mirror(key).as_deref())));
        pods
    }

    /// What shows a pod of this name in the API.
    pub(in crate::node::kubelet) fn mirror(&self, key: &Key) -> Option<Arc<Pod>> {
        let pod = self.api.get(key)?;
        (self.owns(&pod) && is_mirror(&pod)).then_some(pod)
    }

    /// What the API has of a pod: of one that comes from a manifest, its mirror.
    pub(in crate::node::kubelet) fn in_api(&self, key: &Key, pod: &Pod) -> Option<Arc<Pod>> {
        let uid = pod.metadata.uid.as_deref();
        if self.is_static(key) {
            return self.mirror(key).filter(|mirror| mirror_of(mirror) == uid);
        }
        let found = self.get(key);
        found.filter(|found| found.metadata.uid.as_deref() == uid)
    }

    /// Whether a pod of this name comes from a manifest.
    pub(in crate::node::kubelet) fn is_static(&self, key: &Key) -> bool {
        self.statics.lock().contains_key(key)
    }

    /// The names of all that do.
    pub(in crate::node::kubelet) fn statics(&self) -> Vec<Key> {
        self.statics.lock().keys().cloned().collect()
    }

    /// Takes what the manifests say now; gives the names of pods about which something changed.
    pub(super) fn set(&self, wanted: &BTreeMap<Key, Arc<Pod>>, now: Timestamp) -> Vec<Key> {
        let mut statics = self.statics.lock();
        let mut changed = Vec::new();
        for (key, own) in &mut *statics {
            let next = wanted.get(key);
            if own.pod.metadata.deletion_timestamp.is_some() {
                own.next = next.cloned();
            } else if next.map(|next| &next.metadata.uid) != Some(&own.pod.metadata.uid) {
                own.pod = Arc::new(ending(&own.pod, now));
                own.next = next.cloned();
                changed.push(key.clone());
            }
        }
        for (key, pod) in wanted {
            if !statics.contains_key(key) {
                let own = Static::new(pod.clone());
                statics.insert(key.clone(), own);
                changed.push(key.clone());
            }
        }
        changed
    }

    /// Notes that a pod whose manifest is gone has ended; what comes after it takes its place.
    pub(in crate::node::kubelet) fn ended(&self, key: &Key) {
        let mut statics = self.statics.lock();
        if let Some(next) = statics.remove(key).and_then(|own| own.next) {
            statics.insert(key.clone(), Static::new(next));
        }
    }

    /// Notes what was found of a pod.
    pub(super) fn note(&self, key: &Key, status: PodStatus) {
        if let Some(own) = self.statics.lock().get_mut(key) {
            own.status = Some(status);
        }
    }
}

/// A pod that is to end.
fn ending(pod: &Pod, now: Timestamp) -> Pod {
    let mut pod = pod.clone();
    let grace = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    pod.metadata.deletion_timestamp = Some(Time(now));
    pod.metadata.deletion_grace_period_seconds = grace;
    pod
}

impl Static {
    const fn new(pod: Arc<Pod>) -> Self {
        Self {
            pod,
            next: None,
            status: None,
        }
    }

    /// The pod with what is known of it.
    fn shown(&self, mirror: Option<&Pod>) -> Arc<Pod> {
        let mirrored = mirror
            .filter(|mirror| mirror_of(mirror) == self.pod.metadata.uid.as_deref())
            .and_then(|mirror| mirror.status.as_ref())
            .filter(|status| status.start_time.is_some());
        match mirrored.or(self.status.as_ref()) {
            None => self.pod.clone(),
            Some(status) => {
                let mut pod = Pod::clone(&self.pod);
                pod.status = Some(status.clone());
                Arc::new(pod)
            }
        }
    }
}
