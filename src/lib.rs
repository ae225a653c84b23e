//! Kubernetes' control plane as composable parts, for people who write reconciling controllers.
//!
//! # A cluster inside a test
//!
//! ```
//! # use k8s_openapi::api::apps::v1::Deployment;
//! #[tokio::main(flavor = "current_thread", start_paused = true)] // or #[tokio::test(start_paused = true)]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cluster = homeostat::testing::Cluster::builder().nodes(3).seed(7).start().await?;
//!     cluster.apply(include_str!("../examples/manifests/guestbook.yaml")).await?;
//!     cluster.settle().await?;
//!     cluster.node("node-1").stop().await;
//!     cluster.settle().await?; // grace period and toleration pass in milliseconds
//!     let deployments: kube::Api<Deployment> = kube::Api::default_namespaced(cluster.client());
//!     let status = deployments.get("guestbook").await?.status.unwrap();
//!     assert_eq!(status.available_replicas, Some(3));
//!     Ok(())
//! }
//! ```
//!
//! # The parts, in reading order
//!
//! - [`clock`]: wall time that follows tokio's clock; uids, names and jitter from one seed.
//! - [`metrics`]: counts and distributions as Prometheus text.
//! - [`object`]: documents, selectors, quantities, `Status`.
//! - [`store`]: desired state as versioned keys with watch; [`store::MemoryStore`].
//! - [`apiserver`]: the Kubernetes API over any store, as a tower service.
//! - [`client`], [`manifest`]: helpers over [`kube::Client`], which is all that everything below sees.
//! - [`reconcile`]: caches, queues, controllers, manager.
//! - [`controllers`], [`scheduler`], [`node`] (over [`cri`]): the loops of a cluster.
//! - [`cluster`]: wires it all together; `testing` (feature `testing`) makes it a harness.
//!
//! [`guide`] has pages for those who write parts of their own. `docs/architecture.md` in the repository is the map with the invariants.
//!
//! # Kubernetes versions
//!
//! The library works with the types of Kubernetes 1.36 and 1.37 and chooses neither: enable `k8s-openapi/v1_37` (or `v1_36`) in
//! your own crate.

k8s_openapi::k8s_if_le_1_35! {
    compile_error!("homeostat needs the types of Kubernetes 1.36 or newer: enable k8s-openapi's feature v1_36 or v1_37");
}

pub mod clock;

pub mod metrics;

pub mod object;

#[cfg(feature = "cel")]
mod cel;

pub mod store;

pub mod apiserver;

pub mod client;

pub mod manifest;

pub mod pki;

pub mod reconcile;

pub mod controllers;

pub mod scheduler;

pub mod cri;

pub mod node;

pub mod cluster;

#[cfg(feature = "testing")]
pub mod testing;

pub mod guide;

mod compat;

mod signal;

mod websocket;
