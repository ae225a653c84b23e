//! Every plugin's word on every node, without stopping at the first that says no.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::scheduler::framework::{
    Code, CycleState, Explanation, Framework, NodeExplanation, NodeInfo, PluginScore, PodInfo,
    Snapshot, Status,
};

/// What would be decided about `pod` on this state, and why. Costs a call of every plugin for every node, and changes nothing.
#[must_use]
pub fn evaluate(framework: &Framework, pod: &Arc<PodInfo>, snapshot: &Snapshot) -> Explanation {
    let mut explanation = Explanation {
        pod: pod.clone(),
        gate: framework.gate(pod),
        pre_filter: Vec::new(),
        nodes: Vec::new(),
        waits_for: Vec::new(),
        nominated: snapshot.nomination(&pod.key).cloned(),
    };
    let mut state = CycleState::default();
    // Who named the only nodes that come into question, and which.
    let mut only: Vec<(String, BTreeSet<Arc<str>>)> = Vec::new();
    for plugin in &framework.pre_filter {
        let said = plugin.pre_filter(&mut state, pod, snapshot);
        let name = plugin.name().to_owned();
        only.extend(said.nodes.map(|nodes| (name.clone(), nodes)));
        explanation.pre_filter.push((name, said.status));
    }
    let rejection = explanation.pre_filter.iter();
    let rejection = rejection.clone().find(|(_, status)| !status.is_success());
    if let Some((plugin, _)) = rejection {
        explanation.waits_for = waits(framework, &BTreeSet::from([plugin.clone()]));
    } else {
        judge(framework, &state, pod, snapshot, &only, &mut explanation);
        score(framework, &mut state, pod, snapshot, &mut explanation);
    }
    if let Some(gate) = &explanation.gate {
        explanation.waits_for = waits(framework, &BTreeSet::from([gate.plugin.clone()]));
    }
    explanation
}

fn waits(
    framework: &Framework,
    plugins: &BTreeSet<String>,
) -> Vec<(String, Vec<crate::scheduler::framework::EventPattern>)> {
    let plugins = plugins.iter();
    plugins
        .map(|plugin| (plugin.clone(), framework.events_of(plugin).to_vec()))
        .collect()
}

/// Asks every filter about every node.
fn judge(
    framework: &Framework,
    state: &CycleState,
    pod: &Arc<PodInfo>,
    snapshot: &Snapshot,
    only: &[(String, BTreeSet<Arc<str>>)],
    explanation: &mut Explanation,
) {
    let skipped: BTreeSet<&str> = explanation
        .pre_filter
        .iter()
        .filter(|(_, status)| status.code == Code::Skip)
        .map(|(plugin, _)| plugin.as_str())
        .collect();
    let mut by_name = BTreeMap::new();
    for node in snapshot.nodes().iter().filter(|node| node.node.is_some()) {
        let crowded = crowded(framework, &skipped, state, pod, node, snapshot);
        let mut verdicts = Vec::new();
        for (plugin, nodes) in only {
            if !nodes.contains(&node.name) {
                let reason = format!("node(s) didn't satisfy plugin(s) [{plugin}]");
                verdicts.push((plugin.clone(), Status::unresolvable(reason).by(plugin)));
            }
        }
        let filters = framework.filter.iter();
        for plugin in filters.filter(|plugin| !skipped.contains(plugin.name())) {
            let with_nominated = crowded
                .as_ref()
                .map(|(state, node)| plugin.filter(state, pod, node))
                .filter(|status| !status.is_success());
            let status = with_nominated.unwrap_or_else(|| plugin.filter(state, pod, node));
            let name = plugin.name();
            verdicts.push((name.to_owned(), status.by(name)));
        }
        by_name.insert(
            node.name.clone(),
            NodeExplanation {
                node: node.name.clone(),
                verdicts,
                scores: Vec::new(),
            },
        );
    }
    explanation.nodes = by_name.into_values().collect();
    if explanation.nodes.iter().any(NodeExplanation::fits) {
        return;
    }
    // Those that the queue takes note of: of each node the first that says no.
    let first = explanation.nodes.iter().filter_map(|node| {
        let mut verdicts = node.verdicts.iter();
        verdicts.find(|(_, status)| !status.is_success())
    });
    let rejectors = first.map(|(plugin, _)| plugin.clone()).collect();
    explanation.waits_for = waits(framework, &rejectors);
}

/// The node with the pods on it that are nominated to it and go before `pod`; `None`: there are none.
fn crowded(
    framework: &Framework,
    skipped: &BTreeSet<&str>,
    state: &CycleState,
    pod: &Arc<PodInfo>,
    node: &NodeInfo,
    snapshot: &Snapshot,
) -> Option<(CycleState, NodeInfo)> {
    let mut nominated = snapshot
        .nominated_to(&node.name)
        .filter(|other| other.priority >= pod.priority && other.key != pod.key)
        .peekable();
    nominated.peek()?;
    let (mut state, mut node) = (state.clone(), node.clone());
    for other in nominated {
        node.add_pod(other);
        let plugins = framework.pre_filter.iter();
        for plugin in plugins.filter(|plugin| !skipped.contains(plugin.name())) {
            plugin.add_pod(&mut state, pod, other, &node, snapshot);
        }
    }
    Some((state, node))
}

/// Scores the nodes that fit.
fn score(
    framework: &Framework,
    state: &mut CycleState,
    pod: &Arc<PodInfo>,
    snapshot: &Snapshot,
    explanation: &mut Explanation,
) {
    let fitting: Vec<&NodeInfo> = explanation
        .nodes
        .iter()
        .filter(|node| node.fits())
        .filter_map(|node| snapshot.get(&node.node))
        .collect();
    if fitting.is_empty() {
        return;
    }
    let mut skipped = BTreeSet::new();
    for plugin in &framework.pre_score {
        if plugin.pre_score(state, pod, &fitting, snapshot).code == Code::Skip {
            skipped.insert(plugin.name());
        }
    }
    let plugins = framework.score.iter();
    for (plugin, weight) in plugins.filter(|(plugin, _)| !skipped.contains(plugin.name())) {
        let raw: Vec<i64> = fitting
            .iter()
            .map(|node| plugin.score(state, pod, node))
            .collect();
        let mut normalized = raw.clone();
        plugin.normalize(state, pod, &mut normalized);
        let scores = raw.into_iter().zip(normalized);
        let nodes = explanation.nodes.iter_mut().filter(|node| node.fits());
        for (node, (raw, normalized)) in nodes.zip(scores) {
            node.scores.push(PluginScore {
                plugin: plugin.name().to_owned(),
                raw,
                normalized,
                weight: *weight,
            });
        }
    }
}
