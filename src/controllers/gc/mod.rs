//! Deletes what has lost its owners, and lets owners go that wait for (or leave behind) their dependents
//! (`kube-controller-manager`'s `garbage-collector`): background, foreground and orphan propagation.
//!
//! The metadata of every object that can be listed, watched and deleted is watched; which resources there are is asked
//! of the server again and again, so custom ones are collected too.

mod graph;
mod monitor;
mod plan;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::graph::{Graph, Identity};
use self::monitor::{Monitor, Resources};
use self::plan::{Decision, Owner, Policy};
use crate::client;
use crate::reconcile::{Action, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the collector runs and writes.
const NAME: &str = "generic-garbage-collector";

/// Adds the collector to `manager`; `workers` objects are handled at once (upstream's default is 20).
pub fn install(manager: &Manager, workers: usize) {
    let client = manager.client_for(NAME);
    let graph = Arc::new(Mutex::new(Graph::default()));
    let resources = Arc::new(Resources::default());
    let monitor = Monitor::new(
        client.clone(),
        manager.clock().fork(NAME),
        graph.clone(),
        resources.clone(),
    );
    let collector = Collector {
        client,
        graph,
        resources,
    };
    manager.add(
        Controller::new(NAME, collector)
            .source(Source::watcher(monitor))
            .workers(workers),
    );
}

struct Collector {
    client: kube::Client,
    graph: Arc<Mutex<Graph>>,
    resources: Arc<Resources>,
}

impl Reconciler for Collector {
    /// The key's name is an object's uid.
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let uid = &*key.name;
        let identity = self
            .graph
            .lock()
            .get(uid)
            .and_then(|node| node.identity.clone());
        let Some(identity) = identity else {
            return Ok(Action::Done);
        };
        let Some(path) = self.resources.path(&identity) else {
            return Ok(Action::Done);
        };
        let Some(live) = self
            .metadata(&path)
            .await?
            .filter(|live| live.uid.as_deref() == Some(uid))
        else {
            return Ok(Action::Done);
        };
        let mut owners = Vec::new();
        for owner in live.owner_references.iter().flatten() {
            owners.push(self.stand(&identity, owner).await?);
        }
        let decision = plan::decide(&self.graph.lock(), uid, &live, &owners);
        self.carry_out(uid, &path, &live, decision).await
    }
}

impl Collector {
    /// How an owner stands: the graph knows most; what it does not know is asked of the API.
    async fn stand(&self, dependent: &Identity, owner: &OwnerReference) -> Result<Owner, Error> {
        let known = self
            .graph
            .lock()
            .get(&owner.uid)
            .filter(|node| node.identity.is_some())
            .map(graph::Node::waits_for_dependents);
        if let Some(waits) = known {
            return Ok(if waits { Owner::Waiting } else { Owner::Solid });
        }
        // An owner of a kind that is not served cannot be looked up: it may be there, and nothing is deleted on a guess.
        let Some(path) = self.resources.owner_path(&dependent.namespace, owner) else {
            return Ok(Owner::Solid);
        };
        let Some(live) = self
            .metadata(&path)
            .await?
            .filter(|live| live.uid.as_ref() == Some(&owner.uid))
        else {
            return Ok(Owner::Dangling);
        };
        let waits = live.deletion_timestamp.is_some()
            && live
                .finalizers
                .iter()
                .flatten()
                .any(|finalizer| finalizer == graph::FOREGROUND);
        Ok(if waits { Owner::Waiting } else { Owner::Solid })
    }

