//! This machine, measured: `/proc`, control groups, file systems.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use async_trait::async_trait;
use rustix::fs::{StatVfs, statvfs};
use tokio::fs;

use super::vitals::{DiskUse, Facts, Monitor, Room, Vitals};

/// This machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThisMachine;

async fn read(path: &str) -> String {
    let text = fs::read_to_string(path).await.unwrap_or_default();
    text.trim().to_owned()
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Memory as the kernel accounts for it: what is used less the files that can be dropped.
fn memory(text: &str) -> Option<Room> {
    let capacity = meminfo(text, "MemTotal")?;
    Some(Room {
        available: meminfo(text, "MemAvailable")?,
        capacity,
    })
}

/// The operating system's name, of `os-release`.
fn pretty_name(text: &str) -> String {
    let mut lines = text.lines();
    let name = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

/// How many processes there are, of `/proc/loadavg`: the fourth field is running/all.
fn processes(loadavg: &str) -> Option<u64> {
    let all = loadavg.split_whitespace().nth(3)?.split_once('/')?.1;
    all.parse().ok()
}

fn bytes(found: &StatVfs) -> Room {
    Room {
        available: found.f_bavail.saturating_mul(found.f_frsize),
        capacity: found.f_blocks.saturating_mul(found.f_frsize),
    }
}

/// `None` for file systems that do not count inodes.
fn inodes(found: &StatVfs) -> Option<Room> {
    (found.f_files > 0).then_some(Room {
        available: found.f_ffree,
        capacity: found.f_files,
    })
}

/// The device that holds a path, or the nearest directory above that is there.
fn device(path: &Path) -> Option<u64> {
    nearest(path, |path| Ok(std::fs::metadata(path)?.dev()))
}

/// Of a path, or the nearest directory above that is there.
fn nearest<T>(path: &Path, of: impl Fn(&Path) -> io::Result<T>) -> Option<T> {
    path.ancestors().find_map(|path| of(path).ok())
}

fn file_system(path: &Path) -> Option<StatVfs> {
    nearest(path, |path| Ok(statvfs(path)?))
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

async fn capacity(volumes: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let cpuinfo = read("/proc/cpuinfo").await;
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor"));
    let cpus = cpus.count();
    if cpus > 0 {
        found.insert("cpu".to_owned(), cpus.to_string());
    }
    if let Some(total) = meminfo(&read("/proc/meminfo").await, "MemTotal") {
        found.insert("memory".to_owned(), format!("{}Ki", total >> 10));
    }
    if let Some(file_system) = file_system(volumes) {
        let kib = bytes(&file_system).capacity >> 10;
        found.insert("ephemeral-storage".to_owned(), format!("{kib}Ki"));
    }
    for (directory, size, shift) in [("2048kB", "2Mi", 11), ("1048576kB", "1Gi", 20)] {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-{directory}/nr_hugepages");
        if let Ok(pages) = read(&path).await.parse::<u64>() {
            let kib = pages << shift;
            let amount = if kib == 0 {
                "0".to_owned()
            } else {
                format!("{kib}Ki")
            };
            found.insert(format!("hugepages-{size}"), amount);
        }
    }
    found
}

#[async_trait]
impl Monitor for ThisMachine {
    async fn facts(&self, volumes: &Path) -> Facts {
        let release = match read("/etc/os-release").await {
            text if text.is_empty() => read("/usr/lib/os-release").await,
            text => text,
        };
        Facts {
            capacity: capacity(volumes).await,
            architecture: architecture().to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").await,
            os_image: pretty_name(&release),
            machine_id: read("/etc/machine-id").await,
            system_uuid: read("/sys/class/dmi/id/product_uuid").await,
            boot_id: read("/proc/sys/kernel/random/boot_id").await,
        }
    }

    async fn vitals(&self, volumes: &Path, images: Option<&Path>) -> Vitals {
        let text = read("/proc/meminfo").await;
        let node = file_system(volumes);
        let images = images.unwrap_or(volumes);
        let image = file_system(images);
        let most: Option<u64> = read("/proc/sys/kernel/pid_max").await.parse().ok();
        let running = processes(&read("/proc/loadavg").await);
        Vitals {
            memory: memory(&text),
            // Pods share all the memory there is, unless their control group is limited, which nobody does here.
            pod_memory: None,
            node_fs: node.as_ref().map(bytes),
            node_inodes: node.as_ref().and_then(inodes),
            image_fs: image.as_ref().map(bytes),
            image_inodes: image.as_ref().and_then(inodes),
            own_image_fs: device(images) != device(volumes),
            processes: most.zip(running).map(|(most, running)| Room {
                available: most.saturating_sub(running),
                capacity: most,
            }),
        }
    }

    async fn disk_use(&self, directory: &Path) -> Option<DiskUse> {
        let top = fs::metadata(directory).await.ok()?;
        let mut sum = DiskUse {
            bytes: top.blocks() << 9,
            inodes: 1,
        };
        let mut folders = vec![directory.to_owned()];
        while let Some(folder) = folders.pop() {
            // What vanishes meanwhile uses nothing.
            let Ok(mut entries) = fs::read_dir(&folder).await else {
                continue;
            };
            while let Ok(Some(entry)) = entries.next_entry().await {
                let Ok(found) = entry.metadata().await else {
                    continue;
                };
                sum = sum.plus(DiskUse {
                    bytes: found.blocks() << 9,
                    inodes: 1,
                });
                // What is mounted below is on another disk.
                if found.is_dir() && found.dev() == top.dev() {
                    folders.push(entry.path());
                }
            }
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let text = "MemTotal:       16000 kB\nMemFree: 1 kB\nMemAvailable:    4000 kB\n";
        let room = memory(text).unwrap();
        assert_eq!((room.available, room.capacity), (4000 << 10, 16000 << 10));
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\"An OS 12\"\n"), "An OS 12");
        assert_eq!(processes("0.1 0.2 0.3 2/345 9999"), Some(345));
    }

    #[tokio::test]
    async fn this_one() {
        let volumes = Path::new("/var/lib/not/there");
        let machine = ThisMachine;
        let facts = machine.facts(volumes).await;
        assert!(
            !facts.kernel.is_empty() && !facts.boot_id.is_empty(),
            "{facts:?}"
        );
        assert!(
            facts.capacity.contains_key("ephemeral-storage"),
            "{facts:?}"
        );
        let vitals = machine.vitals(volumes, None).await;
        for room in [
            vitals.memory,
            vitals.node_fs,
            vitals.image_fs,
            vitals.processes,
        ] {
            let room = room.unwrap();
            assert!(
                room.available <= room.capacity && room.capacity > 0,
                "{vitals:?}"
            );
        }
        assert!(!vitals.own_image_fs);
    }

    #[tokio::test]
    async fn what_is_below_a_directory() {
        let dir = std::env::temp_dir().join(format!("homeostat-use-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        std::fs::write(dir.join("a/b/c"), vec![1; 100_000]).unwrap();
        let machine = ThisMachine;
        let found = machine.disk_use(&dir).await.unwrap();
        assert_eq!(found.inodes, 4);
        assert!((100_000..150_000).contains(&found.bytes), "{found:?}");
        assert_eq!(machine.disk_use(&dir.join("x")).await, None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
