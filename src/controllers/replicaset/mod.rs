//! Skeleton.
mod plan;
