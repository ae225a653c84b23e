//! Kinds of the group `autoscaling`.

mod autoscaler;
mod convert;
mod metrics;

pub(super) use self::autoscaler::HorizontalPodAutoscaler;

#[cfg(test)]
mod tests;
