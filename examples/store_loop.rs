//! A control loop on a bare store, for systems that want desired state and watches but not the Kubernetes API.
//!
//! Desired temperatures are keys; a loop reads them all, then follows their changes, and writes what it reports under other
//! keys. It loses nothing: it watches from the revision it has read, and begins anew when the store has compacted that.
//!
//! `cargo run --example store_loop`

#![allow(clippy::print_stdout, reason = "a program that shows what it does")]

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use futures::StreamExt;
use homeostat::store::{Change, Error, Expect, MemoryStore, Range, Store, WatchEvent};

const DESIRED: &str = "/desired/";

/// What the loop knows: the desired temperature of each room.
#[derive(Default)]
struct Rooms(BTreeMap<String, String>);

impl Rooms {
    /// Learns of one change.
    fn apply(&mut self, change: &Change) {
        let room = change.key().trim_start_matches(DESIRED).to_owned();
        match change {
            Change::Put { entry, .. } => {
                let wanted = String::from_utf8_lossy(&entry.value).into_owned();
                self.0.insert(room, wanted);
            }
            Change::Delete { .. } => {
                self.0.remove(&room);
            }
        }
    }
}

/// Writes what a room is at, whatever it was before.
async fn report(store: &dyn Store, room: &str, value: &str) -> Result<(), Error> {
    let key = format!("/reported/{room}");
    loop {
        let expect = match store.get(&key).await? {
            // A loop that writes what is there already would wake itself for ever.
            Some(entry) if entry.value == value => return Ok(()),
            Some(entry) => Expect::Modified(entry.modified),
            None => Expect::Absent,
        };
        match store.put(&key, value.to_owned().into(), expect, None).await {
            // Somebody else wrote: look again.
            Err(Error::Conflict { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. }) => {}
            other => return other.map(drop),
        }
    }
}

/// Brings what is reported to what is desired, for ever.
async fn heat(store: Arc<dyn Store>) -> Result<()> {
    loop {
        // Read all, then follow from there: nothing is missed and nothing seen twice.
        let page = store.range(Range::prefix(DESIRED)).await?;
        let mut rooms = Rooms::default();
        for entry in page.entries {
            rooms.apply(&Change::Put {
                entry,
                previous: None,
            });
        }
        let mut changes = store.watch(DESIRED, page.revision).await?;
        loop {
            for (room, wanted) in &rooms.0 {
                report(&*store, room, wanted).await?;
            }
            match changes.next().await {
                Some(Ok(WatchEvent::Changes(news))) => {
                    for change in &news {
                        rooms.apply(change);
                    }
                }
                Some(Ok(WatchEvent::Progress(_))) => {}
                // Too far behind: begin anew.
                Some(Err(Error::Compacted { .. })) => break,
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // Or `DurableStore::open(..)`, or `EtcdStore::connect(..)`: the loop does not know.
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut reports = store.watch("/reported/", store.revision().await?).await?;
    let heating = tokio::spawn(heat(store.clone()));
    for (room, wanted) in [("kitchen", "19"), ("bath", "23")] {
        let key = format!("{DESIRED}{room}");
        store.put(&key, wanted.into(), Expect::Absent, None).await?;
    }
    let mut seen = 0;
    while seen < 2 {
        if let Some(Ok(WatchEvent::Changes(changes))) = reports.next().await {
            for change in changes {
                if let Change::Put { entry, .. } = change {
                    let value = String::from_utf8_lossy(&entry.value);
                    println!("{} is at {value} (revision {})", entry.key, entry.modified);
                    seen += 1;
                }
            }
        }
    }
    heating.abort();
    Ok(())
}
