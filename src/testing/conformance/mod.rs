//! Public conformance suites: a new backend is one call.

pub mod cri;
pub mod store;
