//! A process that writes through a durable store is killed at any moment; what it was told is there afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use homeostat::store::{DurableConfig, DurableStore, Expect, Range, Store};

use super::Temporary;

/// Tells the child that it is one, and where its store is.
const DIRECTORY: &str = "HOMEOSTAT_CRASH_DIRECTORY";
const KILLS: u64 = 200;

/// Not a test: what the killed process does. Each acknowledged write is a line on its output.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let store = DurableStore::open(directory, DurableConfig::default())
        .await
        .unwrap();
    let round = store.revision().await.unwrap();
    let writers = (0..8_u64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for step in 0_u64.. {
                let key = format!("/{writer}/{}", step % 5);
                let value = format!(
                    "{round}.{step}{}",
                    "x".repeat(usize::try_from(step % 700).unwrap())
                );
                let present = store.get(&key).await.unwrap();
                let result = match present {
                    Some(entry) if step % 7 == 3 => {
                        let deleted = store.delete(&key, Some(entry.modified)).await.unwrap();
                        (deleted.1, "-".to_owned())
                    }
                    present => {
                        let expect = present
                            .map_or(Expect::Absent, |entry| Expect::Modified(entry.modified));
                        let put = store.put(&key, value.clone().into(), expect, None).await;
                        (put.unwrap(), value)
                    }
                };
                let line = format!("ack {key} {} {}\n", result.0, result.1);
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    futures::future::join_all(writers.collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_processes_lose_nothing_that_was_acknowledged() {
    let place = Temporary::new("crash");
    let mut random = 42_u64;
    let mut acknowledged: BTreeMap<String, (u64, Option<String>)> = BTreeMap::new();
    let (mut newest, mut total) = (0, 0);
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture", "--quiet"])
            .env(DIRECTORY, &place.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines
                .filter(|line| line.starts_with("ack "))
                .collect::<Vec<_>>()
        });
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        tokio::time::sleep(Duration::from_millis(15 + (random >> 33) % 60)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reader.join().unwrap() {
            let mut words = line.splitn(4, ' ').skip(1);
            let key = words.next().unwrap_or_default().to_owned();
            // Lines are shorter than what a pipe takes whole.
            let revision: u64 = words.next().unwrap().parse().unwrap();
            let value = words.next().unwrap();
            total += 1;
            newest = newest.max(revision);
            let value = (value != "-").then(|| value.to_owned());
            let known = acknowledged.entry(key).or_default();
            if known.0 < revision {
                *known = (revision, value);
            }
        }
        let store = DurableStore::open(&place.0, DurableConfig::default())
            .await
            .unwrap();
        let revision = store.revision().await.unwrap();
        assert!(revision >= newest, "kill {kill}: {revision} after {newest}");
        newest = revision;
        let entries = store.range(Range::prefix("/")).await.unwrap().entries;
        let found: BTreeMap<&str, (u64, &str)> = entries
            .iter()
            .map(|entry| {
                let value = std::str::from_utf8(&entry.value).unwrap();
                // Not half there.
                let (head, tail) = value.split_at(value.find('x').unwrap_or(value.len()));
                let step: usize = head.split('.').nth(1).unwrap().parse().unwrap();
                assert_eq!(tail.len(), step % 700, "kill {kill}: {} is torn", entry.key);
                (&*entry.key, (entry.modified, value))
            })
            .collect();
        // Each writer waits for its answer, so at most one write of each is there of which it did not live to tell.
        let mut untold: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, (revision, value)) in &acknowledged {
            let as_told = match (found.get(key.as_str()), value) {
                (Some((modified, present)), Some(value)) => {
                    assert!(
                        modified >= revision,
                        "kill {kill}: {key} went back to {modified}"
                    );
                    modified == revision && present == value
                }
                (present, value) => present.is_none() == value.is_none(),
            };
            if !as_told {
                let writer = key.split('/').nth(1).unwrap_or_default();
                *untold.entry(writer).or_default() += 1;
            }
        }
        let most = untold.values().max().copied().unwrap_or(0);
        assert!(
            most <= 1,
            "kill {kill}: acknowledged writes are lost: {untold:?}"
        );
        store.close().await;
        // What was written without a word is known from now on.
        acknowledged = entries
            .iter()
            .map(|entry| {
                let value = String::from_utf8(entry.value.to_vec()).unwrap();
                (entry.key.to_string(), (entry.modified, Some(value)))
            })
            .collect();
    }
    println!("{KILLS} kills, {total} acknowledged writes");
    assert!(total > KILLS);
}
