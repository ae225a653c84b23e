//! How scores are made of what a node has and what is taken of it: by resource, each with a weight.

use std::collections::BTreeSet;

use super::args::Args;
use crate::scheduler::framework::{ArgsError, MAX_SCORE, NodeInfo, PodInfo, Resources};

/// A resource and how much it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Weighted {
    pub name: String,
    pub weight: i64,
}

/// cpu and memory alike.
pub(super) fn default_resources() -> Vec<Weighted> {
    let one = |name: &str| Weighted {
        name: name.to_owned(),
        weight: 1,
    };
    vec![one("cpu"), one("memory")]
}

/// Reads `resources`: names with weights of 1 to `heaviest`.
pub(super) fn resources_of(args: &Args<'_>, heaviest: i64) -> Result<Vec<Weighted>, ArgsError> {
    let mut resources = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in args
        .objects("resources", &["name", "weight"])?
        .unwrap_or_default()
    {
        let name = entry.text("name")?.unwrap_or_default();
        if name.is_empty() {
            return Err(entry.invalid("name", "Required value: resource name is required"));
        }
        if !seen.insert(name) {
            return Err(entry.invalid("name", format_args!("Duplicate value: {name:?}")));
        }
        let weight = match entry.integer("weight")?.unwrap_or(0) {
            0 => 1,
            weight => weight,
        };
        if !(1..=heaviest).contains(&weight) {
            return Err(entry.invalid(
                "weight",
                format_args!("Invalid value: {weight}: resource weight of {name} not in valid range [1, {heaviest}]"),
            ));
        }
        resources.push(Weighted {
            name: name.to_owned(),
            weight,
        });
    }
    if resources.is_empty() {
        resources = default_resources();
    }
    Ok(resources)
}

/// Of which requests a share is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// With a little for containers that request nothing.
    NonZero,
    /// As they are.
    Exact,
}

/// How much of a resource.
pub(super) fn amount(resources: &Resources, name: &str) -> i64 {
    match name {
        "cpu" => resources.milli_cpu,
        "memory" => resources.memory,
        "ephemeral-storage" => resources.ephemeral_storage,
        _ => resources.scalars.get(name).copied().unwrap_or(0),
    }
}

/// What a pod requests of a resource.
pub(super) fn request(pod: &PodInfo, name: &str, basis: Basis) -> i64 {
    match (name, basis) {
        ("cpu", Basis::NonZero) => pod.non_zero.0,
        ("memory", Basis::NonZero) => pod.non_zero.1,
        _ => amount(&pod.requests, name),
    }
}

/// What a node has of a resource, and what is taken of it with the pod there; `None`: it has none, or the pod does not ask for
/// what is not everybody's.
pub(super) fn share(
    pod: &PodInfo,
    node: &NodeInfo,
    name: &str,
    basis: Basis,
) -> Option<(i64, i64)> {
    let wanted = request(pod, name, basis);
    let is_common = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    let have = amount(&node.allocatable, name);
    if have == 0 || (wanted == 0 && !is_common) {
        return None;
    }
    let used = match (name, basis) {
        ("cpu", Basis::NonZero) => node.non_zero.0,
        ("memory", Basis::NonZero) => node.non_zero.1,
        _ => amount(&node.requested, name),
    };
    Some((have, used + wanted))
}

/// What makes a node better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// The more is left.
    Least,
    /// The more is taken.
    Most,
    /// By the share that is taken, in percent: scores between these points, which are in the order of their shares.
    Shape(Vec<(i64, i64)>),
}

/// A strategy and the resources it looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scoring {
    pub strategy: Strategy,
    pub resources: Vec<Weighted>,
}

impl Default for Scoring {
    fn default() -> Self {
        Self {
            strategy: Strategy::Least,
            resources: default_resources(),
        }
    }
}

