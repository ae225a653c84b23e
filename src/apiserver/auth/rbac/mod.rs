//! Role-based access control: roles of rules, bindings of roles to users and groups.
mod bootstrap;
mod cache;
mod escalation;
mod policy;
mod rule;

pub(crate) use self::bootstrap::{default_rules, ensure};
pub(crate) use self::cache::Cache;
pub(crate) use self::escalation::check;
pub(crate) use self::policy::{Policy, SERVICE_ACCOUNT, Unresolved};
pub(crate) use self::rule::{Rule, quoted};

/// The group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
/// The kinds of which the policy is made.
const KINDS: [&str; 4] = [
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
];
