//! Skeleton.
/// Skeleton.
#[derive(Debug)]
pub(crate) struct Schema {}
pub(crate) fn builtin(_g: &crate::object::GroupVersionKind) -> Option<std::sync::Arc<Schema>> {
    None
}
