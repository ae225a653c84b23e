//! Makes the API show what was decided about the volumes of a pod, and waits until its claims have their volumes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep};

use super::assume::Assumed;
use super::matching::Plan;
use super::{Labels, places, reaches};
use crate::object::volume::{SELECTED_NODE, annotation, for_claim, is_bound, owner, volume_name};
use crate::reconcile::{Error, Key};
use crate::scheduler::framework::PodInfo;

/// How often the claims are looked at, at first and at most.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// What was reserved for a pod: volumes and claims as they are to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserved {
    volumes: Vec<(Arc<PersistentVolume>, Key)>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
}

fn annotate(meta: &mut ObjectMeta, name: &str, value: &str) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(name.to_owned(), value.to_owned());
}

impl Reserved {
    /// Reserves what is planned: from now on no other pod gets it.
    pub(super) fn new(plan: &Plan, node: &str, volumes: &Assumed) -> Self {
        let mut reserved = Self::default();
        for (volume, claim) in &plan.bindings {
            let bound = Arc::new(for_claim(volume, claim));
            volumes.assume_volume(&bound);
            reserved.volumes.push((bound, Key::of(&**claim)));
        }
        for claim in &plan.provisions {
            let mut selected = PersistentVolumeClaim::clone(claim);
            annotate(&mut selected.metadata, SELECTED_NODE, node);
            let selected = Arc::new(selected);
            volumes.assume_claim(&selected);
            reserved.claims.push(selected);
        }
        reserved
    }

    /// Takes it back.
    pub(super) fn release(&self, volumes: &Assumed) {
        for (volume, _) in &self.volumes {
            volumes.forget_volume(volume);
        }
        for claim in &self.claims {
            volumes.forget_claim(claim);
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.claims.is_empty()
    }

    /// Writes it to the API and waits until controllers and drivers have done their part.
    ///
    /// # Errors
    /// When a write fails, the decision was undone by others, or it takes longer than `patience`.
    pub(super) async fn bind(
        &self,
        client: &kube::Client,
        volumes: &Assumed,
        pod: &PodInfo,
        node: &str,
        patience: Duration,
    ) -> Result<(), Error> {
        let written = self.write(client).await?;
        let due = Instant::now() + patience;
        let mut pause = FIRST_LOOK;
        while !written.is_done(volumes, pod, node)? {
            if Instant::now() >= due {
                return Err("binding volumes: context deadline exceeded".into());
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
        // The API shows it all.
        self.release(volumes);
        Ok(())
    }

    async fn write(&self, client: &kube::Client) -> Result<Self, Error> {
        let mut written = Self::default();
        let params = PostParams::default();
        let api: Api<PersistentVolume> = Api::all(client.clone());
        for (volume, claim) in &self.volumes {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let volume = api.replace(name, &params, volume).await?;
            written.volumes.push((Arc::new(volume), claim.clone()));
        }
        for claim in &self.claims {
            let Key { namespace, name } = Key::of(&**claim);
            let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
            let claim = api.replace(&name, &params, claim).await?;
            written.claims.push(Arc::new(claim));
        }
        Ok(written)
    }

    /// Whether all claims have their volumes. Only what the API shows counts here, not what was decided since.
    ///
    /// # Errors
    /// When others undid the decision: the pod has to be scheduled anew.
    fn is_done(&self, volumes: &Assumed, pod: &PodInfo, node: &str) -> Result<bool, String> {
        let listed = volumes.listed();
        let Some(labels) = listed.node(node).map(|node| node.metadata.labels.clone()) else {
            return Err(format!(
                "failed to get node {node:?}: node {node:?} not found"
            ));
        };
        if listed.pod(&pod.key).is_none() {
            let name = &pod.key.name;
            return Err(format!(
                "pod does not exist any more: pod {name:?} not found"
            ));
        }
        for (written, key) in &self.volumes {
            let name = written.metadata.name.as_deref().unwrap_or_default();
            let Some(volume) = listed.volume(name) else {
                return Err(format!(
                    "failed to check binding: could not find v1.PersistentVolume {name:?}"
                ));
            };
            let Some(claim) = listed.claim(key) else {
                return Err(format!(
                    "failed to check binding: could not find v1.PersistentVolumeClaim {:?}",
                    key.to_string()
                ));
            };
            if is_older(&volume.metadata, &written.metadata) {
                return Ok(false);
            }
            check_place(&volume, node, labels.as_ref())?;
            if owner(&volume)
                .is_none_or(|owner| owner.uid.as_deref().unwrap_or_default().is_empty())
            {
                return Err(format!("ClaimRef got reset for pv {name:?}"));
            }
            if !is_bound(&claim) {
                return Ok(false);
            }
        }
        for written in &self.claims {
            let key = Key::of(&**written);
            let Some(claim) = listed.claim(&key) else {
                return Err(format!(
                    "failed to check provisioning pvc: could not find v1.PersistentVolumeClaim {:?}",
                    key.to_string()
                ));
            };
            if is_older(&claim.metadata, &written.metadata) {
                return Ok(false);
            }
            if claim.metadata.annotations.is_none() {
                return Err(format!(
                    "selectedNode annotation reset for PVC {:?}",
                    &*key.name
                ));
            }
            // A provisioner that cannot make the volume there takes the annotation away.
            if annotation(&claim.metadata, SELECTED_NODE) != Some(node) {
                return Err(format!("provisioning failed for PVC {:?}", &*key.name));
            }
            if !volume_name(&claim).is_empty() {
                let Some(volume) = listed.volume(volume_name(&claim)) else {
                    return Ok(false);
                };
                check_place(&volume, node, labels.as_ref())?;
            }
            if !is_bound(&claim) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn check_place(
    volume: &PersistentVolume,
    node: &str,
    labels: Option<&Labels>,
) -> Result<(), String> {
    if reaches(places(volume).as_deref(), labels) {
        return Ok(());
    }
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    Err(format!(
        "pv {name:?} node affinity doesn't match node {node:?}: no matching NodeSelectorTerms"
    ))
}

/// Whether what is listed is from before a write.
fn is_older(listed: &ObjectMeta, written: &ObjectMeta) -> bool {
    let revision = |meta: &ObjectMeta| {
        let text = meta.resource_version.as_deref().unwrap_or_default();
        text.parse::<u64>().unwrap_or(0)
    };
    revision(listed) < revision(written)
}
