//! Which volumes a pod would get on a node: those that its claims have, those that exist and are free, and those that can be
//! made. The rules of upstream's volume scheduling.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};

use super::assume::Assumed;
use super::{Labels, places, provisions, reaches};
use crate::object::volume::{
    NO_PROVISIONER, SELECTED_NODE, WAIT_FOR_CONSUMER, annotation, attributes_differ,
    class_of_claim, class_of_volume, has_access_modes, is_bound, is_meant_for, modes_differ, phase,
    requested_storage, size, volume_name,
};
use crate::object::{LabelSelector, Quantity};
use crate::reconcile::Key;
use crate::scheduler::framework::NodeTerm;

pub(super) const NODE_CONFLICT: &str = "node(s) had volume node affinity conflict";
pub(super) const NOTHING_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
pub(super) const NOT_ENOUGH_SPACE: &str = "node(s) did not have enough free storage";
pub(super) const NO_SUCH_VOLUME: &str =
    "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// The claims of a pod and what comes into question for them. Made once for a pod; a look at a node is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct PodClaims {
    /// Where each volume that the pod has already can be used.
    bound: Vec<Place>,
    /// The claims that are to be bound, the smallest first.
    unbound: Vec<Unbound>,
}

/// Where a volume can be used.
#[derive(Clone, Debug)]
enum Place {
    /// There is no such volume.
    Nowhere,
    /// Anywhere, or where one of the terms holds.
    Terms(Option<Vec<NodeTerm>>),
}

/// A claim that waits for its first pod.
#[derive(Clone, Debug)]
struct Unbound {
    claim: Arc<PersistentVolumeClaim>,
    /// Its volume is being made for this node.
    selected: Option<String>,
    candidates: Candidates,
    class: Arc<StorageClass>,
    /// Where there is enough room for a new volume; `None`: nobody keeps count.
    room: Option<Vec<LabelSelector>>,
}

/// What a pod would get on a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Volumes that exist, and the claims that get them.
    pub bindings: Vec<(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>)>,
    /// Claims for which volumes are made.
    pub provisions: Vec<Arc<PersistentVolumeClaim>>,
}

/// The claims of a pod by what has to happen to them.
#[derive(Debug)]
pub(super) enum Sorted {
    /// Some should have been bound without us.
    Immediate,
    /// Volumes wait for the pod, or are there.
    Ready(PodClaims),
}

impl PodClaims {
    /// Sorts these claims. `Err`: something in the cluster contradicts itself.
    pub(super) fn sort(
        claims: Vec<Arc<PersistentVolumeClaim>>,
        volumes: &Assumed,
    ) -> Result<Sorted, String> {
        let (mut bound, mut delayed) = (Vec::new(), Vec::new());
        let mut immediate = false;
        let mut seen = BTreeSet::new();
        for claim in claims {
            if !seen.insert(Key::of(&*claim)) {
                continue;
            }
            if is_bound(&claim) {
                let volume = volumes.volume(volume_name(&claim));
                let place = |volume: Arc<PersistentVolume>| Place::Terms(places(&volume));
                bound.push(volume.map_or(Place::Nowhere, place));
                continue;
            }
            match waits(&claim, volumes)? {
                Some(class) if volume_name(&claim).is_empty() => delayed.push((claim, class)),
                // One that names its volume is left to the controller, whatever its class says.
                _ => immediate = true,
            }
        }
        if immediate {
            return Ok(Sorted::Immediate);
        }
        // Small claims choose first, so that they do not take the large volumes.
        delayed.sort_by_key(|(claim, _)| requested_storage(claim).unwrap_or(0));
        let unbound = delayed
            .into_iter()
            .map(|(claim, class)| Unbound::new(claim, class, volumes));
        Ok(Sorted::Ready(Self {
            bound,
            unbound: unbound.collect(),
        }))
    }

