//! A profile whose plugins are made: what the queue, the cycle and the binding call.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::{
    Bind, ClusterEvent, EventPattern, Extender, Filter, Gang, GangVerdict, Handle, Hint, Hooks,
    Permit, Plugin, PodInfo, Point, PostBind, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore,
    ProfileError, QueueSort, Reserve, Score, Snapshot, Status, guarded,
};

/// The plugins of each extension point, in the order in which they are called.
#[derive(Clone, Debug)]
pub struct Framework {
    name: Arc<str>,
    percentage: Option<u32>,
    handle: Handle,
    plugins: BTreeMap<String, Registered>,
    is_in_tree: bool,
    queue_sorts: Vec<Arc<dyn QueueSort>>,
    pub(crate) pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
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
    pub(crate) extenders: Vec<Arc<dyn Extender>>,
    /// For each filter the pre-filter of the same plugin, and for each score the pre-score.
    pub(crate) pre_filter_of: Vec<Option<usize>>,
    pub(crate) pre_score_of: Vec<Option<usize>>,
}

/// A plugin and the events it waits for.
#[derive(Clone, Debug)]
struct Registered {
    plugin: Arc<dyn Plugin>,
    events: Arc<[EventPattern]>,
}

impl Framework {
    pub(super) fn new(name: &str, percentage: Option<u32>, handle: &Handle) -> Self {
        Self {
            name: name.into(),
            percentage,
            handle: handle.clone(),
            plugins: BTreeMap::new(),
            is_in_tree: true,
            queue_sorts: Vec::new(),
            pre_enqueue: Vec::new(),
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
            extenders: Vec::new(),
            pre_filter_of: Vec::new(),
            pre_score_of: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, point: Point, hooks: &Hooks, weight: i64) {
        let registered = || Registered {
            plugin: hooks.plugin().clone(),
            events: hooks.plugin().events().into(),
        };
        self.plugins
            .entry(hooks.name().to_owned())
            .or_insert_with(registered);
        self.is_in_tree &= hooks.is_in_tree();
        match point {
            Point::PreEnqueue => self.pre_enqueue.extend(hooks.pre_enqueue.clone()),
            Point::QueueSort => self.queue_sorts.extend(hooks.queue_sort.clone()),
            Point::PreFilter => self.pre_filter.extend(hooks.pre_filter.clone()),
            Point::Filter => self.filter.extend(hooks.filter.clone()),
            Point::PostFilter => self.post_filter.extend(hooks.post_filter.clone()),
            Point::PreScore => self.pre_score.extend(hooks.pre_score.clone()),
            Point::Score => {
                let weight = if weight == 0 { 1 } else { weight };
                let score = hooks.score.clone();
                self.score.extend(score.map(|plugin| (plugin, weight)));
            }
            Point::Reserve => self.reserve.extend(hooks.reserve.clone()),
            Point::Permit => self.permit.extend(hooks.permit.clone()),
            Point::PreBind => self.pre_bind.extend(hooks.pre_bind.clone()),
            Point::Bind => self.bind.extend(hooks.bind.clone()),
            Point::PostBind => self.post_bind.extend(hooks.post_bind.clone()),
        }
    }

    pub(super) fn finish(mut self) -> Result<Self, ProfileError> {
        let position = |name: &str| self.pre_filter.iter().position(|pre| pre.name() == name);
        let filters = self.filter.iter();
        self.pre_filter_of = filters.map(|plugin| position(plugin.name())).collect();
        let position = |name: &str| self.pre_score.iter().position(|pre| pre.name() == name);
        let scores = self.score.iter();
        self.pre_score_of = scores.map(|(plugin, _)| position(plugin.name())).collect();
        let message = match self.queue_sorts.len() {
            0 => "no queue sort plugin is enabled",
            1 => return Ok(self),
            _ => "only one queue sort plugin can be enabled",
        };
        let profile = self.name.to_string();
        Err(ProfileError::Incomplete { profile, message })
    }

    /// The scheduler name it serves.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether all its plugins are ours.
    pub(crate) fn is_in_tree(&self) -> bool {
        self.is_in_tree
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Whether the plugin waits for such events at all.
    pub(crate) fn awaits(&self, plugin: &str, event: &ClusterEvent<'_>) -> bool {
        let registered = self.plugins.get(plugin);
        registered.is_none_or(|registered| {
            let mut events = registered.events.iter();
            events.any(|pattern| pattern.covers(event))
        })
    }

    /// The share of nodes to look for that the profile sets for itself.
    #[must_use]
    pub fn percentage_of_nodes_to_score(&self) -> Option<u32> {
        self.percentage
    }

    /// What its plugins use.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The order of the queue.
    pub(crate) fn queue_sort(&self) -> Option<&Arc<dyn QueueSort>> {
        self.queue_sorts.first()
    }

    /// The names of its plugins.
    pub fn plugins(&self) -> impl Iterator<Item = &str> {
        self.plugins.keys().map(String::as_str)
    }

    /// The events that the plugin of this name waits for; empty when there is no such plugin.
    #[must_use]
    pub fn events_of(&self, plugin: &str) -> &[EventPattern] {
        self.plugins
            .get(plugin)
            .map_or(&[], |registered| &registered.events)
    }

    /// Whether `event` may let `pod` fit, which `plugin` rejected. A rejection by nobody we know of is lifted by anything.
    #[must_use]
    pub fn wakes(
        &self,
        plugin: &str,
        event: &ClusterEvent<'_>,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> bool {
        let hint = |registered: &Registered| {
            // One that panics cannot say no.
            guarded(|| registered.plugin.hint(event, pod, snapshot)).unwrap_or(Hint::Queue)
        };
        self.awaits(plugin, event)
            && self
                .plugins
                .get(plugin)
                .is_none_or(|registered| hint(registered) == Hint::Queue)
    }

    /// The pods that are scheduled together with this one or not at all. `Err`: a plugin does not know, and what it waits for.
    pub(crate) fn gang(&self, pod: &PodInfo) -> Result<Option<Gang>, Status> {
        for plugin in &self.permit {
            let said = guarded(|| plugin.gang(pod));
            let gang = said.unwrap_or_else(|panic| Err(Status::error(panic)));
            if let Some(gang) = gang.map_err(|status| status.by(plugin.name()))? {
                return Ok(Some(gang));
            }
        }
        Ok(None)
    }

    /// What is to be done about what was decided about a pod's gang, as the plugin says that says who is in it.
    pub(crate) fn gang_decided(
        &self,
        gang: &Gang,
        pod: &PodInfo,
        verdict: GangVerdict,
    ) -> Option<BoxFuture<'static, ()>> {
        let mut plugins = self.permit.iter();
        let plugin = plugins.find(|plugin| plugin.name() == &*gang.plugin)?;
        guarded(|| plugin.gang_decided(pod, verdict)).ok().flatten()
    }

    /// What keeps a pod out of the queue.
    #[must_use]
    pub fn gate(&self, pod: &PodInfo) -> Option<Status> {
        self.pre_enqueue.iter().find_map(|plugin| {
            let status = guarded(|| plugin.pre_enqueue(pod)).unwrap_or_else(Status::error);
            (!status.is_success()).then(|| status.by(plugin.name()))
        })
    }
}
