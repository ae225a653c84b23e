//! Whole clusters on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "tests say what they expect"
)]

mod access;
mod controllers;
mod determinism;
mod faults;
mod gangs;
mod kubelet;
mod lifecycle;
mod looking;
mod nodes;
mod policies;
mod pressure;
mod promises;
mod roles;
mod rollout;
mod scheduler_faults;
mod scheduler_lease;
mod scheduler_outside;
mod scheduling;
mod scheduling_volumes;
mod stages;
mod volumes;
