//! What is mounted below a pod's directory: memory, and parts of volumes that no link can lead out of.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use crate::node::kubelet::host::Memory;

/// Mount points at `path` and below it, the one that was mounted last first.
pub(super) fn below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let field = line.split(|byte| *byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescaped(field))))
    });
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(path)).collect();
    found.reverse();
    Ok(found)
}

/// A field of the table of mounts: blanks and the like are written as `\040`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let code = code
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(*first));
        rest = after
            .get(if code.is_some() { 3 } else { 0 }..)
            .unwrap_or_default();
    }
    out
}

/// Takes away everything that is mounted at a path and below it.
///
/// # Errors
/// When something stays: what is below it is not this pod's alone then, and must not be removed.
pub(super) fn release(path: &Path) -> io::Result<()> {
    for point in below(path)? {
        match unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Another look took it away.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match below(path)?.first() {
        None => Ok(()),
        Some(point) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{} is still mounted", point.display()),
        )),
    }
}

/// Mounts memory, unless that is there; whether it was not.
pub(super) fn memory(place: &Path, memory: Memory) -> io::Result<bool> {
    if below(place)?.iter().any(|point| point == place) {
        return Ok(false);
    }
    let (type_, options) = match memory {
        Memory::Plain(None) => ("tmpfs", String::new()),
        Memory::Plain(Some(bytes)) => ("tmpfs", format!("size={bytes}")),
        Memory::HugePages(bytes) => ("hugetlbfs", format!("pagesize={bytes}")),
    };
    let options = std::ffi::CString::new(options)?;
    mount(type_, place, type_, MountFlags::empty(), &*options)?;
    Ok(true)
}

/// Shows what is at `below` in a volume at `shown`, outside of it: who writes to the volume cannot change any more what that
/// is. Directories that are missing are made like the volume's own.
///
/// # Errors
/// When the path leads out of the volume, by a link or otherwise.
pub(super) fn part(volume: &Path, below: &Path, shown: &Path) -> io::Result<()> {
    let found = open_below(volume, below)?;
    let is_directory = FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Directory;
    // What an earlier container saw is its own.
    release(shown)?;
    if let Some(parent) = shown.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let there = std::fs::symlink_metadata(shown).ok();
    if there.is_some_and(|there| there.is_dir() != is_directory) {
        std::fs::remove_file(shown).or_else(|_| std::fs::remove_dir(shown))?;
    }
    if is_directory {
        std::fs::create_dir_all(shown)?;
    } else {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(shown)?;
    }
    // By the open file, not by its path, which may lead elsewhere by now.
    Ok(mount_bind(
        format!("/proc/self/fd/{}", found.as_raw_fd()),
        shown,
    )?)
}