    async fn carry_out(
        &self,
        uid: &str,
        path: &str,
        live: &ObjectMeta,
        decision: Decision,
    ) -> Result<Action, Error> {
        match decision {
            Decision::Keep => {}
            Decision::RemoveFinalizer(finalizer) => {
                self.remove_finalizer(path, live, finalizer).await?;
            }
            Decision::Wake(dependents) => {
                for dependent in dependents {
                    self.resources.wake(&dependent, "its owner waits for it");
                }
            }
            Decision::Release(dependents) => {
                for dependent in dependents {
                    self.drop_owners(&dependent, &[uid.to_owned()]).await?;
                }
                self.remove_finalizer(path, live, graph::ORPHAN).await?;
            }
            Decision::DropOwners(owners) => self.drop_owners(uid, &owners).await?,
            Decision::Delete { policy, unblock } => {
                if unblock {
                    self.unblock(path, live).await?;
                }
                self.delete(path, live, policy, unblock).await?;
            }
        }
        Ok(Action::Done)
    }

    /// The metadata at `path`; `None` when there is nothing.
    async fn metadata(&self, path: &str) -> Result<Option<ObjectMeta>, Error> {
        let request = http::Request::get(path)
            .header(
                http::header::ACCEPT,
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            )
            .body(Vec::new())?;
        match self.client.request::<PartialObjectMeta>(request).await {
            Ok(object) => Ok(Some(object.metadata)),
            Err(error) if client::is_not_found(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove_finalizer(
        &self,
        path: &str,
        live: &ObjectMeta,
        finalizer: &str,
    ) -> Result<(), Error> {
        let kept: Vec<_> = live
            .finalizers
            .iter()
            .flatten()
            .filter(|have| *have != finalizer)
            .collect();
        self.patch(path, live, json!({"finalizers": kept})).await
    }

    /// Takes owners out of an object's references.
    async fn drop_owners(&self, uid: &str, owners: &[String]) -> Result<(), Error> {
        let identity = self
            .graph
            .lock()
            .get(uid)
            .and_then(|node| node.identity.clone());
        let Some(path) = identity.and_then(|identity| self.resources.path(&identity)) else {
            return Ok(());
        };
        let Some(live) = self
            .metadata(&path)
            .await?
            .filter(|live| live.uid.as_deref() == Some(uid))
        else {
            return Ok(());
        };
        let kept: Vec<_> = live
            .owner_references
            .iter()
            .flatten()
            .filter(|owner| !owners.contains(&owner.uid))
            .collect();
        self.patch(&path, &live, json!({"ownerReferences": kept}))
            .await
    }

    /// Makes an object stop blocking its owners' deletion.
    async fn unblock(&self, path: &str, live: &ObjectMeta) -> Result<(), Error> {
        let mut owners = live.owner_references.clone().unwrap_or_default();
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        self.patch(path, live, json!({"ownerReferences": owners}))
            .await
    }

    /// Patches the metadata of the object that `live` shows, and no other nor a newer state of it: a conflict is an error,
    /// and the key is tried again.
    async fn patch(&self, path: &str, live: &ObjectMeta, mut metadata: Value) -> Result<(), Error> {
        metadata["uid"] = json!(live.uid);
        metadata["resourceVersion"] = json!(live.resource_version);
        let body = serde_json::to_vec(&json!({"metadata": metadata}))?;
        let request = http::Request::patch(path)
            .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
            .body(body)?;
        gone_is_fine(self.client.request_text(request).await)
    }

    async fn delete(
        &self,
        path: &str,
        live: &ObjectMeta,
        policy: Policy,
        changed: bool,
    ) -> Result<(), Error> {
        let policy = match policy {
            Policy::Background => "Background",
            Policy::Foreground => "Foreground",
            Policy::Orphan => "Orphan",
        };
        let mut preconditions = json!({"uid": live.uid});
        // A new owner may have been added since: then the object has to be judged again.
        if !changed {
            preconditions["resourceVersion"] = json!(live.resource_version);
        }
        let options = json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy, "preconditions": preconditions,
        });
        let request = http::Request::delete(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&options)?)?;
        gone_is_fine(self.client.request_text(request).await)
    }
}

fn gone_is_fine(result: Result<String, kube::Error>) -> Result<(), Error> {
    match result {
        Err(error) if !client::is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
