//! ImageLocality: nodes that have the pod's images already are better, the more the larger the images are.

use std::sync::Arc;

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

/// The images of a pod that nodes have, each with the share of nodes that do, and how many images it has in all.
#[derive(Clone, Debug)]
struct Spread {
    images: Arc<[(String, f64)]>,
    count: i64,
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
    #[expect(clippy::cast_precision_loss, reason = "the rule is in floating point")]
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Status {
        if !snapshot.knows_images() {
            return Status::skip();
        }
        let all = images(pod);
        let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let nodes = snapshot.present().max(1) as f64;
        let known = all.into_iter().filter_map(|image| {
            let having = snapshot.nodes_with_image(&image);
            (having > 0).then_some((image, having as f64 / nodes))
        });
        let images: Arc<[_]> = known.collect();
        if images.is_empty() {
            return Status::skip();
        }
        state.write(Spread { images, count });
        Status::success()
    }
}

impl Score for ImageLocality {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the rule is in floating point"
    )]
    fn score(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(spread) = state.read::<Spread>() else {
            return 0;
        };
        let there = spread.images.iter().filter_map(|(image, share)| {
            let size = *node.images.get(image)?;
            // An image that few nodes have counts for less, or its pods would all go there.
            Some((size as f64 * share) as i64)
        });
        let most = MOST_PER_CONTAINER.saturating_mul(spread.count);
        let counted = there.sum::<i64>().min(most).max(LEAST);
        MAX_SCORE * (counted - LEAST) / (most - LEAST).max(1)
    }
}
