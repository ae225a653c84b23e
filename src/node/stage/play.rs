//! What a stage does to an object. Pure, but for the clock.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::template::Surroundings;
use super::{Stage, Step};
use crate::clock::Clock;
use crate::object::Document as _;

/// Where an object is: the node, and who gives addresses.
pub(in crate::node) struct Place<'a> {
    pub(in crate::node) clock: &'a Clock,
    pub(in crate::node) node: String,
    pub(in crate::node) port: u16,
    /// The address of a node.
    pub(in crate::node) node_ip: &'a (dyn Fn(&str) -> String + Sync),
    /// An address for a pod.
    pub(in crate::node) pod_ip: &'a (dyn Fn() -> String + Sync),
}

impl Surroundings for Place<'_> {
    fn now(&self) -> String {
        self.clock.now().to_string()
    }

    fn node_ip(&self, node: &str) -> String {
        let node = if node.is_empty() { &self.node } else { node };
        (self.node_ip)(node)
    }

    fn node_name(&self) -> String {
        self.node.clone()
    }

    fn node_port(&self) -> u16 {
        self.port
    }

    fn pod_ip(&self, _: &str) -> String {
        (self.pod_ip)()
    }
}

/// One thing that is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::node) enum Outcome {
    Event {
        type_: String,
        reason: String,
        message: String,
    },
    /// A merge patch of the object.
    Finalizers(Value),
    Delete,
    /// A patch of the status; strategic or merge.
    Status {
        patch: Value,
        strategic: bool,
    },
}

impl Stage {
    /// What is to be done to an object whose wait is over.
    ///
    /// # Errors
    /// When a template cannot be filled in.
    pub(in crate::node) fn play(
        &self,
        object: &Value,
        place: &Place<'_>,
    ) -> Result<Vec<Outcome>, String> {
        let failed = |why: String| format!("stage {:?}: {why}", self.name);
        let mut outcomes = Vec::new();
        for step in &self.steps {
            match step {
                Step::Event {
                    type_,
                    reason,
                    message,
                } => outcomes.push(Outcome::Event {
                    type_: type_.clone(),
                    reason: reason.clone(),
                    message: message.render(object, place).map_err(failed)?,
                }),
                Step::Finalizers { add, remove, empty } => {
                    outcomes.extend(finalizers(object, add, remove, *empty));
                }
                Step::Delete => outcomes.push(Outcome::Delete),
                Step::Status {
                    template,
                    strategic,
                } => {
                    let text = template.render(object, place).map_err(failed)?;
                    let status: Value = serde_saphyr::from_str(&text)
                        .map_err(|error| failed(format!("its template gives no YAML: {error}")))?;
                    if !status.is_null() {
                        outcomes.push(Outcome::Status {
                            patch: json!({"status": status}),
                            strategic: *strategic,
                        });
                    }
                }
            }
        }
        Ok(outcomes)
    }
}

/// The change of an object's finalizers, if there is one.
fn finalizers(object: &Value, add: &[String], remove: &[String], empty: bool) -> Option<Outcome> {
    let have: Vec<&str> = object
        .list_at(&["metadata", "finalizers"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let removed: BTreeSet<&str> = remove.iter().map(String::as_str).collect();
    let kept = have
        .iter()
        .copied()
        .filter(|one| !empty && !removed.contains(one));
    let mut wanted: Vec<&str> = kept.collect();
    for one in add {
        if !wanted.contains(&one.as_str()) {
            wanted.push(one);
        }
    }
    // A merge patch replaces lists as a whole.
    (wanted != have).then(|| Outcome::Finalizers(json!({"metadata": {"finalizers": wanted}})))
}
