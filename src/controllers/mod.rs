//! The reference controllers: what `kube-controller-manager` does, one directory each.
//!
//! Each controller is a pure `plan` and a thin driver that carries it out through the client. They see the API only, never
//! the store or one another.

pub mod clusterroleaggregation;
pub mod csrapproving;
pub mod csrcleaner;
pub mod csrsigning;
mod csrutil;
pub mod deployment;
pub mod ephemeralvolume;
pub mod gc;
pub mod localprovisioner;
pub mod namespace;
mod namespaceutil;
pub mod nodelifecycle;
pub mod persistentvolume;
pub mod podgc;
mod podutil;
#[cfg(feature = "cel")]
pub mod policystatus;
pub mod replicaset;
pub mod rootcapublisher;
pub mod serviceaccount;
pub mod serviceaccounttoken;
pub mod storageprotection;
pub mod tainteviction;
pub mod tokencleaner;
