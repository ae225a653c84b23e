//! What becomes of one claim or one volume.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use crate::object::LabelSelector;
use crate::object::volume::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, MIGRATED_TO, PROVISIONED_BY, SELECTED_NODE,
    WAIT_FOR_CONSUMER, annotation, attributes_differ, class_of_claim, class_of_volume, for_claim,
    has_access_modes, is_meant_for, modes_differ, named_class, owner, phase, requested_storage,
    size, successor, volume_name,
};
use crate::reconcile::events::EventType;

/// The annotations that make a class the default.
const DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub type_: EventType,
    pub reason: &'static str,
    pub message: String,
}

impl Said {
    fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            type_: EventType::Normal,
            reason,
            message: message.into(),
        }
    }

    fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            type_: EventType::Warning,
            ..Self::normal(reason, message)
        }
    }
}

/// What a decision about a claim looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The claim's class.
    pub class: Option<Arc<StorageClass>>,
    /// The class of claims that name none.
    pub default: Option<Arc<StorageClass>>,
    /// The volume that the claim names.
    pub named: Option<Arc<PersistentVolume>>,
    /// The volumes that are meant for the claim, and, unless it waits for a pod, the free ones of its class.
    pub candidates: Vec<Arc<PersistentVolume>>,
    /// The names of the pods that use the claim and have no node.
    pub waiting: Vec<String>,
}

/// What is to happen to a claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ClaimStep {
    /// It gets this volume.
    Bind(Arc<PersistentVolume>),
    /// It gets this class.
    Assign(String),
    /// It stays pending.
    Wait(Option<Said>),
    /// Somebody else makes its volume.
    Provision(String),
    /// No volume can be made; its status stays as it is.
    Refuse(Said),
    /// It has lost its volume.
    Lost(Said),
    /// It names a volume that a controller gave to another claim.
    Stolen(Said),
}

/// Whether the volume of a claim waits for a pod that uses it.
///
/// # Errors
/// When its class does not say.
pub(super) fn waits(class: Option<&StorageClass>) -> Result<bool, String> {
    let Some(class) = class else { return Ok(false) };
    match class.volume_binding_mode.as_deref() {
        Some(mode) => Ok(mode == WAIT_FOR_CONSUMER),
        None => Err(format!(
            "VolumeBindingMode not set for StorageClass {:?}",
            class.metadata.name.as_deref().unwrap_or_default()
        )),
    }
}

/// Whether a class is for claims that name none.
pub(super) fn is_default(class: &StorageClass) -> bool {
    let mut names = DEFAULT.iter();
    names.any(|name| annotation(&class.metadata, name) == Some("true"))
}

/// The class for claims that name none: the newest, of those the first by name.
pub(super) fn default(classes: Vec<Arc<StorageClass>>) -> Option<Arc<StorageClass>> {
    let defaults = classes.into_iter().filter(|class| is_default(class));
    defaults.min_by_key(|class| {
        let created = class.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| time.0);
        (std::cmp::Reverse(created), class.metadata.name.clone())
    })
}

/// Decides about a claim.
///
/// # Errors
/// When its class does not say when volumes are bound.
pub(super) fn claim(claim: &Arc<PersistentVolumeClaim>, seen: &Seen) -> Result<ClaimStep, String> {
    if annotation(&claim.metadata, BIND_COMPLETED).is_some() {
        return Ok(bound(claim, seen));
    }
    if !volume_name(claim).is_empty() {
        return Ok(named(claim, seen));
    }
    let waits = waits(seen.class.as_deref())?;
    if let Some(volume) = best(claim, &seen.candidates, waits) {
        return Ok(ClaimStep::Bind(volume.clone()));
    }
    let name = |class: &Arc<StorageClass>| class.metadata.name.clone().unwrap_or_default();
    if let (None, Some(default)) = (named_class(claim), &seen.default) {
        return Ok(ClaimStep::Assign(name(default)));
    }
    if waits && annotation(&claim.metadata, SELECTED_NODE).is_none() {
        return Ok(ClaimStep::Wait(Some(waiting(&seen.waiting))));
    }
    let wanted = class_of_claim(claim);
    if wanted.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return Ok(ClaimStep::Wait(Some(Said::normal(
            "FailedBinding",
            message,
        ))));
    }
    let refuse = |why: String| ClaimStep::Refuse(Said::warning("ProvisioningFailed", why));
    let Some(class) = &seen.class else {
        return Ok(refuse(format!(
            "storageclass.storage.k8s.io {wanted:?} not found"
        )));
    };
    let provisioner = class.provisioner.as_str();
    Ok(match successor(provisioner) {
        Some(driver) => ClaimStep::Provision(driver.into()),
        // Nobody in this process makes volumes.
        None if provisioner.starts_with("kubernetes.io/") => {
            refuse(format!("no volume plugin matched name: {provisioner}"))
        }
        None => ClaimStep::Provision(provisioner.into()),
    })
}

