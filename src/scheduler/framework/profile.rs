//! A profile: which plugins decide about the pods of one scheduler name, as it is configured.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{
    ArgsError, Bind, Filter, Framework, Handle, Hooks, Permit, Point, PostBind, PostFilter,
    PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Registry, Reserve, Score,
};
use crate::scheduler::plugins;

/// The plugins of one scheduler name. A plugin is named, and made from a [`Registry`] with the arguments given here, or given
/// as a value.
///
/// Plugins are enabled everywhere ([`Profile::enable`]: at all extension points they have) or at one point
/// ([`Profile::enable_at`]); what is said of a point counts more than what is said of all.
#[derive(Clone, Debug)]
pub struct Profile {
    name: String,
    percentage: Option<u32>,
    everywhere: Vec<(String, i64)>,
    points: BTreeMap<Point, PointPlugins>,
    args: BTreeMap<String, Value>,
    given: BTreeMap<String, Hooks>,
}

/// What is said of one extension point.
#[derive(Clone, Debug, Default)]
struct PointPlugins {
    enabled: Vec<(String, i64)>,
    disabled: BTreeSet<String>,
}

/// Why a profile cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A plugin of this name is neither given nor in the registry.
    #[error("plugin {name:?} is not known")]
    UnknownPlugin {
        /// The name.
        name: String,
        /// The extension point, when it is enabled at one.
        point: Option<Point>,
    },
    /// A plugin is enabled at a point that it does not have.
    #[error("plugin {name:?} does not extend {}", point.name())]
    NotExtended {
        /// The name.
        name: String,
        /// The extension point.
        point: Point,
    },
    /// A plugin is enabled twice at one point.
    #[error("plugin {name:?} is already registered at {}", point.name())]
    Duplicate {
        /// The name.
        name: String,
        /// The extension point.
        point: Point,
    },
    /// A plugin does not understand its arguments.
    #[error("arguments of plugin {name:?}: {error}")]
    Args {
        /// The name.
        name: String,
        /// What is wrong.
        error: ArgsError,
    },
    /// Not exactly one plugin gives the order of the queue, or none binds.
    #[error("profile {profile:?}: {message}")]
    Incomplete {
        /// The scheduler name.
        profile: String,
        /// What is missing.
        message: &'static str,
    },
}

/// The profile `default-scheduler` with the default plugins and their default weights.
impl Default for Profile {
    fn default() -> Self {
        Self::named("default-scheduler")
    }
}

