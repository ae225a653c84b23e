//! What the plugins about volumes share: the claims of a pod, and the words that API objects say things with.

mod assume;
mod bind;
mod binding;
mod limits;
mod listers;
mod matching;
mod migrated;
mod restrictions;
mod zone;

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    NodeSelector, PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use self::binding::VolumeBinding;
pub use self::limits::NodeVolumeLimits;
pub use self::restrictions::VolumeRestrictions;
pub use self::zone::VolumeZone;
use crate::object::Quantity;
use crate::scheduler::framework::{NodeTerm, PodInfo};

/// The binding of a claim is complete.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// A volume and a claim were brought together by the scheduler or a controller, not by a user.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The node for which a volume is to be made.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The class, as it was said before there was a field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// The binding mode of classes whose volumes are bound when a pod uses them.
const WAIT_FOR_CONSUMER: &str = "WaitForFirstConsumer";

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClaimName<'a> {
    name: Cow<'a, str>,
    /// It is made for the pod and goes with it.
    ephemeral: bool,
}

/// The claim that a volume of a pod uses.
fn claim_of<'a>(pod: &PodInfo, volume: &'a Volume) -> Option<ClaimName<'a>> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(ClaimName {
            name: Cow::Borrowed(&claim.claim_name),
            ephemeral: false,
        });
    }
    volume.ephemeral.as_ref()?;
    Some(ClaimName {
        name: Cow::Owned(format!("{}-{}", pod.key.name, volume.name)),
        ephemeral: true,
    })
}

fn volumes_of(pod: &PodInfo) -> &[Volume] {
    pod.spec()
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default()
}

/// The claims that a pod uses, its ephemeral ones included, in the order of its volumes.
fn claims_of(pod: &PodInfo) -> impl Iterator<Item = ClaimName<'_>> {
    let volumes = volumes_of(pod).iter();
    volumes.filter_map(|volume| claim_of(pod, volume))
}

/// The claims that a pod names itself.
fn named_claims(pod: &PodInfo) -> impl Iterator<Item = &str> {
    let volumes = volumes_of(pod).iter();
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

fn claim_not_found(name: &str) -> String {
    format!("persistentvolumeclaim {name:?} not found")
}

/// Why the claim of an ephemeral volume is not the pod's.
fn foreign(pod: &PodInfo, claim: &PersistentVolumeClaim) -> Option<String> {
    let uid = pod.pod.metadata.uid.as_deref().unwrap_or_default();
    let mut owners = claim.metadata.owner_references.iter().flatten();
    let is_ours = owners.any(|owner| owner.controller == Some(true) && owner.uid == uid);
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    (!is_ours).then(|| {
        format!(
            "PVC {namespace}/{name} was not created for pod {} (pod is not owner)",
            pod.key
        )
    })
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The class of a claim, `""` when none.
fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let named = || claim.spec.as_ref()?.storage_class_name.as_deref();
    annotation(&claim.metadata, CLASS)
        .or_else(named)
        .unwrap_or_default()
}

/// The class of a volume, `""` when none.
fn class_of_volume(volume: &PersistentVolume) -> &str {
    let named = || volume.spec.as_ref()?.storage_class_name.as_deref();
    annotation(&volume.metadata, CLASS)
        .or_else(named)
        .unwrap_or_default()
}

/// The volume that a claim names, `""` when none.
fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref();
    spec.and_then(|spec| spec.volume_name.as_deref())
        .unwrap_or_default()
}

/// Whether a claim has its volume for good.
fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !volume_name(claim).is_empty() && annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// The bytes that a claim asks for; `None`: it does not say.
fn requested_storage(claim: &PersistentVolumeClaim) -> Option<i64> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    let text = resources.requests.as_ref()?.get("storage")?;
    Quantity::parse(&text.0)
        .ok()
        .map(|quantity| quantity.value())
}

/// The terms of a node selector, of which one must hold.
fn terms(selector: Option<&NodeSelector>) -> Option<Vec<NodeTerm>> {
    let terms = &selector?.node_selector_terms;
    Some(terms.iter().map(NodeTerm::new).collect())
}

/// Where a volume can be used; `None`: everywhere.
fn places(volume: &PersistentVolume) -> Option<Vec<NodeTerm>> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    terms(affinity.required.as_ref())
}

type Labels = BTreeMap<String, String>;

/// Whether a volume can be used on a node with these labels. Volumes know nodes by their labels only.
fn reaches(places: Option<&[NodeTerm]>, labels: Option<&Labels>) -> bool {
    places.is_none_or(|terms| terms.iter().any(|term| term.matches("", labels)))
}

/// Whether volumes of a class can be made for a node with these labels. No terms: for any; a term without requirements: for
/// none.
fn provisions(allowed: Option<&[TopologySelectorTerm]>, labels: Option<&Labels>) -> bool {
    let terms = allowed.unwrap_or_default();
    let holds = |term: &TopologySelectorTerm| {
        let requirements = term.match_label_expressions.as_deref().unwrap_or_default();
        let mut all = requirements.iter();
        !requirements.is_empty()
            && all.all(|wanted| {
                let value = labels.and_then(|labels| labels.get(&wanted.key));
                value.is_some_and(|value| wanted.values.contains(value))
            })
    };
    terms.is_empty() || terms.iter().any(holds)
}

#[cfg(test)]
mod tests;
