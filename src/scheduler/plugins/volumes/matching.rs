//! Which volumes a pod would get on a node: those that its claims have, those that exist and are free, and those that can be
//! made. The rules of upstream's volume scheduling.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};

use super::assume::Assumed;
use super::first::{FirstAt, Slot};
use super::listers::asks_no_more;
use super::{Labels, places, provisions, reaches};
use crate::object::volume::{
    NO_PROVISIONER, SELECTED_NODE, WAIT_FOR_CONSUMER, annotation, attributes_differ,
    class_of_claim, has_access_modes, is_bound, is_meant_for, modes_differ, phase,
    requested_storage, size, volume_name,
};
use crate::object::{LabelSelector, Quantity};
use crate::reconcile::Key;
use crate::scheduler::framework::{NodeInfo, NodeTerm, Snapshot};

pub(super) const NODE_CONFLICT: &str = "node(s) had volume node affinity conflict";
pub(super) const NOTHING_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
pub(super) const NOT_ENOUGH_SPACE: &str = "node(s) did not have enough free storage";
pub(super) const NO_SUCH_VOLUME: &str =
    "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// The claims of a pod and what comes into question for them. Made once for a pod; a look at a node is cheap.
#[derive(Debug)]
pub(super) struct PodClaims {
    volumes: Assumed,
    /// Where each volume that the pod has already can be used.
    bound: Vec<Place>,
    /// The claims that are to be bound, the smallest first.
    unbound: Vec<Unbound>,
}

/// A node that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    pub name: &'a str,
    pub labels: Option<&'a Labels>,
    /// Among the nodes of the decision, as far as it is known.
    pub position: Option<usize>,
}

impl<'a> From<&'a NodeInfo> for Spot<'a> {
    fn from(node: &'a NodeInfo) -> Self {
        Self {
            name: &node.name,
            labels: node.labels(),
            position: Some(node.position),
        }
    }
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
#[derive(Debug)]
struct Unbound {
    claim: Arc<PersistentVolumeClaim>,
    /// What exists, or where a volume is being made for it.
    source: Source,
    class: Arc<StorageClass>,
    /// Where there is enough room for a new volume; `None`: nobody keeps count.
    room: Option<Vec<LabelSelector>>,
}

/// Where the volume of a claim comes from.
#[derive(Debug)]
enum Source {
    /// It is being made for this node.
    Selected(String),
    /// One of these, or one that is made.
    Among(Candidates),
}

/// What a pod would get on a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Volumes that exist, and the claims that get them.
    pub bindings: Vec<(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>)>,
    /// Claims for which volumes are made.
    pub provisions: Vec<Arc<PersistentVolumeClaim>>,
}

