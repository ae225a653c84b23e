//! Copies of a log: into one file while the store serves, and from there into the directory of another store. Blocking.
//!
//! A copy is made under another name and takes its own when it is whole and on disk. Whatever fails leaves nothing behind;
//! whoever is killed leaves a file whose name ends with `.part`, which nothing reads.

use std::fs::{File, TryLockError};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Durability, ReadableTable};

use super::log::{self, Log};
use super::witness::Witness;
use super::{FILE, OpenError, io};
use crate::store::Revision;

/// A log as it was at one revision.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub transaction: redb::ReadTransaction,
    /// Records after it are of a batch that failed.
    pub newest: Revision,
}

/// A file that is not finished; gone with the value.
struct Part(PathBuf);

impl Part {
    /// What becomes `file`, told apart from other attempts by `mark`. A killed one may have left something there.
    fn of(file: &Path, mark: &str) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(format!("{mark}.part"));
        let _left = std::fs::remove_file(&name);
        Self(name.into())
    }

    /// It is finished, and takes the place of `file`.
    fn take_place(self, file: &Path) -> Result<(), OpenError> {
        std::fs::rename(&self.0, file).map_err(|error| io(file, error))?;
        log::sync_directory(file)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Mostly it has been renamed.
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl Snapshot {
    /// Copies it into a file of its own, in place of what may be there.
    pub(super) fn copy(&self, to: &Path) -> Result<(), OpenError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let part = Part::of(to, &format!(".{}-{number}", std::process::id()));
        self.write(&part.0)
            .map_err(|error| log::failed(&part.0, error))?;
        part.take_place(to)
    }

    fn write(&self, to: &Path) -> Result<(), redb::Error> {
        /// Records in a commit of the copy.
        const CHUNK: usize = 10_000;
        let database = log::builder().create(to)?;
        let log = self.transaction.open_table(log::LOG)?;
        let mut records = log.range(..=self.newest)?.peekable();
        loop {
            let mut transaction = database.begin_write()?;
            let last = {
                let mut copy = transaction.open_table(log::LOG)?;
                let mut end = copy.upper_bound_mut(Bound::<Revision>::Unbounded)?;
                for record in records.by_ref().take(CHUNK) {
                    let (revision, bytes) = record?;
                    end.insert_before(revision.value(), bytes.value())?;
                }
                end.close()?;
                records.peek().is_none()
            };
            if last {
                let mut facts = transaction.open_table(log::FACTS)?;
                for fact in self.transaction.open_table(log::FACTS)?.iter()? {
                    let (name, value) = fact?;
                    facts.insert(name.value(), value.value())?;
                }
                // By this a copy is known to be whole.
                facts.insert(log::NEWEST, self.newest)?;
            } else {
                transaction.set_durability(Durability::None)?;
            }
            transaction.commit()?;
            if last {
                return Ok(database.close()?);
            }
        }
    }
}

/// Makes a store in `directory` of a backup: copies it, verifies the copy, and gives it its name.
pub(super) fn restore(backup: &Path, directory: &Path) -> Result<(), OpenError> {
    let file = directory.join(FILE);
    if file.exists() {
        return Err(OpenError::Exists { path: file });
    }
    let mut from = open(backup)?;
    std::fs::create_dir_all(directory).map_err(|error| io(directory, error))?;
    let part = Part::of(&file, "");
    let mut copy = || -> std::io::Result<()> {
        let mut to = File::create(&part.0)?;
        std::io::copy(&mut from, &mut to)?;
        to.sync_all()
    };
    copy().map_err(|error| io(&part.0, error))?;
    let (log, contents) = Log::open(&part.0, Durability::Immediate, log::from_path)
        .map_err(|error| error.of(&part.0, backup))?;
    if !contents.counted {
        return Err(OpenError::Damaged {
            path: backup.to_owned(),
            what: "it is no backup, or has lost what it held".to_owned(),
        });
    }
    drop(log);
    // What another file in this directory once had no longer counts. Before the file has its name, so that who is killed
    // between the two finds a directory into which the backup can be restored again.
    let mut witness = Witness::open(&file)?;
    witness.note(contents.newest);
    witness.sync();
    part.take_place(&file)
}

/// Opens a backup to read it.
fn open(backup: &Path) -> Result<File, OpenError> {
    let failed = |error| io(backup, error);
    let file = File::open(backup).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is no file")));
    }
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        // The file of a store that is open.
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: backup.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
