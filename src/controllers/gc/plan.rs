//! What becomes of an object whose owners or finalizers changed (`pkg/controller/garbagecollector` of Kubernetes).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::graph::{FOREGROUND, Graph, ORPHAN};

/// How an owner that an object names stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It exists.
    Solid,
    /// It does not exist, or another object has its name now.
    Dangling,
    /// It is being deleted and waits for its dependents.
    Waiting,
}

/// How the dependents of an object that is deleted fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Background,
    Foreground,
    Orphan,
}

/// What to do with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing.
    Keep,
    /// Take this finalizer away.
    RemoveFinalizer(&'static str),
    /// Look at these dependents, which keep it from going.
    Wake(Vec<String>),
    /// Leave the dependents: take this owner out of theirs, then its finalizer [`ORPHAN`] away.
    Release(Vec<String>),
    /// Take these owners (uids) out of its references.
    DropOwners(Vec<String>),
    /// Delete it. `unblock`: it must first stop blocking its owners, which it would wait for in a circle.
    Delete { policy: Policy, unblock: bool },
}

/// Decides about the object with `uid`. `live` is its metadata as the API has it now; `owners` tells how each of its
/// `ownerReferences` stands, in their order.
pub(super) fn decide(graph: &Graph, uid: &str, live: &ObjectMeta, owners: &[Owner]) -> Decision {
    let has = |name: &str| {
        live.finalizers
            .iter()
            .flatten()
            .any(|finalizer| finalizer == name)
    };
    let deleting = live.deletion_timestamp.is_some();
    let dependents = || {
        graph
            .get(uid)
            .map(|node| node.dependents.iter().cloned().collect::<Vec<_>>())
            .unwrap_or_default()
    };
    if deleting && has(ORPHAN) {
        return Decision::Release(dependents());
    }
    if deleting && has(FOREGROUND) {
        let blocking = graph.blocking(uid);
        if blocking.is_empty() {
            return Decision::RemoveFinalizer(FOREGROUND);
        }
        // Those that wait themselves are looked at when theirs are gone.
        let idle = |uid: &&str| {
            graph
                .get(uid)
                .is_some_and(|node| !node.waits_for_dependents())
        };
        return Decision::Wake(
            blocking
                .into_iter()
                .filter(idle)
                .map(str::to_owned)
                .collect(),
        );
    }
    if deleting || owners.is_empty() {
        return Decision::Keep;
    }
    let references = live.owner_references.as_deref().unwrap_or_default();
    let uids = |is: fn(&Owner) -> bool| -> Vec<String> {
        references
            .iter()
            .zip(owners)
            .filter(|(_, owner)| is(owner))
            .map(|(owner, _)| owner.uid.clone())
            .collect()
    };
    if owners.contains(&Owner::Solid) {
        let gone = uids(|owner| *owner != Owner::Solid);
        return if gone.is_empty() {
            Decision::Keep
        } else {
            Decision::DropOwners(gone)
        };
    }
    let dependents = dependents();
    if owners.contains(&Owner::Waiting) && !dependents.is_empty() {
        let circular = dependents.iter().any(|uid| {
            graph
                .get(uid)
                .is_some_and(super::graph::Node::waits_for_dependents)
        });
        return Decision::Delete {
            policy: Policy::Foreground,
            unblock: circular,
        };
    }
    let policy = match (has(ORPHAN), has(FOREGROUND)) {
        (true, _) => Policy::Orphan,
        (_, true) => Policy::Foreground,
        _ => Policy::Background,
    };
    Decision::Delete {
        policy,
        unblock: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::Identity;
    use super::*;

    fn object(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| serde_json::json!({"apiVersion": "v1", "kind": "X", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
            .collect();
        let mut meta = serde_json::json!({"uid": uid, "name": uid, "ownerReferences": owners, "finalizers": finalizers});
        if deleting {
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        serde_json::from_value(meta).unwrap()
    }

    fn graph(objects: &[&ObjectMeta]) -> Graph {
        let mut graph = Graph::default();
        for meta in objects {
            let name = meta.name.clone().unwrap();
            graph.upsert(
                Identity {
                    resource: 0,
                    namespace: String::new(),
                    name,
                },
                meta,
            );
        }
        graph
    }

    #[test]
    fn background() {
        let child = object("c", &["o"], &[], false);
        let graph = graph(&[&child]);
        let decide = |owner| decide(&graph, "c", &child, &[owner]);
        assert_eq!(decide(Owner::Solid), Decision::Keep);
        assert_eq!(
            decide(Owner::Dangling),
            Decision::Delete {
                policy: Policy::Background,
                unblock: false
            }
        );
        assert_eq!(
            decide(Owner::Waiting),
            Decision::Delete {
                policy: Policy::Background,
                unblock: false
            }
        );
    }

    #[test]
    fn a_solid_owner_keeps_the_object_and_sheds_the_others() {
        let child = object("c", &["a", "b"], &[], false);
        let graph = graph(&[&child]);
        assert_eq!(
            decide(&graph, "c", &child, &[Owner::Dangling, Owner::Solid]),
            Decision::DropOwners(vec!["a".into()])
        );
    }

    #[test]
    fn foreground() {
        let owner = object("o", &[], &[FOREGROUND], true);
        let child = object("c", &["o"], &[], false);
        let with = graph(&[&owner, &child]);
        assert_eq!(
            decide(&with, "o", &owner, &[]),
            Decision::Wake(vec!["c".into()])
        );
        let without = graph(&[&owner]);
        assert_eq!(
            decide(&without, "o", &owner, &[]),
            Decision::RemoveFinalizer(FOREGROUND)
        );
        let grandchild = object("g", &["c"], &[], false);
        let deep = graph(&[&owner, &child, &grandchild]);
        let delete = Decision::Delete {
            policy: Policy::Foreground,
            unblock: false,
        };
        assert_eq!(decide(&deep, "c", &child, &[Owner::Waiting]), delete);
    }

    #[test]
    fn circles_are_broken() {
        let a = object("a", &["b"], &[FOREGROUND], true);
        let b = object("b", &["a"], &[], false);
        let graph = graph(&[&a, &b]);
        let delete = Decision::Delete {
            policy: Policy::Foreground,
            unblock: true,
        };
        assert_eq!(decide(&graph, "b", &b, &[Owner::Waiting]), delete);
    }

    #[test]
    fn orphans_are_released() {
        let owner = object("o", &[], &[ORPHAN], true);
        let child = object("c", &["o"], &[], false);
        assert_eq!(
            decide(&graph(&[&owner, &child]), "o", &owner, &[]),
            Decision::Release(vec!["c".into()])
        );
    }

    #[test]
    fn what_is_being_deleted_is_left_alone() {
        let child = object("c", &["o"], &["example.com/hold"], true);
        assert_eq!(
            decide(&graph(&[&child]), "c", &child, &[Owner::Dangling]),
            Decision::Keep
        );
    }
}