impl Scoring {
    /// Reads `scoringStrategy`.
    pub(super) fn of(args: &Args<'_>) -> Result<Self, ArgsError> {
        let known = ["type", "resources", "requestedToCapacityRatio"];
        let Some(args) = args.object("scoringStrategy", &known)? else {
            return Ok(Self::default());
        };
        let strategy = match args.text("type")?.unwrap_or("LeastAllocated") {
            "LeastAllocated" => Strategy::Least,
            "MostAllocated" => Strategy::Most,
            "RequestedToCapacityRatio" => {
                let Some(ratio) = args.object("requestedToCapacityRatio", &["shape"])? else {
                    return Err(args.invalid("requestedToCapacityRatio", "Required value"));
                };
                Strategy::Shape(shape(&ratio)?)
            }
            other => {
                let known = "\"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"";
                let message =
                    format_args!("Unsupported value: {other:?}: supported values: {known}");
                return Err(args.invalid("type", message));
            }
        };
        Ok(Self {
            strategy,
            resources: resources_of(&args, 100)?,
        })
    }

    /// How good a node is.
    pub(super) fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for Weighted { name, weight } in &self.resources {
            let Some((have, used)) = share(pod, node, name, Basis::NonZero) else {
                continue;
            };
            let score = self.strategy.score(have, used);
            // A share for which the shape gives nothing does not count at all.
            if score > 0 || !matches!(self.strategy, Strategy::Shape(_)) {
                sum += score * weight;
                weights += weight;
            }
        }
        match self.strategy {
            _ if weights == 0 => 0,
            Strategy::Shape(_) => rounded(sum, weights),
            Strategy::Least | Strategy::Most => sum / weights,
        }
    }
}

/// The quotient of two numbers that are not negative, rounded half up.
fn rounded(sum: i64, by: i64) -> i64 {
    (2 * sum + by) / (2 * by)
}

impl Strategy {
    fn score(&self, have: i64, used: i64) -> i64 {
        match self {
            Self::Least if used > have => 0,
            Self::Least => (have - used) * MAX_SCORE / have,
            Self::Most => used.min(have) * MAX_SCORE / have,
            Self::Shape(points) if used > have => along(points, 100),
            Self::Shape(points) => along(points, used * 100 / have),
        }
    }
}

/// The score at a share: on the line between the points around it.
fn along(points: &[(i64, i64)], at: i64) -> i64 {
    let mut before: Option<(i64, i64)> = None;
    for &(share, score) in points {
        if at <= share {
            return before.map_or(score, |(from, low)| {
                low + (score - low) * (at - from) / (share - from)
            });
        }
        before = Some((share, score));
    }
    before.map_or(0, |(_, score)| score)
}

/// Reads `shape`: shares of 0 to 100 that grow, with scores of 0 to 10, which count tenfold.
fn shape(args: &Args<'_>) -> Result<Vec<(i64, i64)>, ArgsError> {
    let points = args.objects("shape", &["utilization", "score"])?;
    let mut shape: Vec<(i64, i64)> = Vec::new();
    for point in points.unwrap_or_default() {
        let share = point.integer("utilization")?.unwrap_or(0);
        let score = point.integer("score")?.unwrap_or(0);
        if !(0..=100).contains(&share) {
            return Err(point.invalid(
                "utilization",
                format_args!("Invalid value: {share}: not in valid range [0, 100]"),
            ));
        }
        if shape.last().is_some_and(|(before, _)| *before >= share) {
            return Err(point.invalid(
                "utilization",
                format_args!(
                    "Invalid value: {share}: utilization values must be sorted in increasing order"
                ),
            ));
        }
        if !(0..=10).contains(&score) {
            return Err(point.invalid(
                "score",
                format_args!("Invalid value: {score}: not in valid range [0, 10]"),
            ));
        }
        shape.push((share, score * 10));
    }
    if shape.is_empty() {
        return Err(args.invalid(
            "shape",
            "Required value: at least one point must be specified",
        ));
    }
    Ok(shape)
}
