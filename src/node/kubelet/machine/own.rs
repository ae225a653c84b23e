//! Giving a volume to a group. Others may change the volume meanwhile, so that everything is done to open files, never to
//! paths, which may lead elsewhere by then.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, chownat, fstat, openat};
use rustix::io::Errno;

/// How deep directories may be nested: each level takes two open files.
const DEEPEST: usize = 200;

/// Gives a directory and all that is in it to a group, which may write to it; with `unless_given` not if the directory itself
/// is the group's already.
pub(super) fn give_all(directory: &Path, group: u32, unless_given: bool) -> io::Result<()> {
    let opened = openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let own = fstat(&opened)?;
    if unless_given && own.st_gid == group && own.st_mode & 0o2770 == 0o2770 {
        return Ok(());
    }
    give(&opened, Gid::from_raw(group), 0)
}

fn give(opened: &OwnedFd, group: Gid, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        let why = format!("directories are nested deeper than {DEEPEST}");
        return Err(io::Error::other(why));
    }
    let mode = fstat(opened)?.st_mode;
    chownat(opened, "", None, Some(group), AtFlags::EMPTY_PATH)?;
    let more = match FileType::from_raw_mode(mode) {
        // What it leads to is not of the volume.
        FileType::Symlink => return Ok(()),
        FileType::Directory => 0o2770,
        _ => 0o660,
    };
    let by_file = format!("/proc/self/fd/{}", opened.as_raw_fd());
    std::fs::set_permissions(by_file, Permissions::from_mode(mode & 0o7777 | more))?;
    if more == 0o660 {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(openat(opened, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(opened, name, flags, Mode::empty()) {
            Ok(below) => give(&below, group, depth + 1)?,
            // Somebody has removed it.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn all_is_given_and_nothing_else() {
        let place = std::env::temp_dir().join(format!("homeostat-own-{}", std::process::id()));
        let volume = place.join("volume");
        std::fs::create_dir_all(volume.join("d/e")).unwrap();
        for file in ["outside", "volume/d/f"] {
            std::fs::write(place.join(file), "x").unwrap();
            std::fs::set_permissions(place.join(file), Permissions::from_mode(0o600)).unwrap();
        }
        symlink(place.join("outside"), volume.join("link")).unwrap();
        let outside = std::fs::metadata(place.join("outside")).unwrap();
        let of = |name: &str| {
            let found = std::fs::symlink_metadata(place.join(name)).unwrap();
            (found.gid(), found.mode() & 0o7777)
        };
        give_all(&volume, 4321, true).unwrap();
        for name in ["volume", "volume/d", "volume/d/e"] {
            let (group, mode) = of(name);
            assert_eq!((group, mode & 0o2770), (4321, 0o2770), "{name}");
        }
        assert_eq!(of("volume/d/f"), (4321, 0o660));
        assert_eq!(of("volume/link").0, 4321);
        assert_eq!(of("outside"), (outside.gid(), 0o600));
        // What came later is given only to who does not look at the directory alone.
        std::fs::write(volume.join("late"), "x").unwrap();
        std::os::unix::fs::chown(volume.join("late"), None, Some(outside.gid())).unwrap();
        give_all(&volume, 4321, true).unwrap();
        assert_eq!(of("volume/late").0, outside.gid());
        give_all(&volume, 4321, false).unwrap();
        assert_eq!(of("volume/late").0, 4321);
        let deep = |levels| volume.join("n/".repeat(levels));
        std::fs::create_dir_all(deep(DEEPEST)).unwrap();
        give_all(&volume, 4321, false).unwrap();
        std::fs::create_dir(deep(DEEPEST + 1)).unwrap();
        let refused = give_all(&volume, 4321, false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "directories are nested deeper than 200"
        );
        std::fs::remove_dir_all(place).unwrap();
    }
}
