//! The store: which shards an operation locks, and what it does under the lock.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{RwLock, RwLockWriteGuard};
use session_core::{
    Created, Cursor, Error, Owner, Page, Record, Result, Revision, Saved, SessionKey, SessionStore,
    Timestamp, Touched,
};

use crate::capacity::{Budget, Change};
use crate::config::{MemoryConfig, WhenFull};
use crate::error;
use crate::layout::Shard;
use crate::table::{self, Entry};

/// Sessions in the memory of this process, gone when it ends.
///
/// A clone is another handle on the same sessions (`[H1]`); two stores made with [`new`](Self::new) share nothing
/// (`[H3]`). No operation waits for anything but short locks, so no operation can be interrupted half way (`[F3]`).
#[derive(Clone)]
pub struct MemoryStore(Arc<Shared>);

struct Shared {
    config: MemoryConfig,
    budget: Option<Budget>,
    /// The leading bits of a key are the number of its shard.
    shards: Box<[Aligned]>,
    shard_bits: u32,
}

/// Two locks never share a cache line, nor the pair of lines that is fetched together.
#[repr(align(128))]
struct Aligned(RwLock<Shard>);

/// The most sessions of one page: what bounds how long a listing holds its locks.
const MAX_PAGE: usize = 1_000;

/// The most records that a sweep removes under one lock.
const SWEEP_BATCH: usize = 128;

/// The most expired records that a write removes from its shard on the way. More than one, so that the store shrinks
/// although every write may add one.
const SWEPT_BY_A_WRITE: usize = 2;

type Swept = [Option<Box<Entry>>; SWEPT_BY_A_WRITE];

/// What a [`MemoryStore`] holds at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Sessions, with those that have expired and were not swept yet.
    pub sessions: usize,
    /// Bytes: payloads, owners, and 176 for everything else that a session needs.
    pub bytes: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Self {
        let threads = std::thread::available_parallelism().map_or(4, usize::from);
        let shards = (threads * 16).next_power_of_two().clamp(16, 256);
        let shard_bits = shards.ilog2();
        Self(Arc::new(Shared {
            budget: Budget::new(&config),
            shards: (0..shards).map(|_| Aligned(RwLock::new(Shard::new(shard_bits)))).collect(),
            shard_bits,
            config,
        }))
    }

    /// How much the store holds: a sum over its parts, each exact when it is looked at.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.0.shards.iter().map(|shard| shard.0.read()).fold(Usage::default(), |sum, shard| Usage {
            sessions: sum.sessions + shard.len(),
            bytes: sum.bytes + shard.bytes(),
        })
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryConfig::default())
    }
}

/// Shows how the store is configured, and no session.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.0.create(key, record).map_err(|error| error.with_operation("create"))
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let shard = self.0.shard(key).read();
        Ok(shard.live(key, self.0.now()).cloned())
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.0.save(key, expected, record).map_err(|error| error.with_operation("save"))
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        let mut shard = self.0.shard(key).write();
        Ok(shard.touch(key, expected, expires_at, self.0.now()))
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        Ok(self.0.delete(key))
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let after = cursor.map(|cursor| cursor.as_str().parse::<SessionKey>()).transpose();
        let after = after.map_err(|source| error::foreign_cursor(source).with_operation("list"))?;
        Ok(self.0.page(owner, after, limit))
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        Ok(self.0.delete_owned(owner, keep))
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        Ok(self.0.delete_expired(limit) as u64)
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.0.now())
    }
}

