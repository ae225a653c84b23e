//! What an object is: a JSON document with metadata, named by group, version and kind; selectors, quantities, conditions,
//! field errors and `Status`.
//!
//! Architecture invariant: pure. No async, no tokio, no client, and nothing else of this crate.

pub mod base64;
pub mod condition;
pub mod document;
pub mod field;
pub mod gvk;
pub mod name;
pub mod ports;
pub mod quantity;
pub(crate) mod quote;
pub mod resources;
pub mod selector;
pub mod status;
pub mod taint;
pub mod volume;
pub mod zone;

pub use self::document::Document;
pub use self::gvk::{GroupKind, GroupResource, GroupVersion, GroupVersionKind};
pub use self::ports::HostPort;
pub use self::quantity::Quantity;
pub use self::resources::Resources;
pub use self::selector::{FieldSelector, LabelSelector};
pub use self::status::{Reason, Status};
