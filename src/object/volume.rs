//! What volumes and claims say of each other: the words of their annotations and fields, which the scheduler and the
//! controllers of volumes both read.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, Pod, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Quantity;

/// The binding of a claim is complete.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// A volume and a claim were brought together by the scheduler or a controller, not by a user.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The node for which a volume is to be made.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who is to make the volume of a claim.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The same, as older provisioners read it.
pub const OLD_STORAGE_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// Who made a volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The CSI driver to which a volume or claim of an in-tree driver was left.
pub const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// The class, as it was said before there was a field.
pub const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The provisioner of classes whose volumes are made by hand.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// The binding mode of classes whose volumes are bound when a pod uses them.
pub const WAIT_FOR_CONSUMER: &str = "WaitForFirstConsumer";

/// The in-tree drivers and their successors.
const SUCCESSORS: [(&str, &str); 7] = [
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
];

/// The CSI driver that took over from an in-tree driver; `None`: it is not one.
#[must_use]
pub fn successor(in_tree: &str) -> Option<&'static str> {
    let mut drivers = SUCCESSORS.iter();
    drivers
        .find(|(name, _)| *name == in_tree)
        .map(|(_, driver)| *driver)
}

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName<'a> {
    /// Its name, in the namespace of the pod.
    pub name: Cow<'a, str>,
    /// It is made for the pod and goes with it.
    pub ephemeral: bool,
}

/// The claim that a volume of a pod uses.
#[must_use]
pub fn claim_of<'a>(pod: &Pod, volume: &'a Volume) -> Option<ClaimName<'a>> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(ClaimName {
            name: Cow::Borrowed(&claim.claim_name),
            ephemeral: false,
        });
    }
    volume.ephemeral.as_ref()?;
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    Some(ClaimName {
        name: Cow::Owned(format!("{pod}-{}", volume.name)),
        ephemeral: true,
    })
}

/// The volumes of a pod.
#[must_use]
pub fn volumes_of(pod: &Pod) -> &[Volume] {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default()
}

/// The claims that a pod uses, its ephemeral ones included, in the order of its volumes.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = ClaimName<'_>> {
    let volumes = volumes_of(pod).iter();
    volumes.filter_map(|volume| claim_of(pod, volume))
}

/// Why the claim of an ephemeral volume is not the pod's.
#[must_use]
pub fn foreign(pod: &Pod, claim: &PersistentVolumeClaim) -> Option<String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let mut owners = claim.metadata.owner_references.iter().flatten();
    let is_ours = owners.any(|owner| owner.controller == Some(true) && owner.uid == uid);
    (!is_ours).then(|| {
        format!(
            "PVC {} was not created for pod {} (pod is not owner)",
            path(&claim.metadata),
            path(&pod.metadata),
        )
    })
}

/// `namespace/name`.
#[must_use]
pub fn path(meta: &ObjectMeta) -> String {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default())
}

/// The value of an annotation.
#[must_use]
pub fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The class of a claim, `""` when none.
#[must_use]
pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    named_class(claim).unwrap_or_default()
}

/// The class that a claim names, were it `""`.
#[must_use]
pub fn named_class(claim: &PersistentVolumeClaim) -> Option<&str> {
    let named = || claim.spec.as_ref()?.storage_class_name.as_deref();
    annotation(&claim.metadata, OLD_CLASS).or_else(named)
}

/// The class of a volume, `""` when none.
#[must_use]
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let named = || volume.spec.as_ref()?.storage_class_name.as_deref();
    annotation(&volume.metadata, OLD_CLASS)
        .or_else(named)
        .unwrap_or_default()
}

/// The volume that a claim names, `""` when none.
#[must_use]
pub fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref();
    spec.and_then(|spec| spec.volume_name.as_deref())
        .unwrap_or_default()
}

/// Whether a claim has its volume for good.
#[must_use]
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !volume_name(claim).is_empty() && annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// The claim that a volume is meant for.
#[must_use]
pub fn owner(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// The phase of a volume, `""` when not set.
#[must_use]
pub fn phase(volume: &PersistentVolume) -> &str {
    let status = volume.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// The bytes that a claim asks for; `None`: it does not say.
#[must_use]
pub fn requested_storage(claim: &PersistentVolumeClaim) -> Option<i64> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    bytes(resources.requests.as_ref()?.get("storage")?)
}

/// The bytes of a volume.
#[must_use]
pub fn size(spec: &PersistentVolumeSpec) -> i64 {
    let text = spec.capacity.as_ref().and_then(|all| all.get("storage"));
    text.and_then(bytes).unwrap_or(0)
}

fn bytes(text: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Option<i64> {
    let quantity = Quantity::parse(&text.0).ok()?;
    Some(quantity.value())
}

/// How a volume is used: `Filesystem` unless it says otherwise.
#[must_use]
pub fn mode(mode: Option<&String>) -> &str {
    mode.map_or("Filesystem", String::as_str)
}

/// Whether a claim and a volume are to be used in different ways.
#[must_use]
pub fn modes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let claimed = claim.spec.as_ref();
    let claimed = claimed.and_then(|spec| spec.volume_mode.as_ref());
    let offered = volume.spec.as_ref();
    let offered = offered.and_then(|spec| spec.volume_mode.as_ref());
    mode(claimed) != mode(offered)
}

/// Whether a volume can be used in all the ways that a claim asks for.
#[must_use]
pub fn has_access_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let spec = volume.spec.as_ref();
    let modes = spec.and_then(|spec| spec.access_modes.as_deref());
    let modes = modes.unwrap_or_default();
    let wanted = claim.spec.as_ref();
    let mut wanted = wanted
        .into_iter()
        .flat_map(|spec| spec.access_modes.iter().flatten());
    wanted.all(|mode| modes.contains(mode))
}

/// Whether a claim and a volume name different classes of attributes. None is as good as an empty one.
#[must_use]
pub fn attributes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let claimed = claim.spec.as_ref();
    let claimed = claimed.and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let offered = volume.spec.as_ref();
    let offered = offered.and_then(|spec| spec.volume_attributes_class_name.as_deref());
    claimed.unwrap_or_default() != offered.unwrap_or_default()
}

/// Whether a volume was set aside for the claim.
#[must_use]
pub fn is_meant_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    owner(volume).is_some_and(|owner| {
        let uid = owner.uid.as_deref().unwrap_or_default();
        owner.name == claim.metadata.name
            && owner.namespace == claim.metadata.namespace
            && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref())
    })
}

/// The volume as the claim's.
#[must_use]
pub fn for_claim(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> PersistentVolume {
    let was_meant = is_meant_for(volume, claim);
    let uid = claim.metadata.uid.clone();
    let mut bound = volume.clone();
    let Some(spec) = &mut bound.spec else {
        return bound;
    };
    if spec.claim_ref.as_ref().is_none_or(|owner| owner.uid != uid) || !was_meant {
        spec.claim_ref = Some(reference_to(claim));
    }
    if !was_meant {
        let annotations = bound.metadata.annotations.get_or_insert_default();
        annotations.insert(BOUND_BY_CONTROLLER.into(), "yes".into());
    }
    bound
}

/// By which a volume names its claim.
#[must_use]
pub fn reference_to(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        field_path: None,
    }
}
