//! The bytes of sessions that were read or written here a moment ago.
//!
//! A server with a compare-and-set of its own (`SET .. IFEQ`) compares whole values, and a save knows only the revision
//! it expects. But a save nearly always follows a load by the same process. So the bytes last seen are kept for as long as
//! there is room. They are a guess: the server compares, and when they are not known, or not what is there, the
//! script does the work and finds out why.

use parking_lot::Mutex;
use session_core::{Revision, SessionKey};

use crate::layout;

/// Sets of places; a session has its places in one of them.
const SETS: usize = 1_024;
const PLACES: usize = 4;
/// No more than 16 MiB in all.
const LARGEST: usize = 4_096;

pub(crate) struct Recent(Vec<Mutex<Set>>);

#[derive(Default)]
struct Set {
    places: [Option<(SessionKey, Vec<u8>)>; PLACES],
    /// The place that is given away next.
    oldest: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self((0..SETS).map(|_| Mutex::default()).collect())
    }
}

impl Recent {
    fn set(&self, key: SessionKey) -> Option<&Mutex<Set>> {
        // The bits of a key are as good as random.
        let bytes = key.as_bytes();
        self.0.get(usize::from(u16::from_be_bytes([bytes[14], bytes[15]])) % SETS)
    }

    /// Keeps what lies under a key, if it can be compared with.
    pub(crate) fn remember(&self, key: SessionKey, bytes: Vec<u8>) {
        if bytes.len() > LARGEST || !layout::is_lasting(&bytes) {
            return;
        }
        let Some(mut set) = self.set(key).map(Mutex::lock) else { return };
        let known =
            set.places.iter().position(|place| place.as_ref().is_some_and(|(there, _)| *there == key));
        let at = known.unwrap_or(set.oldest);
        if known.is_none() {
            set.oldest = (at + 1) % PLACES;
        }
        // What was there is given back to the allocator after the lock.
        let _before = set.places.get_mut(at).and_then(|place| place.replace((key, bytes)));
        drop(set);
    }

    /// Takes what was under a key at a revision, if a bare command can replace it with that record.
    pub(crate) fn take(&self, key: SessionKey, revision: Revision, record: &[u8]) -> Option<Vec<u8>> {
        let mut set = self.set(key)?.lock();
        let wanted = |(there, bytes): &(SessionKey, Vec<u8>)| {
            *there == key
                && layout::revision_of(bytes) == Some(layout::revision(revision))
                && layout::leaves_indexes(bytes, record)
        };
        let place = set.places.iter_mut().find(|place| place.as_ref().is_some_and(wanted))?;
        place.take().map(|(_, bytes)| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_core::{Owner, Record, Timestamp};

    const ONE: Revision = Revision::from_u64(1);

    fn bytes(revision: u64, owner: Option<&str>, expires_at: Timestamp, payload: usize) -> Vec<u8> {
        let record = Record {
            revision: Revision::from_u64(revision),
            owner: owner.map(|owner| Owner::new(owner).unwrap()),
            created_at: Timestamp::EPOCH,
            expires_at,
            payload: vec![0; payload].into(),
        };
        layout::encode(&record, layout::keep_until(expires_at).0)
    }

    #[test]
    fn what_was_remembered_is_taken_once_and_at_its_revision_only() {
        let (recent, key) = (Recent::default(), SessionKey::generate().unwrap());
        let (first, second) = (bytes(1, None, Timestamp::MAX, 5), bytes(2, None, Timestamp::MAX, 5));
        let (two, next) = (Revision::from_u64(2), bytes(3, None, Timestamp::MAX, 6));
        recent.remember(key, first);
        recent.remember(key, second.clone());
        assert_eq!(recent.take(key, ONE, &next), None);
        assert_eq!(recent.take(SessionKey::generate().unwrap(), two, &next), None);
        assert_eq!(recent.take(key, two, &next), Some(second));
        assert_eq!(recent.take(key, two, &next), None);
    }

    #[test]
    fn what_a_bare_command_could_not_replace_is_not_remembered() {
        let (recent, key) = (Recent::default(), SessionKey::generate().unwrap());
        let next = bytes(2, None, Timestamp::MAX, 5);
        for bytes in [bytes(1, None, Timestamp::now(), 5), bytes(1, None, Timestamp::MAX, LARGEST)] {
            recent.remember(key, bytes);
            assert_eq!(recent.take(key, ONE, &next), None);
        }
    }

    #[test]
    fn what_has_another_owner_or_expiry_is_not_replaced_by_a_bare_command() {
        let (recent, key) = (Recent::default(), SessionKey::generate().unwrap());
        let (late, sooner) = (Timestamp::MAX, Timestamp::from_millis(Timestamp::MAX.as_millis() - 1));
        let (ann, bob, nobody) = (Some("ann"), Some("bob"), None);
        for (before, after, replaced) in [
            ((nobody, late), (nobody, late), true),
            ((nobody, late), (nobody, sooner), true),
            ((ann, late), (ann, late), true),
            ((ann, late), (ann, sooner), false),
            ((ann, late), (bob, late), false),
            ((ann, late), (nobody, late), false),
            ((nobody, late), (ann, late), false),
        ] {
            let before = bytes(1, before.0, before.1, 5);
            recent.remember(key, before.clone());
            let taken = recent.take(key, ONE, &bytes(2, after.0, after.1, 5));
            assert_eq!(taken, replaced.then_some(before), "{after:?}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let recent = Recent::default();
        for _ in 0..3 * SETS * PLACES {
            recent.remember(SessionKey::generate().unwrap(), bytes(1, None, Timestamp::MAX, 5));
        }
        let kept: usize = recent.0.iter().map(|set| set.lock().places.iter().flatten().count()).sum();
        assert!(kept <= SETS * PLACES && kept > SETS, "{kept}");
    }
}
