//! The policy as of now, from the watch cache. It is built anew when a role or binding has changed; what has not changed is
//! not decoded again.
use super::policy::{Binding, Policy, Role};
use super::{GROUP, KINDS};
use crate::apiserver::registry::cacher::{Cached, Kind, Selection};
use crate::apiserver::server::Shared;
use crate::object::Status;
use crate::store::Revision;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Holds the policy.
#[derive(Debug, Default)]
pub(crate) struct Cache(RwLock<Option<Arc<Snapshot>>>);

/// The policy as of some revisions of its kinds.
#[derive(Debug)]
struct Snapshot {
    kinds: Vec<(Arc<Kind>, Revision)>,
    decoded: Decoded,
    policy: Arc<Policy>,
}

/// The objects of which the policy is made, by key, with the revision they are of.
#[derive(Clone, Debug, Default)]
struct Decoded {
    roles: BTreeMap<Arc<str>, (Revision, Arc<Role>)>,
    bindings: BTreeMap<Arc<str>, (Revision, Arc<Binding>)>,
}

impl Cache {
    /// The policy as the watch cache shows it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn policy(&self, shared: &Shared) -> Result<Arc<Policy>, Status> {
        let known = self.0.read().clone();
        if let Some(known) = &known
            && known.is_current()
        {
            return Ok(known.policy.clone());
        }
        let mut kinds = Vec::new();
        for plural in KINDS {
            let resource = shared.registry.get(GROUP, "v1", plural);
            let resource = resource.ok_or_else(Status::no_such_path)?;
            kinds.push(shared.cacher.kind(&resource).await?);
        }
        let snapshot = Arc::new(Snapshot::of(kinds, known.as_deref()));
        let policy = snapshot.policy.clone();
        *self.0.write() = Some(snapshot);
        Ok(policy)
    }
}

impl Snapshot {
    fn is_current(&self) -> bool {
        let mut kinds = self.kinds.iter();
        kinds.all(|(kind, revision)| kind.changed() == *revision)
    }

    fn of(kinds: Vec<Arc<Kind>>, known: Option<&Self>) -> Self {
        let empty = Decoded::default();
        let known = known.map_or(&empty, |known| &known.decoded);
        let mut decoded = Decoded::default();
        let mut policy = Policy::default();
        let mut changed = Vec::new();
        for kind in kinds {
            let prefix = kind.resource.key("", "");
            let selected = kind.select(&Selection::all(&prefix));
            for object in &selected.items {
                let key = &object.key;
                if kind.resource.plural.ends_with("bindings") {
                    let Some(binding) = reuse(&known.bindings, object) else {
                        continue;
                    };
                    policy.add_binding(binding.clone());
                    let entry = (object.revision, binding);
                    decoded.bindings.insert(key.clone(), entry);
                } else {
                    let Some(role) = reuse(&known.roles, object) else {
                        continue;
                    };
                    let namespace = object.namespace(&kind.resource);
                    policy.add_role(namespace, object.name(), role.clone());
                    decoded.roles.insert(key.clone(), (object.revision, role));
                }
            }
            changed.push((kind, selected.changed));
        }
        Self {
            kinds: changed,
            decoded,
            policy: Arc::new(policy),
        }
    }
}

fn reuse<T: DeserializeOwned>(
    known: &BTreeMap<Arc<str>, (Revision, Arc<T>)>,
    object: &Cached,
) -> Option<Arc<T>> {
    if let Some((revision, known)) = known.get(&object.key)
        && *revision == object.revision
    {
        return Some(known.clone());
    }
    match serde_json::from_slice(&object.bytes) {
        Ok(decoded) => Some(Arc::new(decoded)),
        Err(error) => {
            tracing::error!(key = %object.key, %error, "stored role or binding cannot be read and grants nothing");
            None
        }
    }
}
