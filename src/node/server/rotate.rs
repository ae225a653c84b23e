//! Logs of containers are moved away when they have grown, and the oldest are removed.
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::cri::{ContainerFilter, ContainerPhase, ContainerRuntime};

/// How large the logs of a node's containers become.
#[derive(Clone, Debug)]
#[must_use]
pub struct LogRotation {
    max_size: u64,
    max_files: usize,
    every: Duration,
}

impl Default for LogRotation {
    fn default() -> Self {
        Self {
            max_size: 10 << 20,
            max_files: 5,
            every: Duration::from_secs(10),
        }
    }
}

impl LogRotation {
    /// A log of this many bytes is moved away. Default = 10 MiB.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// So many files a container has at most, with the one that is written; at least 2. Default = 5.
    pub fn max_files(mut self, files: usize) -> Self {
        self.max_files = files.max(2);
        self
    }

    /// How often sizes are looked at. Default = 10 s.
    pub fn every(mut self, period: Duration) -> Self {
        self.every = period;
        self
    }

    /// Looks after the logs of `runtime` for ever.
    pub async fn run(self, runtime: Arc<dyn ContainerRuntime>, clock: Clock) {
        loop {
            sleep(self.every).await;
            self.look(&*runtime, &clock).await;
        }
    }

    /// Looks at all logs once.
    async fn look(&self, runtime: &dyn ContainerRuntime, clock: &Clock) {
        let running = ContainerFilter {
            phase: Some(ContainerPhase::Running),
            ..ContainerFilter::default()
        };
        let containers = runtime.list_containers(&running).await;
        for container in containers.unwrap_or_default() {
            let Ok(status) = runtime.container_status(&container.id).await else {
                continue;
            };
            if status.log_path.is_empty() {
                continue;
            }
            let path = PathBuf::from(&status.log_path);
            let rotated = self.rotate(runtime, &container.id, &path, clock).await;
            if let Err(error) = rotated {
                tracing::warn!(%error, log = %path.display(), "a log could not be rotated");
            }
        }
    }

    async fn rotate(
        &self,
        runtime: &dyn ContainerRuntime,
        id: &str,
        path: &Path,
        clock: &Clock,
    ) -> io::Result<()> {
        let size = match fs::metadata(path) {
            Ok(found) => found.len(),
            // The runtime was told to write a new one, and failed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return runtime.reopen_log(id).await.map_err(io::Error::other);
            }
            Err(error) => return Err(error),
        };
        if size < self.max_size {
            return Ok(());
        }
        // With the one that is written and the one that is now moved away.
        let mut old = rotated(path)?;
        while old.len() + 2 > self.max_files {
            fs::remove_file(old.remove(0))?;
        }
        let stamp = clock.now().strftime("%Y%m%d-%H%M%S").to_string();
        let mut away = path.as_os_str().to_owned();
        away.push(format!(".{stamp}"));
        let away = PathBuf::from(away);
        fs::rename(path, &away)?;
        if let Err(error) = runtime.reopen_log(id).await {
            // What is written from now on would be lost.
            fs::rename(&away, path)?;
            return Err(io::Error::other(error));
        }
        Ok(())
    }
}

/// The files that were moved away, oldest first.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str))
    else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let own = entry.file_name();
        let stamp = own
            .to_str()
            .and_then(|own| own.strip_prefix(name)?.strip_prefix('.'));
        if stamp.is_some_and(|stamp| stamp.starts_with(|first: char| first.is_ascii_digit())) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::FakeRuntime;

    #[tokio::test(start_paused = true)]
    async fn old_files_are_removed() {
        let folder = std::env::temp_dir().join(format!("homeostat-rotate-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.log");
        let clock = Clock::seeded(1);
        let runtime = FakeRuntime::new(clock.clone(), "10.0.0");
        let rotation = LogRotation::default().max_size(10).max_files(3);
        let files = || rotated(&path).unwrap().len();
        fs::write(&path, "small").unwrap();
        rotation.rotate(&runtime, "x", &path, &clock).await.unwrap();
        assert_eq!(files(), 0);
        // The fake has no such container, so that nothing would be written any more: the log stays where it is.
        fs::write(&path, "large enough").unwrap();
        assert!(rotation.rotate(&runtime, "x", &path, &clock).await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "large enough");
        for stamp in ["20240101-000000", "20240102-000000", "20240103-000000"] {
            fs::write(folder.join(format!("0.log.{stamp}")), "").unwrap();
        }
        fs::write(folder.join("0.log.other"), "").unwrap();
        assert!(rotation.rotate(&runtime, "x", &path, &clock).await.is_err());
        let left = rotated(&path).unwrap();
        assert_eq!(left, [folder.join("0.log.20240103-000000")]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
