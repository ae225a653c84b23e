//! Brings claims and volumes together, and reclaims volumes whose claims are gone (`persistentvolume-binder-controller` of
//! `kube-controller-manager`).
//!
//! Volume and claim name each other. The volume is written first, then the claim; each write is a compare-and-set, so that a
//! change by others in between stops the rest, and the next look starts from what is there. Volumes are made and deleted by
//! provisioners outside: this controller only says to whom a claim is left.

mod plan;
#[cfg(test)]
mod tests;
mod wake;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::plan::{ClaimStep, Reclaim, Said, Seen, VolumeStep};
use self::wake::Indexes;
use super::podutil;
use crate::client;
use crate::object::volume::{
    OLD_STORAGE_PROVISIONER, STORAGE_PROVISIONER, annotation, class_of_claim, owner, path, phase,
    volume_name,
};
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Recorder};

/// The name under which the controller runs and writes.
const NAME: &str = "persistentvolume-binder-controller";
/// The name in its events.
const EVENTS: &str = "persistentvolume-controller";

/// For how long pods that come are collected before a claim tells that it waits for them: most have their node by then.
const PODS: Duration = Duration::from_secs(1);

/// Adds the controller to `manager`. It has one worker, so that no two claims are given one volume.
pub fn install(manager: &Manager) {
    let (claims, volumes) = (
        manager.cache::<PersistentVolumeClaim>(),
        manager.cache::<PersistentVolume>(),
    );
    let (classes, pods) = (manager.cache::<StorageClass>(), manager.cache::<Pod>());
    let indexes = Arc::new(Indexes::new(&claims, &volumes, &pods));
    let binder = Binder {
        client: manager.client_for(NAME),
        events: manager.recorder(EVENTS),
        claims: claims.clone(),
        volumes: volumes.clone(),
        classes: classes.clone(),
        indexes: indexes.clone(),
    };
    manager.add(
        Controller::new(NAME, binder)
            .source(wake::by_claims(&claims, indexes.clone()))
            .source(wake::by_volumes(&volumes, &classes, indexes.clone()))
            .source(wake::by_classes(&classes, indexes))
            .source(wake::by_pods(&pods, &claims).batched(PODS)),
    );
}

/// Keys without a namespace are those of volumes.
struct Binder {
    client: kube::Client,
    events: Recorder,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
    indexes: Arc<Indexes>,
}

impl Reconciler for Binder {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let done = if key.namespace.is_empty() {
            match self.volumes.get(&key) {
                Some(volume) => self.volume(volume).await,
                None => Ok(()),
            }
        } else {
            match self.claims.get(&key) {
                Some(claim) => self.claim(claim).await,
                None => Ok(()),
            }
        };
        match done {
            // The object is gone; that wakes whom it concerns.
            Err(Failure::Api(error)) if client::is_not_found(&error) => Ok(Action::Done),
            Err(Failure::Api(error)) => Err(error.into()),
            Err(Failure::Rule(why)) => Err(why.into()),
            Ok(()) => Ok(Action::Done),
        }
    }
}

/// Why something is tried again.
enum Failure {
    Api(kube::Error),
    Rule(String),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Rule(why)
    }
}

impl Binder {
    async fn claim(&self, claim: Arc<PersistentVolumeClaim>) -> Result<(), Failure> {
        match plan::claim(&claim, &self.see(&claim))? {
            ClaimStep::Bind(volume) => self.bind(volume, claim).await,
            ClaimStep::Assign(class) => {
                let change = json!({"spec": {"storageClassName": class}});
                self.change_claim(&claim, change, "").await.map(drop)
            }
            ClaimStep::Provision(provisioner) => self.provision(&claim, &provisioner).await,
            ClaimStep::Refuse(said) => {
                self.say(&*claim, &said);
                Ok(())
            }
            ClaimStep::Wait(said) => {
                if let Some(said) = said {
                    self.say(&*claim, &said);
                }
                self.claim_status(&claim, "Pending", None).await.map(drop)
            }
            ClaimStep::Lost(said) => {
                let status = claim.status.as_ref();
                let phase = status.and_then(|status| status.phase.as_deref());
                if phase != Some("Lost") {
                    self.claim_status(&claim, "Lost", None).await?;
                    self.say(&*claim, &said);
                }
                Ok(())
            }
            ClaimStep::Stolen(said) => {
                self.say(&*claim, &said);
                Err(Failure::Rule(format!(
                    "invalid binding of claim {:?} to volume {:?}",
                    path(&claim.metadata),
                    volume_name(&claim)
                )))
            }
        }
    }

