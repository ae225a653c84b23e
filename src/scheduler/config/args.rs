//! The arguments of the in-tree plugins: their fields, defaults and rules.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, TopologySpreadConstraint,
};
use serde::Serialize;
use serde_json::Value;

use super::read::{Problems, Read, Typed, object};
use crate::object::field::{Errors, Path};
use crate::object::name;

/// Fields that arguments may repeat from their type.
type Meta = Option<String>;

/// What reads arguments, fills in their defaults, and looks for errors.
pub(super) type Reader = fn(&Value, &mut Problems) -> Box<dyn Args>;

/// Arguments of one kind.
pub(super) trait Args {
    fn set_defaults(&mut self);
    fn validate(&self, path: &Path, errors: &mut Errors);
    fn to_value(&self) -> Value;
}

/// The reader of the arguments of the in-tree plugin `name`.
pub(super) fn reader(name: &str) -> Option<Reader> {
    fn of<T: Args + Read + 'static>(value: &Value, problems: &mut Problems) -> Box<dyn Args> {
        Box::new(match value {
            Value::Null => T::default(),
            value => T::read(value, &Path::default(), problems),
        })
    }
    Some(match name {
        "DefaultPreemption" => of::<DefaultPreemptionArgs>,
        "InterPodAffinity" => of::<InterPodAffinityArgs>,
        "NodeAffinity" => of::<NodeAffinityArgs>,
        "NodeResourcesBalancedAllocation" => of::<NodeResourcesBalancedAllocationArgs>,
        "NodeResourcesFit" => of::<NodeResourcesFitArgs>,
        "PodTopologySpread" => of::<PodTopologySpreadArgs>,
        "VolumeBinding" => of::<VolumeBindingArgs>,
        _ => return None,
    })
}

/// The arguments that a plugin of this crate has when it is given none.
pub(super) fn default(name: &str) -> Option<Value> {
    let mut args = reader(name)?(&Value::Null, &mut Problems::default());
    args.set_defaults();
    Some(args.to_value())
}

macro_rules! args {
    ($type:ident { $($field:ident: $name:literal),* $(,)? }) => {
        object!($type { api_version: "apiVersion", kind: "kind", $($field: $name),* });
    };
}

fn to_value(args: &impl Serialize) -> Value {
    // Structs of plain fields: there is nothing that could fail.
    serde_json::to_value(args).unwrap_or_default()
}

/// A resource and how much it counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct ResourceSpec {
    name: String,
    weight: i64,
}
object!(ResourceSpec {
    name: "name",
    weight: "weight"
});

