//! How sessions lie in Redis: the names of keys and the bytes of a record.
//!
//! A session is one string value under `<prefix><key>`: a head of fixed places, the owner, the payload.
//!
//! | bytes | what | |
//! |---|---|---|
//! | 0 | tag | 1: a record in this version of the layout; 4: a brief one |
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

use std::sync::Arc;

use session_core::{Error, Owner, Record, Revision, SessionKey, Timestamp};

use crate::error::corrupt;

/// Begins a record whose key's expiry says all.
const LASTING: u8 = 1;
/// Begins a record that is judged by its own `expires_at`.
const BRIEF: u8 = 4;
/// What a writer takes for brief, in milliseconds: more than clocks differ, less than any session is meant to last.
const BRIEFLY: i64 = 10_000;

const EXPIRES: usize = 9;
const CHECKSUM: usize = 17;
const CREATED: usize = 21;
const OWNER_LEN: usize = 29;
const HEAD: usize = 30;

/// The names of keys.
#[derive(Debug)]
pub(crate) struct Layout {
    prefix: String,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What the names of all sessions begin with.
    pub(crate) fn head(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn session(&self, key: SessionKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// What the names of all owners' indexes begin with; scripts finish it.
    pub(crate) fn index_base(&self) -> String {
        format!("{}owner:", self.prefix)
    }

    pub(crate) fn index(&self, owner: &Owner) -> String {
        format!("{}owner:{}", self.prefix, sha1_smol::Sha1::from(owner.as_str()).hexdigest())
    }

    /// The session whose record lies under `name`; `None` for all other keys of the database.
    pub(crate) fn parse(&self, name: &[u8]) -> Option<SessionKey> {
        let rest = name.strip_prefix(self.prefix.as_bytes())?;
        std::str::from_utf8(rest).ok()?.parse().ok()
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
        pattern + "????????-????-8???-????-????????????"
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
    fn names_are_read_back_and_only_those_of_the_prefix() {
        let key = SessionKey::try_from(uuid::Uuid::new_v8([7; 16])).unwrap();
        let (outer, inner) = (Layout::new("app:"), Layout::new("app:owner:"));
        let owner = Owner::new(key.to_string()).unwrap();
        assert_eq!(outer.parse(outer.session(key).as_bytes()), Some(key));
        for name in [inner.session(key), outer.index(&owner), inner.index(&owner), format!("{key}")] {
            assert_eq!(outer.parse(name.as_bytes()), None, "{name}");
        }
    }
}
