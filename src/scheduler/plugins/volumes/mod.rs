//! What the plugins about volumes share: the claims of a pod, and the words that API objects say things with.

/// How a plugin is made that reads volumes, takes no arguments, and filters.
macro_rules! reads_volumes {
    ($plugin:ident) => {
        impl $plugin {
            /// Reads caches of `handle`.
            #[must_use]
            pub fn new(handle: &crate::scheduler::framework::Handle) -> Self {
                Self::over(std::sync::Arc::new(super::listers::CachedVolumes::new(
                    handle,
                )))
            }

            pub(super) fn over(volumes: std::sync::Arc<dyn super::listers::Volumes>) -> Self {
                Self { volumes }
            }

            pub(in crate::scheduler::plugins) fn make(
                _args: &serde_json::Value,
                handle: &crate::scheduler::framework::Handle,
            ) -> Result<crate::scheduler::framework::Hooks, crate::scheduler::framework::ArgsError>
            {
                let plugin = std::sync::Arc::new(Self::new(handle));
                let hooks = crate::scheduler::framework::Hooks::new(&plugin);
                Ok(hooks.pre_filter(&plugin).filter(&plugin))
            }
        }
    };
}

mod assume;
mod bind;
mod binding;
mod first;
mod limits;
mod listers;
mod matching;
mod migrated;
mod restrictions;
mod zone;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume, TopologySelectorTerm, Volume};

pub use self::binding::VolumeBinding;
pub use self::limits::NodeVolumeLimits;
pub use self::restrictions::VolumeRestrictions;
pub use self::zone::VolumeZone;
use crate::object::volume::{self, ClaimName};
use crate::scheduler::framework::{NodeTerm, PodInfo};

fn volumes_of(pod: &PodInfo) -> &[Volume] {
    volume::volumes_of(&pod.pod)
}

/// The claims that a pod uses, its ephemeral ones included, in the order of its volumes.
fn claims_of(pod: &PodInfo) -> impl Iterator<Item = ClaimName<'_>> {
    volume::claims_of(&pod.pod)
}

/// The claims that a pod names itself.
fn named_claims(pod: &PodInfo) -> impl Iterator<Item = &str> {
    let volumes = volumes_of(pod).iter();
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

fn claim_not_found(name: &str) -> String {
    format!("persistentvolumeclaim {name:?} not found")
}

/// The terms of a node selector, of which one must hold.
fn terms(selector: Option<&NodeSelector>) -> Option<Vec<NodeTerm>> {
    let terms = &selector?.node_selector_terms;
    Some(terms.iter().map(NodeTerm::new).collect())
}

/// Where a volume can be used; `None`: everywhere.
fn places(volume: &PersistentVolume) -> Option<Vec<NodeTerm>> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    terms(affinity.required.as_ref())
}

type Labels = BTreeMap<String, String>;

/// Whether a volume can be used on a node with these labels. Volumes know nodes by their labels only.
fn reaches(places: Option<&[NodeTerm]>, labels: Option<&Labels>) -> bool {
    places.is_none_or(|terms| terms.iter().any(|term| term.matches("", labels)))
}

/// Whether volumes of a class can be made for a node with these labels. No terms: for any; a term without requirements: for
/// none.
fn provisions(allowed: Option<&[TopologySelectorTerm]>, labels: Option<&Labels>) -> bool {
    let terms = allowed.unwrap_or_default();
    let holds = |term: &TopologySelectorTerm| {
        let requirements = term.match_label_expressions.as_deref().unwrap_or_default();
        let mut all = requirements.iter();
        !requirements.is_empty()
            && all.all(|wanted| {
                let value = labels.and_then(|labels| labels.get(&wanted.key));
                value.is_some_and(|value| wanted.values.contains(value))
            })
    };
    terms.is_empty() || terms.iter().any(holds)
}

#[cfg(test)]
mod tests;
