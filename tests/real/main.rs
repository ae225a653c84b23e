//! Clients that others wrote, against whole clusters over TLS in real time: kubectl, and Kubernetes' own client for Python.
//! `scripts/test` installs both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what it expects, and starts real programs"
)]

mod apply;
mod create;
mod edit;
mod explain;
mod nodes;
mod python;
mod read;
mod rollout;
mod waits;
mod world;
