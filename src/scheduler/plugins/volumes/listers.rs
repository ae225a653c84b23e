//! The objects that the plugins about volumes read.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
};

use super::class_of_volume;
use crate::reconcile::{Cache, Index, Key};
use crate::scheduler::framework::Handle;

/// The objects of a cluster that are about volumes, as they are now.
pub(super) trait Volumes: Debug + Send + Sync + 'static {
    /// A claim.
    fn claim(&self, key: &Key) -> Option<Arc<PersistentVolumeClaim>>;
    /// A volume.
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    /// The volumes of a class that are meant for this claim, or for nobody yet.
    fn candidates(&self, class: &str, claim: &Key) -> Vec<Arc<PersistentVolume>>;
    /// A class.
    fn class(&self, name: &str) -> Option<Arc<StorageClass>>;
    /// What a node says of the drivers it has.
    fn csi_node(&self, node: &str) -> Option<Arc<CSINode>>;
    /// A driver.
    fn csi_driver(&self, name: &str) -> Option<Arc<CSIDriver>>;
    /// What is left for volumes of a class.
    fn capacities(&self, class: &str) -> Vec<Arc<CSIStorageCapacity>>;
    /// What is attached to a node.
    fn attachments(&self, node: &str) -> Vec<Arc<VolumeAttachment>>;
    /// A pod.
    fn pod(&self, key: &Key) -> Option<Arc<Pod>>;
    /// A node.
    fn node(&self, name: &str) -> Option<Arc<Node>>;
}

/// From the caches that the scheduler shares with the controllers.
#[derive(Clone, Debug)]
pub(super) struct CachedVolumes {
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    by_use: Index<PersistentVolume>,
    classes: Cache<StorageClass>,
    csi_nodes: Cache<CSINode>,
    csi_drivers: Cache<CSIDriver>,
    /// Held for its index.
    _capacities: Cache<CSIStorageCapacity>,
    capacities: Index<CSIStorageCapacity>,
    /// Held for its index.
    _attachments: Cache<VolumeAttachment>,
    attachments: Index<VolumeAttachment>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
}

/// Volumes of a class that are free.
fn free(class: &str) -> String {
    format!("free/{class}")
}

/// Volumes that are meant for a claim.
fn meant_for(namespace: &str, claim: &str) -> String {
    format!("for/{namespace}/{claim}")
}

impl CachedVolumes {
    pub(super) fn new(handle: &Handle) -> Self {
        let volumes = handle.cache::<PersistentVolume>();
        let by_use = volumes.index(|volume| {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let Some(claim) = claim else {
                return vec![free(class_of_volume(volume))];
            };
            let namespace = claim.namespace.as_deref().unwrap_or_default();
            let name = claim.name.as_deref().unwrap_or_default();
            vec![meant_for(namespace, name)]
        });
        let capacities = handle.cache::<CSIStorageCapacity>();
        let attachments = handle.cache::<VolumeAttachment>();
        Self {
            claims: handle.cache(),
            volumes,
            by_use,
            classes: handle.cache(),
            csi_nodes: handle.cache(),
            csi_drivers: handle.cache(),
            capacities: capacities.index(|capacity| vec![capacity.storage_class_name.clone()]),
            _capacities: capacities,
            attachments: attachments.index(|attachment| vec![attachment.spec.node_name.clone()]),
            _attachments: attachments,
            pods: handle.cache(),
            nodes: handle.cache(),
        }
    }
}

impl Volumes for CachedVolumes {
    fn claim(&self, key: &Key) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get(&Key::new("", name))
    }

    fn candidates(&self, class: &str, claim: &Key) -> Vec<Arc<PersistentVolume>> {
        let mut all = self.by_use.get(&meant_for(&claim.namespace, &claim.name));
        all.retain(|volume| class_of_volume(volume) == class);
        all.extend(self.by_use.get(&free(class)));
        all
    }

    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.classes.get(&Key::new("", name))
    }

    fn csi_node(&self, node: &str) -> Option<Arc<CSINode>> {
        self.csi_nodes.get(&Key::new("", node))
    }

    fn csi_driver(&self, name: &str) -> Option<Arc<CSIDriver>> {
        self.csi_drivers.get(&Key::new("", name))
    }

    fn capacities(&self, class: &str) -> Vec<Arc<CSIStorageCapacity>> {
        self.capacities.get(class)
    }

    fn attachments(&self, node: &str) -> Vec<Arc<VolumeAttachment>> {
        self.attachments.get(node)
    }

    fn pod(&self, key: &Key) -> Option<Arc<Pod>> {
        self.pods.get(key)
    }

    fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get(&Key::new("", name))
    }
}
