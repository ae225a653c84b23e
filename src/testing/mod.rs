//! What a test needs: a whole cluster on virtual time, waits that know when nothing is left to do, and the write log.

mod cluster;
pub mod conformance;
mod log;

pub use self::cluster::{Builder, Busy, Cluster, Node};
pub use self::log::{Entry, WriteLog};