/// What is said of a claim that waits for a pod.
fn waiting(pods: &[String]) -> Said {
    match pods {
        [] => Said::normal(
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        ),
        [pod] => Said::normal(
            "WaitForPodScheduled",
            format!("waiting for pod {pod} to be scheduled"),
        ),
        pods => Said::normal(
            "WaitForPodScheduled",
            format!("waiting for pods {} to be scheduled", pods.join(",")),
        ),
    }
}

/// A claim that was bound once.
fn bound(claim: &PersistentVolumeClaim, seen: &Seen) -> ClaimStep {
    let lost = |message: &str| ClaimStep::Lost(Said::warning("ClaimLost", message));
    if volume_name(claim).is_empty() {
        return lost(
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        );
    }
    let Some(volume) = &seen.named else {
        return lost("Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    match owner(volume) {
        Some(owner) if owner.uid != claim.metadata.uid => ClaimStep::Lost(Said::warning(
            "ClaimMisbound",
            "Two claims are bound to the same volume, this one is bound incorrectly",
        )),
        _ => ClaimStep::Bind(volume.clone()),
    }
}

/// A claim that asks for one volume.
fn named(claim: &PersistentVolumeClaim, seen: &Seen) -> ClaimStep {
    let Some(volume) = &seen.named else {
        return ClaimStep::Wait(None);
    };
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    if owner(volume).is_none() {
        return match unfit(claim, volume) {
            None => ClaimStep::Bind(volume.clone()),
            Some(why) => ClaimStep::Wait(Some(Said::warning(
                "VolumeMismatch",
                format!("Cannot bind to requested volume {name:?}: {why}"),
            ))),
        };
    }
    if is_meant_for(volume, claim) {
        return ClaimStep::Bind(volume.clone());
    }
    let said = Said::warning(
        "FailedBinding",
        format!("volume {name:?} already bound to a different claim."),
    );
    if annotation(&claim.metadata, BOUND_BY_CONTROLLER).is_some() {
        ClaimStep::Stolen(said)
    } else {
        ClaimStep::Wait(Some(said))
    }
}

/// Why a claim cannot have the volume that it asks for.
fn unfit(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<String> {
    if volume.metadata.deletion_timestamp.is_some() {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        return Some(format!("the volume is marked for deletion {name:?}"));
    }
    let why = if !is_large_enough(claim, volume) {
        "requested PV is too small"
    } else if class_of_volume(volume) != class_of_claim(claim) {
        "storageClassName does not match"
    } else if attributes_differ(claim, volume) {
        "volumeAttributesClassName does not match"
    } else if modes_differ(claim, volume) {
        "incompatible volumeMode"
    } else if !has_access_modes(volume, claim) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.into())
}

fn is_large_enough(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let size = volume.spec.as_ref().map_or(0, size);
    size >= requested_storage(claim).unwrap_or(0)
}

/// The volume that suits a claim best: one that can do little more than it asks for, then one that is meant for it, then a
/// small one.
fn best<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
    waits: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector.map(LabelSelector::from_typed);
    let selected = |volume: &PersistentVolume| match &selector {
        None => true,
        Some(Ok(selector)) => selector.matches_optional(volume.metadata.labels.as_ref()),
        Some(Err(_)) => false,
    };
    let free = |volume: &PersistentVolume| {
        !waits
            && owner(volume).is_none()
            && phase(volume) == "Available"
            && selected(volume)
            && class_of_volume(volume) == class_of_claim(claim)
    };
    let suits = |volume: &&Arc<PersistentVolume>| {
        is_large_enough(claim, volume)
            && !modes_differ(claim, volume)
            && !attributes_differ(claim, volume)
            && volume.metadata.deletion_timestamp.is_none()
            && has_access_modes(volume, claim)
            && (is_meant_for(volume, claim) || free(volume))
    };
    volumes.iter().filter(suits).min_by_key(|volume| {
        let spec = volume.spec.as_ref();
        let mut modes = spec.and_then(|spec| spec.access_modes.clone());
        let modes = modes.as_mut().map_or(0, |modes| {
            modes.sort();
            modes.dedup();
            modes.len()
        });
        let name = volume.metadata.name.as_deref();
        (
            modes,
            !is_meant_for(volume, claim),
            spec.map_or(0, size),
            name,
        )
    })
}

/// What is to happen to a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VolumeStep {
    /// It is in this phase.
    Phase(&'static str),
    /// It waits for its claim to be bound.
    Wait,
    /// It and its claim do not go together: what is said of the volume, and of the claim.
    Mismatch(Said, Said),
    /// Its claim is gone, or has another volume.
    Release(Reclaim),
    /// It is to be free again.
    Unbind,
}

/// What becomes of a released volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reclaim {
    /// Nothing, or what others do to it.
    Leave,
    /// It cannot be reclaimed.
    Fail(Said),
}

