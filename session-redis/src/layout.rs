//! How sessions lie in Redis: the names of keys and the bytes of a record.
//!
//! A session is one string value under `<prefix><key>`: a head of fixed places, the owner, the payload.
//!
//! | bytes | what | |
//! |---|---|---|
//! | 0 | tag | 1: a record in this version of the layout; 2: a brief one |
//! | 1..9 | revision | little endian |
//! | 9..17 | `expires_at` | big endian; `touch` writes it in place |
//! | 17..21 | CRC-32 of everything but tag, `expires_at` and itself | little endian |
//! | 21..29 | `created_at` | big endian |
//! | 29 | length of the owner, 0 for none | |
//! | 30.. | owner, then payload | |
//!
//! Redis removes a key once its clock is *past* the key's expiry, and a session is not live *from* `expires_at` on:
//! so the key's expiry is `expires_at - 1`, and the server's clock alone judges, to the millisecond. But newer servers
//! refuse to keep a key whose expiry is this very millisecond, and the last millisecond of a session would be lost. So
//! a record that is about to expire when it is written is marked as brief; its key lives until `expires_at`, and
//! whoever meets it asks for the server's time, too.
//!
//! The sessions of an owner are a sorted set under `<prefix>owner:<SHA-1 of the owner>`: the member is the key in 16
//! bytes, the score `expires_at`. It holds at least the live sessions of the owner; whoever reads it looks at the
//! records. Its name has a fixed length, so that no two prefixes can lead to the same name (`[H3]`).
//!
//! On a cluster a script reaches the keys of one slot only. So the keys are put into 256 shards by the last
//! byte of the session key, which is random in every one (the first bytes of a UUIDv7 are a time), and after
//! the prefix comes the shard's hash tag: a session and its entry in its owner's index lie in one slot and
//! change in one step, as on one server. An owner has up to 256 indexes, of which most do not exist. The tags
//! are chosen so that the shards' slots are evenly spaced, for masters that share the slots evenly.

use std::fmt;
use std::sync::Arc;

use session_core::{Error, Owner, Record, Revision, SessionKey, Timestamp};

use crate::error::{corrupt, invalid_config};
use crate::slot;

/// Begins a record whose key's expiry says all.
const LASTING: u8 = 1;
/// Begins a record that is judged by its own `expires_at`.
const BRIEF: u8 = 2;
/// What a writer takes for brief, in milliseconds: more than clocks differ, less than any session is meant to last.
const BRIEFLY: i64 = 10_000;

/// Parts into which a cluster's keys are put: each lies in one slot, evenly spaced. Never changed, since the names of
/// keys follow from it.
const SHARDS: usize = 256;

const EXPIRES: usize = 9;
const CHECKSUM: usize = 17;
const CREATED: usize = 21;
const OWNER_LEN: usize = 29;
const HEAD: usize = 30;

/// The names of keys.
pub(crate) struct Layout {
    prefix: String,
    /// What names begin with, for each shard.
    heads: Vec<String>,
    /// What the names of owners' indexes begin with, for each shard.
    index_bases: Vec<String>,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout").field("prefix", &self.prefix).field("shards", &self.heads.len()).finish()
    }
}

impl Layout {
    /// All keys on one server.
    pub(crate) fn new(prefix: &str) -> Self {
        Self::with(prefix, vec![prefix.to_owned()])
    }

    fn with(prefix: &str, heads: Vec<String>) -> Self {
        let index_bases = heads.iter().map(|head| format!("{head}owner:")).collect();
        Self { prefix: prefix.to_owned(), heads, index_bases }
    }

    /// Keys spread over a cluster; in one slot, if the prefix has a hash tag of its own.
    pub(crate) fn spread(prefix: &str) -> Result<Self, Error> {
        let wrong = "a prefix on a cluster has no { and }, or one pair with something in it, as in {shop}:";
        match slot::tag(prefix) {
            Some(_) => Ok(Self::new(prefix)),
            None if prefix.contains(['{', '}']) => Err(invalid_config(wrong)),
            None => Ok(Self::with(prefix, slot::spread(prefix, SHARDS))),
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.heads.len()
    }

    /// Where a session and its entry in its owner's index lie.
    pub(crate) fn shard(&self, key: SessionKey) -> usize {
        if self.heads.len() == 1 { 0 } else { usize::from(key.as_bytes()[15]) }
    }

    /// The slot of a shard's keys.
    pub(crate) fn slot(&self, shard: usize) -> u16 {
        slot::of(self.head(shard).as_bytes())
    }

    /// What the names of all sessions of a shard begin with.
    pub(crate) fn head(&self, shard: usize) -> &str {
        self.heads.get(shard).map_or(&self.prefix, String::as_str)
    }

    pub(crate) fn session(&self, key: SessionKey) -> String {
        let mut buffer = uuid::Uuid::encode_buffer();
        let text = key.as_uuid().hyphenated().encode_lower(&mut buffer);
        [self.head(self.shard(key)), text].concat()
    }

    /// What the names of all owners' indexes of a shard begin with; scripts finish it.
    pub(crate) fn index_base(&self, shard: usize) -> &str {
        self.index_bases.get(shard).map_or("", String::as_str)
    }

    pub(crate) fn index(&self, shard: usize, owner: &Owner) -> String {
        format!("{}{}", self.index_base(shard), sha1_smol::Sha1::from(owner.as_str()).hexdigest())
    }

    /// The session whose record lies under `name`; `None` for all other keys of the database.
    pub(crate) fn parse(&self, name: &[u8]) -> Option<SessionKey> {
        let (_, end) = name.split_at_checked(name.len().checked_sub(36)?)?;
        let key = std::str::from_utf8(end).ok()?.parse().ok()?;
        (self.session(key).as_bytes() == name).then_some(key)
    }

    /// A pattern for SCAN that matches all sessions; other keys may match, too.
    pub(crate) fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 8);
        for character in self.prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        if self.heads.len() > 1 {
            pattern.push_str("{*}");
        }
        pattern + "????????-????-????-????-????????????"
    }
}