/// A create or a save also removes a few records that have expired, so that a store that nobody sweeps holds little
/// more than what is live. What was taken out is dropped after unlocking: giving memory back takes longer than
/// everything else.
///
/// The clock is read under the lock. Read before it, it could lag behind what others saw meanwhile: a touch would
/// find a record live that another task had already found expired, and revive it (`[T2]`, `[Y1]`).
impl Shared {
    fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.check(record)?;
        loop {
            let (_swept, shard, now) = self.lock_and_sweep(key);
            if shard.live(key, now).is_some() {
                return Ok(Created::Occupied);
            }
            let change = Change::default().adding(record).removing(shard.get(key));
            match self.take(change) {
                Ok(()) => {
                    let _expired = put(shard, key, record);
                    return Ok(Created::Stored);
                }
                Err(full) => {
                    drop(shard);
                    self.make_room(full, key)?;
                }
            }
        }
    }

    fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.check(record)?;
        loop {
            let (_swept, shard, now) = self.lock_and_sweep(key);
            let Some(stored) = shard.live(key, now) else { return Ok(Saved::Missing) };
            if stored.revision != expected {
                let repeated = stored.revision == record.revision;
                return Ok(if repeated { Saved::Stored } else { Saved::Conflict });
            }
            let change = Change::default().adding(record).removing(Some(stored));
            match self.take(change) {
                Ok(()) => {
                    let _replaced = put(shard, key, record);
                    return Ok(Saved::Stored);
                }
                Err(full) => {
                    drop(shard);
                    self.make_room(full, key)?;
                }
            }
        }
    }

    fn delete(&self, key: SessionKey) -> bool {
        let mut shard = self.shard(key).write();
        let now = self.now();
        let removed = shard.remove(key);
        self.give_back(&removed);
        drop(shard);
        removed.is_some_and(|entry| entry.record.expires_at > now)
    }

    /// Locks one shard at a time: a session is in the same one for its whole life.
    fn page(&self, owner: Option<&Owner>, mut after: Option<SessionKey>, limit: usize) -> Page {
        let limit = limit.clamp(1, MAX_PAGE);
        let first = after.map_or(0, |key| self.shard_number(key));
        let mut sessions = Vec::new();
        for shard in &self.shards[first..] {
            let shard = shard.0.read();
            // One more than fits tells whether there is a next page.
            sessions.extend(shard.page(owner, after.take(), limit + 1 - sessions.len(), self.now()));
            if sessions.len() > limit {
                break;
            }
        }
        let more = sessions.len() > limit;
        sessions.truncate(limit);
        let next = sessions.last().filter(|_| more).map(|(key, _)| Cursor::new(key.to_string()));
        Page { sessions, next }
    }

    /// Locks one shard at a time: what the owner had before the call stays where it is until its turn comes (`[O4]`).
    fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> u64 {
        let mut live = 0;
        for shard in &self.shards {
            let mut shard = shard.0.write();
            let now = self.now();
            let keys: Vec<_> = shard.owned(owner, None).filter(|key| Some(*key) != keep).collect();
            let removed: Vec<_> = keys.into_iter().filter_map(|key| shard.remove(key)).collect();
            self.give_back(&removed);
            drop(shard);
            live += removed.iter().filter(|entry| entry.record.expires_at > now).count() as u64;
        }
        live
    }

    /// Locks one shard at a time, and no longer than a batch takes.
    fn delete_expired(&self, limit: usize) -> usize {
        let mut removed = 0;
        for shard in &self.shards {
            loop {
                let wanted = SWEEP_BATCH.min(limit - removed);
                let swept = self.sweep(shard, wanted);
                removed += swept;
                if removed == limit {
                    return removed;
                }
                if swept < wanted {
                    break;
                }
            }
        }
        removed
    }

    fn sweep(&self, shard: &Aligned, limit: usize) -> usize {
        let mut shard = shard.0.write();
        let now = self.now();
        let removed: Vec<_> = std::iter::from_fn(|| shard.remove_expired(now)).take(limit).collect();
        self.give_back(&removed);
        drop(shard);
        removed.len()
    }
}

/// Room.
impl Shared {
    fn check(&self, record: &Record) -> Result<()> {
        let (len, max) = (record.payload.len(), self.config.max_payload);
        if len > max {
            return Err(error::payload_too_large(len, max));
        }
        self.budget.as_ref().map_or(Ok(()), |budget| budget.check(record))
    }

    fn take(&self, change: Change) -> Result<(), Error> {
        self.budget.as_ref().map_or(Ok(()), |budget| budget.take(change))
    }

    fn give_back<'a>(&self, removed: impl IntoIterator<Item = &'a Box<Entry>>) {
        if let Some(budget) = &self.budget {
            let removed = removed.into_iter();
            budget.give_back(removed.fold(Change::default(), |sum, entry| sum.removing(Some(&entry.record))));
        }
    }

    /// Makes some room, though not for `kept`, or fails with `full`. No shard may be locked by the caller, who
    /// looks at everything anew afterwards.
    fn make_room(&self, full: Error, kept: SessionKey) -> Result<()> {
        let made = self.delete_expired(SWEEP_BATCH) > 0
            || self.config.when_full == WhenFull::EvictSoonest && self.evict_soonest(kept);
        if made { Ok(()) } else { Err(full) }
    }

    /// Removes the session that is the soonest to expire; whether there was one.
    fn evict_soonest(&self, kept: SessionKey) -> bool {
        let soonest = self.shards.iter().filter_map(|shard| shard.0.read().soonest(kept)).min();
        let Some((_, key)) = soonest else { return false };
        // Between the two locks it may have been written or removed. Whatever is the soonest here now goes then.
        let mut shard = self.shard(key).write();
        let evicted = shard.soonest(kept).and_then(|(_, key)| shard.remove(key));
        self.give_back(&evicted);
        drop(shard);
        true
    }
}

/// Locks and time.
impl Shared {
    /// Expired records that a write removed on the way, the shard of its key, locked, and the time. In this order, so
    /// that the shard is unlocked first.
    fn lock_and_sweep(&self, key: SessionKey) -> (Swept, RwLockWriteGuard<'_, Shard>, Timestamp) {
        let mut shard = self.shard(key).write();
        let now = self.now();
        let swept: Swept = std::array::from_fn(|_| shard.remove_expired(now));
        self.give_back(swept.iter().flatten());
        (swept, shard, now)
    }

    fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    fn shard(&self, key: SessionKey) -> &RwLock<Shard> {
        &self.shards[self.shard_number(key)].0
    }

    fn shard_number(&self, key: SessionKey) -> usize {
        (table::leading(key) >> (64 - self.shard_bits)) as usize
    }
}

/// Puts and unlocks; returns what was there.
fn put(mut shard: RwLockWriteGuard<'_, Shard>, key: SessionKey, record: &Record) -> Option<Record> {
    shard.put(key, record.clone())
}
