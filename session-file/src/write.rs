//! The writes: which system calls, in which order. `PROTOCOL.md` says why each point between them is safe.

use std::io::Write as _;

use rustix::fs::OFlags;
use rustix::io::Errno;
use session_core::{Record, Result, Revision, SessionKey};

use crate::dir::{self, Root};
use crate::engine::{Engine, Found};
use crate::error::Doing as _;
use crate::face::{self, Face, Faces, Unreadable};
use crate::layout::{self, NEW, NOTE, OwnerPlace};
use crate::lock::Shard;

impl Engine {
    /// Puts a record under its key, in place of `old`, which is what lies there now.
    pub(crate) fn write(
        &self,
        root: &Root,
        shard: &Shard<'_>,
        key: SessionKey,
        record: &Record,
        old: Option<&Face>,
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
        old: Option<&Face>,
    ) -> Result<()> {
        // An entry that falls due too early is moved by the sweep, so only a shortened life needs a new one.
        let filed = layout::filing(record.expires_at);
        let filed = old.map_or(filed, |old| old.filed.min(filed));
        let leaves_due = old.is_some_and(|old| old.filed != filed);
        let old_owner = old.and_then(|old| old.owner.as_ref());
        let leaves_owner = old_owner.is_some() && old_owner != record.owner.as_ref();
        let noted = leaves_due || leaves_owner;
        if let (true, Some(old)) = (noted, old) {
            let mut note = Vec::new();
            face::append(&mut note, key, &old.without_payload(), old.filed);
            self.stage(root, shard, NOTE, &note)?;
        }
        let mut file = Vec::new();
        face::append(&mut file, key, record, filed);
        self.stage(root, shard, NEW, &file)?;
        if old.is_none() || leaves_due {
            root.put(&layout::due_entry(filed, key), self.sync()).doing("write the expiry index")?;
        }
        if let Some(owner) = record.owner.as_ref().filter(|owner| Some(*owner) != old_owner) {
            root.put(&OwnerPlace::of(owner).entry(key), self.sync()).doing("write the owner index")?;
        }
        rustix::fs::renameat(&shard.dir, NEW, &shard.dir, key.to_string()).doing("put a session in place")?;
        self.sync_shard(shard)?;
        if noted {
            self.settle_quietly(root, shard);
        }
        Ok(())
    }

    /// Moves a record to another key, with new content. `target` is what lies under the new key: nothing live.
    ///
    /// The file first gets both faces under its old name, which changes nothing for readers: each name has its own
    /// face. Then one `rename` of the file moves the session.
    pub(crate) fn change_key(
        &self,
        root: &Root,
        (from_shard, from, old): (&Shard<'_>, SessionKey, &Found),
        (to_shard, to, target): (&Shard<'_>, SessionKey, Option<&Face>),
        record: &Record,
    ) -> Result<()> {
        let done = || {
            let filed = layout::filing(record.expires_at);
            let one_shard = from_shard.number == to_shard.number;
            let mut leaving = Vec::new();
            face::append(&mut leaving, from, &old.face.without_payload(), old.face.filed);
            let mut coming = if one_shard { std::mem::take(&mut leaving) } else { Vec::new() };
            let bare = Record { payload: [].into(), ..record.clone() };
            face::append(&mut coming, to, &bare, filed);
            if let Some(target) = target {
                face::append(&mut coming, to, &target.without_payload(), target.filed);
            }
            self.stage(root, to_shard, NOTE, &coming)?;
            if !one_shard {
                self.stage(root, from_shard, NOTE, &leaving)?;
            }
            let mut file = Vec::new();
            face::append(&mut file, from, &old.record(from)?, old.face.filed);
            face::append(&mut file, to, record, filed);
            self.stage(root, from_shard, NEW, &file)?;
            root.put(&layout::due_entry(filed, to), self.sync()).doing("write the expiry index")?;
            if let Some(owner) = &record.owner {
                root.put(&OwnerPlace::of(owner).entry(to), self.sync()).doing("write the owner index")?;
            }
            let (from, to) = (from.to_string(), to.to_string());
            rustix::fs::renameat(&from_shard.dir, NEW, &from_shard.dir, &from)
                .doing("put a session in place")?;
            rustix::fs::renameat(&from_shard.dir, &from, &to_shard.dir, &to).doing("rename a session")?;
            self.sync_shard(to_shard)?;
            self.sync_shard(from_shard)
        };
        let done = done();
        // Clears the index of the old key after success, of the new one after a failure.
        self.settle_quietly(root, to_shard);
        self.settle_quietly(root, from_shard);
        done
    }

    /// Removes a record: under the name of a note it is gone for readers, and says what leaves the indexes.
    pub(crate) fn remove(&self, root: &Root, shard: &Shard<'_>, key: SessionKey) -> Result<()> {
        self.settle_one(root, shard, NOTE)?;
        rustix::fs::renameat(&shard.dir, key.to_string(), &shard.dir, NOTE).doing("remove a session")?;
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

    /// Clears what a write left behind: its own, when it failed or is done, or a dead process's.
    pub(crate) fn settle(&self, root: &Root, shard: &Shard<'_>) -> Result<()> {
        self.settle_one(root, shard, NEW)?;
        self.settle_one(root, shard, NOTE)
    }

    /// What stays behind harms nothing, and the next write in this shard tries again.
    fn settle_quietly(&self, root: &Root, shard: &Shard<'_>) {
        if let Err(error) = self.settle(root, shard) {
            tracing::debug!(shard = shard.number, error = %error, "leftovers of a write stay for now");
        }
    }

    /// Takes out of the indexes what a leftover names and no record stands for, then removes the leftover.
    fn settle_one(&self, root: &Root, shard: &Shard<'_>, name: &str) -> Result<()> {
        let leftover = dir::open_record(&shard.dir, name, false)
            .and_then(|opened| opened.map(|(file, len)| Faces::read(&file, len)).transpose());
        let leftover = match leftover {
            Ok(None) => return Ok(()),
            Ok(faces) => faces,
            // It was not written to its end, so nothing followed it.
            Err(Unreadable::Damaged(_)) => None,
            Err(Unreadable::Io(error)) => return Err(error).doing("read a leftover"),
        };
        for face in leftover.iter().flat_map(Faces::iter) {
            if layout::shard_of(face.key) == shard.number {
                self.reconcile(root, shard, face)?;
            }
        }
        dir::unlink(&shard.dir, name).doing("remove a leftover")
    }

    fn reconcile(&self, root: &Root, shard: &Shard<'_>, face: &Face) -> Result<()> {
        let current = match self.find(shard, face.key, false) {
            Ok(found) => found.map(|found| found.face),
            // What its index says stays, until the operator has looked.
            Err(error) if error.kind() == session_core::ErrorKind::Corrupt => return Ok(()),
            Err(error) => return Err(error),
        };
        if current.as_ref().is_none_or(|current| current.filed != face.filed) {
            root.remove(&layout::due_entry(face.filed, face.key)).doing("write the expiry index")?;
        }
        match &face.owner {
            Some(owner) if current.is_none_or(|current| current.owner.as_ref() != Some(owner)) => {
                root.remove(&OwnerPlace::of(owner).entry(face.key)).doing("write the owner index")
            }
            _ => Ok(()),
        }
    }
}
