//! Listing, and removing what belongs to one owner.

use session_core::{Cursor, Error, ErrorKind, Owner, Page, Record, Result, SessionKey};

use crate::dir::Root;
use crate::engine::Engine;
use crate::error::Doing as _;
use crate::index::keys;
use crate::layout::{self, OwnerPlace};
use crate::lock::not_a_store;

/// The most sessions of one page: what bounds its time and memory.
const MAX_PAGE: usize = 1_000;

impl Engine {
    /// An owner's in the order of the keys, all in that of the shards and in each of the keys. The cursor is the last
    /// key that was looked at.
    pub(crate) fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let after = cursor.map(|cursor| cursor.as_str().parse::<SessionKey>()).transpose();
        let after = after.map_err(|source| {
            Error::new(ErrorKind::InvalidInput, "not a cursor of this store").with_source(source)
        })?;
        let root = self.root()?;
        if !root.exists(layout::FORMAT).doing("look for the store")? {
            return Err(not_a_store());
        }
        let limit = limit.clamp(1, MAX_PAGE);
        let (sessions, next) = match owner {
            Some(owner) => self.list_owner(&root, owner, after, limit)?,
            None => self.list_all(&root, after, limit)?,
        };
        Ok(Page { sessions, next: next.map(|key| Cursor::new(key.to_string())) })
    }

    fn list_owner(
        &self,
        root: &Root,
        owner: &Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> Result<Found> {
        self.ensure_indexes(root)?;
        let keys = sorted(self.owned(root, owner)?.into_iter(), after);
        let mut sessions = Vec::new();
        for key in keys {
            match self.shown(key)? {
                Some(record) if record.owner.as_ref() == Some(owner) => sessions.push((key, record)),
                Some(_) | None => self.prune(root, owner, key),
            }
            if sessions.len() == limit {
                return Ok((sessions, Some(key)));
            }
        }
        Ok((sessions, None))
    }

    fn list_all(&self, root: &Root, after: Option<SessionKey>, limit: usize) -> Result<Found> {
        let mut sessions = Vec::new();
        let first = after.map_or(0, layout::shard_of);
        for number in first..=u8::MAX {
            let names = root.names(&layout::shard_dir(number)).doing("read a directory")?;
            for key in sorted(keys(names), after.filter(|_| number == first)) {
                sessions.extend(self.shown(key)?.map(|record| (key, record)));
                if sessions.len() == limit {
                    return Ok((sessions, Some(key)));
                }
            }
        }
        Ok((sessions, None))
    }

    /// A live record; a damaged one is left out, so that it does not hide the others.
    fn shown(&self, key: SessionKey) -> Result<Option<Record>> {
        match self.load(key) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(%key, "a damaged session is left out of a listing");
                Ok(None)
            }
            other => other,
        }
    }

    /// A session that the owner had before keeps its key, so its entry is read, unless it was another owner's at an
    /// instant since: then that is when this took effect on it (`[O4]`).
    pub(crate) fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let root = self.root()?;
        if !root.exists(layout::FORMAT).doing("look for the store")? {
            return Err(not_a_store());
        }
        self.ensure_indexes(&root)?;
        let mut removed = 0;
        for key in self.owned(&root, owner)?.into_iter().filter(|key| Some(*key) != keep) {
            removed += u64::from(self.delete_if_owned(&root, owner, key)?);
        }
        Ok(removed)
    }

    /// Whether a live session of this owner was removed.
    fn delete_if_owned(&self, root: &Root, owner: &Owner, key: SessionKey) -> Result<bool> {
        let shard = self.lock(root, key)?;
        let found = match self.find(&shard, key, false) {
            // Not live, whoever it belongs to.
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(false),
            other => other?,
        };
        match found.map(|found| found.image).filter(|image| image.owner.as_ref() == Some(owner)) {
            Some(image) => {
                let live = image.is_live(self.now());
                self.remove(root, &shard, key)?;
                Ok(live)
            }
            None => {
                root.remove(&OwnerPlace::of(owner).entry(key)).doing("write the owner index")?;
                Ok(false)
            }
        }
    }

    fn owned(&self, root: &Root, owner: &Owner) -> Result<Vec<SessionKey>> {
        let place = OwnerPlace::of(owner);
        let names = root.names(&place.dir).doing("read the owner index")?;
        Ok(names.iter().filter_map(|name| place.key_of(name)).collect())
    }

    /// Removes an entry that no record stands for; it harms nothing if it stays.
    fn prune(&self, root: &Root, owner: &Owner, key: SessionKey) {
        let Ok(shard) = self.lock(root, key) else { return };
        let stale = match self.find(&shard, key, false) {
            Ok(found) => found.is_none_or(|found| found.image.owner.as_ref() != Some(owner)),
            Err(_) => false,
        };
        if stale {
            let _unpruned = root.remove(&OwnerPlace::of(owner).entry(key));
        }
    }
}

/// Sessions, and the key after which to go on.
type Found = (Vec<(SessionKey, Record)>, Option<SessionKey>);

fn sorted(keys: impl Iterator<Item = SessionKey>, after: Option<SessionKey>) -> Vec<SessionKey> {
    let mut keys: Vec<_> = keys.filter(|key| after.is_none_or(|after| *key > after)).collect();
    keys.sort_unstable();
    keys
}
