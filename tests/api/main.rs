//! The API server from outside: requests in, answers out, in one process and on virtual time.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![expect(
    unreachable_pub,
    reason = "helpers are shared between the modules of this binary"
)]

mod apply;
mod audit;
mod auth;
mod clients;
mod components;
mod connections;
mod custom;
mod deletion;
mod fuzz;
mod list;
mod paths;
mod secrets;
mod services;
mod subresources;
mod support;
mod watch;
mod writes;
