//! The two indexes: whether they are whole, and building them anew.

use rustix::fs::OFlags;
use session_core::{ErrorKind, Result, SessionKey};

use crate::dir::{self, Root};
use crate::engine::Engine;
use crate::error::Doing as _;
use crate::layout::{self, COMPLETE, DUE, OWNERS, OwnerPlace};

impl Engine {
    /// Builds the indexes anew if one of them is not marked as complete: somebody removed it, or its marker.
    pub(crate) fn ensure_indexes(&self, root: &Root) -> Result<()> {
        if self.is_complete(root, OWNERS)? && self.is_complete(root, DUE)? {
            return Ok(());
        }
        tracing::warn!("an index of the session directory is missing: it is built anew from the records");
        self.index_all(root)
    }

    /// Enters every record into both indexes, then marks them as complete.
    pub(crate) fn index_all(&self, root: &Root) -> Result<()> {
        for number in 0..=u8::MAX {
            self.index_shard(root, number)?;
        }
        self.mark_complete(root)
    }

    fn mark_complete(&self, root: &Root) -> Result<()> {
        for index in [OWNERS, DUE] {
            let dir = root.make_dir(index, self.sync()).doing("make an index")?;
            dir::create(&dir, COMPLETE, OFlags::empty()).doing("mark an index as complete")?;
            if self.sync() {
                rustix::fs::fsync(&dir).doing("synchronise an index")?;
            }
        }
        Ok(())
    }

    fn is_complete(&self, root: &Root, index: &str) -> Result<bool> {
        root.exists(&format!("{index}/{COMPLETE}")).doing("look at an index")
    }

    /// Under the lock, so that no record is written or removed between reading and indexing it.
    fn index_shard(&self, root: &Root, number: u8) -> Result<()> {
        if !root.exists(&layout::shard_dir(number)).doing("open a directory")? {
            return Ok(());
        }
        let shard = self.lock_shard(root, number)?;
        for key in keys(dir::names(&shard.dir).doing("read a directory")?) {
            let image = match self.find(&shard, key, false) {
                Ok(found) => found.map(|found| found.image),
                Err(error) if error.kind() == ErrorKind::Corrupt => None,
                Err(error) => return Err(error),
            };
            let Some(image) = image else { continue };
            root.put(&layout::due_entry(image.indexed_at, key), self.sync())
                .doing("write the expiry index")?;
            if let Some(owner) = &image.owner {
                root.put(&OwnerPlace::of(owner).entry(key), self.sync()).doing("write the owner index")?;
            }
        }
        Ok(())
    }
}

/// The keys among the names of a shard; leftovers and foreign names are none.
pub(crate) fn keys(names: Vec<String>) -> impl Iterator<Item = SessionKey> {
    names.into_iter().filter_map(|name| name.parse().ok())
}
