//! Volume binding on one node, by going through all volumes for each claim in turn.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::object::{LabelSelector, Quantity};
use crate::scheduler::framework::NodeTerm;

fn bytes(text: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>) -> i64 {
    text.map_or(0, |text| Quantity::parse(&text.0).unwrap().value())
}

/// The volumes that claims, which wait for their first pod, get on a node with these labels: for each claim, by name, the
/// volume's name, or `None` if one is made. `Err`: the node does not do.
pub(crate) fn plan(
    claims: &[Arc<PersistentVolumeClaim>],
    volumes: &[Arc<PersistentVolume>],
    class: &StorageClass,
    labels: &std::collections::BTreeMap<String, String>,
) -> Result<Vec<(String, Option<String>)>, ()> {
    let mut claims = claims.to_vec();
    claims.sort_by_key(|claim| wanted(claim));
    let mut plan: Vec<(String, Option<String>)> = Vec::new();
    for claim in &claims {
        let mut best: Option<&PersistentVolume> = None;
        let mut meant_but_not_here = false;
        for volume in volumes {
            let name = volume.metadata.name.clone();
            if plan.iter().any(|(_, taken)| *taken == name) || !suits_size(claim, volume) {
                continue;
            }
            let here = usable(volume, labels);
            if is_meant(claim, volume) {
                best = here.then_some(volume);
                meant_but_not_here = !here;
                break;
            }
            let spec = volume.spec.as_ref().unwrap();
            let phase = volume.status.as_ref().unwrap().phase.as_deref();
            if spec.claim_ref.is_some()
                || phase != Some("Available")
                || !here
                || !selected(claim, volume)
            {
                continue;
            }
            let size = |volume: &PersistentVolume| {
                bytes(
                    volume
                        .spec
                        .as_ref()
                        .unwrap()
                        .capacity
                        .as_ref()
                        .unwrap()
                        .get("storage"),
                )
            };
            if best.is_none_or(|best| size(volume) < size(best)) {
                best = Some(volume);
            }
        }
        let best = best.filter(|_| !meant_but_not_here);
        if best.is_none() && class.provisioner == "kubernetes.io/no-provisioner" {
            return Err(());
        }
        let volume = best.and_then(|volume| volume.metadata.name.clone());
        plan.push((claim.metadata.name.clone().unwrap(), volume));
    }
    plan.sort();
    Ok(plan)
}

fn wanted(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().unwrap().resources.as_ref();
    bytes(resources.and_then(|resources| resources.requests.as_ref()?.get("storage")))
}

fn suits_size(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let capacity = volume.spec.as_ref().unwrap().capacity.as_ref().unwrap();
    bytes(capacity.get("storage")) >= wanted(claim)
}

fn is_meant(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let owner = volume.spec.as_ref().unwrap().claim_ref.as_ref();
    owner.is_some_and(|owner| {
        owner.name == claim.metadata.name
            && owner.namespace == claim.metadata.namespace
            && (owner.uid.is_none() || owner.uid == claim.metadata.uid)
    })
}

fn usable(volume: &PersistentVolume, labels: &std::collections::BTreeMap<String, String>) -> bool {
    let affinity = volume.spec.as_ref().unwrap().node_affinity.as_ref();
    affinity
        .and_then(|affinity| affinity.required.as_ref())
        .is_none_or(|required| {
            let mut terms = required.node_selector_terms.iter().map(NodeTerm::new);
            terms.any(|term| term.matches("", Some(labels)))
        })
}

fn selected(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let selector = claim.spec.as_ref().unwrap().selector.as_ref();
    selector.is_none_or(|selector| {
        let selector = LabelSelector::from_typed(selector).unwrap();
        selector.matches_optional(volume.metadata.labels.as_ref())
    })
}
