//! What the plugins of one request leave behind: warnings, annotations for the audit log, and whether the mutating plugins
//! must look again.
use crate::apiserver::response::Warnings;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Longer values are cut off.
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// Shared by the plugins that look at one request.
#[derive(Debug, Default)]
pub(crate) struct Session {
    warnings: Warnings,
    annotations: Mutex<BTreeMap<String, String>>,
    rounds: Mutex<Rounds>,
}

/// The mutating plugins run a second time when one of the last of them changed the object.
#[derive(Debug, Default)]
struct Rounds {
    /// Whether this is the second time.
    again: bool,
    /// Whether there is to be a second time.
    wanted: bool,
    /// What each plugin knows of its own parts.
    plugins: BTreeMap<&'static str, Parts>,
}

/// The parts of a plugin (webhooks, policies) that may be asked again.
#[derive(Debug, Default)]
struct Parts {
    /// Those asked so far that want to be asked again when something changes.
    asked: BTreeSet<String>,
    /// Those that must be asked again.
    due: BTreeSet<String>,
    /// The object as the plugin left it.
    left: Option<Value>,
}

impl Session {
    /// One whose warnings go to the client.
    pub(crate) fn new(warnings: Warnings) -> Self {
        Self {
            warnings,
            ..Self::default()
        }
    }

    /// Warns the client.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.warnings.add(text);
    }

    /// What the client is warned of.
    #[cfg(test)]
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.texts()
    }

    /// Notes something for the audit log; the first note under a key stays.
    pub(crate) fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        let mut value: String = value.into();
        let mut end = LONGEST_ANNOTATION.min(value.len());
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        value.truncate(end);
        self.annotations.lock().entry(key.into()).or_insert(value);
    }

    /// What was noted for the audit log.
    pub(crate) fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.lock().clone()
    }

    /// Begins the second time, if one is wanted and this was the first.
    pub(crate) fn begin_again(&self) -> bool {
        let mut rounds = self.rounds.lock();
        if rounds.again || !rounds.wanted {
            return false;
        }
        rounds.again = true;
        true
    }

    /// A plugin begins: when others changed the object since it ran, all its parts are due again.
    pub(crate) fn enter(&self, plugin: &'static str, object: &Value) {
        let mut rounds = self.rounds.lock();
        let again = rounds.again;
        let parts = rounds.plugins.entry(plugin).or_default();
        if again && parts.left.as_ref() != Some(object) {
            parts.due.append(&mut parts.asked);
        }
    }

    /// A plugin is done.
    pub(crate) fn leave(&self, plugin: &'static str, object: &Value) {
        let mut rounds = self.rounds.lock();
        rounds.plugins.entry(plugin).or_default().left = Some(object.clone());
    }

    /// Whether a part is to be asked now.
    pub(crate) fn is_due(&self, plugin: &'static str, part: &str) -> bool {
        let rounds = self.rounds.lock();
        let due = |parts: &Parts| parts.due.contains(part);
        !rounds.again || rounds.plugins.get(plugin).is_some_and(due)
    }

    /// A part changed the object: those asked before it are due again.
    pub(crate) fn changed(&self, plugin: &'static str) {
        let mut rounds = self.rounds.lock();
        rounds.wanted = true;
        let parts = rounds.plugins.entry(plugin).or_default();
        parts.due.append(&mut parts.asked);
    }

    /// A part was asked and wants to be asked again when something changes later.
    pub(crate) fn asked(&self, plugin: &'static str, part: &str) {
        let mut rounds = self.rounds.lock();
        let parts = rounds.plugins.entry(plugin).or_default();
        parts.asked.insert(part.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_asked_again_when_later_ones_change_something() {
        let session = Session::default();
        let (before, after) = (json!(1), json!(2));
        session.enter("p", &before);
        assert!(session.is_due("p", "a"));
        session.asked("p", "a");
        session.changed("p");
        session.asked("p", "b");
        session.leave("p", &after);
        assert!(session.begin_again());
        assert!(!session.begin_again());
        session.enter("p", &after);
        assert!(session.is_due("p", "a"));
        assert!(!session.is_due("p", "b"), "nothing changed after it");
        session.enter("p", &before);
        assert!(session.is_due("p", "b"), "others changed the object");
    }

    #[test]
    fn annotations_are_kept_once_and_cut() {
        let session = Session::default();
        session.annotate("a", "1");
        session.annotate("a", "2");
        session.annotate("b", "ß".repeat(10_000));
        assert_eq!(session.annotations()["a"], "1");
        assert_eq!(session.annotations()["b"].len(), LONGEST_ANNOTATION);
    }
}
