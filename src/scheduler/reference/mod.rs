//! What the plugins have to say, written down plainly: one function for each, from the documented rule, without regard for
//! speed. Property tests hold the plugins to them.

pub(crate) mod pod_affinity;
pub(crate) mod preemption;
pub(crate) mod topology_spread;
pub(crate) mod volumes;
