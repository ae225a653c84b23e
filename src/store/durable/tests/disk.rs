//! A disk that loses what was not synced, tears what was being written, and is full at times. From a seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use redb::{Database, DatabaseError, StorageBackend};

use super::*;
use crate::store::durable::log::builder;

/// The disks, by the path under which a store opens them.
static DISKS: LazyLock<Mutex<BTreeMap<PathBuf, Disk>>> = LazyLock::new(Mutex::default);

#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    clock: Clock,
    synced: Vec<u8>,
    /// What is written and not synced, in order.
    pending: Vec<Write>,
    /// What readers see.
    now: Vec<u8>,
    /// So many more calls succeed.
    calls_left: Option<u64>,
    /// No more bytes than these.
    capacity: Option<usize>,
}

#[derive(Clone, Debug)]
enum Write {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Bytes(at, bytes) => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
        }
    }
}

impl State {
    fn call(&mut self) -> std::io::Result<()> {
        match &mut self.calls_left {
            Some(0) => Err(std::io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, write: Write) -> std::io::Result<()> {
        self.call()?;
        let end = match &write {
            Write::Length(length) => *length,
            Write::Bytes(at, bytes) => at + bytes.len(),
        };
        if self.capacity.is_some_and(|capacity| end > capacity) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        write.apply(&mut self.now);
        self.pending.push(write);
        Ok(())
    }

    /// The power goes: of what was not synced, some is there, some is not, and some is torn at a sector.
    fn crash(&mut self) {
        for write in std::mem::take(&mut self.pending) {
            match (self.clock.below(3), write) {
                (0, _) => {}
                (1, Write::Bytes(at, mut bytes)) => {
                    let sectors = self.clock.below(bytes.len() as u64 / 512 + 1);
                    bytes.truncate(usize::try_from(sectors).unwrap() * 512);
                    Write::Bytes(at, bytes).apply(&mut self.synced);
                }
                (_, write) => write.apply(&mut self.synced),
            }
        }
        self.now = self.synced.clone();
        self.calls_left = None;
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let state = self.0.lock();
        let at = size(offset);
        let found = state.now.get(at..at + out.len());
        out.copy_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.lock().write(Write::Length(size(len)))
    }
    fn sync_data(&self) -> std::io::Result<()> {
        let mut state = self.0.lock();
        state.call()?;
        state.pending.clear();
        state.synced = state.now.clone();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0
            .lock()
            .write(Write::Bytes(size(offset), data.to_vec()))
    }
}

fn open(path: &Path) -> Result<Database, DatabaseError> {
    let disk = DISKS.lock().get(path).cloned().unwrap();
    builder().create_with_backend(disk)
}

/// A new disk for the store in `place`.
fn disk(place: &Temporary, seed: u64) -> Disk {
    let disk = Disk(Arc::new(Mutex::new(State {
        clock: Clock::seeded(seed),
        synced: Vec::new(),
        pending: Vec::new(),
        now: Vec::new(),
        calls_left: None,
        capacity: None,
    })));
    DISKS.lock().insert(place.file(), disk.clone());
    disk
}

async fn start(place: &Temporary) -> DurableStore {
    DurableStore::open_with(place.0.clone(), DurableConfig::default(), open)
        .await
        .unwrap()
}

/// After every crash each acknowledged write is there, no write is half there, and revisions do not go back.
#[tokio::test]
async fn power_losses_lose_nothing_that_was_acknowledged() {
    for seed in 0..60 {
        let place = Temporary::new("power");
        let disk = disk(&place, seed);
        let clock = Clock::seeded(seed + 1000);
        // What each key is known to hold, and what it may hold instead, for its last write was never answered.
        let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut newest = 0;
        for round in 0..6 {
            let store = start(&place).await;
            let found: BTreeMap<_, _> = contents(&store)
                .await
                .into_iter()
                .map(|(key, value, ..)| (key, String::from_utf8(value.to_vec()).unwrap()))
                .collect();
            for (key, value) in &known {
                assert_eq!(
                    found.get(key),
                    value.as_ref(),
                    "seed {seed}, round {round}, key {key}"
                );
            }
            let revision = store.revision().await.unwrap();
            assert!(revision >= newest, "seed {seed}: {revision} after {newest}");
            known = found
                .into_iter()
                .map(|(key, value)| (key, Some(value)))
                .collect();
            newest = revision;
            disk.0.lock().calls_left = Some(clock.below(120));
            for step in 0..40 {
                let writes = (0..=clock.below(4)).map(|writer| {
                    let key = format!("/{}", (clock.below(8) + writer * 8) % 32);
                    let value = format!(
                        "{round} {step} {}",
                        "x".repeat(usize::try_from(clock.below(600)).unwrap())
                    );
                    let deletes = clock.below(4) == 0;
                    let store = &store;
                    async move {
                        let present = store.get(&key).await.unwrap();
                        let result = if let (Some(entry), true) = (&present, deletes) {
                            let deleted = store.delete(&key, Some(entry.modified)).await;
                            deleted.map(|(_, revision)| (None, revision))
                        } else {
                            let expect = present
                                .map_or(Expect::Absent, |entry| Expect::Modified(entry.modified));
                            let put = store.put(&key, value.clone().into(), expect, None).await;
                            put.map(|revision| (Some(value), revision))
                        };
                        (key, result)
                    }
                });
                let mut lost = false;
                for (key, result) in futures::future::join_all(writes).await {
                    match result {
                        Ok((value, revision)) => {
                            newest = newest.max(revision);
                            known.insert(key, value);
                        }
                        Err(Error::Unavailable(_)) => {
                            // It may be there or not.
                            known.remove(&key);
                            lost = true;
                        }
                        // Two writers of one key in one step.
                        Err(_) => {}
                    }
                }
                if lost {
                    break;
                }
            }
            // The process dies with the power: nothing is written any more.
            disk.0.lock().calls_left = Some(0);
            store.close().await;
            disk.0.lock().crash();
        }
    }
}

#[tokio::test]
async fn a_full_disk_fails_writes_only() {
    let place = Temporary::new("full");
    let disk = disk(&place, 1);
    let store = start(&place).await;
    write(&store, "/a", "1").await;
    let length = disk.0.lock().now.len();
    disk.0.lock().capacity = Some(length + 4096);
    let mut kept = Vec::new();
    let mut failed = 0;
    for number in 0..400 {
        let key = format!("/{number}");
        match store
            .put(&key, vec![7; 10_000].into(), Expect::Absent, None)
            .await
        {
            Ok(_) => kept.push(key),
            Err(Error::Unavailable(_)) => failed += 1,
            Err(other) => panic!("{other}"),
        }
        if failed > 3 {
            break;
        }
    }
    assert!(failed > 0);
    assert!(store.health().await.is_err());
    assert_eq!(store.get("/a").await.unwrap().unwrap().value, "1");
    // There is room again.
    disk.0.lock().capacity = None;
    store.health().await.unwrap();
    let revision = write(&store, "/b", "2").await;
    store.close().await;
    let store = start(&place).await;
    assert_eq!(store.revision().await.unwrap(), revision);
    let found = contents(&store).await;
    assert_eq!(found.len(), kept.len() + 2);
    store.close().await;
}