/// The member of an index that stands for a session.
pub(crate) fn member(key: &SessionKey) -> &[u8] {
    key.as_bytes()
}

pub(crate) fn revision(revision: Revision) -> [u8; 8] {
    revision.as_u64().to_le_bytes()
}

pub(crate) fn expires(at: Timestamp) -> [u8; 8] {
    at.as_millis().to_be_bytes()
}

/// `expires_at` as a score: inside what Redis takes as a time, and a double holds exactly.
pub(crate) fn score(at: Timestamp) -> i64 {
    at.as_millis().clamp(1, Timestamp::MAX.as_millis())
}

/// How the expiry `at` of a record that is written now is kept: the record's tag, and the expiry of its key.
pub(crate) fn keep_until(at: Timestamp) -> (u8, i64) {
    let brief = at.as_millis().saturating_sub(Timestamp::now().as_millis()) < BRIEFLY;
    if brief { (BRIEF, score(at)) } else { (LASTING, score(at) - 1) }
}

/// Whether the record may have expired although its key is there: its `expires_at` decides.
pub(crate) fn is_brief(bytes: &[u8]) -> bool {
    bytes.first() == Some(&BRIEF)
}

/// Whether this is a record that is there for as long as its key.
pub(crate) fn is_lasting(bytes: &[u8]) -> bool {
    bytes.first() == Some(&LASTING)
}

/// Whether no index changes when one record takes the place of another: both are of nobody, or owner and expiry stay.
pub(crate) fn leaves_indexes(before: &[u8], after: &[u8]) -> bool {
    let (owner, expiry) = (owner_of(after), EXPIRES..CHECKSUM);
    owner == owner_of(before) && (owner.is_empty() || before.get(expiry.clone()) == after.get(expiry))
}

fn owner_of(bytes: &[u8]) -> &[u8] {
    let len = bytes.get(OWNER_LEN).copied().map_or(0, usize::from);
    bytes.get(HEAD..HEAD + len).unwrap_or_default()
}

/// The revision of a record, as [`revision`] writes it.
pub(crate) fn revision_of(bytes: &[u8]) -> Option<[u8; 8]> {
    (bytes.len() >= HEAD).then(|| eight(bytes, 1))
}