    /// What the pod would get on a node; `Err`: why nothing.
    pub(super) fn plan(
        &self,
        node: &str,
        labels: Option<&Labels>,
    ) -> Result<Plan, Vec<&'static str>> {
        let mut reasons = Vec::new();
        let unfit = self.bound.iter().find_map(|place| match place {
            Place::Nowhere => Some(NO_SUCH_VOLUME),
            Place::Terms(terms) => (!reaches(terms.as_deref(), labels)).then_some(NODE_CONFLICT),
        });
        if unfit == Some(NODE_CONFLICT) {
            reasons.push(NODE_CONFLICT);
        }
        let plan = self.plan_unbound(node, labels);
        reasons.extend(plan.as_ref().err());
        if unfit == Some(NO_SUCH_VOLUME) {
            reasons.push(NO_SUCH_VOLUME);
        }
        match plan {
            Ok(plan) if reasons.is_empty() => Ok(plan),
            _ => Err(reasons),
        }
    }

    fn plan_unbound(&self, node: &str, labels: Option<&Labels>) -> Result<Plan, &'static str> {
        let elsewhere = |unbound: &Unbound| {
            let selected = unbound.selected.as_deref();
            selected.is_some_and(|selected| selected != node)
        };
        if self.unbound.iter().any(elsewhere) {
            return Err(NOTHING_TO_BIND);
        }
        let mut plan = Plan::default();
        let mut taken = BTreeSet::new();
        let (mut started, mut missing) = (Vec::new(), Vec::new());
        for unbound in &self.unbound {
            if unbound.selected.is_some() {
                started.push(unbound);
            } else if let Some(volume) = unbound.candidates.best(labels, &taken) {
                taken.insert(volume.metadata.name.as_deref().unwrap_or_default());
                let binding = (volume.clone(), unbound.claim.clone());
                plan.bindings.push(binding);
            } else {
                missing.push(unbound);
            }
        }
        for unbound in started.into_iter().chain(missing) {
            unbound.provision(labels)?;
            plan.provisions.push(unbound.claim.clone());
        }
        Ok(plan)
    }
}

/// The class of a claim whose volume waits for the first pod; `None`: it does not wait.
fn waits(
    claim: &PersistentVolumeClaim,
    volumes: &Assumed,
) -> Result<Option<Arc<StorageClass>>, String> {
    let name = class_of_claim(claim);
    if name.is_empty() {
        return Ok(None);
    }
    let Some(class) = volumes.listed().class(name) else {
        return Ok(None);
    };
    match class.volume_binding_mode.as_deref() {
        None => Err(format!(
            "VolumeBindingMode not set for StorageClass {name:?}"
        )),
        Some(mode) => Ok((mode == WAIT_FOR_CONSUMER).then_some(class)),
    }
}

impl Unbound {
    fn new(claim: Arc<PersistentVolumeClaim>, class: Arc<StorageClass>, volumes: &Assumed) -> Self {
        let selected = annotation(&claim.metadata, SELECTED_NODE).map(str::to_owned);
        let key = Key::of(&*claim);
        let candidates = if selected.is_some() {
            Candidates::default()
        } else {
            Candidates::new(&claim, volumes.candidates(class_of_claim(&claim), &key))
        };
        let room = room(&claim, &class, volumes);
        Self {
            claim,
            selected,
            candidates,
            class,
            room,
        }
    }

    /// Whether a volume can be made for a node; `Err`: why not.
    fn provision(&self, labels: Option<&Labels>) -> Result<(), &'static str> {
        let by_hand = matches!(self.class.provisioner.as_str(), "" | NO_PROVISIONER);
        if by_hand || !provisions(self.class.allowed_topologies.as_deref(), labels) {
            return Err(NOTHING_TO_BIND);
        }
        let fits = |room: &Vec<LabelSelector>| {
            let mut room = room.iter();
            room.any(|selector| selector.matches_optional(labels))
        };
        if self.room.as_ref().is_none_or(fits) {
            Ok(())
        } else {
            Err(NOT_ENOUGH_SPACE)
        }
    }
}

/// Where a driver that keeps count has enough room for the claim.
fn room(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    volumes: &Assumed,
) -> Option<Vec<LabelSelector>> {
    let wanted = requested_storage(claim)?;
    let driver = volumes.listed().csi_driver(&class.provisioner)?;
    if driver.spec.storage_capacity != Some(true) {
        return None;
    }
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let capacities = volumes.listed().capacities(name);
    let enough = capacities.iter();
    let enough = enough.filter(|capacity| limit(capacity).is_some_and(|limit| limit >= wanted));
    let selectors = enough.filter_map(|capacity| {
        let topology = capacity.node_topology.as_ref()?;
        LabelSelector::from_typed(topology).ok()
    });
    Some(selectors.collect())
}

