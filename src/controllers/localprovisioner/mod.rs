//! A provisioner for tests and single machines: gives claims of its storage classes a directory on the node that the
//! scheduler chose, as the local path provisioner of small distributions does. A cluster has none unless it is asked for.
//!
//! A class of `volumeType: local` (in its parameters) gets volumes of the kind `local`, whose directory must be there; the
//! default is `hostPath`, whose directory the kubelet makes. A volume that is deleted leaves its directory behind: this part
//! sees the API only.

mod plan;

use std::fmt;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use self::plan::{Claimed, Refusal};
use crate::client;
use crate::object::volume::{SELECTED_NODE, annotation, class_of_claim, is_bound, path, phase};
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{
    Action, Cache, Controller, Error, Key, Manager, Reconciler, Recorder, Source,
};

/// Which classes are served, and from where.
#[derive(Clone, Debug)]
pub struct LocalProvisionerConfig {
    name: String,
    directory: String,
}

impl LocalProvisionerConfig {
    /// Serves the storage classes whose `provisioner` is `name`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            directory: "/var/lib/homeostat/volumes".into(),
        }
    }

    /// The directory on each node in which the volumes are. Default = `/var/lib/homeostat/volumes`.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<String>) -> Self {
        self.directory = directory.into();
        self
    }
}

/// Adds the provisioner to `manager`.
pub fn install(manager: &Manager, config: LocalProvisionerConfig) {
    let (claims, volumes) = (
        manager.cache::<PersistentVolumeClaim>(),
        manager.cache::<PersistentVolume>(),
    );
    let provisioner = Provisioner {
        client: manager.client_for(&config.name),
        events: manager.recorder(&config.name),
        claims: claims.clone(),
        volumes: volumes.clone(),
        classes: manager.cache(),
        nodes: manager.cache(),
        config: config.clone(),
    };
    manager.add(
        Controller::new(config.name, provisioner)
            .source(Source::objects(&claims))
            .source(Source::objects(&volumes)),
    );
}

/// Keys without a namespace are those of volumes.
struct Provisioner {
    client: kube::Client,
    events: Recorder,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
    nodes: Cache<Node>,
    config: LocalProvisionerConfig,
}

impl fmt::Debug for Provisioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provisioner")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Reconciler for Provisioner {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        if key.namespace.is_empty() {
            if let Some(volume) = self.volumes.get(&key) {
                self.delete(&volume).await?;
            }
        } else if let Some(claim) = self.claims.get(&key) {
            self.provision(&claim).await?;
        }
        Ok(Action::Done)
    }
}

impl Provisioner {
    async fn provision(&self, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        if is_bound(claim) || !plan::is_asked(claim, &self.config.name) {
            return Ok(());
        }
        let class = class_of_claim(claim);
        let Some(class) = self.classes.get(&Key::cluster(class)) else {
            return Ok(());
        };
        let selected = annotation(&claim.metadata, SELECTED_NODE);
        let claimed = Claimed {
            claim,
            class: &class,
            selected,
            node: selected.and_then(|node| self.nodes.get(&Key::cluster(node))),
        };
        let volume = match plan::volume(&claimed, &self.config.name, &self.config.directory) {
            Ok(volume) => volume,
            Err(Refusal::Waits) => return Ok(()),
            Err(Refusal::Elsewhere(why)) => {
                self.failed(claim, &class, &why);
                return self.give_back(claim).await;
            }
            Err(Refusal::Never(why)) => {
                self.failed(claim, &class, &why);
                return Ok(());
            }
        };
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        match volumes.create(&PostParams::default(), &volume).await {
            Ok(made) => {
                let name = made.metadata.name.as_deref().unwrap_or_default();
                let message = format!("Successfully provisioned volume {name}");
                let about = reference(claim);
                self.events
                    .event(about, EventType::Normal, "ProvisioningSucceeded", message);
                self.volumes.caught_up(&made).await;
                Ok(())
            }
            // Made by an earlier try, whose answer was lost.
            Err(error) if client::is_already_exists(&error) => Ok(()),
            Err(error) => {
                self.failed(claim, &class, &client::message(&error));
                Err(error.into())
            }
        }
    }

    fn failed(&self, claim: &PersistentVolumeClaim, class: &StorageClass, why: &str) {
        let class = class.metadata.name.as_deref().unwrap_or_default();
        let message = format!("failed to provision volume with StorageClass {class:?}: {why}");
        let about = reference(claim);
        self.events
            .event(about, EventType::Warning, "ProvisioningFailed", message);
    }

    /// Lets the scheduler choose another node.
    async fn give_back(&self, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        let Key { namespace, name } = Key::of(claim);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let change = json!({"metadata": {
            "resourceVersion": claim.metadata.resource_version, "annotations": {SELECTED_NODE: null},
        }});
        let change = Patch::Merge(change);
        match claims.patch(&name, &PatchParams::default(), &change).await {
            Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
            Err(error) => {
                let claim = path(&claim.metadata);
                Err(format!("claim {claim} keeps its node: {error}").into())
            }
            Ok(_) => Ok(()),
        }
    }

    async fn delete(&self, volume: &PersistentVolume) -> Result<(), Error> {
        let is_done = volume.metadata.deletion_timestamp.is_some();
        if is_done || phase(volume) != "Released" || !plan::is_to_go(volume, &self.config.name) {
            return Ok(());
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: volume.metadata.uid.clone(),
                resource_version: volume.metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        match volumes.delete(name, &params).await {
            Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }
}
