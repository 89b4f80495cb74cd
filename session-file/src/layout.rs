//! How a record lies at rest: the names of files and directories. `PROTOCOL.md` has the picture.

use std::fmt::Write as _;

use session_core::{Owner, SessionKey, Timestamp};
use sha2::{Digest as _, Sha256};

/// Record files, in 256 shards by the last byte of the key.
pub(crate) const SESSIONS: &str = "sessions";
/// The owner index: one empty file a session that has an owner.
pub(crate) const OWNERS: &str = "owners";
/// The expiry index: one empty file a session.
pub(crate) const DUE: &str = "due";
/// Where damaged files are put when their session is deleted or falls due.
pub(crate) const DAMAGED: &str = "damaged";
/// In the root: names the format. Without it a directory is not a store.
pub(crate) const FORMAT: &str = "format";
/// How the text of the format begins; the version follows.
pub(crate) const FORMAT_NAME: &str = "session-file ";
/// Of the directory and of the records in it.
pub(crate) const VERSION: u16 = 2;
/// In the root of an index: every record that was there when it was written is in the index.
pub(crate) const COMPLETE: &str = "complete";
/// In a shard: a record being written, not yet under its name.
pub(crate) const NEW: &str = ".new";
/// In a shard: a record that is being replaced or removed, and may have to leave the indexes.
pub(crate) const OLD: &str = ".old";

/// The last byte: random in every key, where a UUIDv7 begins with the time.
pub(crate) fn shard_of(key: SessionKey) -> u8 {
    key.as_bytes()[15]
}

pub(crate) fn shard_dir(shard: u8) -> String {
    format!("{SESSIONS}/{shard:02x}")
}

pub(crate) fn record_path(key: SessionKey) -> String {
    format!("{SESSIONS}/{:02x}/{key}", shard_of(key))
}

/// An empty file of an index: only its name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dir: String,
    pub(crate) name: String,
}

/// The time under which a record with this expiry is indexed: the expiry, brought into the range of the names.
pub(crate) fn indexed_at(expires_at: Timestamp) -> Timestamp {
    expires_at.clamp(Timestamp::EPOCH, Timestamp::MAX)
}

const ERA_BITS: u32 = 28;
const BUCKET_BITS: u32 = 16;

/// `due/ERA/BUCKET/REST-KEY`: the 48 bits of the time in hexadecimal, cut so that an era is 3.1 days and a bucket
/// 65 seconds. Names sort by time.
pub(crate) fn due_entry(indexed_at: Timestamp, key: SessionKey) -> Entry {
    let (era, bucket, rest) = cut(indexed_at);
    Entry { dir: format!("{DUE}/{era}/{bucket}"), name: format!("{rest}-{key}") }
}

/// The names of era and bucket, and the beginning of the entry's name.
pub(crate) fn cut(indexed_at: Timestamp) -> (String, String, String) {
    let millis = indexed_at.as_millis();
    let bucket = millis >> BUCKET_BITS & ((1 << (ERA_BITS - BUCKET_BITS)) - 1);
    let rest = millis & ((1 << BUCKET_BITS) - 1);
    (format!("{:05x}", millis >> ERA_BITS), format!("{bucket:03x}"), format!("{rest:04x}"))
}

/// The time and key of an entry, from the three parts of its path.
pub(crate) fn parse_due(era: &str, bucket: &str, name: &str) -> Option<(Timestamp, SessionKey)> {
    let (rest, key) = name.split_once('-')?;
    let key = key.parse().ok()?;
    let part = |text: &str, len: usize| {
        let exact =
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if exact { i64::from_str_radix(text, 16).ok() } else { None }
    };
    let millis = part(era, 5)? << ERA_BITS | part(bucket, 3)? << BUCKET_BITS | part(rest, 4)?;
    Some((Timestamp::from_millis(millis), key))
}

/// Where the entries of one owner lie: a directory that it may share with others, and how its names begin.
#[derive(Clone, Debug)]
pub(crate) struct OwnerPlace {
    pub(crate) dir: String,
    prefix: String,
}

impl OwnerPlace {
    pub(crate) fn of(owner: &Owner) -> Self {
        let digest = Sha256::digest(owner.as_str().as_bytes());
        let mut prefix = String::with_capacity(33);
        for byte in &digest[..16] {
            // Writing to a String cannot fail.
            let _ = write!(prefix, "{byte:02x}");
        }
        let dir = format!("{OWNERS}/{}", &prefix[..3]);
        prefix.push('-');
        Self { dir, prefix }
    }

    pub(crate) fn entry(&self, key: SessionKey) -> Entry {
        Entry { dir: self.dir.clone(), name: format!("{}{key}", self.prefix) }
    }

    /// The key of an entry of this owner; another owner with the same digest is told apart by the record.
    pub(crate) fn key_of(&self, name: &str) -> Option<SessionKey> {
        name.strip_prefix(&self.prefix)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_core::SessionId;

    #[test]
    fn a_due_entry_is_read_back_and_names_sort_by_time() {
        let key = SessionId::generate().unwrap().key();
        let mut last = String::new();
        for millis in [0, 1, 65_535, 65_536, 1 << 28, 1_700_000_000_123, Timestamp::MAX.as_millis()] {
            let at = Timestamp::from_millis(millis);
            let entry = due_entry(at, key);
            let (era, bucket) = entry.dir.strip_prefix("due/").unwrap().split_once('/').unwrap();
            assert_eq!(parse_due(era, bucket, &entry.name), Some((at, key)));
            let path = format!("{}/{}", entry.dir, entry.name);
            assert!(path > last, "{path} after {last}");
            last = path;
        }
        for (era, bucket, name) in [
            ("0000", "000", "0000"),
            ("00000", "0g0", "0000"),
            ("00000", "000", "+123"),
            ("00000", "000", ""),
        ] {
            assert_eq!(parse_due(era, bucket, &format!("{name}-{key}")), None);
        }
        assert_eq!(parse_due("00000", "000", "complete"), None);
    }

    #[test]
    fn expiries_outside_the_range_of_names_are_indexed_at_its_ends() {
        assert_eq!(indexed_at(Timestamp::from_millis(-5)), Timestamp::EPOCH);
        assert_eq!(indexed_at(Timestamp::from_millis(i64::MAX)), Timestamp::MAX);
        assert_eq!(indexed_at(Timestamp::from_millis(7)), Timestamp::from_millis(7));
    }

    #[test]
    fn owners_that_differ_only_in_case_have_different_entries() {
        let key = SessionId::generate().unwrap().key();
        let [upper, lower] = ["Ann", "ann"].map(|name| OwnerPlace::of(&name.parse().unwrap()));
        assert_ne!(upper.entry(key), lower.entry(key));
        assert_eq!(upper.key_of(&upper.entry(key).name), Some(key));
        assert_eq!(lower.key_of(&upper.entry(key).name), None);
    }
}
