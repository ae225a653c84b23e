//! Skeleton.
/// Skeleton.
#[derive(Debug)]
pub(crate) struct Cacher {}
