//! The objects that the plugins about volumes read.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
};

use crate::object::volume::{class_of_volume, owner};
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

/// From the caches that the scheduler shares with the controllers. Indexes are made when they are first asked for.
#[derive(Clone, Debug)]
pub(super) struct CachedVolumes {
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    by_use: OnceLock<Index<PersistentVolume>>,
    classes: Cache<StorageClass>,
    csi_nodes: Cache<CSINode>,
    csi_drivers: Cache<CSIDriver>,
    capacities: Cache<CSIStorageCapacity>,
    capacities_by_class: OnceLock<Index<CSIStorageCapacity>>,
    attachments: Cache<VolumeAttachment>,
    attachments_by_node: OnceLock<Index<VolumeAttachment>>,
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

/// Under which names a volume is looked for.
fn use_of(volume: &PersistentVolume) -> Vec<String> {
    let Some(claim) = owner(volume) else {
        return vec![free(class_of_volume(volume))];
    };
    let namespace = claim.namespace.as_deref().unwrap_or_default();
    let name = claim.name.as_deref().unwrap_or_default();
    vec![meant_for(namespace, name)]
}

impl CachedVolumes {
    pub(super) fn new(handle: &Handle) -> Self {
        Self {
            claims: handle.cache(),
            volumes: handle.cache(),
            by_use: OnceLock::new(),
            classes: handle.cache(),
            csi_nodes: handle.cache(),
            csi_drivers: handle.cache(),
            capacities: handle.cache(),
            capacities_by_class: OnceLock::new(),
            attachments: handle.cache(),
            attachments_by_node: OnceLock::new(),
            pods: handle.cache(),
            nodes: handle.cache(),
        }
    }

    fn by_use(&self) -> &Index<PersistentVolume> {
        self.by_use.get_or_init(|| self.volumes.index(use_of))
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
        let mut all = self.by_use().get(&meant_for(&claim.namespace, &claim.name));
        all.retain(|volume| class_of_volume(volume) == class);
        all.extend(self.by_use().get(&free(class)));
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
        let by_class = self.capacities_by_class.get_or_init(|| {
            let class = |capacity: &CSIStorageCapacity| vec![capacity.storage_class_name.clone()];
            self.capacities.index(class)
        });
        by_class.get(class)
    }

    fn attachments(&self, node: &str) -> Vec<Arc<VolumeAttachment>> {
        let by_node = self.attachments_by_node.get_or_init(|| {
            let node = |attachment: &VolumeAttachment| vec![attachment.spec.node_name.clone()];
            self.attachments.index(node)
        });
        by_node.get(node)
    }

    fn pod(&self, key: &Key) -> Option<Arc<Pod>> {
        self.pods.get(key)
    }

    fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get(&Key::new("", name))
    }
}
