//! The objects that the plugins about volumes read.

use std::fmt::{Debug, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod,
};
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
};
use parking_lot::Mutex;

use crate::object::volume::{class_of_volume, owner, size};
use crate::reconcile::{Cache, Index, Key, Subscription};
use crate::scheduler::framework::Handle;

/// The objects of a cluster that are about volumes, as they are now.
pub(super) trait Volumes: Debug + Send + Sync + 'static {
    /// A claim.
    fn claim(&self, key: &Key) -> Option<Arc<PersistentVolumeClaim>>;
    /// A volume.
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    /// The volumes of a class that are meant for this claim, in the order of their names.
    fn meant_for(&self, class: &str, claim: &Key) -> Vec<Arc<PersistentVolume>>;
    /// The labels that pin free volumes of a class to nodes.
    fn pins(&self, class: &str) -> Vec<String>;
    /// Visits the volumes of a class that are nobody's, of this size or larger, the smallest first, until `visit` breaks: those
    /// that are pinned to nodes by this label and value, or those that are not.
    fn free(
        &self,
        class: &str,
        pin: Option<(&str, &str)>,
        size: i64,
        visit: &mut dyn FnMut(&Arc<PersistentVolume>) -> ControlFlow<()>,
    );
    /// The volumes that changed since it was asked last, as they were and as they are.
    fn changed(&self) -> Vec<Arc<PersistentVolume>>;
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
    by_claim: OnceLock<Index<PersistentVolume>>,
    free: OnceLock<Index<PersistentVolume>>,
    changes: OnceLock<Arc<Mutex<Subscription<PersistentVolume>>>>,
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

/// Free volumes of a class. What separates the parts is less than any character in them, and so is no label at all.
fn free_of(class: &str) -> String {
    format!("{class}\0")
}

/// Free volumes of a class that this label pins to nodes with this value, of this size; and how much of it says so before the
/// size, which is text that sorts as sizes do.
fn free_at(class: &str, (label, value): (&str, &str), size: i64) -> (String, usize) {
    let length = class.len() + label.len() + value.len() + 22;
    let mut text = String::with_capacity(length);
    for part in [class, label, value] {
        text.push_str(part);
        text.push('\0');
    }
    let prefix = text.len();
    // Writing to a string does not fail.
    let _ = write!(text, "{:019}", size.max(0));
    (text, prefix)
}

/// Volumes that are meant for a claim.
fn meant_for(namespace: &str, claim: &str) -> String {
    format!("{namespace}/{claim}")
}

/// The claim that a volume is meant for.
fn claim_of(volume: &PersistentVolume) -> Vec<String> {
    let claim = owner(volume).map(|claim| {
        let namespace = claim.namespace.as_deref().unwrap_or_default();
        meant_for(namespace, claim.name.as_deref().unwrap_or_default())
    });
    claim.into_iter().collect()
}

/// As what a volume that is nobody's is found.
fn free_as(volume: &PersistentVolume) -> Vec<String> {
    if owner(volume).is_some() {
        return Vec::new();
    }
    let class = class_of_volume(volume);
    let size = volume.spec.as_ref().map_or(0, size);
    match pin(volume) {
        None => vec![free_at(class, ("", ""), size).0],
        Some((pin, values)) => {
            let values = values.iter();
            let at = values.map(|value| free_at(class, (&pin.key, value), size).0);
            at.collect()
        }
    }
}

/// The requirement by which a volume is pinned: a label of which a node must have one of these values.
pub(super) fn pin(volume: &PersistentVolume) -> Option<(&NodeSelectorRequirement, &[String])> {
    let mut requirements = only_term(volume)?.match_expressions.iter().flatten();
    let pin = requirements.find(|requirement| requirement.operator == "In")?;
    Some((pin, pin.values.as_deref().unwrap_or_default()))
}

/// Whether what pins a volume is all that it asks of a node.
pub(super) fn asks_no_more(volume: &PersistentVolume) -> bool {
    only_term(volume).is_some_and(|term| {
        let fields = term.match_fields.iter().flatten().count();
        let labels = term.match_expressions.iter().flatten().count();
        fields + labels == 1
    })
}

/// What a volume asks of a node, if there is no alternative.
fn only_term(volume: &PersistentVolume) -> Option<&NodeSelectorTerm> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    match affinity.required.as_ref()?.node_selector_terms.as_slice() {
        [term] => Some(term),
        _ => None,
    }
}

