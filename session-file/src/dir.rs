//! Directories: every path is opened below the store's root, and no symbolic link is followed on the way.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::layout::Entry;
use crate::record::Unreadable;

pub(crate) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
pub(crate) const DIR_MODE: Mode = Mode::RWXU;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// The store's directory, opened anew for each operation: what was moved away is not written to, and what was put
/// back is found.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        retry_on_intr(|| rustix::fs::open(path, DIRECTORY | OFlags::CLOEXEC, Mode::empty())).map(Self)
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    pub(crate) fn open_dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        beneath(&self.0, path, DIRECTORY, Mode::empty())
    }

    pub(crate) fn exists(&self, path: &str) -> Result<bool, Errno> {
        match rustix::fs::statat(&self.0, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a directory after making it, and those above it, where they are missing.
    pub(crate) fn make_dir(&self, path: &str, sync: bool) -> Result<OwnedFd, Errno> {
        let mut dir = rustix::io::fcntl_dupfd_cloexec(&self.0, 0)?;
        for name in path.split('/') {
            match rustix::fs::mkdirat(&dir, name, DIR_MODE) {
                Ok(()) if sync => rustix::fs::fsync(&dir)?,
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            dir = beneath(&dir, name, DIRECTORY, Mode::empty())?;
        }
        Ok(dir)
    }

    /// Makes an entry of an index; it may be there already.
    pub(crate) fn put(&self, entry: &Entry, sync: bool) -> Result<(), Errno> {
        // Sweeps remove directories that have become empty, also the one just opened. Beside two sweeps that never
        // rest about four attempts of ten fail; what fails a thousand times is not a sweep's doing.
        const ATTEMPTS: usize = 1_000;
        let mut last = Errno::NOENT;
        for _ in 0..ATTEMPTS {
            match self.try_put(entry, sync) {
                Err(Errno::NOENT) => last = Errno::NOENT,
                done => return done,
            }
        }
        Err(last)
    }

    fn try_put(&self, entry: &Entry, sync: bool) -> Result<(), Errno> {
        let dir = match self.open_dir(&entry.dir) {
            Err(Errno::NOENT) => self.make_dir(&entry.dir, sync)?,
            other => other?,
        };
        create(&dir, &entry.name, OFlags::empty())?;
        if sync { rustix::fs::fsync(&dir) } else { Ok(()) }
    }

    /// Removes an entry of an index; it may be gone already.
    pub(crate) fn remove(&self, entry: &Entry) -> Result<(), Errno> {
        let dir = match self.open_dir(&entry.dir) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        unlink(&dir, &entry.name)
    }

    /// The names in a directory, in no order; none when it is not there.
    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>, Errno> {
        match self.open_dir(path) {
            Ok(dir) => names(&dir),
            Err(Errno::NOENT) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The names in a directory that are text: those of this store all are.
pub(crate) fn names(dir: impl AsFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// Makes a file for writing, with the mode of the store's files.
pub(crate) fn create(dir: impl AsFd, name: &str, flags: OFlags) -> Result<File, Errno> {
    let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(&dir, name, flags, FILE_MODE)).map(File::from)
}

pub(crate) fn unlink(dir: impl AsFd, name: &str) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a record and says how long it is; `None` when there is none.
///
/// What this store did not make is refused: anything but a plain file, a file with a second name, a file of another
/// user.
pub(crate) fn open_record(
    dir: impl AsFd,
    path: &str,
    write: bool,
) -> Result<Option<(File, u64)>, Unreadable> {
    // Opening a pipe or a device must not wait.
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let file = match beneath(dir, path, access | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(Unreadable::Damaged("a symbolic link is in its place")),
        Err(Errno::ISDIR) => return Err(Unreadable::Damaged("a directory is in its place")),
        Err(Errno::ACCESS) => return Err(Unreadable::Damaged("this process may not open it")),
        Err(error) => return Err(Unreadable::Io(error.into())),
    };
    checked(file).map(Some)
}

/// The same for a path from the top of the file system, where the system can refuse links all the way in one call.
/// `None` when it can't, when the store itself was reached through a link, and for all that is not a record.
pub(crate) fn open_record_at_once(path: &Path) -> Option<(File, u64)> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, ResolveFlags};
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
        checked(File::from(file)).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

/// The file with its length, if it is one of this store's.
fn checked(file: File) -> Result<(File, u64), Unreadable> {
    let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Unreadable::Damaged("it is not a plain file"));
    }
    if stat.st_nlink > 1 {
        return Err(Unreadable::Damaged("it has a second name, a hard link"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Unreadable::Damaged("it belongs to another user"));
    }
    let len = u64::try_from(stat.st_size).map_err(|_| Unreadable::Damaged("it has no length"))?;
    Ok((file, len))
}

/// Opens a file that is no record, for reading.
pub(crate) fn open_plain(dir: impl AsFd, path: &str) -> Result<File, Errno> {
    beneath(dir, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()).map(File::from)
}

/// Opens `path` below `dir` without following a symbolic link anywhere on the way.
fn beneath(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match retry_on_intr(|| rustix::fs::openat2(&dir, path, flags, mode, resolve)) {
            // An old kernel, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            done => return done,
        }
    }
    step_by_step(dir, path, flags, mode)
}

/// The same with one call for each part of the path.
fn step_by_step(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let open = |dir: rustix::fd::BorrowedFd<'_>, name: &str, flags: OFlags| {
        retry_on_intr(|| rustix::fs::openat(dir, name, flags, mode))
    };
    let mut parts = path.split('/');
    let last = parts.next_back().unwrap_or(path);
    let mut above: Option<OwnedFd> = None;
    for part in parts {
        let from = above.as_ref().map_or(dir.as_fd(), AsFd::as_fd);
        above = Some(open(from, part, DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC)?);
    }
    open(above.as_ref().map_or(dir.as_fd(), AsFd::as_fd), last, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Old kernels and sandboxes take the second way, so it must answer like the first.
    #[test]
    fn a_path_opened_step_by_step_follows_no_link_either() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::fs::write(dir.path().join("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("linked")).unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("real/alias")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let nofollow = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let ways = |path: &str| {
            let at_once = beneath(root.fd(), path, OFlags::RDONLY, Mode::empty()).map(drop);
            let in_steps = step_by_step(root.fd(), path, nofollow, Mode::empty()).map(drop);
            [at_once, in_steps]
        };
        assert_eq!(ways("real/file"), [Ok(()); 2]);
        assert_eq!(ways("real/none"), [Err(Errno::NOENT); 2]);
        assert_eq!(ways("real/alias"), [Err(Errno::LOOP); 2]);
        for through in ways("linked/file") {
            assert!(matches!(through, Err(Errno::LOOP | Errno::NOTDIR)), "{through:?}");
        }
    }
}