    /// What a decision about a claim looks at.
    fn see(&self, claim: &PersistentVolumeClaim) -> Seen {
        let key = Key::of(claim);
        let name = volume_name(claim);
        if !name.is_empty() {
            return Seen {
                named: self.volumes.get(&Key::cluster(name)),
                ..Seen::default()
            };
        }
        let class = class_of_claim(claim);
        let found = self.classes.get(&Key::cluster(class));
        let mut candidates = self.indexes.meant_for(&key);
        let waits = plan::waits(found.as_deref());
        if waits != Ok(true) {
            candidates.extend(self.indexes.free(class));
        }
        let pods = self.indexes.pods_of(&key).into_iter();
        let pods = pods
            .filter(|pod| podutil::node_name(pod).is_empty() && !podutil::is_finished(pod))
            .filter_map(|pod| pod.metadata.name.clone());
        Seen {
            default: class
                .is_empty()
                .then(|| plan::default(self.classes.list()))
                .flatten(),
            class: found,
            named: None,
            candidates,
            waiting: pods.collect(),
        }
    }

    async fn bind(
        &self,
        volume: Arc<PersistentVolume>,
        claim: Arc<PersistentVolumeClaim>,
    ) -> Result<(), Failure> {
        let volume = match plan::volume_for_claim(&volume, &claim) {
            None => volume,
            Some(change) => Arc::new(self.change_volume(&volume, change, "").await?),
        };
        let volume = self.volume_phase(volume, "Bound", "").await?;
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let claim = match plan::claim_for_volume(&claim, name) {
            None => claim,
            Some(change) => Arc::new(self.change_claim(&claim, change, "").await?),
        };
        let claim = self.claim_status(&claim, "Bound", Some(&volume)).await?;
        // The next look is to see all of it.
        self.volumes.caught_up(&volume).await;
        self.claims.caught_up(&claim).await;
        Ok(())
    }

