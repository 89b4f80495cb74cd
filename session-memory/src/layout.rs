//! How records lie in memory: shards, each with its entries and two indexes over them.

use std::collections::BTreeSet;

use session_core::{Owner, Record, Revision, SessionKey, Timestamp, Touched};

use crate::capacity::charge;
use crate::owners::{OwnerIndex, OwnerKeys};
use crate::table::{Entry, KeyTable};

/// The records whose keys have the same leading bits. What it holds and what its indexes say is always the same:
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

    /// Moves the expiry of a live record later, if it still has the revision `expected`.
    pub(crate) fn touch(
        &mut self,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Touched {
        let live = self.entries.get_mut(key).filter(|record| record.expires_at > now);
        let Some(record) = live else { return Touched::Missing };
        if record.revision != expected {
            return Touched::Conflict;
        }
        if expires_at > record.expires_at {
            self.expiries.remove(&(record.expires_at, key));
            self.expiries.insert((expires_at, key));
            record.expires_at = expires_at;
        }
        Touched::Stored
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

    /// When and which record expires soonest, leaving out the one under `kept`.
    pub(crate) fn soonest(&self, kept: SessionKey) -> Option<(Timestamp, SessionKey)> {
        self.expiries.iter().find(|(_, key)| *key != kept).copied()
    }

    /// The owner's keys after `cursor`, in order, live or not.
    pub(crate) fn owned(&self, owner: &Owner, cursor: Option<SessionKey>) -> OwnerKeys<'_> {
        self.owners.keys(owner, cursor)
    }

    /// The first `limit` live records after `cursor`, of `owner` or of all, in an order of each listing.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record(owner: Option<&str>, expires_at: i64, len: usize) -> Record {
        Record {
            revision: Revision::from_u64((len % 2) as u64),
            owner: owner.map(|owner| owner.parse().unwrap()),
            created_at: Timestamp::EPOCH,
            expires_at: Timestamp::from_millis(expires_at),
            payload: vec![0; len].into(),
        }
    }

    /// The shard's entries and indexes, told apart, all say what the model says.
    fn assert_agrees(shard: &Shard, model: &BTreeMap<SessionKey, Record>) {
        assert_eq!(shard.len(), model.len());
        assert_eq!(shard.bytes(), model.values().map(charge).sum());
        let mut page = shard.page(None, None, usize::MAX, Timestamp::from_millis(i64::MIN));
        page.sort_unstable_by_key(|(key, _)| *key);
        assert!(page.iter().map(|(key, record)| (key, record)).eq(model), "the entries differ");
        let expiries: BTreeSet<_> = model.iter().map(|(key, record)| (record.expires_at, *key)).collect();
        assert_eq!(shard.expiries, expiries);
        for owner in ["ann", "bob"].map(|owner| owner.parse().unwrap()) {
            let owned = model.iter().filter(|(_, record)| record.owner.as_ref() == Some(&owner));
            assert!(
                shard.owned(&owner, None).eq(owned.map(|(key, _)| *key)),
                "the sessions of {owner} differ"
            );
        }
    }

    #[test]
    fn entries_and_indexes_agree_after_any_operations() {
        // A small generator of our own, so that a failure repeats.
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let keys: Vec<_> = (0..1_500).map(|_| SessionKey::generate().unwrap()).collect();
        let (mut shard, mut model) = (Shard::new(0), BTreeMap::new());
        for step in 0..30_000 {
            let key = keys[random(1_500) as usize];
            let expires_at = random(1_000) as i64;
            match random(8) {
                0..=3 => {
                    let owner = [None, Some("ann"), Some("bob")][random(3) as usize];
                    let record = record(owner, expires_at, random(90) as usize);
                    assert_eq!(shard.put(key, record.clone()), model.insert(key, record));
                }
                4 => {
                    let (to, now) = (Timestamp::from_millis(expires_at), Timestamp::from_millis(500));
                    let expected = Revision::from_u64(random(2));
                    let wanted = match model.get_mut(&key).filter(|record| record.expires_at > now) {
                        None => Touched::Missing,
                        Some(record) if record.revision != expected => Touched::Conflict,
                        Some(record) => {
                            record.expires_at = record.expires_at.max(to);
                            Touched::Stored
                        }
                    };
                    assert_eq!(shard.touch(key, expected, to, now), wanted);
                }
                // Longer stretches of removing alone, so that tables shrink.
                _ if step % 10_000 > 5_000 || random(4) == 0 => {
                    assert_eq!(shard.remove(key).map(|entry| entry.record), model.remove(&key));
                }
                _ => assert_eq!(shard.get(key), model.get(&key)),
            }
            if step % 1_000 == 0 {
                assert_agrees(&shard, &model);
            }
        }
        assert_agrees(&shard, &model);
    }

    #[test]
    fn what_expired_comes_out_soonest_first_and_nothing_else_does() {
        let mut shard = Shard::new(0);
        let keys: Vec<_> = (0..10).map(|_| SessionKey::generate().unwrap()).collect();
        for (at, key) in (0..).zip(&keys) {
            shard.put(*key, record(None, at, 0));
        }
        let removed = std::iter::from_fn(|| shard.remove_expired(Timestamp::from_millis(4)));
        assert!(removed.map(|entry| entry.key).eq(keys[..5].iter().copied()));
        assert_eq!(shard.soonest(keys[5]), Some((Timestamp::from_millis(6), keys[6])));
    }
}
