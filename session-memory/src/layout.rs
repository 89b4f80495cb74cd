//! How records lie in memory: shards, each with its entries and two indexes over them.

use std::collections::BTreeSet;

use session_core::{Owner, Record, SessionKey, Timestamp};

use crate::capacity::charge;
use crate::owners::{OwnerIndex, OwnerKeys};
use crate::table::{Entry, KeyTable};

/// The records whose keys begin with the same bits. What it holds and what its indexes say is always the same:
/// only `put`, `touch` and `remove` change either.
#[derive(Debug)]
pub(crate) struct Shard {
    entries: KeyTable,
    /// Every entry once, the soonest to expire first: a sweep looks at what expired and at nothing else (`[E5]`).
    expiries: BTreeSet<(Timestamp, SessionKey)>,
    owners: OwnerIndex,
    bytes: u64,
}

impl Shard {
    /// A shard for keys that have their first `bits` bits in common.
    pub(crate) fn new(bits: u32) -> Self {
        let (expiries, owners) = (BTreeSet::new(), OwnerIndex::default());
        Self { entries: KeyTable::new(bits), expiries, owners, bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The record, live or not.
    pub(crate) fn get(&self, key: SessionKey) -> Option<&Record> {
        self.entries.get(key)
    }

    pub(crate) fn live(&self, key: SessionKey, now: Timestamp) -> Option<&Record> {
        self.get(key).filter(|record| record.expires_at > now)
    }

    /// Puts a record under `key`; returns the one that was there, for the caller to drop after unlocking.
    pub(crate) fn put(&mut self, key: SessionKey, record: Record) -> Option<Record> {
        self.bytes += charge(&record);
        let Some(place) = self.entries.get_mut(key) else {
            self.expiries.insert((record.expires_at, key));
            if let Some(owner) = &record.owner {
                self.owners.add(owner, key);
            }
            self.entries.insert(Entry { key, record });
            return None;
        };
        let old = std::mem::replace(place, record);
        self.bytes -= charge(&old);
        if old.expires_at != place.expires_at {
            self.expiries.remove(&(old.expires_at, key));
            self.expiries.insert((place.expires_at, key));
        }
        if old.owner != place.owner {
            if let Some(owner) = &old.owner {
                self.owners.remove(owner, key);
            }
            if let Some(owner) = &place.owner {
                self.owners.add(owner, key);
            }
        }
        Some(old)
    }

    /// Moves the expiry of a live record later; whether there was one.
    pub(crate) fn touch(&mut self, key: SessionKey, expires_at: Timestamp, now: Timestamp) -> bool {
        match self.entries.get_mut(key) {
            Some(record) if record.expires_at > now => {
                if expires_at > record.expires_at {
                    self.expiries.remove(&(record.expires_at, key));
                    self.expiries.insert((expires_at, key));
                    record.expires_at = expires_at;
                }
                true
            }
            _ => false,
        }
    }

    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Box<Entry>> {
        let entry = self.entries.remove(key)?;
        self.bytes -= charge(&entry.record);
        self.expiries.remove(&(entry.record.expires_at, key));
        if let Some(owner) = &entry.record.owner {
            self.owners.remove(owner, key);
        }
        Some(entry)
    }

    /// Removes the soonest to expire of those that have expired.
    pub(crate) fn remove_expired(&mut self, now: Timestamp) -> Option<Box<Entry>> {
        let &(expires_at, key) = self.expiries.first()?;
        if expires_at > now { None } else { self.remove(key) }
    }

    /// When and which record expires soonest, leaving out the `kept`.
    pub(crate) fn soonest(&self, kept: &[SessionKey]) -> Option<(Timestamp, SessionKey)> {
        self.expiries.iter().find(|(_, key)| !kept.contains(key)).copied()
    }

    /// The owner's keys after `cursor`, in order, live or not.
    pub(crate) fn owned(&self, owner: &Owner, cursor: Option<SessionKey>) -> OwnerKeys<'_> {
        self.owners.keys(owner, cursor)
    }

    /// The first `limit` live records after `cursor`, of `owner` or of all, in key order.
    pub(crate) fn page(
        &self,
        owner: Option<&Owner>,
        cursor: Option<SessionKey>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<(SessionKey, Record)> {
        let Some(owner) = owner else {
            let found = self.entries.after(cursor, limit, |record| record.expires_at > now);
            return found.into_iter().map(|entry| (entry.key, entry.record.clone())).collect();
        };
        let keys = self.owned(owner, cursor);
        keys.filter_map(|key| Some((key, self.live(key, now)?.clone()))).take(limit).collect()
    }
}
