//! A hash table whose parts lie in an order, so that a listing can go through it page by page.

use std::fmt;

use hashbrown::HashTable;
use session_core::{Record, SessionKey};

/// A record under its key.
pub(crate) struct Entry {
    pub(crate) key: SessionKey,
    pub(crate) record: Record,
}

/// How many entries the segments hold on average before one is split. A segment that waits for its turn holds up to
/// twice as many, which keeps it within a table of 1024 places.
const MEAN_PER_SEGMENT: usize = 400;

/// Entries in a row of small hash tables ("segments"), each with the keys of one range of [`rank`], in order.
///
/// A lookup goes to one segment by the leading bits of the rank and hashes into it by other bits. The table grows by
/// linear hashing on those leading bits: one segment is split at a time, so that no insert ever moves more than
/// about 800 entries, and a page of a listing looks at no more than the segments it needs.
///
/// Entries are boxed: an empty place of a table costs 9 bytes, not 73.
pub(crate) struct KeyTable {
    segments: Vec<HashTable<Box<Entry>>>,
    /// The leading bits that chose the shard, and say nothing here.
    skip: u32,
    /// Segments are chosen by this many bits, those that were split already by one more.
    bits: u32,
    /// How many of the `2^bits` ranges were split already.
    split: usize,
    len: usize,
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").field("len", &self.len).field("segments", &self.segments.len()).finish()
    }
}