impl CachedVolumes {
    pub(super) fn new(handle: &Handle) -> Self {
        Self {
            claims: handle.cache(),
            volumes: handle.cache(),
            by_claim: OnceLock::new(),
            free: OnceLock::new(),
            changes: OnceLock::new(),
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

    fn by_claim(&self) -> &Index<PersistentVolume> {
        self.by_claim.get_or_init(|| self.volumes.index(claim_of))
    }

    fn free_volumes(&self) -> &Index<PersistentVolume> {
        self.free.get_or_init(|| self.volumes.index(free_as))
    }
}

impl Volumes for CachedVolumes {
    fn claim(&self, key: &Key) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get(&Key::new("", name))
    }

    fn meant_for(&self, class: &str, claim: &Key) -> Vec<Arc<PersistentVolume>> {
        let mut all = self
            .by_claim()
            .get(&meant_for(&claim.namespace, &claim.name));
        all.retain(|volume| class_of_volume(volume) == class);
        all
    }

    fn pins(&self, class: &str) -> Vec<String> {
        let prefix = free_of(class);
        let mut labels = Vec::new();
        // From one label to the next, past all volumes that have it.
        let mut from = format!("{prefix}\u{1}");
        loop {
            let mut next = None;
            self.free_volumes().visit(&prefix, &from, |value, _| {
                let rest = value.get(prefix.len()..).unwrap_or_default();
                next = rest.split('\0').next().map(str::to_owned);
                ControlFlow::Break(())
            });
            let Some(label) = next else { return labels };
            from = format!("{prefix}{label}\u{1}");
            labels.push(label);
        }
    }

    fn free(
        &self,
        class: &str,
        pin: Option<(&str, &str)>,
        size: i64,
        visit: &mut dyn FnMut(&Arc<PersistentVolume>) -> ControlFlow<()>,
    ) {
        let (from, prefix) = free_at(class, pin.unwrap_or_default(), size);
        let prefix = from.get(..prefix).unwrap_or_default();
        self.free_volumes()
            .visit(prefix, &from, |_, volume| visit(volume));
    }

    fn changed(&self) -> Vec<Arc<PersistentVolume>> {
        let subscribe = || Arc::new(Mutex::new(self.volumes.subscribe()));
        let changes = self.changes.get_or_init(subscribe);
        let deltas = changes.lock().pending().into_iter();
        deltas
            .flat_map(|delta| [delta.old, delta.new])
            .flatten()
            .collect()
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(class: &str, size: &str, pins: &[&str], claim: Option<&str>) -> PersistentVolume {
        let pin = json!({"key": "zone", "operator": "In", "values": pins});
        let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [pin]}]});
        let affinity = if pins.is_empty() {
            Value::Null
        } else {
            json!({"required": terms})
        };
        let claim = claim.map(|name| json!({"namespace": "ns", "name": name}));
        let volume = json!({"spec": {
            "storageClassName": class, "capacity": {"storage": size}, "nodeAffinity": affinity, "claimRef": claim,
        }});
        serde_json::from_value(volume).unwrap()
    }

    #[test]
    fn volumes_are_found_by_their_use_and_sorted_by_their_size() {
        let at = |zone: &str| free_at("c", ("zone", zone), 7).0;
        let mine = volume("c", "1Gi", &[], Some("mine"));
        assert_eq!(claim_of(&mine), [meant_for("ns", "mine")]);
        assert!(claim_of(&volume("c", "7", &[], None)).is_empty());
        for (volume, expected) in [
            (mine, vec![]),
            (
                volume("c", "7", &[], None),
                vec![free_at("c", ("", ""), 7).0],
            ),
            (volume("c", "7", &["a", "b"], None), vec![at("a"), at("b")]),
        ] {
            assert_eq!(free_as(&volume), expected);
        }
        let sized = |size| free_at("c", ("", ""), size).0;
        assert!(sized(9) < sized(10) && sized(1 << 40) < sized(i64::MAX));
        // Volumes that are not pinned come before all labels, and a class is no part of another.
        let (loose, pinned) = (sized(i64::MAX), free_at("c", ("a", ""), 0).0);
        assert!(loose < free_of("c") + "\u{1}" && free_of("c") + "\u{1}" < pinned);
        assert!(!free_of("cc").starts_with(&free_of("c")));
    }
}
