//! The seam: helpers over [`kube::Client`], which is all that the loops of this crate see of an API server.
//!
//! Architecture invariant: nothing here knows whether the server is in this process, another one, or a real Kubernetes.

mod discovery;
mod error;
mod identity;
mod list;
mod only;
mod replace;
mod send;
mod watch;

pub use self::discovery::{ServedResource, served_resources, served_versions};
pub use self::error::{
    is_already_exists, is_conflict, is_expired, is_invalid, is_namespace_terminating, is_not_found,
    message,
};
pub use self::identity::with_user_agent;
pub use self::list::{Listed, Path, list};
pub use self::only::only;
pub use self::replace::Replaceable;
pub use self::send::{create, send};
pub use self::watch::{Frame, Watch, watch};
