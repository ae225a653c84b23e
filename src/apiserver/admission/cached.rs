//! Configuration that is decoded and compiled once for each of its revisions.
use super::View;
use crate::apiserver::registry::cacher::Cached;
use crate::object::Status;
use crate::store::Revision;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The group of policies and webhooks.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";

/// What was made of an object, and of which revision of it.
type Made<T> = (Revision, Arc<T>);

/// What was made of the objects of one resource.
pub(super) struct Compiled<T> {
    known: Mutex<BTreeMap<Arc<str>, Made<T>>>,
    group: &'static str,
    plural: &'static str,
    make: fn(Value) -> T,
}

impl<T> fmt::Debug for Compiled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("plural", &self.plural)
            .finish_non_exhaustive()
    }
}

impl<T> Compiled<T> {
    /// Nothing yet of a resource in version `v1` of `group`.
    pub(super) fn new(group: &'static str, plural: &'static str, make: fn(Value) -> T) -> Self {
        Self {
            known: Mutex::default(),
            group,
            plural,
            make,
        }
    }

    /// What there is now, in the order of the names.
    pub(super) async fn all(&self, view: &View<'_>) -> Result<Vec<Arc<T>>, Status> {
        let items = view.all(self.group, "v1", self.plural).await?;
        let mut known = self.known.lock();
        let mut found = Vec::with_capacity(items.len());
        for item in &items {
            let made = match known.get(&item.key) {
                Some((revision, made)) if *revision == item.revision => made.clone(),
                _ => {
                    let made = Arc::new((self.make)(decode(item)?));
                    known.insert(item.key.clone(), (item.revision, made.clone()));
                    made
                }
            };
            found.push(made);
        }
        if known.len() > items.len() {
            known.retain(|key, _| items.binary_search_by(|item| item.key.cmp(key)).is_ok());
        }
        Ok(found)
    }
}

fn decode(item: &Cached) -> Result<Value, Status> {
    item.document()
        .map_err(|error| Status::internal(&error.to_string()))
}
