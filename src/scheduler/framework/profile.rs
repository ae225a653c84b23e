//! A profile: which plugins decide about the pods of one scheduler name.

use std::sync::Arc;

use super::{
    Bind, Filter, Permit, Plugin, PostBind, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore,
    QueueSort, Reserve, Score,
};
use crate::scheduler::plugins;

/// The plugins of each extension point, in the order in which they are called.
#[derive(Clone, Debug)]
pub struct Profile {
    name: String,
    pub(crate) pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
    pub(crate) queue_sort: Arc<dyn QueueSort>,
    pub(crate) pre_filter: Vec<Arc<dyn PreFilter>>,
    pub(crate) filter: Vec<Arc<dyn Filter>>,
    pub(crate) post_filter: Vec<Arc<dyn PostFilter>>,
    pub(crate) pre_score: Vec<Arc<dyn PreScore>>,
    pub(crate) score: Vec<(Arc<dyn Score>, i64)>,
    pub(crate) reserve: Vec<Arc<dyn Reserve>>,
    pub(crate) permit: Vec<Arc<dyn Permit>>,
    pub(crate) pre_bind: Vec<Arc<dyn PreBind>>,
    pub(crate) bind: Vec<Arc<dyn Bind>>,
    pub(crate) post_bind: Vec<Arc<dyn PostBind>>,
}

/// The profile `default-scheduler` with the default plugins and their default weights.
impl Default for Profile {
    fn default() -> Self {
        plugins::default_profile("default-scheduler")
    }
}

macro_rules! add {
    ($(#[$doc:meta] $name:ident: $trait:ident),* $(,)?) => {
        $(
            #[$doc]
            #[must_use]
            pub fn $name(mut self, plugin: impl $trait) -> Self {
                self.$name.push(Arc::new(plugin));
                self
            }
        )*
    };
}

impl Profile {
    /// A profile for pods whose `schedulerName` is `name`, with no plugins but `queue_sort`.
    pub fn empty(name: impl Into<String>, queue_sort: impl QueueSort) -> Self {
        Self {
            name: name.into(),
            pre_enqueue: Vec::new(),
            queue_sort: Arc::new(queue_sort),
            pre_filter: Vec::new(),
            filter: Vec::new(),
            post_filter: Vec::new(),
            pre_score: Vec::new(),
            score: Vec::new(),
            reserve: Vec::new(),
            permit: Vec::new(),
            pre_bind: Vec::new(),
            bind: Vec::new(),
            post_bind: Vec::new(),
        }
    }

    /// The default plugins under another scheduler name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        plugins::default_profile(name)
    }

    /// The scheduler name it serves.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
    pub fn score(mut self, plugin: impl Score, weight: i64) -> Self {
        self.score.push((Arc::new(plugin), weight));
        self
    }

    /// The plugin of this name that can reject pods.
    pub(crate) fn rejector(&self, name: &str) -> Option<&dyn Plugin> {
        let filters = self
            .filter
            .iter()
            .map(|plugin| plugin.as_ref() as &dyn Plugin);
        let pre_filters = self
            .pre_filter
            .iter()
            .map(|plugin| plugin.as_ref() as &dyn Plugin);
        let pre_enqueue = self
            .pre_enqueue
            .iter()
            .map(|plugin| plugin.as_ref() as &dyn Plugin);
        filters
            .chain(pre_filters)
            .chain(pre_enqueue)
            .find(|plugin| plugin.name() == name)
    }
}
