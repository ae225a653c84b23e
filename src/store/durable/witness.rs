//! The newest revision, written down a second time beside the store's file.
//!
//! The engine keeps two commits in the head of its file. When the newer one or a page of it does not fit its checksum, it
//! serves the older one, which is right after a power loss in the middle of a commit. Damage to a commit that was
//! acknowledged looks the same to it, and would take acknowledged writes away without a word. So each revision is noted here
//! once its commit is on disk and before its writer is answered: a file that shows less than what is noted has lost something.
//!
//! A note is in the system's memory at once, which survives the process, and is synced within a second. Only a power loss
//! within that second, together with damage to that very commit, goes unseen.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{OpenError, io};
use crate::store::Revision;

/// How long a note may wait for its sync.
pub(super) const SYNC_WITHIN: Duration = Duration::from_secs(1);

/// The file beside the log, open.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
    file: File,
    noted: Revision,
    synced: bool,
}

impl Witness {
    /// Opens the witness of the log of this path, or makes it.
    pub(super) fn open(log: &Path) -> Result<Self, OpenError> {
        let path = log.with_extension("newest");
        let read = || -> std::io::Result<(File, Vec<u8>)> {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = read().map_err(|error| io(&path, error))?;
        let noted = parse(&bytes).unwrap_or_else(|| {
            if !bytes.is_empty() {
                tracing::warn!(path = %path.display(), "the note of the newest revision is not readable, and is made anew");
            }
            0
        });
        Ok(Self {
            path,
            file,
            noted,
            synced: true,
        })
    }

    /// Whether the log, whose newest revision is this, shows all that was acknowledged.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when it does not.
    pub(super) fn vouch(&self, log: &Path, newest: Revision) -> Result<(), OpenError> {
        if newest >= self.noted {
            return Ok(());
        }
        Err(OpenError::Damaged {
            path: log.to_owned(),
            what: format!(
                "it ends with revision {newest}, but {} was written (to go on without what is lost, remove {})",
                self.noted,
                self.path.display()
            ),
        })
    }

    /// Notes that the log is durable up to `newest`. That a note cannot be written fails no write: it is logged.
    pub(super) fn note(&mut self, newest: Revision) {
        if newest == self.noted {
            return;
        }
        let text = format!("{newest:020} {newest:020}\n");
        // Always of the same length, in place: no room is needed on the disk.
        let written = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(text.as_bytes()));
        match written {
            Ok(()) => {
                self.noted = newest;
                self.synced = false;
            }
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the newest revision could not be noted");
            }
        }
    }

    /// Makes the notes durable.
    pub(super) fn sync(&mut self) {
        if self.synced {
            return;
        }
        match self.file.sync_data() {
            Ok(()) => self.synced = true,
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the newest revision could not be synced");
            }
        }
    }
}

/// The revision, when both copies of it are there.
fn parse(bytes: &[u8]) -> Option<Revision> {
    let (one, other) = std::str::from_utf8(bytes)
        .ok()?
        .trim_end()
        .split_once(' ')?;
    (one == other).then(|| one.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_notes_count() {
        for (bytes, expected) in [
            (
                &b"00000000000000000042 00000000000000000042\n"[..],
                Some(42),
            ),
            (b"00000000000000000042 00000000000000000043\n", None),
            (b"00000000000000000042", None),
            (b"x x", None),
            (b"\xff \xff", None),
            (b"", None),
        ] {
            assert_eq!(parse(bytes), expected, "{bytes:?}");
        }
    }
}
