//! Controller machinery: shared caches with per-subscriber dirty keys, indexes, a keyed work queue, workers, a manager.
//!
//! A controller is a [`Reconciler`] and its [`Source`]s; a [`Manager`] holds the one [`Cache`] per kind that all controllers
//! share, starts caches before controllers, and stops them in reverse.
//!
//! ```no_run
//! use std::sync::Arc;
//! use homeostat::clock::Clock;
//! use homeostat::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::api::{Api, Patch, PatchParams};
//!
//! /// Labels every config map that has data.
//! struct Labeller {
//!     client: kube::Client,
//!     maps: Cache<ConfigMap>,
//! }
//!
//! impl Reconciler for Labeller {
//!     async fn reconcile(&self, key: Key) -> Result<Action, Error> {
//!         let Some(map) = self.maps.get(&key).filter(|map| map.data.is_some()) else { return Ok(Action::Done) };
//!         if map.metadata.labels.iter().flatten().any(|(label, _)| label == "full") {
//!             return Ok(Action::Done);
//!         }
//!         let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &key.namespace);
//!         let patch = serde_json::json!({"metadata": {"labels": {"full": "yes"}}});
//!         api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
//!         Ok(Action::Done)
//!     }
//! }
//!
//! # async fn run(client: kube::Client) -> Result<(), Error> {
//! let manager = Manager::new(client, Clock::system());
//! let maps = manager.cache::<ConfigMap>();
//! let labeller = Labeller { client: manager.client_for("labeller"), maps: maps.clone() };
//! manager.add(Controller::new("labeller", labeller).source(Source::objects(&maps)).workers(2));
//! manager.start().await?;
//! # Ok(()) }
//! ```

pub mod activity;
pub mod cache;
pub mod controller;
mod correlate;
pub mod events;
mod exposition;
mod feed;
#[cfg(feature = "serve")]
pub mod health;
pub mod key;
pub mod leader;
pub mod manager;
pub mod ownership;
pub mod queue;
pub mod source;

pub use self::activity::Activity;
pub use self::cache::{Cache, Delta, Index, Object, Subscription};
pub use self::controller::{Action, Controller, Reconciler};
pub use self::events::Recorder;
pub use self::key::Key;
pub use self::manager::{Leadership, Manager, WeakManager};
pub use self::source::{Source, Wake, Watcher};

/// What a reconcile may fail with; the key is retried with backoff.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
