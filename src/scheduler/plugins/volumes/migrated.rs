//! Volumes of in-tree drivers that nodes leave to CSI drivers: what the CSI drivers call them.

use k8s_openapi::api::core::v1::{PersistentVolumeSpec, Volume};
use k8s_openapi::api::storage::v1::CSINode;

use crate::object::volume::successor;

/// Where a node names the in-tree drivers that it leaves to CSI drivers.
pub(super) const MIGRATED: &str = "storage.alpha.kubernetes.io/migrated-plugins";

/// A volume as a CSI driver knows it: the driver and the volume's handle.
pub(super) type Handle = (String, String);

/// Whether a node leaves volumes of an in-tree driver to its successor: those that a machine attaches have all moved out of
/// Kubernetes, whatever the node's annotation says.
pub(super) fn is_migrated(in_tree: &str, node: Option<&CSINode>) -> bool {
    const ATTACHED: [&str; 5] = [
        "kubernetes.io/aws-ebs",
        "kubernetes.io/azure-disk",
        "kubernetes.io/cinder",
        "kubernetes.io/gce-pd",
        "kubernetes.io/portworx-volume",
    ];
    node.is_some() && ATTACHED.contains(&in_tree)
}

/// The in-tree driver of a volume in a pod, and what it calls the volume.
pub(super) fn inline(volume: &Volume) -> Option<(&'static str, String)> {
    if let Some(disk) = &volume.aws_elastic_block_store {
        return Some(("kubernetes.io/aws-ebs", disk.volume_id.clone()));
    }
    if let Some(disk) = &volume.gce_persistent_disk {
        return Some(("kubernetes.io/gce-pd", disk.pd_name.clone()));
    }
    if let Some(disk) = &volume.azure_disk {
        return Some(("kubernetes.io/azure-disk", disk.disk_uri.clone()));
    }
    if let Some(share) = &volume.azure_file {
        let handle = format!("{}#{}", share.secret_name, share.share_name);
        return Some(("kubernetes.io/azure-file", handle));
    }
    if let Some(disk) = &volume.cinder {
        return Some(("kubernetes.io/cinder", disk.volume_id.clone()));
    }
    if let Some(disk) = &volume.vsphere_volume {
        return Some(("kubernetes.io/vsphere-volume", disk.volume_path.clone()));
    }
    let volume = volume.portworx_volume.as_ref()?;
    Some(("kubernetes.io/portworx-volume", volume.volume_id.clone()))
}

/// The in-tree driver of a persistent volume, and what it calls the volume.
fn in_tree(spec: &PersistentVolumeSpec) -> Option<(&'static str, String)> {
    if let Some(share) = &spec.azure_file {
        let handle = format!("{}#{}", share.secret_name, share.share_name);
        return Some(("kubernetes.io/azure-file", handle));
    }
    if let Some(disk) = &spec.cinder {
        return Some(("kubernetes.io/cinder", disk.volume_id.clone()));
    }
    // The other sources are the same for pods and for persistent volumes.
    inline(&Volume {
        aws_elastic_block_store: spec.aws_elastic_block_store.clone(),
        gce_persistent_disk: spec.gce_persistent_disk.clone(),
        azure_disk: spec.azure_disk.clone(),
        vsphere_volume: spec.vsphere_volume.clone(),
        portworx_volume: spec.portworx_volume.clone(),
        ..Volume::default()
    })
}

/// What the CSI driver of a node calls a volume of an in-tree driver; `None`: the node has no such driver.
fn translated((in_tree, id): (&str, String), node: Option<&CSINode>) -> Option<Handle> {
    let driver = successor(in_tree).filter(|_| is_migrated(in_tree, node))?;
    Some((driver.to_owned(), id))
}

/// What the CSI driver of a node calls a volume in a pod.
pub(super) fn of_inline(volume: &Volume, node: Option<&CSINode>) -> Option<Handle> {
    translated(inline(volume)?, node)
}

/// What the CSI driver of a node calls a persistent volume.
pub(super) fn of_volume(spec: &PersistentVolumeSpec, node: Option<&CSINode>) -> Option<Handle> {
    match &spec.csi {
        Some(csi) => Some((csi.driver.clone(), csi.volume_handle.clone())),
        None => translated(in_tree(spec)?, node),
    }
}