impl KeyTable {
    pub(crate) fn new(skip: u32) -> Self {
        Self { segments: vec![HashTable::new()], skip, bits: 0, split: 0, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: SessionKey) -> Option<&Record> {
        let entry = self.segments[self.segment(key)].find(hash(key), |entry| same(entry.key, key))?;
        Some(&entry.record)
    }

    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Record> {
        let at = self.segment(key);
        let entry = self.segments[at].find_mut(hash(key), |entry| same(entry.key, key))?;
        Some(&mut entry.record)
    }

    /// Adds an entry whose key is absent.
    pub(crate) fn insert(&mut self, entry: Entry) {
        if self.len >= self.segments.len() * MEAN_PER_SEGMENT {
            self.split_next();
        }
        let at = self.segment(entry.key);
        self.segments[at].insert_unique(hash(entry.key), Box::new(entry), |entry| hash(entry.key));
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Box<Entry>> {
        let at = self.segment(key);
        let segment = &mut self.segments[at];
        let (entry, _) = segment.find_entry(hash(key), |entry| same(entry.key, key)).ok()?.remove();
        self.len -= 1;
        if segment.capacity() > 16 && segment.len() < segment.capacity() / 8 {
            segment.shrink_to(segment.len() * 2, |entry| hash(entry.key));
        }
        Some(entry)
    }

    /// The first `limit` entries after `cursor` that pass `wanted`, in the order of their ranks.
    pub(crate) fn after(
        &self,
        cursor: Option<SessionKey>,
        limit: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Vec<&Entry> {
        let mut found: Vec<&Entry> = Vec::new();
        for segment in &self.segments[cursor.map_or(0, |cursor| self.segment(cursor))..] {
            let sorted = found.len();
            let entries = segment.iter().map(Box::as_ref);
            let behind = |key| cursor.is_none_or(|cursor| rank(key) > rank(cursor));
            found.extend(entries.filter(|entry| behind(entry.key) && wanted(&entry.record)));
            found[sorted..].sort_unstable_by_key(|entry| rank(entry.key));
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        found
    }

    fn segment(&self, key: SessionKey) -> usize {
        let range = self.range(key, self.bits);
        if range < self.split { self.range(key, self.bits + 1) } else { range + self.split }
    }

    /// The number that `bits` bits of the rank make, after those that chose the shard.
    fn range(&self, key: SessionKey, bits: u32) -> usize {
        let rest = leading(key) << self.skip;
        // In two steps, since a shift by all 64 bits is not one.
        (rest >> 1 >> (63 - bits)) as usize
    }

    fn split_next(&mut self) {
        // Behind 56 bits come those of the key that need not be random: ranges could not be halved there.
        if self.skip + self.bits >= 55 {
            return;
        }
        let low = self.split * 2;
        let whole = std::mem::take(&mut self.segments[low]);
        self.segments.insert(low + 1, HashTable::with_capacity(whole.len() / 2));
        self.segments[low].reserve(whole.len() / 2, |entry| hash(entry.key));
        self.split += 1;
        for entry in whole {
            let at = self.segment(entry.key);
            self.segments[at].insert_unique(hash(entry.key), entry, |entry| hash(entry.key));
        }
        if self.split == 1 << self.bits {
            self.bits += 1;
            self.split = 0;
        }
    }
}

/// The order of keys here: by their last seven bytes, which are random in every key, and by the others after those.
/// The first bytes of a UUIDv7 are the time: by them, all that is new would crowd into one segment of one shard.
fn rank(key: SessionKey) -> u128 {
    key.as_uuid().as_u128().rotate_left(72)
}

/// The first 56 bits of the rank, which are even, with zeros behind them.
pub(crate) fn leading(key: SessionKey) -> u64 {
    last_eight_bytes(key) << 8
}

fn last_eight_bytes(key: SessionKey) -> u64 {
    key.as_uuid().as_u128() as u64
}

/// Compares as numbers: as byte arrays they are compared by a call.
fn same(a: SessionKey, b: SessionKey) -> bool {
    a.as_uuid().as_u128() == b.as_uuid().as_u128()
}

/// Random bytes of the key, which need no hashing. A table takes a place from the last bits and a tag from the first
/// ones: here neither is of those that choose shard and segment, nor of the two bits that every UUID has in common.
fn hash(key: SessionKey) -> u64 {
    last_eight_bytes(key).rotate_left(40)
}

#[cfg(test)]
mod tests {
    use session_core::{Revision, Timestamp};

    use super::*;

    fn entry(key: SessionKey) -> Entry {
        let (created_at, expires_at) = (Timestamp::EPOCH, Timestamp::MAX);
        let revision = Revision::from_u64(1);
        Entry { key, record: Record { revision, owner: None, created_at, expires_at, payload: [].into() } }
    }

    /// A key of each version in turn, all in shard 0 of those that `skip` bits tell apart.
    fn key(at: usize, skip: u32) -> SessionKey {
        let mut bytes = *SessionKey::generate().unwrap().as_bytes();
        bytes[9] &= u8::MAX >> skip;
        match at % 3 {
            0 => {}
            // All begun within the same seconds.
            1 => {
                bytes[..6].copy_from_slice(&[1, 0x9c, 3, 4, 0x70, 0]);
                bytes[6] = 0x70;
            }
            _ => bytes[6] = 0x80,
        }
        uuid::Uuid::from_bytes(bytes).try_into().unwrap()
    }

    /// A table, and its keys in the order of a listing.
    fn filled(skip: u32, entries: usize) -> (KeyTable, Vec<SessionKey>) {
        let (mut table, mut keys) = (KeyTable::new(skip), Vec::new());
        for at in 0..entries {
            let key = key(at, skip);
            table.insert(entry(key));
            keys.push(key);
        }
        keys.sort_unstable_by_key(|key| rank(*key));
        (table, keys)
    }

    #[test]
    fn every_key_is_found_and_listed_in_order_at_every_size() {
        for (skip, entries) in [(0, 0), (0, 1), (5, 399), (5, 401), (6, 3_000), (4, 20_000)] {
            let (table, keys) = filled(skip, entries);
            assert_eq!(table.len(), keys.len());
            assert!(keys.iter().all(|key| table.get(*key).is_some()));
            let listed = table.after(None, usize::MAX, |_| true);
            assert!(listed.iter().map(|entry| &entry.key).eq(&keys), "{entries} entries");
        }
    }

    #[test]
    fn a_page_begins_after_the_cursor_and_stops_at_the_limit() {
        let (table, keys) = filled(4, 5_000);
        for (cursor, limit) in [(0, 1), (17, 100), (2_500, 2_499), (4_998, 5), (4_999, 5)] {
            let page = table.after(Some(keys[cursor]), limit, |_| true);
            let wanted = keys[cursor + 1..].iter().take(limit);
            assert!(page.iter().map(|entry| &entry.key).eq(wanted), "{limit} after {cursor}");
        }
    }

    #[test]
    fn keys_of_every_version_spread_evenly_over_shards_and_places() {
        for version in 0..3 {
            let (mut shards, mut places, mut tags) = ([0; 16], [0; 16], [0; 16]);
            for _ in 0..16_000 {
                let key = key(version, 0);
                shards[(leading(key) >> 60) as usize] += 1;
                places[(hash(key) & 15) as usize] += 1;
                tags[(hash(key) >> 60) as usize] += 1;
            }
            // 1,000 each, by six standard deviations.
            for count in shards.into_iter().chain(places).chain(tags) {
                assert!((810..1_190).contains(&count), "{count} of kind {version}");
            }
        }
    }

    #[test]
    fn no_segment_grows_beyond_what_one_split_may_move() {
        let (table, _) = filled(4, 20_000);
        let largest = table.segments.iter().map(HashTable::len).max();
        // Twice the mean, and more than ten standard deviations.
        assert!(largest < Some(2 * MEAN_PER_SEGMENT + 300), "{largest:?}");
    }

    #[test]
    fn tables_shrink_when_most_entries_have_gone() {
        let (mut table, keys) = filled(4, 20_000);
        for key in &keys {
            assert!(table.remove(*key).is_some());
        }
        assert_eq!(table.len(), 0);
        assert!(table.remove(keys[0]).is_none());
        let places: usize = table.segments.iter().map(HashTable::capacity).sum();
        assert!(places <= 16 * table.segments.len(), "{places} places for no entry");
    }

    #[test]
    fn keys_that_share_their_leading_bits_are_kept_too() {
        let mut table = KeyTable::new(8);
        let keys = (0..10_000_u64).map(|n| {
            let [a, b, ..] = n.to_le_bytes();
            SessionKey::try_from(uuid::Uuid::new_v8([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, a, b]))
                .unwrap()
        });
        keys.clone().for_each(|key| table.insert(entry(key)));
        assert_eq!(table.after(None, usize::MAX, |_| true).len(), 10_000);
        assert!({ keys }.all(|key| table.get(key).is_some()));
    }
}