/// Opens what is at `below` in a volume. Links are followed for as long as they stay inside; while it is opened there must
/// be none any more.
pub(super) fn open_below(volume: &Path, below: &Path) -> io::Result<OwnedFd> {
    let outside = || {
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the path leads out of the volume",
        )
    };
    let root = std::fs::canonicalize(volume)?;
    let directory = OFlags::PATH | OFlags::CLOEXEC;
    let opened = openat(CWD, &root, directory, Mode::empty())?;
    let mode = fstat(&opened)?.st_mode & 0o7777;
    let inside = |path: &Path| -> io::Result<OwnedFd> {
        let relative = path.strip_prefix(&root).map_err(|_| outside())?;
        let relative = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(openat2(
            &opened,
            relative,
            directory,
            Mode::empty(),
            strict,
        )?)
    };
    let mut real = root.clone();
    for part in below.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(outside()),
        };
        let next = real.join(name);
        if std::fs::symlink_metadata(&next).is_ok() {
            real = std::fs::canonicalize(&next)?;
            if !real.starts_with(&root) {
                return Err(outside());
            }
            continue;
        }
        let parent = inside(&real)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(mode)) {
            Ok(()) => {
                // The mode that is asked for is lessened by the process's mask.
                let made = openat2(
                    &parent,
                    name,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
                )?;
                rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        real = next;
    }
    inside(&real)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    /// A directory of this test, with a volume in it.
    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("homeostat-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(place.join("volume/d/e")).unwrap();
        std::fs::create_dir_all(place.join("outside")).unwrap();
        std::fs::write(place.join("outside/secret"), "s").unwrap();
        std::fs::write(place.join("volume/d/file"), "f").unwrap();
        std::fs::canonicalize(place).unwrap()
    }

    #[test]
    fn no_link_leads_out_of_a_volume() {
        let place = place("beneath");
        let volume = place.join("volume");
        std::fs::set_permissions(&volume, PermissionsExt::from_mode(0o2775)).unwrap();
        for (name, target) in [
            ("relative", "../outside".into()),
            ("absolute", place.join("outside")),
            ("root", "/".into()),
            ("deep", "d/up".into()),
            ("inside", "d/e".into()),
            ("whole", volume.join("d")),
            ("self", "self".into()),
            ("nowhere", "../outside/fresh".into()),
        ] {
            symlink(target, volume.join(name)).unwrap();
        }
        symlink("../../outside", volume.join("d/up")).unwrap();
        for (below, good) in [
            ("", true),
            ("d", true),
            ("./d/e", true),
            ("d/file", true),
            ("new/deep/er", true),
            ("inside", true),
            ("inside/new", true),
            // A whole path that stays inside is no way out.
            ("whole/e", true),
            ("relative", false),
            ("relative/secret", false),
            ("relative/new", false),
            ("absolute", false),
            ("absolute/secret", false),
            ("root/etc", false),
            ("d/up/secret", false),
            ("deep/secret", false),
            ("self", false),
            ("nowhere", false),
            ("nowhere/x", false),
            ("../outside", false),
            ("/etc", false),
            ("d/file/x", false),
        ] {
            let opened = open_below(&volume, Path::new(below));
            assert_eq!(opened.is_ok(), good, "{below}: {opened:?}");
        }
        assert_eq!(std::fs::read_dir(place.join("outside")).unwrap().count(), 1);
        let made = std::fs::metadata(volume.join("new/deep")).unwrap();
        assert_eq!(made.mode() & 0o7777, 0o2775);
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn what_is_mounted_is_taken_away_first() {
        let place = place("mounts");
        let (volume, pod) = (place.join("volume"), place.join("pod with blanks"));
        std::fs::create_dir_all(pod.join("memory")).unwrap();
        part(&volume, Path::new("d"), &pod.join("parts/0")).unwrap();
        part(&volume, Path::new("d/file"), &pod.join("parts/1")).unwrap();
        // Another container sees another thing at the same place.
        part(&volume, Path::new("d/file"), &pod.join("parts/0")).unwrap();
        assert_eq!(std::fs::read(pod.join("parts/0")).unwrap(), b"f");
        assert_eq!(std::fs::read(pod.join("parts/1")).unwrap(), b"f");
        assert!(memory(&pod.join("memory"), Memory::Plain(Some(8192))).unwrap());
        assert!(!memory(&pod.join("memory"), Memory::Plain(Some(8192))).unwrap());
        std::fs::write(pod.join("memory/a"), [0; 4096]).unwrap();
        let full = std::fs::write(pod.join("memory/b"), [0; 8192]);
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
        std::fs::create_dir_all(pod.join("pages")).unwrap();
        assert!(memory(&pod.join("pages"), Memory::HugePages(2 << 20)).unwrap());
        // Files of huge pages are mapped, not written.
        assert!(std::fs::write(pod.join("pages/a"), "x").is_err());
        let odd = memory(&pod.join("parts"), Memory::HugePages(3 << 20));
        assert!(odd.is_err(), "{odd:?}");
        assert_eq!(below(&pod).unwrap().len(), 4);
        release(&pod).unwrap();
        assert_eq!(below(&pod).unwrap().len(), 0);
        std::fs::remove_dir_all(&pod).unwrap();
        assert_eq!(std::fs::read(volume.join("d/file")).unwrap(), b"f");
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn names_with_blanks() {
        for (field, name) in [
            (r"/a\040b", "/a b"),
            (r"/a\134", r"/a\"),
            ("/a", "/a"),
            (r"/a\9", r"/a\9"),
        ] {
            assert_eq!(unescaped(field.as_bytes()), name.as_bytes(), "{field}");
        }
    }
}