/// The largest volume that can be made. What is said of single volumes is more precise than what is left in all.
pub(super) fn limit(capacity: &CSIStorageCapacity) -> Option<i64> {
    let largest = capacity.maximum_volume_size.as_ref();
    let text = largest.or(capacity.capacity.as_ref())?;
    Quantity::parse(&text.0)
        .ok()
        .map(|quantity| quantity.value())
}

/// The volumes that would do for a claim, the smallest first.
#[derive(Clone, Debug, Default)]
struct Candidates {
    /// The one that is meant for the claim; then there is no choice.
    meant: Option<Candidate>,
    free: Vec<Candidate>,
    /// Those that can only be used where a label has a certain value: by label and value, their places in `free`.
    pinned: BTreeMap<String, BTreeMap<String, Vec<usize>>>,
    /// The places of the others.
    loose: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Candidate {
    volume: Arc<PersistentVolume>,
    places: Option<Vec<NodeTerm>>,
}

impl Candidates {
    fn new(claim: &PersistentVolumeClaim, volumes: Vec<Arc<PersistentVolume>>) -> Self {
        let mut all = Self::default();
        let Some(wanted) = &claim.spec else {
            return all;
        };
        let selector = wanted.selector.as_ref().map(LabelSelector::from_typed);
        let mut free = Vec::new();
        for volume in volumes {
            let Some(spec) = &volume.spec else { continue };
            let size = size(spec);
            let is_large_enough = size >= requested_storage(claim).unwrap_or(0);
            let leaves = volume.metadata.deletion_timestamp.is_some();
            if !is_large_enough || modes_differ(claim, &volume) || leaves {
                continue;
            }
            let candidate = Candidate {
                places: places(&volume),
                volume: volume.clone(),
            };
            if is_meant_for(&volume, claim) {
                all.meant = Some(candidate);
                return all;
            }
            let selected = match &selector {
                None => true,
                Some(Ok(selector)) => selector.matches_optional(volume.metadata.labels.as_ref()),
                Some(Err(_)) => false,
            };
            if spec.claim_ref.is_none() && selected && is_free(&volume, claim) {
                free.push((size, candidate));
            }
        }
        free.sort_by_key(|(size, _)| *size);
        all.free = free.into_iter().map(|(_, candidate)| candidate).collect();
        for (index, candidate) in all.free.iter().enumerate() {
            match pin(&candidate.volume) {
                None => all.loose.push(index),
                Some((label, values)) => {
                    let by_value = all.pinned.entry(label.to_owned()).or_default();
                    for value in values {
                        by_value.entry(value.clone()).or_default().push(index);
                    }
                }
            }
        }
        all
    }

    /// The smallest volume that can be used on a node with these labels and is not taken.
    fn best(
        &self,
        labels: Option<&Labels>,
        taken: &BTreeSet<&str>,
    ) -> Option<&Arc<PersistentVolume>> {
        let fits = |candidate: &Candidate| {
            let name = candidate.volume.metadata.name.as_deref();
            !taken.contains(name.unwrap_or_default())
                && reaches(candidate.places.as_deref(), labels)
        };
        if let Some(meant) = &self.meant {
            return fits(meant).then_some(&meant.volume);
        }
        let first = |indexes: &[usize]| {
            let mut indexes = indexes.iter().copied();
            indexes.find(|index| self.free.get(*index).is_some_and(fits))
        };
        let pinned = self.pinned.iter().filter_map(|(label, by_value)| {
            let value = labels?.get(label)?;
            first(by_value.get(value)?)
        });
        let best = first(&self.loose).into_iter().chain(pinned).min()?;
        self.free.get(best).map(|candidate| &candidate.volume)
    }
}

/// Whether a volume that is nobody's suits the claim.
fn is_free(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    phase(volume) == "Available"
        && class_of_volume(volume) == class_of_claim(claim)
        && !attributes_differ(claim, volume)
        && has_access_modes(volume, claim)
}

/// A label of which a node must have one of these values to use the volume.
fn pin(volume: &PersistentVolume) -> Option<(&str, &[String])> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    let [term]: &[NodeSelectorTerm] = &affinity.required.as_ref()?.node_selector_terms else {
        return None;
    };
    let mut requirements = term.match_expressions.iter().flatten();
    let pin = requirements.find(|requirement| requirement.operator == "In")?;
    Some((&pin.key, pin.values.as_deref().unwrap_or_default()))
}
