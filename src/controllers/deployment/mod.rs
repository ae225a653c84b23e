//! Skeleton.
mod plan;
mod revision;
mod rolling;
mod status;
mod view;
