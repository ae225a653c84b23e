//! Backups of a durable store, and restores, that are killed at any moment or find no room; and what an API server shows of a
//! restored store.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use homeostat::apiserver::ApiServer;
use homeostat::store::{DurableConfig, DurableStore, Expect, OpenError, Range, Revision, Store};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use serde_json::json;

use super::Temporary;
use super::program::{Running, client, free_port, program, until};

/// Tells the child what it is to do, and where.
const WORK: &str = "HOMEOSTAT_BACKUP_WORK";
const PLACE: &str = "HOMEOSTAT_BACKUP_PLACE";
const KILLS: u64 = 25;
/// What a store of these tests holds: some megabytes, so that a copy takes its time.
const KEYS: u64 = 400;
const SIZE: usize = 10_000;

async fn open(directory: &Path) -> DurableStore {
    DurableStore::open(directory, DurableConfig::default())
        .await
        .unwrap()
}

async fn fill(store: &DurableStore) {
    let keys = (0..KEYS).map(|number| async move {
        let (key, value) = (format!("/{number}"), vec![b'x'; SIZE]);
        let put = store.put(&key, value.into(), Expect::Absent, None);
        put.await.unwrap();
    });
    futures::future::join_all(keys).await;
}

/// Whether there is a whole store: each of its revisions made one key.
async fn check(store: &DurableStore) -> Revision {
    let found = store.range(Range::prefix("/")).await.unwrap();
    assert_eq!(found.entries.len() as u64, found.revision);
    assert!(found.entries.iter().all(|entry| entry.value.len() == SIZE));
    found.revision
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(found) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    found
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Not a test: what the killed process does. What is done is a line on its output.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let (Ok(work), Some(place)) = (std::env::var(WORK), std::env::var_os(PLACE)) else {
        return;
    };
    let place = Path::new(&place);
    println!("\nbegins");
    if work == "restore" {
        DurableStore::restore(place.join("copy"), place.join("restored"))
            .await
            .unwrap();
        println!("done 0");
        return;
    }
    let store = open(&place.join("store")).await;
    loop {
        let newest = store.revision().await.unwrap();
        let (key, value) = (format!("/{newest}"), vec![b'x'; SIZE]);
        store
            .put(&key, value.into(), Expect::Absent, None)
            .await
            .unwrap();
        store.backup(place.join("copy")).await.unwrap();
        println!("done {}", newest + 1);
    }
}

/// Starts the child, and waits until it begins.
fn start(work: &str, place: &Temporary) -> (Child, std::thread::JoinHandle<Vec<String>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backup::child", "--nocapture", "--quiet"])
        .env(WORK, work)
        .env(PLACE, &place.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "begins" {}
    let rest = std::thread::spawn(move || {
        let lines = lines.map_while(Result::ok);
        lines.filter(|line| line.starts_with("done ")).collect()
    });
    (child, rest)
}

/// A backup is there whole, and as new as the last that was finished.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_leaves_the_one_before() {
    let place = Temporary::new("killed-backup");
    let store = open(&place.0.join("store")).await;
    fill(&store).await;
    store.close().await;
    let begun = Instant::now();
    let store = open(&place.0.join("store")).await;
    store.backup(place.0.join("copy")).await.unwrap();
    store.close().await;
    let whole = begun.elapsed();
    let (mut finished, mut total) = (KEYS, 0);
    for kill in 0..KILLS {
        let (mut child, lines) = start("backup", &place);
        // Before, during and after the first ones, on slow machines too.
        let hundredths = u32::try_from(kill * 37 % 100).unwrap();
        tokio::time::sleep(whole * hundredths / 25).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = lines.join().unwrap();
        total += lines.len();
        if let Some(last) = lines.last() {
            finished = last["done ".len()..].parse().unwrap();
        }
        DurableStore::restore(place.0.join("copy"), place.0.join("restored"))
            .await
            .unwrap();
        let restored = open(&place.0.join("restored")).await;
        let found = check(&restored).await;
        assert!(
            found >= finished,
            "kill {kill}: {found}, {finished} was there"
        );
        restored.close().await;
        std::fs::remove_dir_all(place.0.join("restored")).unwrap();
    }
    println!("{total} backups, {KILLS} kills");
    assert!(total > 0);
}

