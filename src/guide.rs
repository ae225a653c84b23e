//! The guides of `docs/guide`, as rustdoc: their links are checked and their examples run.

#[doc = include_str!("../docs/guide/store.md")]
#[cfg(feature = "testing")]
pub mod store {}

#[doc = include_str!("../docs/guide/node.md")]
#[cfg(feature = "containerd")]
pub mod node {}

#[doc = include_str!("../docs/guide/scheduler.md")]
#[cfg(feature = "testing")]
pub mod scheduler {}
