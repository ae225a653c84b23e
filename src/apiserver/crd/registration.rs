//! The `APIService` of each version that definitions serve, made and removed with them (`crdregistration`, `autoregister`).
use super::definition::Definition;
use crate::apiserver::DeleteOptions;
use crate::apiserver::bootstrap::api_services::{self, MANAGED};
use crate::apiserver::bootstrap::ensure;
use crate::apiserver::handler::call::{Call, Current, store_failure};
use crate::apiserver::handler::delete;
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::cacher::prefix;
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::request::{ResourceRequest, Verb};
use crate::apiserver::server::Shared;
use crate::object::{Document, GroupVersion, Reason, Status};
use crate::store::Range;
use std::collections::BTreeSet;
use std::sync::Arc;

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";

/// What is registered.
#[derive(Debug, Default)]
pub(super) struct Registration {
    /// `None` until the store was read.
    known: Option<BTreeSet<GroupVersion>>,
}

impl Registration {
    /// Registers what `definitions` serve, and nothing else.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn sync<'d>(
        &mut self,
        shared: &Arc<Shared>,
        definitions: impl Iterator<Item = &'d Definition>,
    ) -> Result<(), Status> {
        let Some(resource) = shared.registry.get(GROUP, "v1", PLURAL) else {
            return Ok(());
        };
        let mut wanted = BTreeSet::new();
        for definition in definitions {
            let served = definition.versions.iter().filter(|version| version.served);
            wanted.extend(
                served.map(|version| GroupVersion::new(&*definition.group, &*version.name)),
            );
        }
        let known = match &mut self.known {
            Some(known) => known,
            None => self.known.insert(stored(shared, &resource).await?),
        };
        for version in wanted.difference(&known.clone()) {
            ensure(shared, GROUP, PLURAL, &api_services::custom(version)).await?;
            known.insert(version.clone());
        }
        for version in known.clone().difference(&wanted) {
            remove(shared, &resource, version).await?;
            known.remove(version);
        }
        Ok(())
    }
}

/// What a server before this one registered for definitions.
async fn stored(
    shared: &Arc<Shared>,
    resource: &Resource,
) -> Result<BTreeSet<GroupVersion>, Status> {
    let page = shared.store.range(Range::prefix(prefix(resource))).await;
    let entries = page.map_err(|error| store_failure(&error))?.entries;
    let mut known = BTreeSet::new();
    for entry in entries {
        let service = Current::decode(entry)?.object;
        if service.label(MANAGED) == Some("true") {
            let part = |field| service.str_at(&["spec", field]);
            known.insert(GroupVersion::new(part("group"), part("version")));
        }
    }
    Ok(known)
}

async fn remove(
    shared: &Arc<Shared>,
    resource: &Arc<Resource>,
    version: &GroupVersion,
) -> Result<(), Status> {
    let name = format!("{}.{}", version.version, version.group);
    let request = ResourceRequest::own(resource.clone(), Verb::Delete, "", &name);
    let mut call = Call::new(shared, &request, WriteOptions::default());
    // One that somebody has made his own stays.
    let current = call.read(&name).await?;
    if current.is_none_or(|current| current.object.label(MANAGED) != Some("true")) {
        return Ok(());
    }
    match delete::remove(&mut call, &name, &DeleteOptions::default()).await {
        Err(status) if status.reason == Reason::NotFound => Ok(()),
        other => other.map(drop),
    }
}