/// cpu and memory, equally, when there are none; a weight of 0 is 1.
fn default_resources(resources: &mut Vec<ResourceSpec>) {
    if resources.is_empty() {
        let named = |name: &str| ResourceSpec {
            name: name.to_owned(),
            weight: 1,
        };
        *resources = vec![named("cpu"), named("memory")];
    }
    for resource in resources.iter_mut().filter(|spec| spec.weight == 0) {
        resource.weight = 1;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct ShapePoint {
    utilization: i32,
    score: i32,
}
object!(ShapePoint {
    utilization: "utilization",
    score: "score"
});

fn validate_shape(shape: &[ShapePoint], path: &Path, errors: &mut Errors) {
    if shape.is_empty() {
        errors.required(path.clone(), "at least one point must be specified");
        return;
    }
    let unsorted = shape
        .windows(2)
        .position(|pair| matches!(pair, [a, b] if a.utilization >= b.utilization));
    if let Some((index, point)) = unsorted.and_then(|at| Some((at + 1, shape.get(at + 1)?))) {
        errors.invalid(
            path.index(index).child("utilization"),
            point.utilization,
            "values must be sorted in increasing order",
        );
    }
    for (index, point) in shape.iter().enumerate() {
        let path = path.index(index);
        if !(0..=100).contains(&point.utilization) {
            let detail = "not in valid range [0, 100]";
            errors.invalid(path.child("utilization"), point.utilization, detail);
        }
        if !(0..=10).contains(&point.score) {
            let detail = "not in valid range [0, 10]";
            errors.invalid(path.child("score"), point.score, detail);
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct DefaultPreemptionArgs {
    #[serde(skip)]
    api_version: Meta,
    #[serde(skip)]
    kind: Meta,
    min_candidate_nodes_percentage: Option<i32>,
    min_candidate_nodes_absolute: Option<i32>,
}
args!(DefaultPreemptionArgs {
    min_candidate_nodes_percentage: "minCandidateNodesPercentage",
    min_candidate_nodes_absolute: "minCandidateNodesAbsolute",
});

impl Args for DefaultPreemptionArgs {
    fn set_defaults(&mut self) {
        self.min_candidate_nodes_percentage.get_or_insert(10);
        self.min_candidate_nodes_absolute.get_or_insert(100);
    }

    fn validate(&self, path: &Path, errors: &mut Errors) {
        let percentage = self.min_candidate_nodes_percentage.unwrap_or(0);
        let absolute = self.min_candidate_nodes_absolute.unwrap_or(0);
        let of_percentage = path.child("minCandidateNodesPercentage");
        let of_absolute = path.child("minCandidateNodesAbsolute");
        if !(0..=100).contains(&percentage) {
            let detail = "not in valid range [0, 100]";
            errors.invalid(of_percentage.clone(), percentage, detail);
        }
        if absolute < 0 {
            errors.invalid(of_absolute.clone(), absolute, "not in valid range [0, inf)");
        }
        if percentage == 0 && absolute == 0 {
            let detail = "cannot be zero at the same time as minCandidateNodesAbsolute";
            errors.invalid(of_percentage, percentage, detail);
            let detail = "cannot be zero at the same time as minCandidateNodesPercentage";
            errors.invalid(of_absolute, absolute, detail);
        }
    }

    fn to_value(&self) -> Value {
        to_value(self)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct InterPodAffinityArgs {
    #[serde(skip)]
    api_version: Meta,
    #[serde(skip)]
    kind: Meta,
    hard_pod_affinity_weight: Option<i32>,
    ignore_preferred_terms_of_existing_pods: bool,
}
args!(InterPodAffinityArgs {
    hard_pod_affinity_weight: "hardPodAffinityWeight",
    ignore_preferred_terms_of_existing_pods: "ignorePreferredTermsOfExistingPods",
});

impl Args for InterPodAffinityArgs {
    fn set_defaults(&mut self) {
        self.hard_pod_affinity_weight.get_or_insert(1);
    }

    fn validate(&self, path: &Path, errors: &mut Errors) {
        let weight = self.hard_pod_affinity_weight.unwrap_or(0);
        if !(0..=100).contains(&weight) {
            let path = path.child("hardPodAffinityWeight");
            errors.invalid(path, weight, "not in valid range [0, 100]");
        }
    }

    fn to_value(&self) -> Value {
        to_value(self)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeAffinityArgs {
    #[serde(skip)]
    api_version: Meta,
    #[serde(skip)]
    kind: Meta,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_affinity: Option<Typed<NodeAffinity>>,
}
args!(NodeAffinityArgs {
    added_affinity: "addedAffinity",
});

impl Args for NodeAffinityArgs {
    fn set_defaults(&mut self) {}

    fn validate(&self, path: &Path, errors: &mut Errors) {
        let Some(Typed(added)) = &self.added_affinity else {
            return;
        };
        let path = path.child("addedAffinity");
        if let Some(required) = &added.required_during_scheduling_ignored_during_execution {
            let path = path
                .child("requiredDuringSchedulingIgnoredDuringExecution")
                .child("nodeSelectorTerms");
            for (index, term) in required.node_selector_terms.iter().enumerate() {
                validate_term(term, &path.index(index), errors);
            }
        }
        let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
        let preferred = added
            .preferred_during_scheduling_ignored_during_execution
            .iter()
            .flatten()
            .enumerate();
        for (index, term) in preferred.filter(|(_, term)| term.weight != 0) {
            validate_term(&term.preference, &path.index(index), errors);
        }
    }

    fn to_value(&self) -> Value {
        to_value(self)
    }
}

fn validate_term(term: &NodeSelectorTerm, path: &Path, errors: &mut Errors) {
    let expressions = term.match_expressions.iter().flatten().enumerate();
    for (index, expression) in expressions {
        let path = path.child("matchExpressions").index(index);
        validate_expression(expression, &path, errors);
    }
    for (index, field) in term.match_fields.iter().flatten().enumerate() {
        let path = path.child("matchFields").index(index);
        let values = field.values.as_deref().unwrap_or_default();
        match field.operator.as_str() {
            "In" | "NotIn" if values.len() == 1 => {}
            "In" | "NotIn" => {
                errors.invalid(path.child("values"), values, "must have one element");
            }
            other => errors.not_supported(path.child("operator"), other, &["In", "NotIn"]),
        }
    }
}

fn validate_expression(expression: &NodeSelectorRequirement, path: &Path, errors: &mut Errors) {
    let values = expression.values.as_deref().unwrap_or_default();
    let of_values = path.child("values");
    let known = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
    if !known.contains(&expression.operator.as_str()) {
        let operator = expression.operator.as_str();
        errors.not_supported(path.child("operator"), operator, &known);
        return;
    }
    let complaints = name::qualified(&expression.key);
    if !complaints.is_empty() {
        let key = expression.key.as_str();
        errors.invalid(path.child("key"), key, &complaints.join("; "));
    }
    match expression.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "for 'in', 'notin' operators, values set can't be empty";
            errors.invalid(of_values.clone(), values, detail);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "values set must be empty for exists and does not exist";
            errors.invalid(of_values.clone(), values, detail);
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                let detail = "for 'Gt', 'Lt' operators, exactly one value is required";
                errors.invalid(of_values.clone(), values, detail);
            }
            for (index, value) in values.iter().enumerate() {
                if value.parse::<i64>().is_err() {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    errors.invalid(of_values.index(index), value.as_str(), detail);
                }
            }
        }
        _ => {}
    }
    for (index, value) in values.iter().enumerate() {
        let complaints = name::label_value(value);
        if !complaints.is_empty() {
            let path = of_values.index(index);
            errors.invalid(path, value.as_str(), &complaints.join("; "));
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeResourcesBalancedAllocationArgs {
    #[serde(skip)]
    api_version: Meta,
    #[serde(skip)]
    kind: Meta,
    resources: Vec<ResourceSpec>,
}
args!(NodeResourcesBalancedAllocationArgs {
    resources: "resources",
});

impl Args for NodeResourcesBalancedAllocationArgs {
    fn set_defaults(&mut self) {
        default_resources(&mut self.resources);
    }

    fn validate(&self, path: &Path, errors: &mut Errors) {
        let mut seen = BTreeSet::new();
        for (index, resource) in self.resources.iter().enumerate() {
            let path = path.child("resources").index(index);
            if !seen.insert(&resource.name) {
                errors.duplicate(path.child("name"), resource.name.as_str());
            }
            if resource.weight != 1 {
                errors.invalid(path.child("weight"), resource.weight, "must be 1");
            }
        }
    }

    fn to_value(&self) -> Value {
        to_value(self)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ratio {
    shape: Vec<ShapePoint>,
}
object!(Ratio { shape: "shape" });

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ScoringStrategy {
    #[serde(rename = "type")]
    type_: String,
    resources: Vec<ResourceSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_to_capacity_ratio: Option<Ratio>,
}
object!(ScoringStrategy {
    type_: "type",
    resources: "resources",
    requested_to_capacity_ratio: "requestedToCapacityRatio",
});

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeResourcesFitArgs {
    #[serde(skip)]
    api_version: Meta,
    #[serde(skip)]
    kind: Meta,
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<ScoringStrategy>,
}
args!(NodeResourcesFitArgs {
    ignored_resources: "ignoredResources",
    ignored_resource_groups: "ignoredResourceGroups",
    scoring_strategy: "scoringStrategy",
});

impl Args for NodeResourcesFitArgs {
    fn set_defaults(&mut self) {
        let strategy = self
            .scoring_strategy
            .get_or_insert_with(|| ScoringStrategy {
                type_: "LeastAllocated".to_owned(),
                ..ScoringStrategy::default()
            });
        default_resources(&mut strategy.resources);
    }

    fn validate(&self, path: &Path, errors: &mut Errors) {
        let label_name = |text: &str, path: Path, errors: &mut Errors| {
            for complaint in name::qualified(text) {
                errors.invalid(path.clone(), text, &complaint);
            }
        };
        for (index, resource) in self.ignored_resources.iter().enumerate() {
            let path = path.child("ignoredResources").index(index);
            label_name(resource, path, errors);
        }
        for (index, group) in self.ignored_resource_groups.iter().enumerate() {
            let path = path.child("ignoredResourceGroups").index(index);
            if group.contains('/') {
                let detail = "resource group name can't contain '/'";
                errors.invalid(path.clone(), group.as_str(), detail);
            }
            label_name(group, path, errors);
        }
        let path = path.child("scoringStrategy");
        let Some(strategy) = &self.scoring_strategy else {
            errors.required(path, "ScoringStrategy field is required");
            return;
        };
        let known = [
            "LeastAllocated",
            "MostAllocated",
            "RequestedToCapacityRatio",
        ];
        let type_ = strategy.type_.as_str();
        if !known.contains(&type_) {
            errors.not_supported(path.child("type"), type_, &known);
        }
        for (index, resource) in strategy.resources.iter().enumerate() {
            if !(1..=100).contains(&resource.weight) {
                let path = path.child("resources").index(index).child("weight");
                let name = &resource.name;
                let detail = format!("resource weight of {name} not in valid range (0, 100]");
                errors.invalid(path, resource.weight, &detail);
            }
        }
        let of_ratio = path.child("requestedToCapacityRatio");
        match (&strategy.requested_to_capacity_ratio, type_) {
            (None, "RequestedToCapacityRatio") => errors.required(
                of_ratio,
                "must be specified when type is RequestedToCapacityRatio",
            ),
            (Some(ratio), "RequestedToCapacityRatio") => {
                validate_shape(&ratio.shape, &of_ratio.child("shape"), errors);
            }
            (Some(_), _) => errors.forbidden(
                of_ratio,
                "must be nil when type is not RequestedToCapacityRatio",
            ),
            (None, _) => {}
        }
    }

    fn to_value(&self) -> Value {
        to_value(self)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodTopologySpreadArgs {
    #[serde(skip)]
    api_version: Meta,
    #[serde(skip)]
    kind: Meta,
    default_constraints: Vec<Typed<TopologySpreadConstraint>>,
    defaulting_type: String,
}
args!(PodTopologySpreadArgs {
    default_constraints: "defaultConstraints",
    defaulting_type: "defaultingType",
});

impl Args for PodTopologySpreadArgs {
    fn set_defaults(&mut self) {
        if self.defaulting_type.is_empty() {
            "System".clone_into(&mut self.defaulting_type);
        }
    }

    fn validate(&self, path: &Path, errors: &mut Errors) {
        let of_type = path.child("defaultingType");
        let type_ = self.defaulting_type.as_str();
        match type_ {
            "System" if !self.default_constraints.is_empty() => {
                errors.invalid(of_type, type_, "when .defaultConstraints are not empty");
            }
            "System" | "List" => {}
            other => errors.not_supported(of_type, other, &["System", "List"]),
        }
        let of_all = path.child("defaultConstraints");
        let mut seen = BTreeSet::new();
        for (index, Typed(constraint)) in self.default_constraints.iter().enumerate() {
            let path = of_all.index(index);
            if constraint.max_skew <= 0 {
                let detail = "not in valid range (0, inf)";
                errors.invalid(path.child("maxSkew"), constraint.max_skew, detail);
            }
            let key = constraint.topology_key.as_str();
            if key.is_empty() {
                errors.required(path.child("topologyKey"), "can not be empty");
            } else {
                for complaint in name::qualified(key) {
                    errors.invalid(path.child("topologyKey"), key, &complaint);
                }
            }
            let action = constraint.when_unsatisfiable.as_str();
            let of_action = path.child("whenUnsatisfiable");
            match action {
                "" => errors.required(of_action, "can not be empty"),
                "DoNotSchedule" | "ScheduleAnyway" => {}
                other => {
                    errors.not_supported(of_action, other, &["DoNotSchedule", "ScheduleAnyway"]);
                }
            }
            if constraint.label_selector.is_some() {
                errors.forbidden(
                    path.child("labelSelector"),
                    "constraint must not define a selector, as they deduced for each pod",
                );
            }
            if !seen.insert((key, action)) {
                errors.duplicate(path, format!("{{{key}, {action}}}"));
            }
        }
    }

    fn to_value(&self) -> Value {
        to_value(self)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct VolumeBindingArgs {
    #[serde(skip)]
    api_version: Meta,
    #[serde(skip)]
    kind: Meta,
    bind_timeout_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<Vec<ShapePoint>>,
}
args!(VolumeBindingArgs {
    bind_timeout_seconds: "bindTimeoutSeconds",
    shape: "shape",
});

impl Args for VolumeBindingArgs {
    fn set_defaults(&mut self) {
        self.bind_timeout_seconds.get_or_insert(600);
    }

    fn validate(&self, path: &Path, errors: &mut Errors) {
        let seconds = self.bind_timeout_seconds.unwrap_or(0);
        if seconds < 0 {
            let detail = "invalid BindTimeoutSeconds, should not be a negative value";
            errors.invalid(path.child("bindTimeoutSeconds"), seconds, detail);
        }
        if let Some(shape) = &self.shape {
            // As upstream with the feature gate off: nothing here scores storage capacity.
            let shape: Vec<Value> = shape.iter().map(to_value).collect();
            let detail = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
            errors.invalid(path.child("shape"), shape, detail);
        }
    }

    fn to_value(&self) -> Value {
        to_value(self)
    }
}
