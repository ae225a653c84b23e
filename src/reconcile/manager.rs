//! The manager: one cache per kind, controllers started after their caches and stopped before them.
use super::{Activity, Cache, Controller, Error, Object, Recorder};
use crate::clock::Clock;

/// Runs caches, controllers and other tasks; see the [module](super).
#[derive(Clone, Debug)]
pub struct Manager {}

impl Manager {
    /// A manager that reads and writes through `client`.
    #[must_use]
    pub fn new(_client: kube::Client, _clock: Clock) -> Self {
        todo!()
    }
    /// The client.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        todo!()
    }
    /// A client that names `component` as its user agent, so that writes are recorded as its own.
    #[must_use]
    pub fn client_for(&self, _component: &str) -> kube::Client {
        todo!()
    }
    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        todo!()
    }
    /// What is under way; `settle()` reads it.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        todo!()
    }
    /// The one cache of kind `K`; made, and started when the manager runs already, at the first call.
    #[must_use]
    pub fn cache<K: Object>(&self) -> Cache<K> {
        todo!()
    }
    /// An event recorder for `component`.
    #[must_use]
    pub fn recorder(&self, _component: &str) -> Recorder {
        todo!()
    }
    /// Adds a controller.
    pub fn add(&self, _controller: Controller) {
        todo!()
    }
    /// Adds a task that runs from the start of the controllers (after their caches are synced) until the manager stops; it is
    /// dropped at stop after `token`-less cancellation. A panic or error in it is reported and restarts it with backoff.
    pub fn add_task<F, Fut>(&self, _name: &str, _task: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: std::future::Future<Output = Result<(), Error>> + Send + 'static,
    {
        todo!()
    }
    /// Starts caches, waits until they are synced, then starts controllers and tasks. Returns once all run.
    ///
    /// # Errors
    /// When a cache cannot be filled.
    pub async fn start(&self) -> Result<(), Error> {
        todo!()
    }
    /// Stops controllers (finishing the keys under way), then caches.
    pub async fn stop(&self) {
        todo!()
    }
}
