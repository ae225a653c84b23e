//! Stores as a whole: real etcd of two versions, crashes of the process, and histories of concurrent clients, also through
//! two API servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unimplemented,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests say what they expect, and start real programs"
)]

mod backup;
mod crash;
mod etcd;
mod history;
mod linearizability;
mod process;
#[path = "../serve/program.rs"]
mod program;
mod servers;
mod together;

/// A directory that goes with the test.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self::within(&std::env::temp_dir(), name)
    }

    /// In memory where there is such a place: syncs cost nothing there.
    fn in_memory(name: &str) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        if memory.is_dir() {
            Self::within(memory, name)
        } else {
            Self::new(name)
        }
    }

    fn within(place: &std::path::Path, name: &str) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("homeostat-{name}-{}-{number}", std::process::id());
        let path = place.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
