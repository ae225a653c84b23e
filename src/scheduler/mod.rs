//! Which node runs this pod: the scheduling framework, queue, cycle and binding of `kube-scheduler`.
//!
//! The **decision** is sync over an immutable [`Snapshot`](framework::Snapshot): plugins see no clock and do no I/O. The
//! tail (permit, pre-bind, bind, post-bind) is async. A pod that fits nowhere stays pending, with a condition and an event
//! that count the reasons per node, until something happens that one of the plugins which rejected it waits for.

mod bind;
mod cycle;
mod evict;
pub mod framework;
pub mod plugins;
mod queue;
mod report;
mod run;

use std::sync::Arc;

pub use self::framework::Profile;
use crate::reconcile::Manager;

/// What a scheduler does for which pods.
#[derive(Debug, Default)]
pub struct SchedulerConfig {
    profiles: Vec<Profile>,
    parallelism: Option<usize>,
    percentage: Option<u32>,
}

impl SchedulerConfig {
    /// Adds a profile: the plugins for pods of its scheduler name. Default = one profile `default-scheduler` with the
    /// default plugins.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profiles.push(profile);
        self
    }

    /// How many pods are bound at once. At least 1. Default = 64.
    #[must_use]
    pub fn binding_parallelism(mut self, bindings: usize) -> Self {
        self.parallelism = Some(bindings.max(1));
        self
    }

    /// The share of nodes, in percent, that is looked for when more would fit. Default = by cluster size, as upstream:
    /// 50 % less 1 % for each 125 nodes, at least 5 % and 100 nodes.
    #[must_use]
    pub fn percentage_of_nodes_to_score(mut self, percent: u32) -> Self {
        self.percentage = Some(percent.min(100));
        self
    }
}

/// Why a scheduler cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two profiles have the same scheduler name.
    #[error("profiles[{index}].schedulerName: duplicate value {name:?}")]
    DuplicateProfile {
        /// The position of the second.
        index: usize,
        /// The name.
        name: String,
    },
}

/// Adds a scheduler to `manager`. It starts with the controllers and ends with them.
///
/// # Errors
/// When the configuration contradicts itself.
pub fn install(manager: &Manager, config: SchedulerConfig) -> Result<(), Error> {
    let mut profiles = config.profiles;
    if profiles.is_empty() {
        profiles.push(Profile::default());
    }
    for (index, profile) in profiles.iter().enumerate() {
        if profiles
            .iter()
            .take(index)
            .any(|other| other.name() == profile.name())
        {
            return Err(Error::DuplicateProfile {
                index,
                name: profile.name().to_owned(),
            });
        }
    }
    let settings = run::Settings {
        profiles: profiles.into_iter().map(Arc::new).collect(),
        parallelism: config.parallelism.unwrap_or(64),
        percentage: config.percentage,
    };
    run::install(manager, settings);
    Ok(())
}