    /// Leaves the volume of a claim to a provisioner.
    async fn provision(
        &self,
        claim: &Arc<PersistentVolumeClaim>,
        provisioner: &str,
    ) -> Result<(), Failure> {
        if annotation(&claim.metadata, STORAGE_PROVISIONER) != Some(provisioner) {
            let annotations = json!({
                STORAGE_PROVISIONER: provisioner, OLD_STORAGE_PROVISIONER: provisioner,
            });
            let change = json!({"metadata": {"annotations": annotations}});
            match self.change_claim(claim, change, "").await {
                Ok(_) => {}
                Err(Failure::Api(error)) if !client::is_not_found(&error) => {
                    let why = format!("Error saving claim: {}", client::message(&error));
                    self.events.event(
                        reference(&**claim),
                        EventType::Warning,
                        "ProvisioningFailed",
                        why,
                    );
                    return Err(error.into());
                }
                Err(failure) => return Err(failure),
            }
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.events.event(
            reference(&**claim),
            EventType::Normal,
            "ExternalProvisioning",
            message,
        );
        Ok(())
    }

    async fn volume(&self, volume: Arc<PersistentVolume>) -> Result<(), Failure> {
        let claim = self.claim_named_by(&volume).await?;
        match plan::volume(&volume, claim.as_deref()) {
            VolumeStep::Wait => Ok(()),
            VolumeStep::Phase(phase) => self.volume_phase(volume, phase, "").await.map(drop),
            VolumeStep::Mismatch(of_volume, of_claim) => {
                self.say(&*volume, &of_volume);
                if let Some(claim) = claim {
                    self.say(&*claim, &of_claim);
                }
                Ok(())
            }
            VolumeStep::Unbind => {
                let change = plan::unbound(&volume);
                let volume = Arc::new(self.change_volume(&volume, change, "").await?);
                let volume = self.volume_phase(volume, "Available", "").await?;
                self.volumes.caught_up(&volume).await;
                Ok(())
            }
            VolumeStep::Release(reclaim) => self.release(volume, reclaim).await,
        }
    }

    async fn release(
        &self,
        volume: Arc<PersistentVolume>,
        reclaim: Reclaim,
    ) -> Result<(), Failure> {
        // One that failed stays so for its user to see.
        if matches!(phase(&volume), "Failed") {
            return Ok(());
        }
        let volume = self.volume_phase(volume, "Released", "").await?;
        if let Reclaim::Fail(said) = reclaim {
            let volume = self.volume_phase(volume, "Failed", &said.message).await?;
            self.say(&*volume, &said);
        }
        Ok(())
    }

    /// The claim that a volume names. One that the cache does not show, or shows as another, is asked for: the cache may be
    /// late, and the data of a volume that is in use must not be lost to that.
    async fn claim_named_by(
        &self,
        volume: &PersistentVolume,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, Failure> {
        let Some(owner) = owner(volume) else {
            return Ok(None);
        };
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let (namespace, name, uid) = (part(&owner.namespace), part(&owner.name), part(&owner.uid));
        let cached = self.claims.get(&Key::new(namespace.clone(), name.clone()));
        let is_known = cached.as_ref().is_some_and(|claim| {
            uid.is_empty() || claim.metadata.uid.as_deref() == Some(uid.as_str())
        });
        let is_released = matches!(phase(volume), "Released" | "Failed");
        if is_known || uid.is_empty() || is_released && cached.is_none() {
            return Ok(cached);
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        Ok(claims.get_opt(&name).await?.map(Arc::new))
    }

    async fn volume_phase(
        &self,
        volume: Arc<PersistentVolume>,
        wanted: &str,
        message: &str,
    ) -> Result<Arc<PersistentVolume>, Failure> {
        if phase(&volume) == wanted {
            return Ok(volume);
        }
        // No message is none at all.
        let message = Some(message).filter(|message| !message.is_empty());
        let change = json!({"status": {"phase": wanted, "message": message}});
        let written = self.change_volume(&volume, change, "status").await?;
        Ok(Arc::new(written))
    }

    async fn claim_status(
        &self,
        claim: &Arc<PersistentVolumeClaim>,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<Arc<PersistentVolumeClaim>, Failure> {
        match plan::claim_status(claim, phase, volume)? {
            None => Ok(claim.clone()),
            Some(change) => Ok(Arc::new(self.change_claim(claim, change, "status").await?)),
        }
    }

    async fn change_volume(
        &self,
        volume: &PersistentVolume,
        change: Value,
        part: &str,
    ) -> Result<PersistentVolume, Failure> {
        change_object(Api::all(self.client.clone()), volume, change, part).await
    }

    async fn change_claim(
        &self,
        claim: &PersistentVolumeClaim,
        change: Value,
        part: &str,
    ) -> Result<PersistentVolumeClaim, Failure> {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let claims = Api::namespaced(self.client.clone(), namespace);
        change_object(claims, claim, change, part).await
    }

    fn say<K: kube::Resource<DynamicType = ()>>(&self, about: &K, said: &Said) {
        self.events
            .event(reference(about), said.type_, said.reason, &*said.message);
    }
}

/// Changes an object (`part` is `""`) or its status, if it is still as it was seen.
async fn change_object<K>(
    api: Api<K>,
    seen: &K,
    mut change: Value,
    part: &str,
) -> Result<K, Failure>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let meta = seen.meta();
    change["metadata"]["resourceVersion"] = json!(meta.resource_version);
    change["metadata"]["uid"] = json!(meta.uid);
    let name = meta.name.as_deref().unwrap_or_default();
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    let written = match part {
        "" => api.patch(name, &params, &change).await?,
        part => api.patch_subresource(part, name, &params, &change).await?,
    };
    Ok(written)
}