/// There is the whole store or none, and where none is, the backup can be restored.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_leaves_nothing_half_there() {
    let place = Temporary::new("killed-restore");
    let store = open(&place.0.join("store")).await;
    fill(&store).await;
    store.backup(place.0.join("copy")).await.unwrap();
    store.close().await;
    let begun = Instant::now();
    let (mut child, _) = start("restore", &place);
    child.wait().unwrap();
    let whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let (mut there, mut absent) = (0, 0);
    for kill in 0..KILLS {
        std::fs::remove_dir_all(place.0.join("restored")).unwrap();
        let (mut child, lines) = start("restore", &place);
        tokio::time::sleep(Duration::from_micros(whole * kill / KILLS)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let told = !lines.join().unwrap().is_empty();
        let again = DurableStore::restore(place.0.join("copy"), place.0.join("restored")).await;
        match again {
            Ok(()) => {
                assert!(!told, "kill {kill}: what was restored is gone");
                absent += 1;
            }
            Err(OpenError::Exists { .. }) => there += 1,
            Err(other) => panic!("kill {kill}: {other}"),
        }
        let restored = open(&place.0.join("restored")).await;
        assert_eq!(check(&restored).await, KEYS);
        restored.close().await;
        let found = names(&place.0.join("restored"));
        assert!(
            !found.iter().any(|name| name.contains(".part")),
            "{found:?}"
        );
    }
    println!("{absent} times nothing was there, {there} times all");
    assert!(absent > 0);
}

/// A disk of this size; gone with the value.
struct Disk(Temporary);

impl Disk {
    fn new(megabytes: usize) -> Self {
        let place = Temporary::new("disk");
        let size = format!("size={megabytes}m");
        let arguments = ["-t", "tmpfs", "-o", &size, "none"];
        let mounted = Command::new("mount").args(arguments).arg(&place.0).status();
        assert!(mounted.unwrap().success(), "mount");
        Self(place)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0.0).status();
    }
}

/// Without room a backup and a restore fail and leave nothing, the store goes on; and so they do when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told() {
    let place = Temporary::new("no-room");
    let store = open(&place.0).await;
    fill(&store).await;
    let copy = place.0.join("copy");
    store.backup(&copy).await.unwrap();
    for (size, fits) in [(1, false), (3, false), (100, true)] {
        let disk = Disk::new(size);
        let backed_up = store.backup(disk.0.0.join("copy")).await;
        assert_eq!(backed_up.is_ok(), fits, "{size} MB: {backed_up:?}");
        if let Err(error) = backed_up {
            assert!(error.to_string().contains("No space left"), "{error}");
            assert_eq!(names(&disk.0.0), [""; 0]);
        }
        let target = disk.0.0.join("restored");
        let restored = DurableStore::restore(&copy, &target).await;
        assert_eq!(restored.is_ok(), fits, "{size} MB: {restored:?}");
        match restored {
            Ok(()) => {
                let restored = open(&target).await;
                assert_eq!(check(&restored).await, KEYS);
                restored.close().await;
            }
            Err(error) => {
                assert!(error.to_string().contains("No space left"), "{error}");
                assert_eq!(names(&target), [""; 0]);
            }
        }
    }
    let (key, value) = ("/more", vec![b'x'; SIZE]);
    store
        .put(key, value.into(), Expect::Absent, None)
        .await
        .unwrap();
    assert_eq!(check(&store).await, KEYS + 1);
    store.close().await;
}

fn map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("v".to_owned(), name.to_owned())])),
        ..ConfigMap::default()
    }
}

