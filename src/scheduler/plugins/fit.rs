//! NodeResourcesFit: a node must have left what a pod requests; how good it is depends on how much that is.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use super::args::Args;
use super::scoring::{Scoring, amount};
use crate::scheduler::framework::{
    Actions, ArgsError, ClusterEvent, Code, CycleState, EventPattern, Filter, Handle, Hint, Hooks,
    NodeInfo, Plugin, PodInfo, Resource, Resources, Scope, Score, Snapshot, Status,
};

/// Filters by resources and the number of pods; scores by what is left of resources, or taken of them.
#[derive(Clone, Debug, Default)]
pub struct Fit {
    /// Resources that another scheduler or an extender cares for …
    ignored: BTreeSet<String>,
    /// … by name, or by what is before the slash.
    ignored_groups: BTreeSet<String>,
    scoring: Scoring,
}

impl Fit {
    pub(super) fn make(args: &Value, _handle: &Handle) -> Result<Hooks, ArgsError> {
        let plugin = Arc::new(Self::of(args)?);
        Ok(Hooks::new(&plugin).filter(&plugin).score(&plugin))
    }

    pub(super) fn of(args: &Value) -> Result<Self, ArgsError> {
        let known = [
            "ignoredResources",
            "ignoredResourceGroups",
            "scoringStrategy",
        ];
        let args = Args::of(args, "NodeResourcesFitArgs", &known)?;
        let groups = args.texts("ignoredResourceGroups")?;
        if let Some(index) = groups.iter().position(|group| group.contains('/')) {
            return Err(args.invalid(
                &format!("ignoredResourceGroups[{index}]"),
                format_args!(
                    "Invalid value: {:?}: resource group name can't contain '/'",
                    groups[index]
                ),
            ));
        }
        Ok(Self {
            ignored: args.texts("ignoredResources")?.into_iter().collect(),
            ignored_groups: groups.into_iter().collect(),
            scoring: Scoring::of(&args)?,
        })
    }

    fn ignores(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        is_extended(name) && (self.ignored.contains(name) || self.ignored_groups.contains(group))
    }

    /// What is short: of what, whether for good, in the order in which it is told.
    fn short<'a>(
        &'a self,
        wanted: &'a Resources,
        have: &'a Resources,
        used: &'a Resources,
    ) -> impl Iterator<Item = (&'a str, bool)> {
        let common = ["cpu", "memory", "ephemeral-storage"].into_iter();
        let others = wanted.scalars.keys().map(String::as_str);
        let others = others.filter(|name| !self.ignores(name));
        common.chain(others).filter_map(|name| {
            let (wanted, have) = (amount(wanted, name), amount(have, name));
            let short = wanted > 0 && wanted > have - amount(used, name);
            // What is more than the whole node has does not fit whatever room is made.
            short.then_some((name, wanted > have))
        })
    }
}

/// Whether a resource is one that somebody added to Kubernetes.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

fn insufficient(name: &str) -> Cow<'static, str> {
    match name {
        "cpu" => "Insufficient cpu".into(),
        "memory" => "Insufficient memory".into(),
        "ephemeral-storage" => "Insufficient ephemeral-storage".into(),
        _ => format!("Insufficient {name}").into(),
    }
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn events(&self) -> Vec<EventPattern> {
        let less = Actions::UPDATE_POD_SCALE_DOWN;
        vec![
            EventPattern::new(Resource::AssignedPod, Actions::DELETE | less),
            EventPattern::new(Resource::TargetPod, less),
            EventPattern::new(
                Resource::Node,
                Actions::ADD | Actions::UPDATE_NODE_ALLOCATABLE,
            ),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let helps = match event.resource {
            Resource::Node => event
                .new_object::<Node>()
                .is_none_or(|node| self.helps(pod, event.old::<Node>(), node)),
            Resource::AssignedPod => {
                match (event.old::<PodInfo>(), event.new_object::<PodInfo>()) {
                    (Some(old), Some(new)) => names(&pod.requests).any(|name| {
                        amount(&pod.requests, name) > 0
                            && amount(&new.requests, name) < amount(&old.requests, name)
                    }),
                    _ => true,
                }
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

fn names(resources: &Resources) -> impl Iterator<Item = &str> {
    let common = ["cpu", "memory", "ephemeral-storage"].into_iter();
    common.chain(resources.scalars.keys().map(String::as_str))
}

impl Fit {
    /// Whether a node that is new or gives out something else may run the pod.
    fn helps(&self, pod: &PodInfo, old: Option<&Node>, new: &Node) -> bool {
        let info = |node: &Node| {
            let mut info = NodeInfo::new("");
            info.set_node(Some(Arc::new(node.clone())));
            info
        };
        let new = info(new);
        let none = Resources::default();
        let fits = new.allowed_pods > 0
            && self
                .short(&pod.requests, &new.allocatable, &none)
                .next()
                .is_none();
        fits && old.is_none_or(|old| {
            let old = info(old);
            new.allowed_pods > old.allowed_pods
                || names(&pod.requests).any(|name| {
                    amount(&pod.requests, name) > 0
                        && amount(&new.allocatable, name) > amount(&old.allocatable, name)
                })
        })
    }
}

impl Filter for Fit {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let mut status = Status::success();
        if node.pods.len() + 1 > node.allowed_pods {
            status = Status::unschedulable("Too many pods");
        }
        for (name, never) in self.short(&pod.requests, &node.allocatable, &node.requested) {
            status.reasons.push(insufficient(name));
            if never {
                status.code = Code::UnschedulableAndUnresolvable;
            } else if status.code == Code::Success {
                status.code = Code::Unschedulable;
            }
        }
        status
    }

    fn fits(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Option<bool> {
        let mut short = self.short(&pod.requests, &node.allocatable, &node.requested);
        Some(node.pods.len() < node.allowed_pods && short.next().is_none())
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}

impl Score for Fit {
    fn score(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        self.scoring.score(pod, node)
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
