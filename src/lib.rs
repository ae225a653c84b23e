//! Kubernetes' control plane as composable parts, for people who write reconciling controllers.

pub mod apiserver;
pub mod client;
pub mod clock;
pub mod cluster;
mod compat;
pub mod controllers;
pub mod cri;
pub mod manifest;
pub mod network;
pub mod node;
pub mod object;
pub mod reconcile;
pub mod scheduler;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
