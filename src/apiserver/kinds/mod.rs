//! THE list of built-in kinds.
pub(crate) mod names;
use super::registry::Resource;
/// Every built-in resource, from one table, with its strategy.
pub(crate) fn builtin() -> Vec<Resource> {
    Vec::new()
}
