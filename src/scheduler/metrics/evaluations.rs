//! How often the plugins of a profile are asked. Counted in every decision, so that nothing may be looked up by name.

use std::sync::atomic::{AtomicU64, Ordering};

/// The extension points at which this is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Asked {
    PreFilter,
    Filter,
    PreScore,
    Score,
}

impl Asked {
    pub(super) const ALL: [Self; 4] = [Self::PreFilter, Self::Filter, Self::PreScore, Self::Score];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::PreFilter => "PreFilter",
            Self::Filter => "Filter",
            Self::PreScore => "PreScore",
            Self::Score => "Score",
        }
    }
}

/// In how many attempts each plugin of a profile was asked, by extension point and the plugin's place there.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Evaluations([Vec<(String, AtomicU64)>; 4]);

impl Evaluations {
    /// For these plugins at an extension point.
    pub(in crate::scheduler) fn with<'a>(
        mut self,
        asked: Asked,
        plugins: impl Iterator<Item = &'a str>,
    ) -> Self {
        let plugins = plugins.map(|plugin| (plugin.to_owned(), AtomicU64::new(0)));
        if let Some(point) = self.0.get_mut(asked as usize) {
            *point = plugins.collect();
        }
        self
    }

    /// The plugin at this place was asked in one more attempt.
    pub(in crate::scheduler) fn count(&self, asked: Asked, index: usize) {
        let point = self.0.get(asked as usize);
        if let Some((_, count)) = point.and_then(|point| point.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn each(&self, mut show: impl FnMut(Asked, &str, u64)) {
        for (asked, point) in Asked::ALL.into_iter().zip(&self.0) {
            for (plugin, count) in point {
                show(asked, plugin, count.load(Ordering::Relaxed));
            }
        }
    }
}
