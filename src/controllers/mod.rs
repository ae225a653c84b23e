//! The reference controllers: what `kube-controller-manager` does, one directory each.
//!
//! Each controller is a pure `plan` and a thin driver that carries it out through the client. They see the API only, never
//! the store or one another.

pub mod deployment;
mod podutil;
pub mod replicaset;
