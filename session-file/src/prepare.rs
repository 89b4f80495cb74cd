//! Making the directory ready, and refusing those that cannot be.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;

use rustix::fs::{Mode, OFlags};
use session_core::Result;

use crate::dir::{self, DIR_MODE, Root};
use crate::engine::Engine;
use crate::error::{self, Doing as _};
use crate::layout::{DAMAGED, DUE, FORMAT, FORMAT_NAME, NEW, OWNERS, SESSIONS, VERSION, shard_dir};
use crate::lock;

impl Engine {
    pub(crate) fn prepare(&self) -> Result<()> {
        let make = || DirBuilder::new().recursive(true).mode(DIR_MODE.as_raw_mode()).create(&self.directory);
        match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(self.unfit("is a file: choose another one"));
            }
            made => made.doing("make the store's directory")?,
        }
        let root = self.root()?;
        self.refuse_network_file_system(&root)?;
        // One preparation at a time, of all processes.
        let held =
            File::from(rustix::io::fcntl_dupfd_cloexec(root.fd(), 0).doing("open the store's directory")?);
        lock::wait_for(&held, self.deadline())?;
        self.refuse_locks_that_do_not_hold()?;
        let stat = rustix::fs::fstat(root.fd()).doing("look at the store's directory")?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(self.unfit("belongs to another user: let it belong to the user of this process"));
        }
        if root.exists(FORMAT).doing("look for the store")? {
            self.check_format(&root)?;
            if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
                return Err(self.unfit("is open to other users: change its mode to 0700"));
            }
        } else {
            self.begin(&root)?;
        }
        for number in 0..=u8::MAX {
            if root.exists(&shard_dir(number)).doing("open a directory")? {
                // Quietly, since a file system that is read-only can still be read.
                self.settle_quietly(&root, &self.lock_shard(&root, number)?);
            }
        }
        self.ensure_indexes(&root)
    }

    /// Begins a store in an empty directory. The format file comes last: before it, nothing is a store.
    fn begin(&self, root: &Root) -> Result<()> {
        let ours = [SESSIONS, OWNERS, DUE, DAMAGED, NEW, "lost+found"];
        let names = dir::names(root.fd()).doing("read the store's directory")?;
        if names.iter().any(|name| !ours.contains(&name.as_str())) {
            return Err(self.unfit("is not empty and holds no session store: choose another one"));
        }
        rustix::fs::fchmod(root.fd(), DIR_MODE).doing("close the store's directory to others")?;
        if self.sync() {
            self.sync_above()?;
        }
        for name in [SESSIONS, DAMAGED] {
            root.make_dir(name, self.sync()).doing("make a directory")?;
        }
        // Records that are there already, if somebody removed the format file, are indexed first.
        self.index_all(root)?;
        dir::unlink(root.fd(), NEW).doing("write the format")?;
        let mut file = dir::create(root.fd(), NEW, OFlags::EXCL).doing("write the format")?;
        file.write_all(format!("{FORMAT_NAME}{VERSION}\n").as_bytes()).doing("write the format")?;
        if self.sync() {
            file.sync_all().doing("synchronise the format")?;
        }
        rustix::fs::renameat(root.fd(), NEW, root.fd(), FORMAT).doing("write the format")?;
        if self.sync() {
            rustix::fs::fsync(root.fd()).doing("synchronise the store's directory")
        } else {
            Ok(())
        }
    }

    /// Any of the directories above may have been made just now. What cannot be read was not.
    fn sync_above(&self) -> Result<()> {
        for above in self.directory.ancestors().skip(1) {
            if let Ok(dir) = File::open(above) {
                dir.sync_all().doing("synchronise a directory above the store's")?;
            }
        }
        Ok(())
    }

    fn check_format(&self, root: &Root) -> Result<()> {
        let opened = dir::open_plain(root.fd(), FORMAT).doing("read the format")?;
        let mut text = Vec::new();
        opened.take(64).read_to_end(&mut text).doing("read the format")?;
        let text = String::from_utf8_lossy(&text);
        let version = text.strip_prefix(FORMAT_NAME).and_then(|rest| rest.trim_end().parse::<u16>().ok());
        match version {
            Some(VERSION) => Ok(()),
            Some(other) => Err(self.unfit(&format!(
                "holds a store of format {other} and this release keeps format {VERSION}: choose an empty one, or use \
                 the release that made it"
            ))),
            None => Err(self.unfit("holds a file `format` that no release of this store wrote: choose another one")),
        }
    }

    /// The locks of a directory that is opened twice must exclude each other: some file systems only pretend.
    fn refuse_locks_that_do_not_hold(&self) -> Result<()> {
        let second = File::open(&self.directory).doing("open the store's directory")?;
        match second.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error).doing("lock the store's directory"),
            Ok(()) => Err(self.unfit("is on a file system whose locks do not hold: choose a local one")),
        }
    }

    #[cfg(target_os = "linux")]
    fn refuse_network_file_system(&self, root: &Root) -> Result<()> {
        let stat = rustix::fs::fstatfs(root.fd()).doing("look at the file system")?;
        // The kernel's numbers have 32 bits; the type of the field differs between platforms.
        match network_file_system(stat.f_type as u32) {
            Some(name) => {
                Err(self.unfit(&format!("is on {name}, where this store is not safe: choose a local one")))
            }
            None => Ok(()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn refuse_network_file_system(&self, _root: &Root) -> Result<()> {
        Ok(())
    }

    fn unfit(&self, why: &str) -> session_core::Error {
        error::invalid_config(format!("the directory {} {why}", self.directory.display()))
    }
}

/// The name of a file system of the network, by the kernel's number.
#[cfg(target_os = "linux")]
fn network_file_system(number: u32) -> Option<&'static str> {
    const NETWORK: [(u32, &str); 9] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xfe53_4d42, "SMB"),
        (0xff53_4d42, "SMB"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x00c3_6400, "Ceph"),
        (0x0102_1997, "9P"),
    ];
    NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::libc;

    use super::*;

    #[test]
    fn file_systems_of_the_network_are_known_by_the_numbers_of_the_c_library() {
        let network = [
            (libc::NFS_SUPER_MAGIC, "NFS"),
            (libc::SMB_SUPER_MAGIC, "SMB"),
            (libc::AFS_SUPER_MAGIC, "AFS"),
            (libc::CODA_SUPER_MAGIC, "Coda"),
        ];
        for (number, name) in network {
            assert_eq!(network_file_system(number as u32), Some(name));
        }
        let local =
            [libc::EXT4_SUPER_MAGIC, libc::BTRFS_SUPER_MAGIC, libc::TMPFS_MAGIC, libc::OVERLAYFS_SUPER_MAGIC];
        for number in local {
            assert_eq!(network_file_system(number as u32), None);
        }
    }
}
