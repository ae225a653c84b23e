//! Kinds of the group `node.k8s.io`.

mod runtime_class;

pub(super) use self::runtime_class::RuntimeClass;
