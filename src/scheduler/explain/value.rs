//! The explanation of a decision as a value that can be written and read.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::scheduler::framework::{self, Code, Status};

/// What is, or would be, decided about a pod, and why: every plugin's word on every node.
///
/// Its `Display` is a table; [`Explanation::event`] is one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Explanation {
    /// The pod's namespace and name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// The scheduler name that it asks for.
    pub scheduler: String,
    /// The node that it is nominated to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominated: Option<String>,
    /// What keeps it out of the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Verdict>,
    /// What plugins said of the pod, before they looked at nodes.
    pub pre_filter: Vec<Verdict>,
    /// The nodes, in the order of their names.
    pub nodes: Vec<Node>,
    /// The plugins that keep the pod from being scheduled, and what would have it tried again.
    pub waits_for: Vec<Wait>,
}

/// What one plugin said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verdict {
    /// The plugin.
    pub plugin: String,
    /// `Success`, `Skip`, `Unschedulable`, `UnschedulableAndUnresolvable`, `Pending` or `Error`.
    pub code: String,
    /// In words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// What was said of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether the pod can go there.
    pub fits: bool,
    /// The word of every filter, and not only up to the first rejection.
    pub verdicts: Vec<Verdict>,
    /// The scores, of a node that fits.
    pub scores: Vec<Score>,
    /// The sum of the weighted scores.
    pub total: i64,
}

/// What one plugin thinks of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Score {
    /// The plugin.
    pub plugin: String,
    /// As the plugin gave it.
    pub raw: i64,
    /// Brought into 0 to 100.
    pub normalized: i64,
    /// How much it counts.
    pub weight: i64,
    /// What it adds to the total.
    pub weighted: i64,
}

/// What a plugin that rejected the pod waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wait {
    /// The plugin.
    pub plugin: String,
    /// Events such as `Node/Add` or `AssignedPod/Delete`.
    pub events: Vec<String>,
}

impl Verdict {
    pub(super) fn new(plugin: &str, status: &Status) -> Self {
        let code = match status.code {
            Code::Success => "Success",
            Code::Unschedulable => "Unschedulable",
            Code::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
            Code::Skip => "Skip",
            Code::Pending => "Pending",
            Code::Error => "Error",
        };
        Self {
            plugin: plugin.to_owned(),
            code: code.to_owned(),
            reasons: status.reasons.iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether the plugin has nothing against it.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.code.as_str(), "Success" | "Skip")
    }

    fn reason(&self) -> String {
        if self.reasons.is_empty() {
            self.code.clone()
        } else {
            self.reasons.join(", ")
        }
    }
}

impl From<framework::Explanation> for Explanation {
    fn from(explanation: framework::Explanation) -> Self {
        let verdicts = |all: &[(String, Status)]| {
            let all = all.iter();
            all.map(|(plugin, status)| Verdict::new(plugin, status))
                .collect::<Vec<_>>()
        };
        let pod = &explanation.pod;
        let rejected = explanation
            .pre_filter
            .iter()
            .any(|(_, status)| !status.is_success());
        let nodes = explanation.nodes.iter().map(|node| Node {
            name: node.node.to_string(),
            fits: node.fits() && !rejected,
            verdicts: verdicts(&node.verdicts),
            scores: node
                .scores
                .iter()
                .map(|score| Score {
                    plugin: score.plugin.clone(),
                    raw: score.raw,
                    normalized: score.normalized,
                    weight: score.weight,
                    weighted: score.normalized.saturating_mul(score.weight),
                })
                .collect(),
            total: node.total(),
        });
        let waits = explanation.waits_for.iter();
        Self {
            pod: pod.key.to_string(),
            uid: pod.pod.metadata.uid.clone().unwrap_or_default(),
            scheduler: pod.scheduler_name().to_owned(),
            nominated: explanation.nominated.as_ref().map(ToString::to_string),
            gate: explanation
                .gate
                .as_ref()
                .map(|status| Verdict::new(&status.plugin, status)),
            pre_filter: verdicts(&explanation.pre_filter),
            nodes: nodes.collect(),
            waits_for: waits
                .map(|(plugin, events)| Wait {
                    plugin: plugin.clone(),
                    events: events.iter().map(ToString::to_string).collect(),
                })
                .collect(),
        }
    }
}

impl Explanation {
    /// The names of the nodes that the pod can go to, best first.
    #[must_use]
    pub fn fitting(&self) -> Vec<&str> {
        let mut fitting: Vec<&Node> = self.nodes.iter().filter(|node| node.fits).collect();
        fitting.sort_by_key(|node| std::cmp::Reverse(node.total));
        fitting.iter().map(|node| node.name.as_str()).collect()
    }

