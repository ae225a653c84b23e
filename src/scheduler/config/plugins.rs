//! Which plugins a profile has at which extension point: the defaults, what a document changes, and `multiPoint`.

use std::collections::BTreeSet;

use super::document::{Plugin, PluginSet, Plugins};
use crate::scheduler::framework::Point;
use crate::scheduler::plugins::DEFAULT;

impl Plugins {
    /// The set of an extension point.
    #[must_use]
    pub fn at(&self, point: Point) -> &PluginSet {
        match point {
            Point::PreEnqueue => &self.pre_enqueue,
            Point::QueueSort => &self.queue_sort,
            Point::PreFilter => &self.pre_filter,
            Point::Filter => &self.filter,
            Point::PostFilter => &self.post_filter,
            Point::PreScore => &self.pre_score,
            Point::Score => &self.score,
            Point::Reserve => &self.reserve,
            Point::Permit => &self.permit,
            Point::PreBind => &self.pre_bind,
            Point::Bind => &self.bind,
            Point::PostBind => &self.post_bind,
        }
    }

    /// These plugins after the default ones, as a document that says this means it.
    pub(super) fn over_defaults(mut self) -> Self {
        let defaults = PluginSet {
            enabled: DEFAULT
                .iter()
                .map(|(name, weight)| Plugin {
                    name: (*name).to_owned(),
                    weight: i32::try_from(*weight).ok().filter(|weight| *weight > 0),
                })
                .collect(),
            disabled: Vec::new(),
        };
        self.multi_point = merge(defaults, self.multi_point);
        self
    }

    /// The names of all that are enabled somewhere, in the order of their names.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let points = Point::ALL.into_iter().map(|point| self.at(point));
        let sets = points.chain([&self.multi_point]);
        sets.flat_map(|set| set.enabled.iter().map(|plugin| plugin.name.clone()))
            .collect()
    }
}

/// A set of a document over the default one: what is disabled goes, what is configured again keeps its place.
fn merge(default: PluginSet, custom: PluginSet) -> PluginSet {
    let is_disabled = |name: &str| {
        custom
            .disabled
            .iter()
            .any(|plugin| plugin.name == name || plugin.name == "*")
    };
    let mut replaced = BTreeSet::new();
    let mut enabled = Vec::new();
    for plugin in default.enabled {
        if is_disabled(&plugin.name) {
            continue;
        }
        let again = custom
            .enabled
            .iter()
            .rposition(|other| other.name == plugin.name);
        match again.and_then(|index| Some((index, custom.enabled.get(index)?))) {
            Some((index, other)) => {
                replaced.insert(index);
                enabled.push(other.clone());
            }
            None => enabled.push(plugin),
        }
    }
    let more = custom.enabled.iter().enumerate();
    enabled.extend(
        more.filter(|(index, _)| !replaced.contains(index))
            .map(|(_, plugin)| plugin.clone()),
    );
    PluginSet {
        enabled,
        disabled: custom.disabled,
    }
}