/// What is chosen for a claim.
enum Choice<'a> {
    /// A volume that exists.
    Bind(Arc<PersistentVolume>, &'a Arc<PersistentVolumeClaim>),
    /// One that is made.
    Provision(&'a Arc<PersistentVolumeClaim>),
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
        snapshot: &Snapshot,
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
        let count = delayed.len();
        let unbound = delayed
            .into_iter()
            .map(|(claim, class)| Unbound::new(claim, class, count, volumes, snapshot));
        Ok(Sorted::Ready(Self {
            volumes: volumes.clone(),
            bound,
            unbound: unbound.collect(),
        }))
    }

    /// What the pod would get on a node; `Err`: why nothing.
    pub(super) fn plan(&self, spot: Spot<'_>) -> Result<Plan, Vec<&'static str>> {
        let mut reasons = Vec::new();
        let unfit = self.bound.iter().find_map(|place| match place {
            Place::Nowhere => Some(NO_SUCH_VOLUME),
            Place::Terms(terms) => {
                (!reaches(terms.as_deref(), spot.labels)).then_some(NODE_CONFLICT)
            }
        });
        if unfit == Some(NODE_CONFLICT) {
            reasons.push(NODE_CONFLICT);
        }
        let mut plan = Plan::default();
        let chosen = self.choose(spot, |choice| match choice {
            Choice::Bind(volume, claim) => plan.bindings.push((volume, claim.clone())),
            Choice::Provision(claim) => plan.provisions.push(claim.clone()),
        });
        reasons.extend(chosen.err());
        if unfit == Some(NO_SUCH_VOLUME) {
            reasons.push(NO_SUCH_VOLUME);
        }
        if reasons.is_empty() {
            Ok(plan)
        } else {
            Err(reasons)
        }
    }

    /// Whether the pod would get all on a node: as [`PodClaims::plan`], without saying what or why.
    pub(super) fn fits(&self, node: &NodeInfo) -> bool {
        if let ([], [unbound]) = (&*self.bound, &*self.unbound)
            && let Some(fits) = unbound.is_known_to_fit(node)
        {
            return fits;
        }
        let spot = Spot::from(node);
        let usable = |place: &Place| match place {
            Place::Nowhere => false,
            Place::Terms(terms) => reaches(terms.as_deref(), spot.labels),
        };
        self.bound.iter().all(usable) && self.choose(spot, |_| {}).is_ok()
    }

    /// Chooses for each claim that is to be bound; `Err`: why it cannot be done.
    fn choose(
        &self,
        spot: Spot<'_>,
        mut chosen: impl FnMut(Choice<'_>),
    ) -> Result<(), &'static str> {
        let elsewhere = |unbound: &Unbound| match &unbound.source {
            Source::Selected(selected) => selected != spot.name,
            Source::Among(_) => false,
        };
        if self.unbound.iter().any(elsewhere) {
            return Err(NOTHING_TO_BIND);
        }
        let mut taken = BTreeSet::new();
        let (mut started, mut missing) = (Vec::new(), Vec::new());
        for unbound in &self.unbound {
            let Source::Among(candidates) = &unbound.source else {
                started.push(unbound);
                continue;
            };
            if let Some(volume) = candidates.best(spot, &taken, &self.volumes) {
                if self.unbound.len() > 1 {
                    taken.insert(volume.metadata.name.clone().unwrap_or_default());
                }
                chosen(Choice::Bind(volume, &unbound.claim));
            } else {
                missing.push(unbound);
            }
        }
        for unbound in started.into_iter().chain(missing) {
            unbound.provision(spot.labels)?;
            chosen(Choice::Provision(&unbound.claim));
        }
        Ok(())
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
    /// One of so many claims of a pod.
    fn new(
        claim: Arc<PersistentVolumeClaim>,
        class: Arc<StorageClass>,
        claims: usize,
        volumes: &Assumed,
        snapshot: &Snapshot,
    ) -> Self {
        let source = match annotation(&claim.metadata, SELECTED_NODE) {
            Some(selected) => Source::Selected(selected.to_owned()),
            None => Source::Among(Candidates::new(&claim, claims, volumes, snapshot)),
        };
        let room = room(&claim, &class, volumes);
        Self {
            claim,
            source,
            class,
            room,
        }
    }

    /// Whether the claim alone fits a node, where what is remembered tells.
    fn is_known_to_fit(&self, node: &NodeInfo) -> Option<bool> {
        let Source::Among(candidates) = &self.source else {
            return None;
        };
        let exists = candidates.is_known_to_be_at(node.position)?;
        if !exists && !self.is_made_by_hand() {
            return None;
        }
        Some(exists)
    }

    /// Whether nobody makes volumes of its class.
    fn is_made_by_hand(&self) -> bool {
        matches!(self.class.provisioner.as_str(), "" | NO_PROVISIONER)
    }

    /// Whether a volume can be made for a node; `Err`: why not.
    fn provision(&self, labels: Option<&Labels>) -> Result<(), &'static str> {
        if self.is_made_by_hand() || !provisions(self.class.allowed_topologies.as_deref(), labels) {
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

/// The volumes that would do for a claim. Few are looked at: those that are meant for it, those that any node can use, and, for
/// each node, those that are pinned to it.
#[derive(Debug)]
struct Candidates {
    wanted: Wanted,
    /// The one that is meant for the claim; then there is no choice.
    meant: Option<Candidate>,
    /// Those that are not pinned, the smallest first, as far as they can be needed.
    loose: Vec<Candidate>,
    /// The labels that pin others, and what is known of their values.
    pins: Vec<(String, FirstAt)>,
}

/// What a volume must have for a claim.
#[derive(Debug)]
struct Wanted {
    claim: Arc<PersistentVolumeClaim>,
    class: String,
    size: i64,
    /// `None`: it can select nothing.
    selector: Option<LabelSelector>,
}

#[derive(Debug)]
struct Candidate {
    volume: Arc<PersistentVolume>,
    places: Option<Vec<NodeTerm>>,
}

impl Candidate {
    fn new(volume: &Arc<PersistentVolume>) -> Self {
        Self {
            volume: volume.clone(),
            places: places(volume),
        }
    }

    fn is_taken(&self, taken: &BTreeSet<String>) -> bool {
        let name = self.volume.metadata.name.as_deref();
        taken.contains(name.unwrap_or_default())
    }

    fn fits(&self, labels: Option<&Labels>, taken: &BTreeSet<String>) -> bool {
        !self.is_taken(taken) && reaches(self.places.as_deref(), labels)
    }

    /// By this the smallest is found.
    fn order(&self) -> (i64, Option<&String>) {
        let size = self.volume.spec.as_ref().map_or(0, size);
        (size, self.volume.metadata.name.as_ref())
    }
}

impl Wanted {
    fn new(claim: &Arc<PersistentVolumeClaim>) -> Self {
        let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selector =
            selector.map_or_else(|| Ok(LabelSelector::default()), LabelSelector::from_typed);
        Self {
            claim: claim.clone(),
            class: class_of_claim(claim).to_owned(),
            size: requested_storage(claim).unwrap_or(0),
            selector: selector.ok(),
        }
    }

    /// Whether a volume is large enough, of the right mode, and stays.
    fn admits(&self, volume: &PersistentVolume) -> bool {
        volume
            .spec
            .as_ref()
            .is_some_and(|spec| size(spec) >= self.size)
            && !modes_differ(&self.claim, volume)
            && volume.metadata.deletion_timestamp.is_none()
    }

    /// Whether a volume that is nobody's suits the claim.
    fn suits(&self, volume: &PersistentVolume) -> bool {
        let selector = self.selector.as_ref();
        self.admits(volume)
            && selector
                .is_some_and(|selector| selector.matches_optional(volume.metadata.labels.as_ref()))
            && phase(volume) == "Available"
            && !attributes_differ(&self.claim, volume)
            && has_access_modes(volume, &self.claim)
    }
}

impl Candidates {
    /// For one of so many claims of a pod.
    fn new(
        claim: &Arc<PersistentVolumeClaim>,
        claims: usize,
        volumes: &Assumed,
        snapshot: &Snapshot,
    ) -> Self {
        let wanted = Wanted::new(claim);
        let meant = volumes.meant_for(&wanted.class, &Key::of(&**claim));
        let mut meant = meant
            .iter()
            .filter(|volume| wanted.admits(volume) && is_meant_for(volume, claim));
        let meant = meant.next().map(Candidate::new);
        let mut loose = Vec::new();
        // Of those that can be used anywhere, as many as there are claims are enough: the others take fewer.
        let mut anywhere = 0;
        if meant.is_none() {
            volumes.free(&wanted.class, None, wanted.size, &mut |volume| {
                if wanted.suits(volume) {
                    let candidate = Candidate::new(volume);
                    anywhere += usize::from(candidate.places.is_none());
                    loose.push(candidate);
                }
                if anywhere < claims {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
        }
        let pins = volumes.listed().pins(&wanted.class).into_iter();
        let pins = pins.map(|label| {
            let first = volumes.first_at(claim, &label, snapshot);
            (label, first)
        });
        let pins = pins.collect();
        Self {
            wanted,
            meant,
            loose,
            pins,
        }
    }

    /// Whether there is a volume for the node at a position, where what is remembered tells.
    fn is_known_to_be_at(&self, position: usize) -> Option<bool> {
        if self.meant.is_some() || !self.loose.is_empty() {
            return None;
        }
        let mut all = self.pins.iter().map(|(_, first)| first.any(position));
        all.try_fold(false, |any, first| Some(any || first?))
    }

    /// The smallest volume that can be used on a node and is not taken.
    fn best(
        &self,
        spot: Spot<'_>,
        taken: &BTreeSet<String>,
        volumes: &Assumed,
    ) -> Option<Arc<PersistentVolume>> {
        let labels = spot.labels;
        if let Some(meant) = &self.meant {
            return meant.fits(labels, taken).then(|| meant.volume.clone());
        }
        let mut loose = self.loose.iter();
        let loose = loose.find(|candidate| candidate.fits(labels, taken));
        let pinned = self.pins.iter().filter_map(|(label, first)| {
            let known = spot.position.map(|position| first.get(position));
            match known {
                Some(Slot::Nothing) => None,
                Some(Slot::First(volume)) if taken.is_empty() => Some(Candidate {
                    volume,
                    places: None,
                }),
                _ => self.pinned(label, first, spot, taken, volumes),
            }
        });
        let pinned = pinned.min_by(|one, other| one.order().cmp(&other.order()));
        match (loose, pinned) {
            (Some(loose), Some(pinned)) if pinned.order() < loose.order() => Some(pinned.volume),
            (None, Some(pinned)) => Some(pinned.volume),
            (loose, _) => loose.map(|loose| loose.volume.clone()),
        }
    }

    /// The smallest of the volumes that a label pins to a node.
    fn pinned(
        &self,
        label: &str,
        first: &FirstAt,
        spot: Spot<'_>,
        taken: &BTreeSet<String>,
        volumes: &Assumed,
    ) -> Option<Candidate> {
        let value = spot.labels?.get(label)?;
        let remember = |volume: Option<&Arc<PersistentVolume>>| {
            if let Some(position) = spot.position {
                first.insert(position, volume.cloned());
            }
        };
        let (mut found, mut suits) = (None, false);
        let Wanted { class, size, .. } = &self.wanted;
        volumes.free(class, Some((label, value)), *size, &mut |volume| {
            if !self.wanted.suits(volume) {
                return ControlFlow::Continue(());
            }
            let is_first = !std::mem::replace(&mut suits, true);
            let candidate = Candidate {
                volume: volume.clone(),
                places: (!asks_no_more(volume)).then(|| places(volume)).flatten(),
            };
            if is_first && candidate.places.is_none() {
                remember(Some(volume));
            }
            if !candidate.fits(spot.labels, taken) {
                return ControlFlow::Continue(());
            }
            found = Some(candidate);
            ControlFlow::Break(())
        });
        if !suits {
            remember(None);
        }
        found
    }
}
