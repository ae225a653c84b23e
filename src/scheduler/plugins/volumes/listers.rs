//! The objects that the plugins about volumes read.

use std::collections::HashSet;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod,
};
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
};

use crate::object::volume::{class_of_volume, owner, size};
use crate::reconcile::{Cache, Index, Key};
use crate::scheduler::framework::Handle;

/// The objects of a cluster that are about volumes, as they are now.
pub(super) trait Volumes: Debug + Send + Sync + 'static {
    /// A claim.
    fn claim(&self, key: &Key) -> Option<Arc<PersistentVolumeClaim>>;
    /// A volume.
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    /// The volumes of a class that are meant for this claim, in the order of their names.
    fn meant_for(&self, class: &str, claim: &Key) -> Vec<Arc<PersistentVolume>>;
    /// What pins free volumes of a class to nodes; of those with few volumes only where there are some of this size or larger.
    fn pins(&self, class: &str, size: i64) -> Vec<Pin>;
    /// Visits the volumes of a class that are nobody's, of this size or larger, the smallest first, until `visit` breaks: those
    /// that are pinned to nodes by this label and value, or those that are not.
    fn free(
        &self,
        class: &str,
        pin: Option<(&str, &str)>,
        size: i64,
        visit: &mut dyn FnMut(&Arc<PersistentVolume>) -> ControlFlow<()>,
    );
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

/// A label that pins free volumes to nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pin {
    pub label: String,
    /// Its values under which there are volumes; `None`: so many that most nodes will have one.
    pub values: Option<HashSet<Box<str>>>,
}

/// Values are gathered of at most so many volumes: a decision that finds few free volumes asks nodes without any for the price
/// of a look into a set, and one that finds many looks at few nodes.
const FEW: usize = 2_000;

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

/// Free volumes of a class. What separates the parts is less than any character in them, and so is no label at all.
fn free_of(class: &str) -> String {
    format!("free\0{class}\0")
}

/// Free volumes of a class that this label pins to nodes with this value, of this size; and how much of it says so before the
/// size.
fn free_at(class: &str, (label, value): (&str, &str), size: i64) -> (String, usize) {
    let mut text = format!("free\0{class}\0{label}\0{value}\0");
    let prefix = text.len();
    text.push_str(&sortable(size));
    (text, prefix)
}

/// Text that sorts as sizes do.
fn sortable(size: i64) -> String {
    format!("{:019}", size.max(0))
}

/// Volumes that are meant for a claim.
fn meant_for(namespace: &str, claim: &str) -> String {
    format!("for/{namespace}/{claim}")
}

/// Under which names a volume is looked for.
fn use_of(volume: &PersistentVolume) -> Vec<String> {
    if let Some(claim) = owner(volume) {
        let namespace = claim.namespace.as_deref().unwrap_or_default();
        let name = claim.name.as_deref().unwrap_or_default();
        return vec![meant_for(namespace, name)];
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

/// As [`Volumes::pins`], from an index by [`use_of`].
fn pins(by_use: &Index<PersistentVolume>, class: &str, size: i64) -> Vec<Pin> {
    let prefix = free_of(class);
    let least = sortable(size);
    let mut pins = Vec::new();
    // From one label to the next, past all volumes that have it.
    let mut from = format!("{prefix}\u{1}");
    loop {
        let mut found: Option<Pin> = None;
        let mut volumes = 0;
        by_use.visit(&prefix, &from, |place, _| {
            let mut parts = place.get(prefix.len()..).unwrap_or_default().split('\0');
            let mut part = || parts.next().unwrap_or_default();
            let (label, value, size) = (part(), part(), part());
            let pin = found.get_or_insert_with(|| Pin {
                label: label.to_owned(),
                values: Some(HashSet::new()),
            });
            volumes += 1;
            if pin.label != label {
                return ControlFlow::Break(());
            }
            match &mut pin.values {
                Some(values) if volumes <= FEW => {
                    if *size >= *least {
                        values.insert(value.into());
                    }
                    ControlFlow::Continue(())
                }
                values => {
                    *values = None;
                    ControlFlow::Break(())
                }
            }
        });
        let Some(pin) = found else { return pins };
        from = format!("{prefix}{}\u{1}", pin.label);
        pins.push(pin);
    }
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

    fn meant_for(&self, class: &str, claim: &Key) -> Vec<Arc<PersistentVolume>> {
        let mut all = self.by_use().get(&meant_for(&claim.namespace, &claim.name));
        all.retain(|volume| class_of_volume(volume) == class);
        all
    }

    fn pins(&self, class: &str, size: i64) -> Vec<Pin> {
        pins(self.by_use(), class, size)
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
        self.by_use()
            .visit(prefix, &from, |_, volume| visit(volume));
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
        for (volume, expected) in [
            (
                volume("c", "1Gi", &[], Some("mine")),
                vec![meant_for("ns", "mine")],
            ),
            (
                volume("c", "7", &[], None),
                vec![free_at("c", ("", ""), 7).0],
            ),
            (volume("c", "7", &["a", "b"], None), vec![at("a"), at("b")]),
        ] {
            assert_eq!(use_of(&volume), expected);
        }
        let sized = |size| free_at("c", ("", ""), size).0;
        assert!(sized(9) < sized(10) && sized(1 << 40) < sized(i64::MAX));
        // Volumes that are not pinned come before all labels, and a class is no part of another.
        let (loose, pinned) = (sized(i64::MAX), free_at("c", ("a", ""), 0).0);
        assert!(loose < free_of("c") + "\u{1}" && free_of("c") + "\u{1}" < pinned);
        assert!(!free_of("cc").starts_with(&free_of("c")));
    }

    #[test]
    fn few_values_of_pins_are_gathered() {
        let gathered = |volumes: &[(&str, &str)], size| {
            let named = volumes.iter().enumerate().map(|(index, (size, at))| {
                let (label, at) = at.split_once('=').unwrap_or(("zone", at));
                let at: Vec<&str> = at.split(',').collect();
                let mut volume = serde_json::to_value(volume("c", size, &at, None)).unwrap();
                let key = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/key";
                *volume.pointer_mut(key).unwrap() = label.into();
                volume["metadata"]["name"] = format!("v{index}").into();
                serde_json::from_value(volume).unwrap()
            });
            let index = Cache::of(named.collect()).index(use_of);
            assert_eq!(pins(&index, "other", 0), []);
            pins(&index, "c", size)
        };
        let pin = |label: &str, values: &[&str]| Pin {
            label: label.to_owned(),
            values: Some(values.iter().map(|value| (*value).into()).collect()),
        };
        let zones = |values: &[&str]| pin("zone", values);
        let three = [("5", "a"), ("6", "a,b"), ("7", "c")];
        assert_eq!(gathered(&[], 0), []);
        assert_eq!(gathered(&three, 0), [zones(&["a", "b", "c"])]);
        assert_eq!(gathered(&three, 6), [zones(&["a", "b", "c"])]);
        assert_eq!(gathered(&three, 7), [zones(&["c"])]);
        let hosts = [("5", "host=h"), ("6", "a"), ("6", "host=i"), ("5", "zo=a")];
        let expected = [pin("host", &["i"]), pin("zo", &[]), zones(&["a"])];
        assert_eq!(gathered(&hosts, 6), expected);
        // What is too small may be too much all the same.
        for (count, few) in [(FEW, true), (FEW + 1, false)] {
            let found = gathered(&vec![("5", "a"); count], 6);
            assert_eq!(found.first().unwrap().values.is_some(), few);
        }
    }
}