    /// What it comes to, in a few words.
    #[must_use]
    pub fn summary(&self) -> String {
        if let Some(gate) = &self.gate {
            return format!(
                "is kept out of the queue by {}: {}",
                gate.plugin,
                gate.reason()
            );
        }
        if let Some(verdict) = self.pre_filter.iter().find(|verdict| !verdict.is_success()) {
            return format!("is rejected by {}: {}", verdict.plugin, verdict.reason());
        }
        let (all, fitting) = (self.nodes.len(), self.fitting());
        let Some(best) = fitting.first() else {
            return format!("fits none of {all} nodes");
        };
        let total = |name: &str| {
            let mut nodes = self.nodes.iter();
            nodes
                .find(|node| node.name == name)
                .map_or(0, |node| node.total)
        };
        let ties = fitting
            .iter()
            .filter(|name| total(name) == total(best))
            .count();
        let count = fitting.len();
        match ties {
            1 => format!("fits {count} of {all} nodes, {best} best"),
            ties => format!("fits {count} of {all} nodes, {ties} of them equally best"),
        }
    }

    /// One line for an event: what it comes to, who says so of how many nodes, and what the pod waits for. At most 1,024 bytes.
    #[must_use]
    pub fn event(&self) -> String {
        let mut text = format!("{} {}", self.pod, self.summary());
        let mut counts: Vec<(String, usize)> = Vec::new();
        let verdicts = self.nodes.iter().flat_map(|node| &node.verdicts);
        for verdict in verdicts.filter(|verdict| !verdict.is_success()) {
            let said = format!("{}: {}", verdict.plugin, verdict.reason());
            match counts.iter_mut().find(|(known, _)| *known == said) {
                Some((_, count)) => *count += 1,
                None => counts.push((said, 1)),
            }
        }
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let counted: Vec<String> = counts
            .iter()
            .map(|(said, count)| format!("{count} × {said}"))
            .collect();
        if !counted.is_empty() {
            text = format!("{text}. {}", counted.join(", "));
        }
        let events: BTreeSet<&str> = self
            .waits_for
            .iter()
            .flat_map(|wait| wait.events.iter().map(String::as_str))
            .collect();
        if !events.is_empty() {
            let events: Vec<&str> = events.into_iter().collect();
            text = format!("{text}. Waits for {}", events.join(", "));
        }
        if text.len() > LONGEST {
            let end = (0..=LONGEST - '…'.len_utf8())
                .rev()
                .find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        text
    }
}

/// Events have no longer messages.
const LONGEST: usize = 1024;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pod {} {}", self.pod, self.summary())?;
        if let Some(node) = &self.nominated {
            writeln!(f, "nominated to {node}")?;
        }
        let mut head = "waits for";
        for wait in &self.waits_for {
            let events = if wait.events.is_empty() {
                "nothing".to_owned()
            } else {
                wait.events.join(", ")
            };
            writeln!(f, "{head:<9}  {}: {events}", wait.plugin)?;
            head = "";
        }
        let rejections = self.nodes.iter().filter(|node| !node.fits);
        let rows: Vec<Vec<String>> = rejections
            .map(|node| {
                let against = node.verdicts.iter().filter(|verdict| !verdict.is_success());
                let said: Vec<String> = against
                    .map(|verdict| format!("{}: {}", verdict.plugin, verdict.reason()))
                    .collect();
                vec![node.name.clone(), said.join("; ")]
            })
            .collect();
        table(f, &["NODE", "DOES NOT FIT BECAUSE"], &rows)?;
        let mut fitting: Vec<&Node> = self.nodes.iter().filter(|node| node.fits).collect();
        fitting.sort_by_key(|node| std::cmp::Reverse(node.total));
        let mut head = vec!["NODE", "TOTAL"];
        let plugins = fitting.first().into_iter().flat_map(|node| &node.scores);
        head.extend(plugins.map(|score| score.plugin.as_str()));
        let rows: Vec<Vec<String>> = fitting
            .iter()
            .map(|node| {
                let scores = node.scores.iter().map(|score| {
                    if score.raw == score.normalized {
                        format!("{}×{}", score.normalized, score.weight)
                    } else {
                        format!("{}→{}×{}", score.raw, score.normalized, score.weight)
                    }
                });
                let first = [node.name.clone(), node.total.to_string()];
                first.into_iter().chain(scores).collect()
            })
            .collect();
        table(f, &head, &rows)
    }
}

