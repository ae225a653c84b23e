//! How pods are spread that do not say so themselves: like the other pods of their services and their owner.

use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ReplicationController, Service, TopologySpreadConstraint};
use serde_json::Value;

use super::args::Args;
use crate::compat::Opt as _;
use crate::object::LabelSelector;
use crate::reconcile::{Cache, Key};
use crate::scheduler::framework::{ArgsError, Handle, PodInfo};

/// The default constraints, and what tells which pods they are about.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    pub constraints: Vec<TopologySpreadConstraint>,
    /// They are the built-in ones, which hold for nodes without a zone, too.
    pub system: bool,
    groups: Option<Groups>,
}

/// What pods belong to.
#[derive(Clone, Debug)]
struct Groups {
    services: Cache<Service>,
    controllers: Cache<ReplicationController>,
    replica_sets: Cache<ReplicaSet>,
    stateful_sets: Cache<StatefulSet>,
}

/// Evenly over nodes, and over zones, as far as that is possible.
fn system() -> Vec<TopologySpreadConstraint> {
    let soft = |key: &str, skew: i32| TopologySpreadConstraint {
        topology_key: key.to_owned(),
        max_skew: skew,
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    };
    vec![
        soft("kubernetes.io/hostname", 3),
        soft("topology.kubernetes.io/zone", 5),
    ]
}

impl Defaults {
    /// Reads `defaultConstraints` and `defaultingType`: `System` (the default) or `List`.
    pub(super) fn of(args: &Value, handle: &Handle) -> Result<Self, ArgsError> {
        let known = ["defaultConstraints", "defaultingType"];
        let args = Args::of(args, "PodTopologySpreadArgs", &known)?;
        let constraints: Option<Vec<TopologySpreadConstraint>> =
            args.typed("defaultConstraints")?;
        let constraints = constraints.unwrap_or_default();
        if let Some(index) = constraints
            .iter()
            .position(|constraint| constraint.label_selector.is_some())
        {
            return Err(args.invalid(
                &format!("defaultConstraints[{index}].labelSelector"),
                "Forbidden: constraint must not define a selector, as they deduced for each pod",
            ));
        }
        let (constraints, system) = match args.text("defaultingType")?.unwrap_or("System") {
            "List" => (constraints, false),
            "System" if constraints.is_empty() => (system(), true),
            "System" => {
                let message = "Invalid value: when .defaultingType is System";
                return Err(args.invalid("defaultConstraints", message));
            }
            other => {
                let message = format_args!(
                    "Unsupported value: {other:?}: supported values: \"List\", \"System\""
                );
                return Err(args.invalid("defaultingType", message));
            }
        };
        let groups = (!constraints.is_empty()).then(|| Groups {
            services: handle.cache(),
            controllers: handle.cache(),
            replica_sets: handle.cache(),
            stateful_sets: handle.cache(),
        });
        Ok(Self {
            constraints,
            system,
            groups,
        })
    }

    /// The pods that a pod is spread with: those of all its services and of its owner. `None`: it has neither.
    pub(super) fn selector(&self, pod: &PodInfo) -> Option<LabelSelector> {
        let groups = self.groups.as_ref()?;
        let namespace = &pod.key.namespace;
        let everything = LabelSelector::new(Vec::new());
        let services = groups.services.select(namespace, &everything);
        let selectors = services.iter().filter_map(|service| {
            let pairs = service.spec.as_ref()?.selector.as_ref()?;
            let selector = of_pairs(pairs);
            selector.matches_optional(pod.labels()).then_some(selector)
        });
        let owner = groups.owner(pod);
        let all = selectors.chain(owner);
        let requirements = all.flat_map(|selector| selector.requirements().to_vec());
        let selector = LabelSelector::new(requirements.collect());
        (!selector.is_empty()).then_some(selector)
    }
}

fn of_pairs(pairs: &std::collections::BTreeMap<String, String>) -> LabelSelector {
    LabelSelector::from_pairs(
        pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

impl Groups {
    /// The pods of the controller that a pod belongs to.
    fn owner(&self, pod: &PodInfo) -> Option<LabelSelector> {
        let mut owners = pod.pod.metadata.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true))?;
        let key = Key::new(pod.key.namespace.clone(), owner.name.as_str());
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => {
                let owner = self.controllers.get(&key)?;
                owner.spec.as_ref()?.selector.as_ref().map(of_pairs)
            }
            ("apps/v1", "ReplicaSet") => {
                let owner = self.replica_sets.get(&key)?;
                LabelSelector::from_typed(&owner.spec.opt()?.selector).ok()
            }
            ("apps/v1", "StatefulSet") => {
                let owner = self.stateful_sets.get(&key)?;
                LabelSelector::from_typed(&owner.spec.opt()?.selector).ok()
            }
            _ => None,
        }
    }
}
