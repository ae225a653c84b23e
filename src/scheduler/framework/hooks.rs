//! A plugin with the extension points it has, and the registry of those that can be made by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{
    Bind, Filter, Handle, Permit, Plugin, PostBind, PostFilter, PreBind, PreEnqueue, PreFilter,
    PreScore, QueueSort, Reserve, Score,
};

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident: $trait:ident, $title:literal, $point:ident;)*) => {
        /// The extension points, in the order in which they are reached.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: [Self; 12] = [$(Self::$point),*];

            /// As a configuration names it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $title,)*
                }
            }
        }

        /// A plugin and the extension points it has.
        #[derive(Clone, Debug)]
        pub struct Hooks {
            plugin: Arc<dyn Plugin>,
            /// Whether it is one of ours.
            is_in_tree: bool,
            $(pub(crate) $name: Option<Arc<dyn $trait>>,)*
        }

        impl Hooks {
            /// A plugin without extension points; name them one by one.
            #[must_use]
            pub fn new<P: Plugin>(plugin: &Arc<P>) -> Self {
                Self {
                    plugin: plugin.clone(),
                    is_in_tree: false,
                    $($name: None,)*
                }
            }

            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name<P: $trait>(mut self, plugin: &Arc<P>) -> Self {
                    self.$name = Some(plugin.clone());
                    self
                }
            )*

            /// Whether the plugin has this extension point.
            #[must_use]
            pub fn has(&self, point: Point) -> bool {
                match point {
                    $(Point::$point => self.$name.is_some(),)*
                }
            }

            /// Takes over the extension points that `other` has.
            pub(crate) fn merge(&mut self, other: Self) {
                self.is_in_tree &= other.is_in_tree;
                $(if other.$name.is_some() { self.$name = other.$name; })*
            }
        }
    };
}

points! {
    /// May keep pods out of the queue.
    pre_enqueue: PreEnqueue, "preEnqueue", PreEnqueue;
    /// The order of the queue.
    queue_sort: QueueSort, "queueSort", QueueSort;
    /// Prepares a filter.
    pre_filter: PreFilter, "preFilter", PreFilter;
    /// Judges nodes.
    filter: Filter, "filter", Filter;
    /// May make room when no node fits.
    post_filter: PostFilter, "postFilter", PostFilter;
    /// Prepares a score.
    pre_score: PreScore, "preScore", PreScore;
    /// Scores nodes.
    score: Score, "score", Score;
    /// Reserves what the pod will use.
    reserve: Reserve, "reserve", Reserve;
    /// May hold pods back.
    permit: Permit, "permit", Permit;
    /// Prepares binding.
    pre_bind: PreBind, "preBind", PreBind;
    /// Binds.
    bind: Bind, "bind", Bind;
    /// Is told of bound pods.
    post_bind: PostBind, "postBind", PostBind;
}

impl Hooks {
    /// The plugin's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.plugin.name()
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<dyn Plugin> {
        &self.plugin
    }

    /// Whether it is one of ours, which are known to come back.
    pub(crate) fn is_in_tree(&self) -> bool {
        self.is_in_tree
    }
}

/// Arguments that a plugin does not understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ArgsError {
    /// Where, from the top of the arguments: `scoringStrategy.resources[0].weight`. Empty: the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl ArgsError {
    /// Something is wrong at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// Makes a plugin from its arguments; `Null`: it was given none.
pub type Factory = Arc<dyn Fn(&Value, &Handle) -> Result<Hooks, ArgsError> + Send + Sync>;

/// Plugins that can be made by name.
#[derive(Clone, Default)]
pub struct Registry {
    factories: BTreeMap<String, Factory>,
}

impl Registry {
    /// No plugins.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The in-tree plugins.
    #[must_use]
    pub fn in_tree() -> Self {
        crate::scheduler::plugins::registry()
    }

    /// Adds a plugin, or puts it in the place of the one of this name.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        factory: impl Fn(&Value, &Handle) -> Result<Hooks, ArgsError> + Send + Sync + 'static,
    ) -> Self {
        self.factories.insert(name.into(), Arc::new(factory));
        self
    }

    /// These are ours.
    pub(crate) fn ours(mut self) -> Self {
        for factory in self.factories.values_mut() {
            let make = factory.clone();
            *factory = Arc::new(move |args, handle| {
                let mut hooks = make(args, handle)?;
                hooks.is_in_tree = true;
                Ok(hooks)
            });
        }
        self
    }

    /// Whether there is a plugin of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.factories.contains_key(name)
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Factory> {
        self.factories.get(name)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}
