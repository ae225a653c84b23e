//! ImageLocality: nodes that have the pod's images already are better, the more the larger the images are.

use std::collections::BTreeMap;

use crate::scheduler::framework::{
    CycleState, MAX_SCORE, NodeInfo, Plugin, PodInfo, PreScore, Score, Snapshot, Status,
};

/// Images that are smaller in all do not count.
const LEAST: i64 = 23 << 20;
/// More than this for each container counts no more.
const MOST_PER_CONTAINER: i64 = 1000 << 20;

/// Scores by the sizes of the images that are there.
#[derive(Clone, Copy, Debug)]
pub struct ImageLocality;

/// How many nodes have each image of the pod, of how many.
#[derive(Clone, Debug)]
struct Spread {
    images: BTreeMap<String, i64>,
    nodes: i64,
    containers: i64,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }
}

/// An image's name with a tag.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

fn images(pod: &PodInfo) -> Vec<String> {
    let spec = pod.spec().into_iter();
    let containers = spec.flat_map(|spec| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    });
    containers
        .map(|container| tagged(container.image.as_deref().unwrap_or_default()))
        .collect()
}

impl PreScore for ImageLocality {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Status {
        if snapshot.nodes().iter().all(|node| node.images.is_empty()) {
            return Status::skip();
        }
        let all = images(pod);
        let containers = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let count = |image: &String| {
            let nodes = snapshot.nodes().iter();
            let having = nodes.filter(|node| node.images.contains_key(image)).count();
            i64::try_from(having).unwrap_or(i64::MAX)
        };
        state.write(Spread {
            images: all
                .iter()
                .map(|image| (image.clone(), count(image)))
                .collect(),
            nodes: i64::try_from(snapshot.nodes().len()).unwrap_or(i64::MAX),
            containers,
        });
        Status::success()
    }
}

impl Score for ImageLocality {
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(spread) = state.read::<Spread>() else {
            return 0;
        };
        let sum: i64 = images(pod)
            .iter()
            .filter_map(|image| {
                let (size, having) = (node.images.get(image)?, spread.images.get(image)?);
                // An image that few nodes have counts for less, or its pods would all go there.
                Some(size.saturating_mul(*having) / spread.nodes.max(1))
            })
            .sum();
        let most = MOST_PER_CONTAINER * spread.containers;
        let counted = sum.clamp(LEAST, most.max(LEAST));
        MAX_SCORE * (counted - LEAST) / (most - LEAST).max(1)
    }
}
