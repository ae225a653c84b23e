//! What the plugins have to say, written down plainly: one function for each, from the documented rule, without regard for
//! speed. Property tests hold the plugins to them.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "test code, written as the rules are"
)]

pub(crate) mod pod_affinity;
pub(crate) mod preemption;
pub(crate) mod resources;
pub(crate) mod simple;
pub(crate) mod topology_spread;
pub(crate) mod volumes;