pub(crate) fn encode(record: &Record, tag: u8) -> Vec<u8> {
    let owner = record.owner.as_ref().map_or("", Owner::as_str);
    let mut bytes = Vec::with_capacity(HEAD + owner.len() + record.payload.len());
    bytes.push(tag);
    bytes.extend_from_slice(&revision(record.revision));
    bytes.extend_from_slice(&expires(record.expires_at));
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&record.created_at.as_millis().to_be_bytes());
    // An owner has at most 255 bytes.
    bytes.push(u8::try_from(owner.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(owner.as_bytes());
    bytes.extend_from_slice(&record.payload);
    let sum = checksum(&bytes);
    bytes[CHECKSUM..CREATED].copy_from_slice(&sum.to_le_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Record, Error> {
    if !matches!(bytes.first(), Some(&(LASTING | BRIEF))) {
        return Err(corrupt("it does not begin like a session of this version"));
    }
    let Some(owner_len) = bytes.get(OWNER_LEN).copied().map(usize::from) else {
        return Err(corrupt("it is too short"));
    };
    let Some((owner, payload)) = bytes[HEAD..].split_at_checked(owner_len) else {
        return Err(corrupt("it is too short"));
    };
    if checksum(bytes).to_le_bytes() != bytes[CHECKSUM..CREATED] {
        return Err(corrupt("its checksum is wrong"));
    }
    let owner = match owner {
        [] => None,
        text => {
            let text = std::str::from_utf8(text).map_err(|_| corrupt("its owner is not text"))?;
            Some(Owner::new(text).map_err(|_| corrupt("its owner is not one"))?)
        }
    };
    Ok(Record {
        revision: Revision::from_u64(u64::from_le_bytes(eight(bytes, 1))),
        owner,
        created_at: Timestamp::from_millis(i64::from_be_bytes(eight(bytes, CREATED))),
        expires_at: Timestamp::from_millis(i64::from_be_bytes(eight(bytes, EXPIRES))),
        payload: Arc::from(payload),
    })
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes[1..EXPIRES]);
    sum.update(&bytes[CREATED..]);
    sum.finalize()
}

fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    eight
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_core::ErrorKind;

    fn record(owner: Option<&str>, payload: &[u8]) -> Record {
        Record {
            revision: Revision::from_u64(0x0102_0304_0506_0708),
            owner: owner.map(|text| Owner::new(text).unwrap()),
            created_at: Timestamp::from_millis(-5),
            expires_at: Timestamp::MAX,
            payload: Arc::from(payload),
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let long = "x".repeat(255);
        for owner in [None, Some("a"), Some("\u{1f600} "), Some(long.as_str())] {
            for payload in [&b""[..], b"\0", &[0xff; 1000]] {
                let record = record(owner, payload);
                assert_eq!(decode(&encode(&record, LASTING)).unwrap(), record);
            }
        }
    }

    #[test]
    fn any_changed_or_cut_byte_but_those_of_the_expiry_is_noticed() {
        let bytes = encode(&record(Some("ann"), b"payload"), BRIEF);
        for at in (0..bytes.len()).filter(|at| !(EXPIRES..CHECKSUM).contains(at)) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(decode(&changed).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]).unwrap_err().kind(), ErrorKind::Corrupt, "{len} bytes");
        }
    }

    #[test]
    fn an_expiry_outside_what_redis_takes_is_brought_inside() {
        for (millis, expected) in [(i64::MIN, 1), (0, 1), (1, 1), (1_000, 1_000)] {
            assert_eq!(keep_until(Timestamp::from_millis(millis)), (BRIEF, expected));
        }
        let last = Timestamp::MAX.as_millis() - 1;
        assert_eq!(keep_until(Timestamp::from_millis(i64::MAX)), (LASTING, last));
    }

    #[test]
    fn on_a_cluster_a_session_and_its_index_share_a_slot_and_shards_are_spread_evenly() {
        let layout = Layout::spread("a:").unwrap();
        let owner = Owner::new("}{").unwrap();
        let mut places = std::collections::HashMap::<u16, u32>::new();
        for shard in 0..layout.shards() {
            assert_eq!(slot::of(layout.index(shard, &owner).as_bytes()), layout.slot(shard));
            *places.entry(layout.slot(shard) / 64).or_default() += 1;
        }
        assert_eq!(places.len(), 256);
        for byte in 0..=255 {
            let key = SessionKey::try_from(uuid::Uuid::new_v8([byte; 16])).unwrap();
            let name = layout.session(key);
            assert_eq!(slot::of(name.as_bytes()), layout.slot(layout.shard(key)));
            assert_eq!(layout.parse(name.as_bytes()), Some(key));
        }
    }

    #[test]
    fn keys_that_begin_with_the_same_time_are_spread_over_all_shards() {
        let layout = Layout::spread("a:").unwrap();
        let shards: std::collections::HashSet<usize> = (0..10_000)
            .map(|_| {
                let mut bytes = *SessionKey::generate().unwrap().as_bytes();
                bytes[..6].copy_from_slice(&[1; 6]);
                let key = uuid::Builder::from_bytes(bytes).with_version(uuid::Version::SortRand).into_uuid();
                layout.shard(SessionKey::try_from(key).unwrap())
            })
            .collect();
        assert_eq!(shards.len(), layout.shards());
    }

    #[test]
    fn a_prefix_with_a_hash_tag_keeps_everything_in_one_slot_and_half_a_tag_is_refused() {
        assert_eq!(Layout::spread("{shop}:").unwrap().shards(), 1);
        for prefix in ["{", "}", "a{}b", "a}b{"] {
            assert!(Layout::spread(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn names_are_read_back_and_only_those_of_the_prefix() {
        let key = SessionKey::try_from(uuid::Uuid::new_v8([7; 16])).unwrap();
        let (outer, inner) = (Layout::new("app:"), Layout::new("app:owner:"));
        let owner = Owner::new(key.to_string()).unwrap();
        assert_eq!(outer.parse(outer.session(key).as_bytes()), Some(key));
        for name in [inner.session(key), outer.index(0, &owner), inner.index(0, &owner), format!("{key}")] {
            assert_eq!(outer.parse(name.as_bytes()), None, "{name}");
        }
    }
}
