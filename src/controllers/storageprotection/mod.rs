//! Keeps claims that pods use, and volumes that are bound, from being deleted under their users
//! (`persistentvolumeclaim-protection-controller` and `persistentvolume-protection-controller` of `kube-controller-manager`).
//! Admission gives both a finalizer; it is taken away when nobody uses them any more.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::podutil;
use crate::client;
use crate::object::volume::{claims_of, foreign, phase};
use crate::reconcile::{Action, Cache, Controller, Error, Index, Key, Manager, Reconciler, Source};

/// The names under which the controllers run and write.
const CLAIMS: &str = "persistentvolumeclaim-protection-controller";
const VOLUMES: &str = "persistentvolume-protection-controller";

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// How many pods are listed at once.
const PAGE: usize = 500;

/// Adds both controllers to `manager`.
pub fn install(manager: &Manager, workers: usize) {
    let (claims, volumes) = (
        manager.cache::<PersistentVolumeClaim>(),
        manager.cache::<PersistentVolume>(),
    );
    let pods = manager.cache::<Pod>();
    let protected = Claims {
        client: manager.client_for(CLAIMS),
        claims: claims.clone(),
        pods: pods.index(|pod: &Pod| {
            podutil::claim_keys(pod)
                .iter()
                .map(Key::to_string)
                .collect()
        }),
        listed: Mutex::default(),
    };
    let known = claims.clone();
    // Only a pod that goes, or is done with its volumes, can set a claim free.
    let left = move |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
        let leaves = new.is_none_or(|pod| is_shut_down(pod));
        let pod = old.or(new).filter(|_| leaves);
        let mut keys = pod.map(|pod| podutil::claim_keys(pod)).unwrap_or_default();
        keys.retain(|key| {
            let claim = known.get(key);
            claim.is_some_and(|claim| is_leaving(&claim.metadata, CLAIM_FINALIZER))
        });
        keys
    };
    manager.add(
        Controller::new(CLAIMS, protected)
            .source(due(&claims, CLAIM_FINALIZER))
            .source(Source::mapped(&pods, left))
            .workers(workers),
    );
    let protected = Volumes {
        client: manager.client_for(VOLUMES),
        volumes: volumes.clone(),
    };
    manager.add(
        Controller::new(VOLUMES, protected)
            .source(due(&volumes, VOLUME_FINALIZER))
            .workers(workers),
    );
}

/// Objects whose finalizer is to be put on, or may be due to be taken away.
fn due<K: crate::reconcile::Object>(cache: &Cache<K>, finalizer: &'static str) -> Source {
    Source::mapped(cache, move |_, new| {
        let new = new.filter(|object| {
            is_leaving(object.meta(), finalizer) || is_bare(object.meta(), finalizer)
        });
        new.map(|object| Key::of(&**object)).into_iter().collect()
    })
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    let mut all = meta.finalizers.iter().flatten();
    all.any(|name| name == finalizer)
}

/// Whether an object waits for its finalizer to be taken away.
fn is_leaving(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.deletion_timestamp.is_some() && has(meta, finalizer)
}

/// Whether an object lacks its finalizer: it is from a time without admission.
fn is_bare(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.deletion_timestamp.is_none() && !has(meta, finalizer)
}

/// The kubelet is done with the pod, or it was deleted by force.
fn is_shut_down(pod: &Pod) -> bool {
    podutil::is_terminating(pod) && pod.metadata.deletion_grace_period_seconds == Some(0)
}

/// Whether a pod uses a claim. One without a node does not: no kubelet starts a pod whose claim is being deleted.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let mut used = claims_of(pod).filter(|used| used.name == name);
    !podutil::node_name(pod).is_empty()
        && used.any(|used| !used.ephemeral || !is_shut_down(pod) && foreign(pod, claim).is_none())
}

