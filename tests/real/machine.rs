//! A private containerd of this machine (`scripts/containerd`), with its registry; gone with everything in it when dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The image that runs `sh` and everything that busybox has.
pub(crate) const BUSYBOX: &str = "homeostat.local/busybox:1";

/// A containerd of its own.
pub(crate) struct Machine {
    dir: PathBuf,
}

impl Machine {
    /// Starts one.
    pub(crate) fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Sockets have short names.
        let dir = std::env::temp_dir().join(format!("hs-{}-{number}", std::process::id()));
        let machine = Self { dir };
        machine.script("up");
        machine
    }

    fn script(&self, command: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/containerd");
        let output = Command::new(script).arg(command).arg(&self.dir).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "scripts/containerd {command}: {said}"
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// The control group that is removed with it.
    pub(crate) fn cgroup(&self) -> String {
        let name = std::fs::read_to_string(self.dir.join("cgroup")).unwrap();
        name.trim().to_owned()
    }

    /// A directory of its own, for logs and volumes.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.dir.join("scratch").join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Kills containerd, as a crash would. Containers run on.
    pub(crate) fn kill(&self) {
        self.script("kill");
    }

    /// Starts it again after [`Machine::kill`].
    pub(crate) fn revive(&self) {
        self.script("up");
    }

    /// The processes that stand between containerd and each pod.
    pub(crate) fn shims(&self) -> Vec<u32> {
        let pids = self.script("shims");
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Starts the registry; gives its address. The user is `homeostat`, the password `secret`; it holds `busybox:1`.
    pub(crate) fn registry(&self) -> String {
        self.script("registry")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A failed test is told by its own panic.
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/containerd");
        let _ = Command::new(script).arg("down").arg(&self.dir).status();
    }
}
