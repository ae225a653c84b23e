//! What a plugin says of a pod or a node.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The kinds of verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Code {
    /// Fine.
    #[default]
    Success,
    /// Does not fit now; making room may help.
    Unschedulable,
    /// Does not fit, whatever room is made.
    UnschedulableAndUnresolvable,
    /// The plugin has nothing to do with this pod.
    Skip,
    /// The pod waits for something outside the scheduler.
    Pending,
    /// The plugin failed.
    Error,
}

impl Code {
    /// As metrics name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Unschedulable => "Unschedulable",
            Self::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
            Self::Skip => "Skip",
            Self::Pending => "Pending",
            Self::Error => "Error",
        }
    }
}

/// A verdict with its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The kind of verdict.
    pub code: Code,
    /// In words, as the pod's condition and event show them. Empty when fine.
    pub reasons: Vec<Cow<'static, str>>,
    /// The plugin that gave it; filled in by the framework.
    pub plugin: String,
}

impl Status {
    /// Fine. Does not allocate.
    #[must_use]
    pub fn success() -> Self {
        Self::default()
    }

    /// The plugin has nothing to do with this pod.
    #[must_use]
    pub fn skip() -> Self {
        Self {
            code: Code::Skip,
            ..Self::default()
        }
    }

    /// Does not fit now, for this reason.
    pub fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Code::Unschedulable,
            reasons: vec![reason.into()],
            plugin: String::new(),
        }
    }

    /// Does not fit whatever room is made, for this reason.
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Code::UnschedulableAndUnresolvable,
            reasons: vec![reason.into()],
            plugin: String::new(),
        }
    }

    /// The plugin failed.
    pub fn error(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Code::Error,
            reasons: vec![reason.into()],
            plugin: String::new(),
        }
    }

    /// Whether it is [`Code::Success`] or [`Code::Skip`].
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.code, Code::Success | Code::Skip)
    }

    pub(crate) fn by(mut self, plugin: &str) -> Self {
        plugin.clone_into(&mut self.plugin);
        self
    }
}

/// Adds up reasons: `1 Insufficient cpu, 2 node(s) were unschedulable`.
pub(crate) fn histogram<'a>(reasons: impl Iterator<Item = (&'a str, usize)>) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for (reason, count) in reasons {
        *counts.entry(reason).or_default() += count;
    }
    let counted = counts.into_iter().filter(|(_, count)| *count > 0);
    let mut counted: Vec<String> = counted
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    counted.sort();
    counted.join(", ")
}
