//! This machine's files and network.

mod ask;
mod mounts;
mod own;

use std::collections::BTreeMap;
use std::io::{self, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::task::spawn_blocking;

use super::host::{Answer, File, Host, Kind, Memory};
use crate::cri::Check;

/// The link by which all files of a volume change at once.
const CURRENT: &str = "..data";
/// The same while it is made.
const NEXT: &str = "..data_tmp";

/// This machine.
#[derive(Debug)]
pub(super) struct Machine;

#[async_trait]
impl Host for Machine {
    async fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::create_dir_all(path).await?;
        // The mode that is asked for when it is made is lessened by the process's mask.
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).await
    }

    async fn make_file(&self, path: &Path) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true).open(path).await.map(drop)
    }

    async fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        let type_ = match fs::metadata(path).await {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(if type_.is_dir() {
            Kind::Directory
        } else if type_.is_socket() {
            Kind::Socket
        } else if type_.is_char_device() {
            Kind::CharDevice
        } else if type_.is_block_device() {
            Kind::BlockDevice
        } else {
            Kind::File
        }))
    }

    async fn publish(
        &self,
        directory: &Path,
        files: &BTreeMap<String, File>,
        group: Option<u32>,
        version: &str,
    ) -> io::Result<()> {
        fs::create_dir_all(directory).await?;
        let old = fs::read_link(directory.join(CURRENT)).await.ok();
        if let Some(old) = &old
            && same(&directory.join(old), files).await
        {
            return Ok(());
        }
        // A name that never was: who reads what is shown never sees it written to, nor another content by the same path.
        let name = format!("..{version}");
        let fresh = directory.join(&name);
        fs::create_dir(&fresh).await?;
        fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755)).await?;
        for (path, file) in files {
            let full = fresh.join(path);
            if let Some(parent) = full.parent() {
                fs::create_dir_all(parent).await?;
            }
            fs::write(&full, &file.data).await?;
            let mode = if group.is_some() {
                file.mode | 0o440
            } else {
                file.mode
            };
            chown(&full, None, group)?;
            fs::set_permissions(&full, PermissionsExt::from_mode(mode)).await?;
        }
        let next = directory.join(NEXT);
        let _ = fs::remove_file(&next).await;
        symlink(&name, &next)?;
        fs::rename(&next, directory.join(CURRENT)).await?;
        links(directory, files).await?;
        // What is not shown any more, also what an agent left that died meanwhile.
        let mut entries = fs::read_dir(directory).await?;
        while let Some(entry) = entries.next_entry().await? {
            let found = entry.file_name();
            let is_version = found.as_encoded_bytes().starts_with(b"..");
            if is_version && *found != *name && entry.file_type().await?.is_dir() {
                fs::remove_dir_all(entry.path()).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, path: &Path, data: &[u8], mode: u32) -> io::Result<()> {
        fs::write(path, data).await?;
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).await
    }

    async fn part(&self, volume: &Path, below: &Path, shown: &Path) -> io::Result<()> {
        mounts::part(volume, below, shown)
    }

    async fn memory(&self, place: &Path, memory: Memory) -> io::Result<bool> {
        mounts::memory(place, memory)
    }

    async fn entries(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut entries = match fs::read_dir(directory).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(error),
        };
        while let Some(entry) = entries.next_entry().await? {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    async fn groups(&self, parent: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for hierarchy in hierarchies().await? {
            names.extend(
                self.entries(&hierarchy.join(parent.trim_matches('/')))
                    .await?,
            );
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn remove_group(&self, group: &str) -> io::Result<()> {
        for hierarchy in hierarchies().await? {
            remove_group(&hierarchy.join(group.trim_matches('/'))).await?;
        }
        Ok(())
    }

    async fn give(&self, directory: &Path, group: u32) -> io::Result<()> {
        let mode = fs::metadata(directory).await?.mode();
        chown(directory, None, Some(group))?;
        fs::set_permissions(directory, PermissionsExt::from_mode(mode | 0o2770)).await
    }

    async fn give_all(&self, directory: &Path, group: u32, unless_given: bool) -> io::Result<()> {
        let directory = directory.to_owned();
        // It may hold much.
        spawn_blocking(move || own::give_all(&directory, group, unless_given)).await?
    }

    async fn tail(&self, path: &Path, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let mut file = match fs::File::open(path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata().await?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))
            .await?;
        let mut read = Vec::new();
        file.take(bytes).read_to_end(&mut read).await?;
        Ok(Some(read))
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        // What is mounted there is others': it must not be emptied.
        mounts::release(path)?;
        match fs::remove_dir_all(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn ask(&self, address: &str, check: &Check, limit: Duration) -> Result<Answer, String> {
        ask::ask(address, check, limit).await
    }
}

/// Where control groups are: one place in version 2, one for each controller in version 1.
async fn hierarchies() -> io::Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if fs::metadata(root.join("cgroup.controllers")).await.is_ok() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    let Ok(mut entries) = fs::read_dir(root).await else {
        return Ok(found);
    };
    while let Some(entry) = entries.next_entry().await? {
        // Other names of the same are links.
        if entry.file_type().await?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a control group with those in it; one with processes stays and says so.
async fn remove_group(group: &Path) -> io::Result<()> {
    let mut found = vec![group.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        next += 1;
        let mut entries = match fs::read_dir(&folder).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        while let Some(entry) = entries.next_entry().await? {
            if entry.file_type().await?.is_dir() {
                found.push(entry.path());
            }
        }
    }
    for folder in found.iter().rev() {
        match fs::remove_dir(folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a directory has exactly these files.
async fn same(directory: &Path, files: &BTreeMap<String, File>) -> bool {
    let mut found = 0;
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(mut entries) = fs::read_dir(&folder).await else {
            return false;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap_or(&path);
            let Some(file) = files.get(&*name.to_string_lossy()) else {
                return false;
            };
            if fs::read(&path).await.ok().as_ref() != Some(&file.data) {
                return false;
            }
            found += 1;
        }
    }
    found == files.len()
}

/// Makes the names of a volume lead to what is current, and takes away those that lead nowhere.
async fn links(directory: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: std::collections::BTreeSet<String> = files.keys().map(|path| first(path)).collect();
    for name in &wanted {
        let link = directory.join(name);
        if fs::symlink_metadata(&link).await.is_err() {
            symlink(Path::new(CURRENT).join(name), &link)?;
        }
    }
    let mut entries = fs::read_dir(directory).await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(rows: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |text: &str| File {
            data: text.into(),
            mode: 0o644,
        };
        rows.iter()
            .map(|(path, text)| ((*path).to_owned(), file(text)))
            .collect()
    }

    #[tokio::test]
    async fn volumes_change_at_once() {
        let dir = std::env::temp_dir().join(format!("homeostat-volume-{}", std::process::id()));
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
        Machine
            .publish(&dir, &files(&[("a", "1"), ("d/b", "2")]), None, "1")
            .await
            .unwrap();
        assert_eq!(read("a").as_deref(), Some("1"));
        assert_eq!(read("d/b").as_deref(), Some("2"));
        let shown = std::fs::read_link(dir.join(CURRENT)).unwrap();
        Machine
            .publish(&dir, &files(&[("a", "1"), ("d/b", "2")]), None, "2")
            .await
            .unwrap();
        assert_eq!(std::fs::read_link(dir.join(CURRENT)).unwrap(), shown);
        Machine
            .publish(&dir, &files(&[("a", "3"), ("c", "4")]), None, "3")
            .await
            .unwrap();
        assert_eq!(read("a").as_deref(), Some("3"));
        assert_eq!(read("c").as_deref(), Some("4"));
        assert_eq!(read("d/b"), None);
        // Each version has a name of its own, and one is kept.
        assert_eq!(shown, Path::new("..1"));
        assert_eq!(
            std::fs::read_link(dir.join(CURRENT)).unwrap(),
            Path::new("..3")
        );
        assert_eq!(
            Machine.entries(&dir).await.unwrap(),
            ["..3", CURRENT, "a", "c"]
        );
        assert_eq!(
            Machine.tail(&dir.join("a"), 9).await.unwrap(),
            Some(b"3".to_vec())
        );
        assert_eq!(Machine.kind(&dir).await.unwrap(), Some(Kind::Directory));
        Machine.remove(&dir).await.unwrap();
        assert_eq!(Machine.kind(&dir).await.unwrap(), None);
    }
}
