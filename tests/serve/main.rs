//! The server on the wire: real clients, the contract of envtest, and clients that misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests say what they expect, and start real programs"
)]

mod bootstrap;
mod conversion;
mod envtest;
mod kube_rs;
mod program;
mod robust;
mod scheduler;
mod webhooks;
mod websocket;