/// Puts the finalizer on or takes it away, if the object is still as it was seen.
async fn turn<K>(api: Api<K>, object: &K, finalizer: &str) -> Result<(), Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let meta = object.meta();
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    if has(meta, finalizer) {
        finalizers.retain(|name| name != finalizer);
    } else {
        finalizers.push(finalizer.to_owned());
    }
    let change = json!({"metadata": {
        "resourceVersion": meta.resource_version, "uid": meta.uid, "finalizers": finalizers,
    }});
    let name = meta.name.as_deref().unwrap_or_default();
    let change = Patch::Merge(change);
    match api.patch(name, &PatchParams::default(), &change).await {
        // Gone, or changed: then it comes again.
        Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

struct Claims {
    client: kube::Client,
    claims: Cache<PersistentVolumeClaim>,
    pods: Index<Pod>,
    listed: Mutex<Option<Arc<Listed>>>,
}

/// The pods of a namespace that have a node and claims, as of a revision.
struct Listed {
    namespace: Arc<str>,
    revision: u64,
    pods: Vec<Pod>,
}

fn revision(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

impl Reconciler for Claims {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(claim) = self.claims.get(&key) else {
            return Ok(Action::Done);
        };
        let turns = if is_leaving(&claim.metadata, CLAIM_FINALIZER) {
            !self.is_used(&key, &claim).await?
        } else {
            is_bare(&claim.metadata, CLAIM_FINALIZER)
        };
        if turns {
            let claims = Api::namespaced(self.client.clone(), &key.namespace);
            turn(claims, &*claim, CLAIM_FINALIZER).await?;
        }
        Ok(Action::Done)
    }
}

impl Claims {
    /// Whether a pod uses the claim; what the cache does not show is asked for.
    async fn is_used(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
        let cached = self.pods.get(&key.to_string());
        if cached.iter().any(|pod| uses(pod, claim)) {
            return Ok(true);
        }
        let deleted = claim.metadata.resource_version.as_deref();
        let deleted = revision(deleted.unwrap_or_default());
        let listed = self.listed.lock().clone();
        // A list from after the deletion shows every pod that may still use the claim: one list serves many claims.
        let listed = listed.filter(|listed| {
            listed.namespace == key.namespace && deleted != 0 && listed.revision >= deleted
        });
        let listed = match listed {
            Some(listed) => listed,
            None => self.list(&key.namespace).await?,
        };
        Ok(listed.pods.iter().any(|pod| uses(pod, claim)))
    }

    async fn list(&self, namespace: &Arc<str>) -> Result<Arc<Listed>, kube::Error> {
        let mut path = client::Path::of::<Pod>();
        path.path = <Pod as kube::Resource>::url_path(&(), Some(namespace));
        let mut listed = client::list::<Pod>(&self.client, &path, PAGE).await?;
        let is_user =
            |pod: &Pod| !podutil::node_name(pod).is_empty() && claims_of(pod).next().is_some();
        listed.items.retain(is_user);
        let listed = Arc::new(Listed {
            namespace: namespace.clone(),
            revision: revision(&listed.resource_version),
            pods: listed.items,
        });
        *self.listed.lock() = Some(listed.clone());
        Ok(listed)
    }
}

struct Volumes {
    client: kube::Client,
    volumes: Cache<PersistentVolume>,
}

impl Reconciler for Volumes {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(volume) = self.volumes.get(&key) else {
            return Ok(Action::Done);
        };
        let is_free = is_leaving(&volume.metadata, VOLUME_FINALIZER) && phase(&volume) != "Bound";
        if is_free || is_bare(&volume.metadata, VOLUME_FINALIZER) {
            let volumes = Api::all(self.client.clone());
            turn(volumes, &*volume, VOLUME_FINALIZER).await?;
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pod: serde_json::Value, expected: bool) {
        let mut pod: Pod = serde_json::from_value(pod).unwrap();
        pod.metadata.name = Some("p".into());
        pod.metadata.uid = Some("u".into());
        let claim = json!({"metadata": {"name": "p-v", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true},
        ]}});
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
        assert_eq!(uses(&pod, &claim), expected, "{pod:?}");
    }

    #[test]
    fn who_uses_a_claim() {
        let pod = |node: &str, volume: &serde_json::Value, meta: serde_json::Value| json!({"metadata": meta, "spec": {"nodeName": node, "containers": [], "volumes": [volume]}});
        let named = json!({"name": "x", "persistentVolumeClaim": {"claimName": "p-v"}});
        let other = json!({"name": "x", "persistentVolumeClaim": {"claimName": "other"}});
        let made = json!({"name": "v", "ephemeral": {}});
        let ends =
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30});
        let ended =
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0});
        check(pod("n", &named, json!({})), true);
        check(pod("", &named, json!({})), false);
        check(pod("n", &other, json!({})), false);
        check(pod("n", &named, ended.clone()), true);
        check(pod("n", &made, json!({})), true);
        check(pod("n", &made, ends), true);
        check(pod("n", &made, ended), false);
    }
}
