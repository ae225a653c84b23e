//! NodeDeclaredFeatures: what a pod needs of newer kubelets its node must have declared (KEP-5328).

use k8s_openapi::api::core::v1::{Container, Node, PodSpec};

use crate::scheduler::framework::{
    Actions, ClusterEvent, CycleState, EventPattern, Filter, Hint, NodeInfo, Plugin, PodInfo,
    PreFilter, PreFiltered, Resource, Scope, Snapshot, Status,
};

/// Filters by `status.declaredFeatures` of nodes.
#[derive(Clone, Copy, Debug)]
pub struct NodeDeclaredFeatures;

/// A feature, and whether a pod needs it.
type Feature = (&'static str, fn(&PodSpec) -> bool);

/// The features that a pod can need from its start on.
const FEATURES: [Feature; 2] = [
    (
        "RestartAllContainersOnContainerExits",
        restarts_all_containers,
    ),
    (
        "UserNamespacesHostNetworkSupport",
        has_users_in_host_network,
    ),
];

fn restarts_all_containers(spec: &PodSpec) -> bool {
    let init = spec.init_containers.iter().flatten();
    let restarts_all = |container: &Container| {
        let mut rules = container.restart_policy_rules.iter().flatten();
        rules.any(|rule| rule.action == "RestartAllContainers")
    };
    init.chain(&spec.containers).any(restarts_all)
}

fn has_users_in_host_network(spec: &PodSpec) -> bool {
    spec.host_network == Some(true) && spec.host_users == Some(false)
}

/// The features that a pod needs.
fn needed(pod: &PodInfo) -> Vec<&'static str> {
    let Some(spec) = pod.spec() else {
        return Vec::new();
    };
    let needed = FEATURES.iter().filter(|(_, needs)| needs(spec));
    needed.map(|(name, _)| *name).collect()
}

fn declared(node: &Node) -> &[String] {
    let status = node.status.as_ref();
    let declared = status.and_then(|status| status.declared_features.as_deref());
    declared.unwrap_or_default()
}

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn events(&self) -> Vec<EventPattern> {
        let node = Actions::ADD | Actions::UPDATE_NODE_DECLARED_FEATURE;
        vec![
            EventPattern::new(Resource::Node, node),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, _pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let nodes = (event.old::<Node>(), event.new_object::<Node>());
        let pods = (event.old::<PodInfo>(), event.new_object::<PodInfo>());
        let same = match (nodes, pods) {
            ((Some(old), Some(new)), _) => declared(old) == declared(new),
            (_, (Some(old), Some(new))) => needed(old) == needed(new),
            _ => false,
        };
        if same { Hint::Skip } else { Hint::Queue }
    }
}

impl PreFilter for NodeDeclaredFeatures {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _snapshot: &Snapshot,
    ) -> PreFiltered {
        let needed = needed(pod);
        if needed.is_empty() {
            return Status::skip().into();
        }
        state.write(Needed(needed));
        Status::success().into()
    }
}

/// What was found once for all nodes.
#[derive(Clone)]
struct Needed(Vec<&'static str>);

impl Filter for NodeDeclaredFeatures {
    fn filter(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> Status {
        let Some(Needed(needed)) = state.read() else {
            return Status::success();
        };
        let declared = node.node.as_deref().map(declared).unwrap_or_default();
        if needed
            .iter()
            .all(|name| declared.iter().any(|has| has == name))
        {
            return Status::success();
        }
        Status::unresolvable("node(s) didn't match Pod's required features")
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
