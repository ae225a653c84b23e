//! The file: one table of records by revision, in redb. Blocking; called on tokio's blocking threads only.
//!
//! A record is the change that its revision made. Records stay until nothing needs them: the newest record of each key, and
//! all within the history. What was compacted is a number in a second table, written with the removals that it allows: a
//! commit that only appends touches the log alone.

use std::ops::{Bound, Range, RangeInclusive};
use std::path::{Path, PathBuf};

use futures::future::join_all;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageError, TableDefinition, WriteTransaction,
};
use tokio::runtime::Handle;
use tokio::task::{JoinError, spawn_blocking};

use super::backup::Snapshot;
use super::record::Record;
use super::witness::Witness;
use super::{OpenError, io};
use crate::store::Revision;

pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
const COMPACTED: &str = "compacted";
/// The newest revision when records were last removed, for when its own is among them, or when a copy was made.
pub(super) const NEWEST: &str = "newest";
const FORMAT: &str = "format";
const FORMAT_NOW: u64 = 1;
/// The log is read in so many pieces at once.
const PARTS: u64 = 4;
/// Values are in memory anyway; the engine needs room for the inner pages only.
const CACHE: usize = 32 << 20;

/// What is written in one commit.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The newest revision before it. Records after it are of a batch that failed, and go.
    pub base: Revision,
    /// New records, by growing revision.
    pub records: Vec<(Revision, Vec<u8>)>,
    /// Records that nothing needs any more.
    pub obsolete: Vec<Revision>,
    /// Up to where history was forgotten.
    pub compacted: Revision,
}

impl Batch {
    fn newest(&self) -> Option<Revision> {
        self.records.last().map(|(revision, _)| *revision)
    }
}

/// How the file is opened.
pub(super) type Opener = fn(&Path) -> Result<Database, DatabaseError>;

/// Opens the file of this path, or makes it.
pub(super) fn from_path(path: &Path) -> Result<Database, DatabaseError> {
    builder().create(path)
}

/// The open file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    open: Opener,
    durability: Durability,
    /// `None` after a failure, until it could be opened again.
    database: Option<Database>,
    /// The newest revision that was written.
    newest: Revision,
    witness: Option<Witness>,
}

/// What a log held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub compacted: Revision,
    pub newest: Revision,
    /// Whether it tells of a newest revision, be it 0: a copy does, and so does a store that holds something.
    pub counted: bool,
    /// In the order of their revisions, in pieces.
    pub parts: Vec<Vec<(Revision, Record)>>,
    /// What all records take.
    bytes: u64,
}

/// A piece of the log.
#[derive(Debug, Default)]
struct Part {
    records: Vec<(Revision, Record)>,
    bytes: u64,
    /// The revision of a record that is none.
    damaged: Option<Revision>,
}

