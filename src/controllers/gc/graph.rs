//! Who owns whom: the graph of all objects by uid, kept up to date from watches, and the work that each change makes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The finalizer of an owner that waits until its dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner whose dependents are to be left.
pub(super) const ORPHAN: &str = "orphan";

/// Where an object is found in the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    /// Index into the resources that the collector watches.
    pub resource: usize,
    pub namespace: String,
    pub name: String,
}

/// An object, or an owner that is known only because a dependent names it.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// `None` until the object itself has been seen.
    pub identity: Option<Identity>,
    pub owners: Vec<OwnerReference>,
    pub dependents: BTreeSet<String>,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// It has the finalizer [`FOREGROUND`].
    pub foreground: bool,
    /// It has the finalizer [`ORPHAN`].
    pub orphan: bool,
}

impl Node {
    /// Whether it is being deleted and waits for its dependents.
    pub(super) fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }
}

/// All objects by uid.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The dependents that keep `uid` from going: those that say so.
    pub(super) fn blocking(&self, uid: &str) -> Vec<&str> {
        let Some(node) = self.nodes.get(uid) else {
            return Vec::new();
        };
        let blocks = |dependent: &&String| {
            let owners = self
                .nodes
                .get(*dependent)
                .map(|dependent| dependent.owners.as_slice())
                .unwrap_or_default();
            owners
                .iter()
                .any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        node.dependents
            .iter()
            .filter(blocks)
            .map(String::as_str)
            .collect()
    }

    /// Notes an object as it is now; the uids to look at because of it.
    pub(super) fn upsert(&mut self, identity: Identity, meta: &ObjectMeta) -> BTreeSet<String> {
        let mut wake = BTreeSet::new();
        let Some(uid) = meta.uid.clone() else {
            return wake;
        };
        let owners = meta.owner_references.clone().unwrap_or_default();
        let has = |name: &str| {
            meta.finalizers
                .iter()
                .flatten()
                .any(|finalizer| finalizer == name)
        };
        let before = self.nodes.get(&uid).cloned().unwrap_or_default();
        for lost in before
            .owners
            .iter()
            .filter(|old| !owners.iter().any(|new| new.uid == old.uid))
        {
            self.unlink(&lost.uid, &uid);
        }
        for owner in &owners {
            let node = self.nodes.entry(owner.uid.clone()).or_default();
            node.dependents.insert(uid.clone());
            // The owner has not been seen (yet): whether it exists is to be found out.
            if node.identity.is_none() {
                wake.insert(uid.clone());
            }
            // A new dependent of an owner that waits has to go as well.
            if node.waits_for_dependents() {
                wake.insert(uid.clone());
            }
        }
        // Owners that no longer wait for this one may be able to go.
        for old in &before.owners {
            let kept = owners.iter().find(|new| new.uid == old.uid);
            let unblocked = old.block_owner_deletion == Some(true)
                && kept.is_none_or(|kept| kept.block_owner_deletion != Some(true));
            if unblocked
                && self
                    .nodes
                    .get(&old.uid)
                    .is_some_and(Node::waits_for_dependents)
            {
                wake.insert(old.uid.clone());
            }
        }
        let first_seen = before.identity.is_none();
        let changed_owners = before.owners != owners;
        let node = self.nodes.entry(uid.clone()).or_default();
        node.identity = Some(identity);
        node.owners = owners;
        node.deleting = meta.deletion_timestamp.is_some();
        node.foreground = has(FOREGROUND);
        node.orphan = has(ORPHAN);
        let newly_waits = node.waits_for_dependents() && !before.waits_for_dependents();
        let newly_orphans = node.deleting && node.orphan && !(before.deleting && before.orphan);
        if newly_waits {
            wake.extend(node.dependents.iter().cloned());
        }
        if newly_waits
            || newly_orphans
            || (!node.owners.is_empty() && (first_seen || changed_owners))
        {
            wake.insert(uid);
        }
        wake
    }

    /// Notes that an object is gone; the uids to look at because of it.
    pub(super) fn remove(&mut self, uid: &str) -> BTreeSet<String> {
        let mut wake = BTreeSet::new();
        let Some(mut node) = self.nodes.remove(uid) else {
            return wake;
        };
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            if self
                .nodes
                .get(&owner.uid)
                .is_some_and(Node::waits_for_dependents)
            {
                wake.insert(owner.uid.clone());
            }
        }
        wake.extend(node.dependents.iter().cloned());
        if !node.dependents.is_empty() {
            // Its dependents still name it.
            node = Node {
                dependents: node.dependents,
                ..Node::default()
            };
            self.nodes.insert(uid.to_owned(), node);
        }
        wake
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(node) = self.nodes.get_mut(owner) {
            node.dependents.remove(dependent);
            if node.identity.is_none() && node.dependents.is_empty() {
                self.nodes.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity {
            resource: 0,
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    fn meta(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| serde_json::json!({"apiVersion": "v1", "kind": "X", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
            .collect();
        let mut meta =
            serde_json::json!({"uid": uid, "ownerReferences": owners, "finalizers": finalizers});
        if deleting {
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        serde_json::from_value(meta).unwrap()
    }

    fn wakes(set: BTreeSet<String>) -> Vec<String> {
        set.into_iter().collect()
    }

    #[test]
    fn a_deleted_owner_wakes_its_dependents() {
        let mut graph = Graph::default();
        assert!(
            graph
                .upsert(identity("owner"), &meta("o", &[], &[], false))
                .is_empty()
        );
        assert_eq!(
            wakes(graph.upsert(identity("child"), &meta("c", &["o"], &[], false))),
            ["c"]
        );
        assert_eq!(wakes(graph.remove("o")), ["c"]);
        assert!(graph.get("o").is_some_and(|node| node.identity.is_none()));
        assert!(graph.remove("c").is_empty());
        assert_eq!(graph.len(), 0);
    }

    #[test]
    fn a_dependent_may_come_before_its_owner() {
        let mut graph = Graph::default();
        assert_eq!(
            wakes(graph.upsert(identity("child"), &meta("c", &["o"], &[], false))),
            ["c"]
        );
        graph.upsert(identity("owner"), &meta("o", &[], &[], false));
        assert_eq!(graph.get("o").unwrap().dependents.len(), 1);
    }

    #[test]
    fn foreground_deletion_waits_for_blocking_dependents() {
        let mut graph = Graph::default();
        graph.upsert(identity("owner"), &meta("o", &[], &[], false));
        graph.upsert(identity("child"), &meta("c", &["o"], &[], false));
        assert_eq!(
            wakes(graph.upsert(identity("owner"), &meta("o", &[], &[FOREGROUND], true))),
            ["c", "o"]
        );
        assert_eq!(graph.blocking("o"), ["c"]);
        assert_eq!(wakes(graph.remove("c")), ["o"]);
        assert!(graph.blocking("o").is_empty());
    }

    #[test]
    fn orphaning_wakes_the_owner() {
        let mut graph = Graph::default();
        graph.upsert(identity("child"), &meta("c", &["o"], &[], false));
        assert_eq!(
            wakes(graph.upsert(identity("owner"), &meta("o", &[], &[ORPHAN], true))),
            ["o"]
        );
        assert!(
            graph
                .upsert(identity("child"), &meta("c", &[], &[], false))
                .is_empty()
        );
        assert!(graph.get("o").unwrap().dependents.is_empty());
    }
}
