//! Skeleton.
/// Skeleton.
#[derive(Debug, Default, Clone)]
pub struct MemoryConfig {}
/// Skeleton.
#[derive(Debug)]
pub struct MemoryStore {}
