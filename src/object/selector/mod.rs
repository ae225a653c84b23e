//! Label, field and node selectors.

mod field;
mod label;
mod node;

pub use self::field::{FieldSelector, FieldTerm};
pub use self::label::{LabelSelector, Operator, Requirement};
pub use self::node::NodeTerm;