/// Objects, uids and resource versions are as they were; a watch goes on from one of them, or is told that it is too old.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_shows_what_was_backed_up() {
    let place = Temporary::new("api-backup");
    let store = open(&place.0.join("store")).await;
    let server = ApiServer::builder(Arc::new(store.clone()))
        .start()
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let create = PostParams::default();
    for number in 0..20 {
        maps.create(&create, &map(&format!("m{number}")))
            .await
            .unwrap();
    }
    let listed = maps.list(&ListParams::default()).await.unwrap();
    let earlier = listed.metadata.resource_version.unwrap();
    for number in 0..5 {
        let patch = Patch::Merge(json!({"data": {"v": "patched"}}));
        let params = PatchParams::default();
        maps.patch(&format!("m{number}"), &params, &patch)
            .await
            .unwrap();
    }
    maps.delete("m19", &DeleteParams::default()).await.unwrap();
    let before = maps.list(&ListParams::default()).await.unwrap().items;
    // Others write meanwhile.
    let others: Api<ConfigMap> = Api::namespaced(server.client(), "kube-system");
    let writes = async {
        for number in 0..50 {
            others
                .create(&create, &map(&format!("o{number}")))
                .await
                .unwrap();
        }
    };
    let copy = place.0.join("copy");
    let (backed_up, ()) = futures::join!(store.backup(&copy), writes);
    backed_up.unwrap();
    maps.delete("m0", &DeleteParams::default()).await.unwrap();
    server.stop().await;
    store.close().await;

    let directory = place.0.join("restored");
    DurableStore::restore(&copy, &directory).await.unwrap();
    let store = open(&directory).await;
    let server = ApiServer::builder(Arc::new(store.clone()))
        .start()
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let after = maps.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(after, before);
    let params = WatchParams::default();
    let mut watch = maps.watch(&params, &earlier).await.unwrap().boxed();
    let mut told = Vec::new();
    while told.len() < 6 {
        match watch.next().await.unwrap().unwrap() {
            WatchEvent::Modified(map) => told.push(map.metadata.name.unwrap()),
            WatchEvent::Deleted(map) => told.push(format!("-{}", map.metadata.name.unwrap())),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) if told.is_empty() && status.code == 410 => break,
            other => panic!("{other:?}"),
        }
    }
    if !told.is_empty() {
        assert_eq!(told, ["m0", "m1", "m2", "m3", "m4", "-m19"]);
    }
    server.stop().await;
    store.close().await;
}

/// `standalone` backs up at a signal while it serves, and starts from what was backed up.
#[tokio::test(flavor = "multi_thread")]
async fn standalone_backs_up_and_restores() {
    let place = Temporary::new("standalone-backup");
    let copy = place.0.join("copy");
    let start = async |directory: &str, more: &[String]| {
        let kubeconfig = place.0.join(format!("{directory}.kubeconfig"));
        let arguments = [
            format!("--listen=127.0.0.1:{}", free_port()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--data-dir={}", place.0.join(directory).display()),
            "--only-api".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().chain(more).map(String::as_str).collect();
        let running = Running::start("standalone", &arguments);
        let client = until("the server does not start", || client(&kubeconfig)).await;
        (running, Api::<ConfigMap>::default_namespaced(client))
    };
    let backup = [format!("--backup-to={}", copy.display())];
    let (first, maps) = start("first", &backup).await;
    let made = maps
        .create(&PostParams::default(), &map("m"))
        .await
        .unwrap();
    first.signal("USR1");
    until("no backup is made", || async {
        copy.exists().then_some(())
    })
    .await;
    let params = DeleteParams::default();
    maps.delete("m", &params).await.unwrap();
    assert!(first.ends_well().await);

    let restore = [format!("--restore-from={}", copy.display())];
    let (second, maps) = start("second", &restore).await;
    assert_eq!(maps.get("m").await.unwrap(), made);
    assert!(second.ends_well().await);
    // Not over what is there.
    let arguments = [
        format!("--data-dir={}", place.0.join("second").display()),
        restore[0].clone(),
    ];
    let refused = Command::new(program("standalone"))
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && error.contains("restore into an empty directory"),
        "{error}"
    );
}