macro_rules! add {
    ($(#[$doc:meta] $name:ident: $trait:ident),* $(,)?) => {
        $(
            #[$doc]
            #[must_use]
            pub fn $name(self, plugin: impl $trait) -> Self {
                let plugin = Arc::new(plugin);
                self.give(Hooks::new(&plugin).$name(&plugin), Point::$trait, 1)
            }
        )*
    };
}

impl Profile {
    /// A profile for pods whose `schedulerName` is `name`, with no plugins but `queue_sort`.
    pub fn empty(name: impl Into<String>, queue_sort: impl QueueSort) -> Self {
        let queue_sort = Arc::new(queue_sort);
        let hooks = Hooks::new(&queue_sort).queue_sort(&queue_sort);
        Self::bare(name).give(hooks, Point::QueueSort, 0)
    }

    /// A profile with no plugins at all.
    pub fn bare(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            percentage: None,
            everywhere: Vec::new(),
            points: BTreeMap::new(),
            args: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// The default plugins under another scheduler name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut profile = Self::bare(name);
        let defaults = plugins::DEFAULT.iter();
        profile.everywhere = defaults
            .map(|(name, weight)| ((*name).to_owned(), *weight))
            .collect();
        profile
    }

    /// The scheduler name it serves.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The share of nodes, in percent, that is looked for when more would fit. Default = the scheduler's.
    #[must_use]
    pub fn percentage_of_nodes_to_score(mut self, percent: u32) -> Self {
        self.percentage = Some(percent.min(100));
        self
    }

    /// Enables a plugin at all extension points it has, after those that are there; its scores count `weight` times (0: once).
    #[must_use]
    pub fn enable(mut self, name: impl Into<String>, weight: i64) -> Self {
        let name = name.into();
        self.everywhere.retain(|(known, _)| *known != name);
        self.everywhere.push((name, weight));
        self
    }

    /// Disables a plugin (`*`: all) that is enabled everywhere, but not where it is enabled at a point.
    #[must_use]
    pub fn disable(mut self, name: &str) -> Self {
        self.everywhere
            .retain(|(known, _)| name != "*" && known != name);
        self
    }

    /// Enables a plugin at one point, after those that are enabled there.
    #[must_use]
    pub fn enable_at(mut self, point: Point, name: impl Into<String>, weight: i64) -> Self {
        let plugins = self.points.entry(point).or_default();
        plugins.enabled.push((name.into(), weight));
        self
    }

    /// Disables a plugin (`*`: all) at one point, where it would be because it is enabled everywhere.
    #[must_use]
    pub fn disable_at(mut self, point: Point, name: impl Into<String>) -> Self {
        let plugins = self.points.entry(point).or_default();
        plugins.disabled.insert(name.into());
        self
    }

    /// The arguments with which a plugin is made.
    #[must_use]
    pub fn args(mut self, name: impl Into<String>, args: Value) -> Self {
        self.args.insert(name.into(), args);
        self
    }

    /// Adds a plugin with all its extension points.
    #[must_use]
    pub fn plugin(mut self, hooks: Hooks, weight: i64) -> Self {
        let name = hooks.name().to_owned();
        self.given.insert(name.clone(), hooks);
        self.enable(name, weight)
    }

    add! {
        /// Adds a plugin that may keep pods out of the queue.
        pre_enqueue: PreEnqueue,
        /// Adds a plugin that prepares a filter.
        pre_filter: PreFilter,
        /// Adds a filter.
        filter: Filter,
        /// Adds a plugin that may make room.
        post_filter: PostFilter,
        /// Adds a plugin that prepares a score.
        pre_score: PreScore,
        /// Adds a plugin that reserves.
        reserve: Reserve,
        /// Adds a plugin that may hold pods back.
        permit: Permit,
        /// Adds a plugin that prepares binding.
        pre_bind: PreBind,
        /// Adds a plugin that binds, after those that are there.
        bind: Bind,
        /// Adds a plugin that is told of bound pods.
        post_bind: PostBind,
    }

    /// Adds a score that counts `weight` times.
    #[must_use]
    pub fn score(self, plugin: impl Score, weight: i64) -> Self {
        let plugin = Arc::new(plugin);
        self.give(Hooks::new(&plugin).score(&plugin), Point::Score, weight)
    }

    /// Adds a plugin at one point, as a value. One that was given for another point stays there.
    fn give(mut self, hooks: Hooks, point: Point, weight: i64) -> Self {
        let name = hooks.name().to_owned();
        match self.given.get_mut(&name) {
            Some(known) => known.merge(hooks),
            None => drop(self.given.insert(name.clone(), hooks)),
        }
        self.enable_at(point, name, weight)
    }

    /// Makes the plugins.
    ///
    /// # Errors
    /// When the profile contradicts itself or its plugins.
    pub fn build(&self, registry: &Registry, handle: &Handle) -> Result<Framework, ProfileError> {
        let mut made: BTreeMap<&str, Hooks> = BTreeMap::new();
        let everywhere = self.everywhere.iter().map(|(name, _)| (name, None));
        let at_points = self.points.iter().flat_map(|(point, plugins)| {
            let enabled = plugins.enabled.iter();
            enabled.map(|(name, _)| (name, Some(*point)))
        });
        for (name, point) in everywhere.chain(at_points) {
            if made.contains_key(name.as_str()) {
                continue;
            }
            let given = self.given.get(name).cloned();
            let factory = registry.get(name);
            let hooks = match (factory, given) {
                (None, None) => {
                    let name = name.clone();
                    return Err(ProfileError::UnknownPlugin { name, point });
                }
                (_, Some(given)) => given,
                (Some(factory), None) => {
                    let args = self.args.get(name).unwrap_or(&Value::Null);
                    factory(args, handle).map_err(|error| ProfileError::Args {
                        name: name.clone(),
                        error,
                    })?
                }
            };
            if let Some(point) = point.filter(|point| !hooks.has(*point)) {
                let name = name.clone();
                return Err(ProfileError::NotExtended { name, point });
            }
            made.insert(name, hooks);
        }
        let mut framework = Framework::new(&self.name, self.percentage, handle);
        for point in Point::ALL {
            for (name, weight) in self.at(point, &made)? {
                if let Some(hooks) = made.get(name.as_str()) {
                    framework.add(point, hooks, weight);
                }
            }
        }
        framework.finish()
    }

    /// The plugins at a point, in order: those that are enabled everywhere keep their place unless the point names them, which
    /// come first; then those that only the point names.
    fn at(
        &self,
        point: Point,
        made: &BTreeMap<&str, Hooks>,
    ) -> Result<Vec<(String, i64)>, ProfileError> {
        let none = PointPlugins::default();
        let own = self.points.get(&point).unwrap_or(&none);
        let is_own = |name: &String| own.enabled.iter().any(|(known, _)| known == name);
        let is_everywhere = |name: &String| self.everywhere.iter().any(|(known, _)| known == name);
        for (index, (name, _)) in own.enabled.iter().enumerate() {
            if own
                .enabled
                .iter()
                .take(index)
                .any(|(known, _)| known == name)
            {
                let name = name.clone();
                return Err(ProfileError::Duplicate { name, point });
            }
            let has = made.get(name.as_str()).is_none_or(|hooks| hooks.has(point));
            if !has {
                let name = name.clone();
                return Err(ProfileError::NotExtended { name, point });
            }
        }
        let (overriding, added): (Vec<_>, Vec<_>) = own
            .enabled
            .iter()
            .cloned()
            .partition(|(name, _)| is_everywhere(name));
        let inherited = self.everywhere.iter().filter(|(name, _)| {
            let has = made
                .get(name.as_str())
                .is_some_and(|hooks| hooks.has(point));
            has && !is_own(name) && !own.disabled.contains(name) && !own.disabled.contains("*")
        });
        let mut all = overriding;
        all.extend(inherited.cloned());
        all.extend(added);
        Ok(all)
    }
}
