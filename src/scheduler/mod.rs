//! Which node runs this pod: the scheduling framework, queue, cycle and binding of `kube-scheduler`.
//!
//! The **decision** is sync over an immutable [`Snapshot`](framework::Snapshot): plugins see no clock and do no I/O. The
//! tail (permit, pre-bind, bind, post-bind) is async. A pod that fits nowhere stays pending, with a condition and an event
//! that count the reasons per node, until something happens that one of the plugins which rejected it waits for.

mod bind;
mod changes;
pub mod config;
mod cycle;
mod drain;
mod evict;
pub mod explain;
pub mod extender;
pub mod framework;
pub mod metrics;
pub mod plugins;
mod pod_group;
mod queue;
#[cfg(test)]
mod reference;
mod report;
mod run;
mod standalone;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::cycle::SchedulingCycle;
pub use self::drain::Drain;
pub use self::framework::Profile;
use self::framework::{Explain, Extender, Framework, Handle, ProfileError, Registry, Scheduler};
use self::metrics::Metrics;
pub use self::pod_group::{
    BasicSchedulingPolicy, GangSchedulingPolicy, POD_GROUP_SCHEDULED, PodGroup, PodGroupCondition,
    PodGroupSchedulingPolicy, PodGroupSpec, PodGroupStatus,
};
pub use self::standalone::{Standalone, StandaloneError};
use crate::reconcile::Manager;

/// What a scheduler does for which pods.
#[derive(Default)]
pub struct SchedulerConfig {
    profiles: Vec<Profile>,
    registry: Option<Registry>,
    parallelism: Option<usize>,
    patience: Option<Duration>,
    percentage: Option<u32>,
    backoff: Option<(Duration, Duration)>,
    metrics: Metrics,
    drain: Drain,
    extenders: Vec<Arc<dyn Extender>>,
    explain: Option<Arc<dyn Explain>>,
    scheduler: Option<run::MakeScheduler>,
}

impl SchedulerConfig {
    /// Adds a profile: the plugins for pods of its scheduler name. Default = one profile `default-scheduler` with the
    /// default plugins.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profiles.push(profile);
        self
    }

    /// The plugins that profiles may name. Default = those in tree.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// How many bindings are written at once. At least 1. Default = 64.
    #[must_use]
    pub fn binding_parallelism(mut self, bindings: usize) -> Self {
        self.parallelism = Some(bindings.max(1));
        self
    }

    /// How long a plugin's preparation of a binding, and a binding, may take each. Default = 10 minutes.
    #[must_use]
    pub fn binding_timeout(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// The share of nodes, in percent, that is looked for when more would fit. Default = by cluster size, as upstream:
    /// 50 % less 1 % for each 125 nodes, at least 5 % and 100 nodes.
    #[must_use]
    pub fn percentage_of_nodes_to_score(mut self, percent: u32) -> Self {
        self.percentage = Some(percent.min(100));
        self
    }

    /// How long a pod that failed is left alone: at first, and, after doubling, at most. Default = 1 s and 10 s.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Some((first, longest));
        self
    }

    /// Counts here. Default = nowhere that could be seen.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Lets it end in good order. Default = it ends at once when its manager stops.
    #[must_use]
    pub fn drained_by(mut self, drain: Drain) -> Self {
        self.drain = drain;
        self
    }

    /// The profiles that were added.
    #[must_use]
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Adds an extender, which is asked after the plugins of all profiles.
    #[must_use]
    pub fn extender(mut self, extender: impl Extender) -> Self {
        self.extenders.push(Arc::new(extender));
        self
    }

    /// Has decisions explained. Default = not.
    #[must_use]
    pub fn explain(mut self, explain: Arc<dyn Explain>) -> Self {
        self.explain = Some(explain);
        self
    }

    /// Puts another decision in the place of [`SchedulingCycle`]. Called again when the scheduler starts again.
    #[must_use]
    pub fn scheduler<S: Scheduler + 'static>(
        mut self,
        make: impl Fn(&Handle) -> S + Send + Sync + 'static,
    ) -> Self {
        self.scheduler = Some(Arc::new(move |handle| Box::new(make(handle))));
        self
    }
}

impl SchedulerConfig {
    /// Makes the plugins of all profiles.
    fn frameworks(&self, handle: &Handle) -> Result<Vec<Arc<Framework>>, Error> {
        let default = [Profile::default()];
        let profiles = match self.profiles.as_slice() {
            [] => &default,
            profiles => profiles,
        };
        let in_tree = Registry::in_tree();
        let registry = self.registry.as_ref().unwrap_or(&in_tree);
        let mut frameworks: Vec<Arc<Framework>> = Vec::new();
        for (index, profile) in profiles.iter().enumerate() {
            let name = profile.name();
            if frameworks.iter().any(|other| other.name() == name) {
                let name = name.to_owned();
                return Err(Error::DuplicateProfile { index, name });
            }
            let built = profile.build(registry, handle);
            let mut built = built.map_err(|error| Error::Profile { index, error })?;
            built.extenders.clone_from(&self.extenders);
            frameworks.push(Arc::new(built));
        }
        Ok(frameworks)
    }
}

impl fmt::Debug for SchedulerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerConfig")
            .field("profiles", &self.profiles)
            .field("extenders", &self.extenders)
            .finish_non_exhaustive()
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
    /// A profile cannot be made.
    #[error("profiles[{index}]: {error}")]
    Profile {
        /// Its position.
        index: usize,
        /// What is wrong.
        error: ProfileError,
    },
}

/// Adds a scheduler to `manager`. It starts with the controllers and ends with them. Must be called within a tokio runtime.
///
/// # Errors
/// When the configuration contradicts itself.
pub fn install(manager: &Manager, config: SchedulerConfig) -> Result<(), Error> {
    let handle = Handle::new(manager, run::NAME);
    let frameworks = config.frameworks(&handle)?;
    let (percentage, explain) = (config.percentage, config.explain);
    let counts = config.metrics.clone();
    let cycle: run::MakeScheduler = Arc::new(move |handle: &Handle| {
        let cycle = SchedulingCycle::new(handle.clock().fork("decisions"), percentage);
        let cycle = cycle.explained_to(explain.clone());
        Box::new(cycle.counting(counts.clone()))
    });
    let settings = run::Settings {
        frameworks,
        handle,
        parallelism: config.parallelism.unwrap_or(64),
        patience: config.patience.unwrap_or(Duration::from_secs(600)),
        backoff: config.backoff,
        metrics: config.metrics,
        drain: config.drain,
        is_users: config.scheduler.is_some(),
        make: config.scheduler.unwrap_or(cycle),
    };
    run::install(manager, settings);
    Ok(())
}
