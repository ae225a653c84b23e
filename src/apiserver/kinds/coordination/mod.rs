//! Kinds of the group `coordination.k8s.io`.

mod lease;

pub(super) use self::lease::Lease;
