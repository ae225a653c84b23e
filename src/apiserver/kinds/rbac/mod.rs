//! rbac.authorization.k8s.io: roles and bindings.

mod binding;
mod role;

pub(super) use self::binding::Binding;
pub(super) use self::role::Role;

/// The group.
const GROUP: &str = "rbac.authorization.k8s.io";