/// Columns side by side, two spaces between them; nothing when there are no rows.
fn table(f: &mut fmt::Formatter<'_>, head: &[&str], rows: &[Vec<String>]) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(f)?;
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let cells = cells.map(|cell| cell.chars().count());
        let head = head.get(column).map_or(0, |cell| cell.len());
        cells.chain([head]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let padded: Vec<String> = padded.collect();
        writeln!(f, "{}", padded.join("  ").trim_end())
    };
    line(&mut head.iter().copied())?;
    rows.iter()
        .try_for_each(|row| line(&mut row.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(plugin: &str, reason: &str) -> Verdict {
        let code = if reason.is_empty() {
            "Success"
        } else {
            "Unschedulable"
        };
        Verdict {
            plugin: plugin.to_owned(),
            code: code.to_owned(),
            reasons: (!reason.is_empty())
                .then(|| reason.to_owned())
                .into_iter()
                .collect(),
        }
    }

    fn node(name: &str, verdicts: Vec<Verdict>, scores: &[(&str, i64, i64, i64)]) -> Node {
        let scores: Vec<Score> = scores
            .iter()
            .map(|(plugin, raw, normalized, weight)| Score {
                plugin: (*plugin).to_owned(),
                raw: *raw,
                normalized: *normalized,
                weight: *weight,
                weighted: normalized * weight,
            })
            .collect();
        Node {
            name: name.to_owned(),
            fits: verdicts.iter().all(Verdict::is_success),
            total: scores.iter().map(|score| score.weighted).sum(),
            verdicts,
            scores,
        }
    }

    fn unfit() -> Explanation {
        let cpu = || verdict("NodeResourcesFit", "Insufficient cpu");
        let taint = verdict("TaintToleration", "node(s) had untolerated taint(s)");
        Explanation {
            pod: "default/big".to_owned(),
            scheduler: "default-scheduler".to_owned(),
            nodes: vec![
                node("node-1", vec![verdict("NodeName", ""), cpu()], &[]),
                node("node-10", vec![taint, cpu()], &[]),
            ],
            waits_for: vec![
                Wait {
                    plugin: "NodeResourcesFit".to_owned(),
                    events: vec!["Node/Add".to_owned(), "AssignedPod/Delete".to_owned()],
                },
                Wait {
                    plugin: "TaintToleration".to_owned(),
                    events: vec!["Node/Add".to_owned()],
                },
            ],
            ..Explanation::default()
        }
    }

    #[test]
    fn a_table_of_a_pod_that_fits_nowhere() {
        assert_eq!(
            unfit().to_string(),
            "\
pod default/big fits none of 2 nodes
waits for  NodeResourcesFit: Node/Add, AssignedPod/Delete
           TaintToleration: Node/Add

NODE     DOES NOT FIT BECAUSE
node-1   NodeResourcesFit: Insufficient cpu
node-10  TaintToleration: node(s) had untolerated taint(s); NodeResourcesFit: Insufficient cpu
"
        );
        assert_eq!(
            unfit().event(),
            "default/big fits none of 2 nodes. 2 × NodeResourcesFit: Insufficient cpu, \
             1 × TaintToleration: node(s) had untolerated taint(s). Waits for AssignedPod/Delete, Node/Add"
        );
    }

    #[test]
    fn a_table_of_scores() {
        let fit = || vec![verdict("NodeResourcesFit", "")];
        let explanation = Explanation {
            pod: "default/web".to_owned(),
            nodes: vec![
                node(
                    "a",
                    fit(),
                    &[
                        ("TaintToleration", 1, 0, 3),
                        ("NodeResourcesFit", 57, 57, 1),
                    ],
                ),
                node(
                    "b",
                    fit(),
                    &[
                        ("TaintToleration", 0, 100, 3),
                        ("NodeResourcesFit", 80, 80, 1),
                    ],
                ),
            ],
            ..Explanation::default()
        };
        assert_eq!(explanation.fitting(), ["b", "a"]);
        assert_eq!(
            explanation.to_string(),
            "\
pod default/web fits 2 of 2 nodes, b best

NODE  TOTAL  TaintToleration  NodeResourcesFit
b     380    0→100×3          80×1
a     57     1→0×3            57×1
"
        );
    }

    #[test]
    fn it_is_written_and_read() {
        let text = serde_json::to_string(&unfit()).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), unfit());
    }

    #[test]
    fn long_events_are_cut() {
        let mut explanation = unfit();
        let reason = "é".repeat(2000);
        explanation
            .nodes
            .push(node("x", vec![verdict("Own", &reason)], &[]));
        let event = explanation.event();
        assert!(
            event.len() <= LONGEST && event.ends_with('…'),
            "{}",
            event.len()
        );
    }
}
