//! Kinds of the group `scheduling.k8s.io`.

mod priority_class;

pub(super) use self::priority_class::PriorityClass;
