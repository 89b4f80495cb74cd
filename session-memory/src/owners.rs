//! Which sessions belong to whom, within one shard.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeSet, btree_set};
use std::ops::Bound;

use session_core::{Owner, SessionKey};

/// Owner -> keys. Owners come from outside, so the map keeps the standard library's keyed hash.
#[derive(Debug, Default)]
pub(crate) struct OwnerIndex(HashMap<Owner, Keys>);

/// Most owners have one session in a shard: that one costs no allocation.
#[derive(Debug)]
enum Keys {
    One(SessionKey),
    Many(BTreeSet<SessionKey>),
}

impl OwnerIndex {
    pub(crate) fn add(&mut self, owner: &Owner, key: SessionKey) {
        match self.0.get_mut(owner) {
            None => {
                self.0.insert(owner.clone(), Keys::One(key));
            }
            Some(Keys::Many(keys)) => {
                keys.insert(key);
            }
            Some(one) => {
                if let Keys::One(first) = *one {
                    *one = Keys::Many(BTreeSet::from([first, key]));
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, owner: &Owner, key: SessionKey) {
        let Entry::Occupied(mut entry) = self.0.entry(owner.clone()) else { return };
        let left = match entry.get_mut() {
            Keys::One(only) => *only != key,
            Keys::Many(keys) => {
                keys.remove(&key);
                !keys.is_empty()
            }
        };
        if !left {
            entry.remove();
            self.shrink();
        }
    }

    /// The owner's keys after `cursor`, in order.
    pub(crate) fn keys(&self, owner: &Owner, cursor: Option<SessionKey>) -> OwnerKeys<'_> {
        match self.0.get(owner) {
            None => OwnerKeys::One(None),
            Some(Keys::One(key)) => OwnerKeys::One(Some(*key).filter(|key| cursor < Some(*key))),
            Some(Keys::Many(keys)) => {
                let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
                OwnerKeys::Many(keys.range((from, Bound::Unbounded)))
            }
        }
    }

    fn shrink(&mut self) {
        if self.0.capacity() > 64 && self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }
}

pub(crate) enum OwnerKeys<'a> {
    One(Option<SessionKey>),
    Many(btree_set::Range<'a, SessionKey>),
}

impl Iterator for OwnerKeys<'_> {
    type Item = SessionKey;

    fn next(&mut self) -> Option<SessionKey> {
        match self {
            Self::One(key) => key.take(),
            Self::Many(keys) => keys.next().copied(),
        }
    }
}
