//! Removing what has expired, through the expiry index: what is not due is not opened.

use std::collections::BTreeMap;

use rustix::fs::AtFlags;
use session_core::{ErrorKind, Result, SessionKey, Timestamp};

use crate::dir::Root;
use crate::engine::Engine;
use crate::error::Doing as _;
use crate::layout::{self, DUE};
use crate::lock::{Shard, not_a_store};

/// The most entries that are worked off under one lock.
const BATCH: usize = 64;

impl Engine {
    pub(crate) fn delete_expired(&self, limit: usize) -> Result<u64> {
        let root = self.root()?;
        if !root.exists(layout::FORMAT).doing("look for the store")? {
            return Err(not_a_store());
        }
        self.ensure_indexes(&root)?;
        let mut removed = 0;
        let now = layout::indexed_at(self.now());
        let (this_era, this_bucket, _) = layout::cut(now);
        for era in sorted(root.names(DUE).doing("read the expiry index")?, 5, &this_era) {
            let last = if era == this_era { &this_bucket } else { "fff" };
            let path = format!("{DUE}/{era}");
            for bucket in sorted(root.names(&path).doing("read the expiry index")?, 3, last) {
                if removed == limit {
                    return Ok(removed as u64);
                }
                self.sweep_bucket(&root, &era, &bucket, now, limit, &mut removed)?;
                if era < this_era || bucket < this_bucket {
                    remove_if_empty(&root, &format!("{path}/{bucket}"));
                }
            }
            if era < this_era {
                remove_if_empty(&root, &path);
            }
        }
        Ok(removed as u64)
    }

    fn sweep_bucket(
        &self,
        root: &Root,
        era: &str,
        bucket: &str,
        now: Timestamp,
        limit: usize,
        removed: &mut usize,
    ) -> Result<()> {
        let names = root.names(&format!("{DUE}/{era}/{bucket}")).doing("read the expiry index")?;
        let mut shards = BTreeMap::<u8, Vec<(Timestamp, SessionKey)>>::new();
        for (indexed_at, key) in names.iter().filter_map(|name| layout::parse_due(era, bucket, name)) {
            if indexed_at <= now {
                shards.entry(layout::shard_of(key)).or_default().push((indexed_at, key));
            }
        }
        for (number, entries) in shards {
            for batch in entries.chunks(BATCH) {
                let shard = self.lock_shard(root, number)?;
                for (indexed_at, key) in batch {
                    if *removed == limit {
                        return Ok(());
                    }
                    *removed += usize::from(self.work_off(root, &shard, *indexed_at, *key)?);
                }
            }
        }
        Ok(())
    }

    /// Works off one entry that has fallen due; whether an expired record was removed.
    fn work_off(
        &self,
        root: &Root,
        shard: &Shard<'_>,
        indexed_at: Timestamp,
        key: SessionKey,
    ) -> Result<bool> {
        let entry = layout::due_entry(indexed_at, key);
        let found = match self.find(shard, key, true) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.put_aside(root, shard, key)?;
                None
            }
            other => other?.filter(|found| found.image.indexed_at == indexed_at),
        };
        match found {
            Some(found) if !found.image.is_live(self.now()) => {
                self.remove(root, shard, key)?;
                return Ok(true);
            }
            // Touched or saved since it was indexed: the entry moves to where the record now expires.
            Some(found) => {
                let later = layout::indexed_at(found.image.expires_at);
                root.put(&layout::due_entry(later, key), self.sync()).doing("write the expiry index")?;
                found
                    .image
                    .set_slot(&found.file, found.image.expires_at, later)
                    .doing("index a session anew")?;
                if self.sync() {
                    found.file.sync_data().doing("synchronise a session")?;
                }
            }
            // No record, or one that is indexed elsewhere.
            None => {}
        }
        root.remove(&entry).doing("write the expiry index")?;
        Ok(false)
    }
}

/// The names of `len` characters that come no later than `last`, in order.
fn sorted(names: Vec<String>, len: usize, last: &str) -> Vec<String> {
    let mut names: Vec<_> =
        names.into_iter().filter(|name| name.len() == len && name.as_str() <= last).collect();
    names.sort_unstable();
    names
}

/// A writer that is just about to use the directory makes it anew.
fn remove_if_empty(root: &Root, path: &str) {
    let Some((above, name)) = path.rsplit_once('/') else { return };
    if let Ok(dir) = root.open_dir(above) {
        let _in_use = rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR);
    }
}
