//! The writes: which system calls, in which order. `PROTOCOL.md` says why each point between them is safe.

use std::io::Write as _;

use rustix::fs::OFlags;
use rustix::io::Errno;
use session_core::{Record, Result, Revision, SessionKey};

use crate::dir::{self, Root};
use crate::engine::Engine;
use crate::error::Doing as _;
use crate::layout::{self, NEW, OLD, OwnerPlace};
use crate::lock::Shard;
use crate::record::{RecordImage, Unreadable, encode};

impl Engine {
    /// Puts a record under its key, in place of `old`, which is what lies there now.
    pub(crate) fn write(
        &self,
        root: &Root,
        shard: &Shard<'_>,
        key: SessionKey,
        record: &Record,
        old: Option<&RecordImage>,
    ) -> Result<()> {
        let done = self.try_write(root, shard, key, record, old);
        if done.is_err() {
            self.settle_quietly(root, shard);
        }
        done
    }

    fn try_write(
        &self,
        root: &Root,
        shard: &Shard<'_>,
        key: SessionKey,
        record: &Record,
        old: Option<&RecordImage>,
    ) -> Result<()> {
        // An entry that falls due too early is moved by the sweep, so only a shortened life needs a new one.
        let indexed_at = layout::indexed_at(record.expires_at);
        let indexed_at = old.map_or(indexed_at, |old| old.indexed_at.min(indexed_at));
        let leaves_due = old.is_some_and(|old| old.indexed_at != indexed_at);
        let old_owner = old.and_then(|old| old.owner.as_ref());
        let leaves_owner = old_owner.is_some() && old_owner != record.owner.as_ref();
        let leaves = leaves_due || leaves_owner;
        if let (true, Some(old)) = (leaves, old) {
            self.stage(root, shard, OLD, &encode(key, &old.without_payload(), old.indexed_at))?;
        }
        self.stage(root, shard, NEW, &encode(key, record, indexed_at))?;
        if old.is_none() || leaves_due {
            root.put(&layout::due_entry(indexed_at, key), self.sync()).doing("write the expiry index")?;
        }
        if let Some(owner) = record.owner.as_ref().filter(|owner| Some(*owner) != old_owner) {
            root.put(&OwnerPlace::of(owner).entry(key), self.sync()).doing("write the owner index")?;
        }
        rustix::fs::renameat(&shard.dir, NEW, &shard.dir, key.to_string()).doing("put a session in place")?;
        self.sync_shard(shard)?;
        if leaves {
            self.settle_quietly(root, shard);
        }
        Ok(())
    }

    /// Removes a record: as `.old` it is gone for readers, and says what leaves the indexes.
    pub(crate) fn remove(&self, root: &Root, shard: &Shard<'_>, key: SessionKey) -> Result<()> {
        self.settle_one(root, shard, OLD)?;
        rustix::fs::renameat(&shard.dir, key.to_string(), &shard.dir, OLD).doing("remove a session")?;
        self.sync_shard(shard)?;
        self.settle_quietly(root, shard);
        Ok(())
    }

    /// Moves a damaged file out of the way, where the operator finds it.
    pub(crate) fn put_aside(&self, root: &Root, shard: &Shard<'_>, key: SessionKey) -> Result<()> {
        let doing = "put a damaged session aside";
        let aside = root.make_dir(layout::DAMAGED, self.sync()).doing(doing)?;
        let name = format!("{key}.{}", Revision::generate()?);
        match rustix::fs::renameat(&shard.dir, key.to_string(), &aside, &name) {
            Ok(()) => tracing::warn!(%key, "a damaged session was put aside in the directory `damaged`"),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error).doing(doing),
        }
        if self.sync() {
            rustix::fs::fsync(&aside).doing(doing)?;
        }
        self.sync_shard(shard)
    }

    /// Writes a file that does not count yet.
    fn stage(&self, root: &Root, shard: &Shard<'_>, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = match dir::create(&shard.dir, name, OFlags::EXCL) {
            // Left behind by a writer that died, since the lock is ours.
            Err(Errno::EXIST) => {
                self.settle_one(root, shard, name)?;
                dir::create(&shard.dir, name, OFlags::EXCL).doing("write a session")?
            }
            other => other.doing("write a session")?,
        };
        file.write_all(bytes).doing("write a session")?;
        if self.sync() { file.sync_all().doing("synchronise a session") } else { Ok(()) }
    }

    fn sync_shard(&self, shard: &Shard<'_>) -> Result<()> {
        if self.sync() { shard.dir.sync_all().doing("synchronise a directory") } else { Ok(()) }
    }

    /// Clears what a write left behind: its own, when it failed or is done, or a dead process's. What stays behind
    /// harms nothing, and the next write in this shard tries again.
    pub(crate) fn settle_quietly(&self, root: &Root, shard: &Shard<'_>) {
        let settled = self.settle_one(root, shard, NEW).and_then(|()| self.settle_one(root, shard, OLD));
        if let Err(error) = settled {
            tracing::debug!(shard = shard.number, error = %error, "leftovers of a write stay for now");
        }
    }

    /// Takes out of the indexes what a leftover names and no record stands for, then removes the leftover.
    fn settle_one(&self, root: &Root, shard: &Shard<'_>, name: &str) -> Result<()> {
        let leftover = dir::open_record(&shard.dir, name, false)
            .and_then(|opened| opened.map(|(file, len)| RecordImage::read(&file, len)).transpose());
        match leftover {
            Ok(None) => return Ok(()),
            Ok(Some(left)) => self.clean_indexes(root, shard, &left)?,
            // It was not written to its end, so nothing followed it.
            Err(Unreadable::Damaged(_)) => {}
            Err(Unreadable::Io(error)) => return Err(error).doing("read a leftover"),
        }
        dir::unlink(&shard.dir, name).doing("remove a leftover")
    }

    fn clean_indexes(&self, root: &Root, shard: &Shard<'_>, left: &RecordImage) -> Result<()> {
        let current = match self.find(shard, left.key, false) {
            Ok(found) => found.map(|found| found.image),
            // What its index says stays, until the operator has looked.
            Err(error) if error.kind() == session_core::ErrorKind::Corrupt => return Ok(()),
            Err(error) => return Err(error),
        };
        if current.as_ref().is_none_or(|current| current.indexed_at != left.indexed_at) {
            root.remove(&layout::due_entry(left.indexed_at, left.key)).doing("write the expiry index")?;
        }
        match &left.owner {
            Some(owner) if current.is_none_or(|current| current.owner.as_ref() != Some(owner)) => {
                root.remove(&OwnerPlace::of(owner).entry(left.key)).doing("write the owner index")
            }
            _ => Ok(()),
        }
    }
}