/// The failure of a commit.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be written: {0}")]
pub(super) struct WriteError(#[source] redb::Error);

impl<E: Into<redb::Error>> From<E> for WriteError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl Log {
    /// Opens the file, or makes it, and reads it whole. Every page's checksum is verified.
    pub(super) fn open(
        path: &Path,
        durability: Durability,
        open: Opener,
    ) -> Result<(Self, Contents), OpenError> {
        let is_new = !path.exists();
        let database = open(path).map_err(|error| failed(path, error.into()))?;
        if is_new {
            // The name of a new file is safe when its directory is.
            sync_directory(path)?;
        }
        let mut log = Self {
            path: path.to_owned(),
            open,
            durability,
            database: Some(database),
            newest: 0,
            witness: None,
        };
        log.begin().map_err(|error| failed(path, error.0))?;
        let contents = log.read()?;
        log.newest = contents.newest;
        log.shrink(contents.bytes);
        Ok((log, contents))
    }

    /// From now on what is durable is noted there.
    pub(super) fn witnessed(&mut self, mut witness: Witness) {
        witness.note(self.newest);
        self.witness = Some(witness);
    }

    /// Makes the tables of a new file.
    fn begin(&mut self) -> Result<(), WriteError> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let transaction = database.begin_write()?;
        {
            transaction.open_table(LOG)?;
            let mut facts = transaction.open_table(FACTS)?;
            if facts.is_empty()? {
                facts.insert(FORMAT, FORMAT_NOW)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&self) -> Result<Contents, OpenError> {
        let failed = |error: redb::Error| failed(&self.path, error);
        let Some(database) = &self.database else {
            return Ok(Contents::default());
        };
        let begin = || -> Result<_, redb::Error> {
            let transaction = database.begin_read()?;
            let (log, facts) = (transaction.open_table(LOG)?, transaction.open_table(FACTS)?);
            let fact = |name| Ok::<_, redb::Error>(facts.get(name)?.map(|fact| fact.value()));
            let first = log.first()?.map_or(0, |(first, _)| first.value());
            let last = log.last()?.map_or(0, |(last, _)| last.value());
            let noted = fact(NEWEST)?;
            let contents = Contents {
                compacted: fact(COMPACTED)?.unwrap_or(0),
                newest: noted.unwrap_or(0).max(last),
                counted: noted.is_some() || last > 0,
                ..Contents::default()
            };
            let known = fact(FORMAT)? == Some(FORMAT_NOW);
            Ok((contents, known, first..=last))
        };
        let (mut contents, known, revisions) = begin().map_err(failed)?;
        if !known {
            return Err(OpenError::Format {
                path: self.path.clone(),
            });
        }
        for part in read_parts(database, revisions).map_err(failed)? {
            if let Some(revision) = part.damaged {
                return Err(OpenError::Damaged {
                    path: self.path.clone(),
                    what: format!("the record of revision {revision} is none"),
                });
            }
            contents.bytes += part.bytes;
            contents.parts.push(part.records);
        }
        Ok(contents)
    }

    /// Gives unused space back to the file system when it is most of the file.
    fn shrink(&mut self, used: u64) {
        const WORTH_IT: u64 = 64 << 20;
        let Some(database) = &mut self.database else {
            return;
        };
        let size = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        if size > WORTH_IT && used < size / 2 {
            // Whether it succeeds matters to the size of the file only.
            if let Err(error) = database.compact() {
                tracing::warn!(%error, "the store's file could not be made smaller");
            }
        }
    }

    /// Writes a batch: whole and durable, or not at all.
    ///
    /// A failure may come so late that the batch is on disk all the same. So the file is opened again and asked.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), WriteError> {
        if let Err(error) = self.write(batch) {
            // After an error of the file the engine trusts itself no more, and nor do we.
            self.database = None;
            let stored = self.reopen(batch.base)?;
            if batch.newest().is_none_or(|newest| stored < newest) {
                return Err(error);
            }
        }
        self.newest = batch.newest().unwrap_or(batch.base);
        if let (Durability::Immediate, Some(witness)) = (self.durability, &mut self.witness) {
            witness.note(self.newest);
        }
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        if self.database.is_none() {
            self.reopen(batch.base)?;
        }
        let Some(database) = &self.database else {
            return Ok(());
        };
        let mut transaction = database.begin_write()?;
        transaction.set_durability(self.durability)?;
        write(&transaction, batch)?;
        transaction.commit()?;
        Ok(())
    }

    /// Opens the file after a failure; the newest revision in it, which must not be before `base`: without what was there
    /// once, nothing can be appended.
    fn reopen(&mut self, base: Revision) -> Result<Revision, WriteError> {
        let database = (self.open)(&self.path)?;
        let newest = {
            let transaction = database.begin_read()?;
            let (log, facts) = (transaction.open_table(LOG)?, transaction.open_table(FACTS)?);
            let last = log.last()?.map_or(0, |(last, _)| last.value());
            let noted = facts.get(NEWEST)?.map_or(0, |newest| newest.value());
            last.max(noted)
        };
        if newest < base {
            let what = format!("the log ends with revision {newest}, but {base} was written");
            return Err(redb::Error::Corrupted(what).into());
        }
        self.database = Some(database);
        Ok(newest)
    }

    /// Makes durable what is not with each commit: the commits of a relaxed log, and the witness.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        if let (Durability::None, Some(database)) = (self.durability, &self.database) {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.commit()?;
            if let Some(witness) = &mut self.witness {
                witness.note(self.newest);
            }
        }
        if let Some(witness) = &mut self.witness {
            witness.sync();
        }
        Ok(())
    }

    /// What a copy is made of: the file as it is now, up to `newest`, while writes go on.
    pub(super) fn snapshot(&self, newest: Revision) -> Result<Snapshot, WriteError> {
        let Some(database) = &self.database else {
            return Err(StorageError::Io(std::io::Error::other("the log is closed")).into());
        };
        let transaction = database.begin_read()?;
        Ok(Snapshot {
            transaction,
            newest,
        })
    }
}

