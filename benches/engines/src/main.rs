//! Which engine keeps the log of the durable store: redb, fjall or SQLite?
//!
//! The store appends records under growing keys, several in one commit when several writers wait, and reads them all when
//! it starts. So this is measured: commits of 1, 16 and 256 records of 1 kB, each commit made durable, and a full scan.
//!
//! `cargo run --release --manifest-path benches/engines/Cargo.toml [-- DIRECTORY]`

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

const VALUE: usize = 1024;
const TIME: Duration = Duration::from_secs(3);

/// What the durable store needs of an engine.
trait Engine {
    /// Appends records and makes them durable.
    fn commit(&mut self, first: u64, count: u64, value: &[u8]) -> Result<()>;
    /// Reads all records; how many there are.
    fn scan(&self) -> Result<u64>;
}

struct Redb(redb::Database);
const LOG: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("log");

impl Engine for Redb {
    fn commit(&mut self, first: u64, count: u64, value: &[u8]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(LOG)?;
            for key in first..first + count {
                table.insert(key, value)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
    fn scan(&self) -> Result<u64> {
        use redb::{ReadableDatabase, ReadableTable};
        let mut found = 0;
        for record in self.0.begin_read()?.open_table(LOG)?.iter()? {
            let (_, value) = record?;
            found += u64::from(value.value().len() == VALUE);
        }
        Ok(found)
    }
}

struct Fjall(fjall::Database, fjall::Keyspace);

impl Engine for Fjall {
    fn commit(&mut self, first: u64, count: u64, value: &[u8]) -> Result<()> {
        let mut batch = self.0.batch();
        for key in first..first + count {
            batch.insert(&self.1, key.to_be_bytes(), value);
        }
        batch.commit()?;
        self.0.persist(fjall::PersistMode::SyncData)?;
        Ok(())
    }
    fn scan(&self) -> Result<u64> {
        let mut found = 0;
        for record in self.1.iter() {
            let (_, value) = record.into_inner()?;
            found += u64::from(value.len() == VALUE);
        }
        Ok(found)
    }
}

struct Sqlite(rusqlite::Connection);

impl Engine for Sqlite {
    fn commit(&mut self, first: u64, count: u64, value: &[u8]) -> Result<()> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO log VALUES (?1, ?2)")?;
            for key in first..first + count {
                insert.execute((i64::try_from(key)?, value))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
    fn scan(&self) -> Result<u64> {
        let mut statement = self.0.prepare("SELECT value FROM log ORDER BY key")?;
        let mut rows = statement.query([])?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            found += u64::from(row.get_ref(0)?.as_blob()?.len() == VALUE);
        }
        Ok(found)
    }
}

fn measure(name: &str, directory: &Path, open: impl Fn(&Path) -> Result<Box<dyn Engine>>) -> Result<()> {
    let directory = tempfile::tempdir_in(directory)?;
    let mut engine = open(directory.path())?;
    // Not compressible, as little of what is stored is.
    let mut state = 1_u64;
    let value: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(VALUE)
    .collect();
    let mut next = 0;
    for batch in [1, 16, 256] {
        let start = Instant::now();
        let first = next;
        while start.elapsed() < TIME {
            engine.commit(next, batch, &value)?;
            next += batch;
        }
        let rate = (next - first) as f64 / start.elapsed().as_secs_f64();
        println!("{name:8} commits of {batch:3}: {rate:9.0} records/s");
    }
    drop(engine);
    let start = Instant::now();
    let engine = open(directory.path())?;
    let found = engine.scan()?;
    assert_eq!(found, next, "{name} lost records");
    let size: u64 = size(directory.path())?;
    println!(
        "{name:8} open and scan {found} records: {:.2} s, {:.2} bytes on disk per byte of value",
        start.elapsed().as_secs_f64(),
        size as f64 / (found as f64 * VALUE as f64)
    );
    Ok(())
}

fn size(path: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        total += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(total)
}

fn main() -> Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = Path::new(&directory);
    measure("redb", directory, |path| {
        let database = redb::Database::create(path.join("log.redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(LOG)?;
        transaction.commit()?;
        Ok(Box::new(Redb(database)))
    })?;
    measure("fjall", directory, |path| {
        let database = fjall::Database::builder(path.join("fjall")).open()?;
        let keyspace = database.keyspace("log", fjall::KeyspaceCreateOptions::default)?;
        Ok(Box::new(Fjall(database, keyspace)))
    })?;
    measure("sqlite", directory, |path| {
        let connection = rusqlite::Connection::open(path.join("log.sqlite"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS log (key INTEGER PRIMARY KEY, value BLOB)",
        )?;
        Ok(Box::new(Sqlite(connection)))
    })
}
