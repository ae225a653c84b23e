//! Clients that others wrote, against whole clusters over TLS in real time: kubectl, and Kubernetes' own client for Python;
//! and a real container runtime. `scripts/test` installs all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what it expects, and starts real programs"
)]

mod apply;
#[cfg(feature = "containerd")]
mod containers;
#[cfg(feature = "containerd")]
mod crashes;
mod create;
#[cfg(feature = "containerd")]
mod cri;
mod edit;
mod explain;
mod looking_exec;
mod looking_logs;
mod looking_ports;
#[cfg(feature = "containerd")]
mod machine;
mod nodes;
mod python;
mod read;
mod rollout;
mod shell;
mod waits;
mod world;