/// Decides about a volume; `claim` is the claim that it names, if that exists.
pub(super) fn volume(
    volume: &PersistentVolume,
    claim: Option<&PersistentVolumeClaim>,
) -> VolumeStep {
    let uid = owner(volume).map(|owner| owner.uid.as_deref().unwrap_or_default());
    let Some(uid) = uid.filter(|uid| !uid.is_empty()) else {
        return VolumeStep::Phase("Available");
    };
    let claim = claim.filter(|claim| claim.metadata.uid.as_deref() == Some(uid));
    let Some(claim) = claim else {
        return VolumeStep::Release(reclaim(volume));
    };
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    match volume_name(claim) {
        "" if modes_differ(claim, volume) => {
            let claim = claim.metadata.name.as_deref().unwrap_or_default();
            VolumeStep::Mismatch(
                Said::warning(
                    "VolumeMismatch",
                    format!(
                        "Cannot bind PersistentVolume to requested PersistentVolumeClaim {claim:?} due to incompatible volumeMode."
                    ),
                ),
                Said::warning(
                    "VolumeMismatch",
                    format!(
                        "Cannot bind PersistentVolume {name:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
                    ),
                ),
            )
        }
        "" => VolumeStep::Wait,
        used if used == name => VolumeStep::Phase("Bound"),
        _ if annotation(&volume.metadata, PROVISIONED_BY).is_some()
            && policy(volume) == "Delete" =>
        {
            VolumeStep::Release(reclaim(volume))
        }
        _ => VolumeStep::Unbind,
    }
}

fn policy(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref())
        .unwrap_or_default()
}

/// What becomes of a volume whose claim is gone. No volume is emptied or deleted by this process: it has no hands on any
/// disk.
fn reclaim(volume: &PersistentVolume) -> Reclaim {
    if annotation(&volume.metadata, MIGRATED_TO).is_some_and(|driver| !driver.is_empty()) {
        return Reclaim::Leave;
    }
    match policy(volume) {
        "Retain" => Reclaim::Leave,
        "Recycle" => Reclaim::Fail(Said::warning(
            "VolumeFailedRecycle",
            "No recycler plugin found for the volume!",
        )),
        "Delete" => match undeletable(volume) {
            None => Reclaim::Leave,
            Some(why) => Reclaim::Fail(Said::warning("VolumeFailedDelete", why)),
        },
        _ => Reclaim::Fail(Said::warning(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy",
        )),
    }
}

/// Why nobody can be expected to delete a volume.
fn undeletable(volume: &PersistentVolume) -> Option<String> {
    let maker = annotation(&volume.metadata, PROVISIONED_BY).unwrap_or_default();
    if maker.starts_with("kubernetes.io/") {
        return successor(maker)
            .is_none()
            .then(|| format!("no volume plugin matched name: {maker}"));
    }
    let is_csi = volume.spec.as_ref().is_some_and(|spec| spec.csi.is_some());
    if !maker.is_empty() || is_csi {
        return None;
    }
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    Some(format!(
        "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
    ))
}

/// The change that makes a volume the claim's; `None`: it is.
pub(super) fn volume_for_claim(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<Value> {
    let bound = for_claim(volume, claim);
    (bound != *volume).then(|| {
        json!({
            "metadata": {"annotations": bound.metadata.annotations},
            "spec": {"claimRef": owner(&bound)},
        })
    })
}

/// The change that gives a claim the volume of this name; `None`: it has it.
pub(super) fn claim_for_volume(claim: &PersistentVolumeClaim, volume: &str) -> Option<Value> {
    if volume_name(claim) != volume {
        let annotations = json!({BOUND_BY_CONTROLLER: "yes", BIND_COMPLETED: "yes"});
        return Some(
            json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume}}),
        );
    }
    let completed = annotation(&claim.metadata, BIND_COMPLETED).is_some();
    (!completed).then(|| json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}}}))
}

/// The change that makes a volume nobody's, or, when a user meant it for a claim, nobody's yet.
pub(super) fn unbound(volume: &PersistentVolume) -> Value {
    if annotation(&volume.metadata, BOUND_BY_CONTROLLER).is_some() {
        json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: null}}, "spec": {"claimRef": null}})
    } else {
        json!({"spec": {"claimRef": {"uid": null}}})
    }
}

/// The change of a claim's status; `None`: there is none. `volume` is what it has.
///
/// # Errors
/// When the volume has no size.
pub(super) fn claim_status(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> Result<Option<Value>, String> {
    let old = claim.status.clone().unwrap_or_default();
    let enters = old.phase.as_deref() != Some(phase);
    let Some(volume) = volume else {
        let has = old.access_modes.is_some() || old.capacity.is_some();
        let status = json!({"phase": phase, "accessModes": null, "capacity": null});
        return Ok((enters || has).then(|| json!({"status": status})));
    };
    let spec = volume.spec.as_ref();
    let modes = spec.and_then(|spec| spec.access_modes.clone());
    let mut status = json!({"phase": phase, "accessModes": modes});
    // A claim that is bound may differ from its volume in size while it grows.
    if enters {
        let capacity = spec.and_then(|spec| spec.capacity.clone());
        if capacity.iter().flatten().all(|(name, _)| name != "storage") {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            return Err(format!(
                "PersistentVolume {name:?} is without a storage capacity"
            ));
        }
        status["capacity"] = json!(capacity);
        if let Some(class) = spec.and_then(|spec| spec.volume_attributes_class_name.as_deref()) {
            status["currentVolumeAttributesClassName"] = json!(class);
        }
    }
    Ok((enters || old.access_modes != modes).then(|| json!({"status": status})))
}