/// Reads the records of these revisions, several pieces at once.
fn read_parts(
    database: &Database,
    revisions: RangeInclusive<Revision>,
) -> Result<Vec<Part>, redb::Error> {
    let length = (revisions.end() - revisions.start()) / PARTS + 1;
    let mut parts = Vec::new();
    for number in 0..PARTS {
        let first = revisions.start() + number * length;
        let transaction = database.begin_read()?;
        let part = move || read_part(&transaction, first..first.saturating_add(length));
        parts.push(spawn_blocking(part));
    }
    let parts = Handle::current().block_on(join_all(parts));
    let unwound = |part: Result<_, JoinError>| match part {
        Ok(part) => part,
        // As if it had been read here.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    parts.into_iter().map(unwound).collect()
}

fn read_part(
    transaction: &redb::ReadTransaction,
    revisions: Range<Revision>,
) -> Result<Part, redb::Error> {
    let mut part = Part::default();
    for record in transaction.open_table(LOG)?.range(revisions)? {
        let (revision, bytes) = record?;
        let (revision, bytes) = (revision.value(), bytes.value());
        let Some(record) = Record::decode(bytes) else {
            part.damaged = Some(revision);
            break;
        };
        part.bytes += (size_of::<Revision>() + bytes.len()) as u64;
        part.records.push((revision, record));
    }
    Ok(part)
}

fn write(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut log = transaction.open_table(LOG)?;
    let stray = log
        .last()?
        .is_some_and(|(last, _)| last.value() > batch.base);
    if stray {
        log.retain_in(batch.base + 1.., |_, _| false)?;
    }
    let mut end = log.upper_bound_mut(Bound::<Revision>::Unbounded)?;
    for (revision, record) in &batch.records {
        end.insert_before(revision, record.as_slice())?;
    }
    end.close()?;
    for revision in &batch.obsolete {
        log.remove(revision)?;
    }
    if stray || batch.records.is_empty() || !batch.obsolete.is_empty() {
        let mut facts = transaction.open_table(FACTS)?;
        facts.insert(NEWEST, batch.newest().unwrap_or(batch.base))?;
        facts.insert(COMPACTED, batch.compacted)?;
    }
    Ok(())
}

pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    builder
}

/// What a failure to open or read means for whoever runs the store.
pub(super) fn failed(path: &Path, error: redb::Error) -> OpenError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::Locked { path },
        redb::Error::Corrupted(what) => OpenError::Damaged { path, what },
        redb::Error::UpgradeRequired(_) => OpenError::Format { path },
        redb::Error::Io(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::Damaged {
                path,
                what: error.to_string(),
            }
        }
        redb::Error::TableDoesNotExist(_)
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableTypeMismatch { .. } => OpenError::Damaged {
            path,
            what: format!("it holds no store: {error}"),
        },
        redb::Error::Io(source) => OpenError::Io { path, source },
        other => OpenError::Io {
            path,
            source: std::io::Error::other(other),
        },
    }
}

pub(super) fn sync_directory(of: &Path) -> Result<(), OpenError> {
    let directory = match of.parent() {
        Some(parent) if parent != Path::new("") => parent,
        // A name alone is one in the working directory.
        _ => Path::new("."),
    };
    let synced = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| io(directory, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_engine_become_ours() {
        let path = Path::new("/x");
        let locked = failed(path, redb::Error::DatabaseAlreadyOpen);
        assert!(matches!(locked, OpenError::Locked { .. }));
        let damaged = failed(path, redb::Error::Corrupted("page 7".into()));
        assert_eq!(
            damaged.to_string(),
            "/x is damaged: page 7; restore a backup that is whole"
        );
    }
}
