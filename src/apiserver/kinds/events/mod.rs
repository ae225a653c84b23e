//! Events: one kind in two dresses, of the core group and of `events.k8s.io`.

mod event;

pub(super) use self::event::Event;
