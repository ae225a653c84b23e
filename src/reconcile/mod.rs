//! Controller machinery: shared caches with per-subscriber dirty keys, indexes, a keyed work queue, workers, a manager.
//!
//! A controller is a [`Reconciler`] and its [`Source`]s; a [`Manager`] holds the one [`Cache`] per kind that all controllers
//! share, starts caches before controllers, and stops them in reverse.

pub mod activity;
pub mod cache;
pub mod controller;
pub mod events;
pub mod key;
pub mod manager;
pub mod ownership;
pub mod queue;
pub mod source;

pub use self::activity::Activity;
pub use self::cache::{Cache, Index, Object};
pub use self::controller::{Action, Controller, Reconciler};
pub use self::events::Recorder;
pub use self::key::Key;
pub use self::manager::Manager;
pub use self::source::{Source, Wake, Watcher};

/// What a reconcile may fail with; the key is retried with backoff.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
