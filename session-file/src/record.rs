//! The image of a record in its file: header, owner and payload.
//!
//! All but the two expiry slots is written once, before the file gets its name, and is covered by checksums. Numbers
//! are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `SESSFILE` |
//! | 8..10 | format version, 2 |
//! | 10 | length of the owner, 0 for none |
//! | 11 | 0 |
//! | 12..16 | length of the payload |
//! | 16..32 | key |
//! | 32..40 | revision |
//! | 40..48 | created at |
//! | 48..52 | CRC-32 of the payload |
//! | 52..56 | CRC-32 of bytes 0..52 and the owner |
//! | 56..76, 76..96 | two expiry slots: expires at, indexed at, CRC-32 of both and of the header's CRC-32 |
//! | 96.. | owner, payload |
//!
//! `touch` writes the slot that does not count, in place. The slot that counts is the valid one with the later
//! expiry, and expiries only grow, so at every instant one slot is whole and a reader needs no lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use session_core::{Owner, Record, Revision, SessionKey, Timestamp};
use uuid::Uuid;

use crate::layout::VERSION;

const MAGIC: &[u8; 8] = b"SESSFILE";
const HEAD: usize = 96;
const SLOTS: [usize; 2] = [56, 76];
const SLOT: usize = 20;
/// What is read at once, header and owner always among it; most files are shorter.
const CHUNK: u64 = 16 * 1024;

/// A record image that was read, all of it but what of the payload lies beyond the first chunk.
#[derive(Debug)]
pub(crate) struct RecordImage {
    pub(crate) key: SessionKey,
    pub(crate) revision: Revision,
    pub(crate) owner: Option<Owner>,
    pub(crate) expires_at: Timestamp,
    /// The time under which the expiry index holds the record: never after `expires_at`.
    pub(crate) indexed_at: Timestamp,
    created_at: Timestamp,
    head_crc: u32,
    payload_crc: u32,
    payload_at: usize,
    payload_len: u32,
    /// Where the slot that does not count lies in the file.
    spare_slot: usize,
    /// The first bytes of the file.
    chunk: Vec<u8>,
}

/// Why a file could not be read as a record.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Io(io::Error),
    /// Not what this store wrote, or a slot that is just being written.
    Damaged(&'static str),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it is shorter than it says"),
            _ => Self::Io(error),
        }
    }
}

impl From<&'static str> for Unreadable {
    fn from(why: &'static str) -> Self {
        Self::Damaged(why)
    }
}

/// The bytes of a file that holds this record.
pub(crate) fn encode(key: SessionKey, record: &Record, indexed_at: Timestamp) -> Vec<u8> {
    let owner = record.owner.as_ref().map_or("", Owner::as_str).as_bytes();
    let mut file = Vec::with_capacity(HEAD + owner.len() + record.payload.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    // An owner has at most 255 bytes and a payload at most 1 GiB: the config sees to it.
    file.extend_from_slice(&[owner.len() as u8, 0]);
    file.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
    file.extend_from_slice(key.as_bytes());
    file.extend_from_slice(&record.revision.as_u64().to_le_bytes());
    file.extend_from_slice(&record.created_at.as_millis().to_le_bytes());
    file.extend_from_slice(&crc32fast::hash(&record.payload).to_le_bytes());
    let head_crc = head_crc(&file, owner);
    file.extend_from_slice(&head_crc.to_le_bytes());
    file.extend_from_slice(&slot(head_crc, record.expires_at, indexed_at));
    file.extend_from_slice(&[0; SLOT]);
    file.extend_from_slice(owner);
    file.extend_from_slice(&record.payload);
    file
}

fn head_crc(head: &[u8], owner: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(owner);
    crc.finalize()
}

fn slot(head_crc: u32, expires_at: Timestamp, indexed_at: Timestamp) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&expires_at.as_millis().to_le_bytes());
    slot[8..16].copy_from_slice(&indexed_at.as_millis().to_le_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(head_crc);
    crc.update(&slot[..16]);
    slot[16..].copy_from_slice(&crc.finalize().to_le_bytes());
    slot
}

impl RecordImage {
    /// Reads a file of `len` bytes, whichever session it is of.
    pub(crate) fn read(file: &File, len: u64) -> Result<Self, Unreadable> {
        let mut chunk = vec![0; len.min(CHUNK) as usize];
        file.read_exact_at(&mut chunk, 0)?;
        let image = Self::parse(chunk)?;
        match (image.payload_at as u64 + u64::from(image.payload_len)).cmp(&len) {
            std::cmp::Ordering::Equal => Ok(image),
            std::cmp::Ordering::Greater => Err("it is shorter than it says".into()),
            std::cmp::Ordering::Less => Err("it is longer than it says".into()),
        }
    }

    /// Reads the file with the name `key`.
    pub(crate) fn read_of(key: SessionKey, file: &File, len: u64) -> Result<Self, Unreadable> {
        let image = Self::read(file, len)?;
        if image.key == key { Ok(image) } else { Err("it belongs to another session".into()) }
    }

    fn parse(chunk: Vec<u8>) -> Result<Self, &'static str> {
        let head: &[u8; HEAD] = chunk.first_chunk().ok_or("it is too short for a header")?;
        if &head[..8] != MAGIC {
            return Err("it does not begin like a session");
        }
        if head[8..10] != VERSION.to_le_bytes() {
            return Err("its format version is unknown: did another release write it?");
        }
        let payload_at = HEAD + usize::from(head[10]);
        let owner = chunk.get(HEAD..payload_at).ok_or("it is shorter than it says")?;
        let stored_crc = u32::from_le_bytes(field(head, 52));
        if head[11] != 0 || head_crc(&head[..52], owner) != stored_crc {
            return Err("the checksum of its header is wrong");
        }
        let ((expires_at, indexed_at), spare_slot) = choose(head, stored_crc)?;
        Ok(Self {
            key: Uuid::from_bytes(field(head, 16)).try_into().map_err(|_| "it names no session key")?,
            revision: Revision::from_u64(u64::from_le_bytes(field(head, 32))),
            owner: parse_owner(owner)?,
            expires_at,
            indexed_at,
            created_at: Timestamp::from_millis(i64::from_le_bytes(field(head, 40))),
            head_crc: stored_crc,
            payload_crc: u32::from_le_bytes(field(head, 48)),
            payload_at,
            payload_len: u32::from_le_bytes(field(head, 12)),
            spare_slot,
            chunk,
        })
    }

    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at > now
    }

    /// Writes another expiry into the spare slot: nothing else of the file changes.
    pub(crate) fn set_slot(
        &self,
        file: &File,
        expires_at: Timestamp,
        indexed_at: Timestamp,
    ) -> io::Result<()> {
        file.write_all_at(&slot(self.head_crc, expires_at, indexed_at), self.spare_slot as u64)
    }

    /// The record, with what of its payload was not read yet.
    pub(crate) fn into_record(self, file: &File) -> Result<Record, Unreadable> {
        let len = self.payload_len as usize;
        let payload: Arc<[u8]> = match self.chunk[self.payload_at..].get(..len) {
            Some(bytes) => bytes.into(),
            None => {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, self.payload_at as u64)?;
                bytes.into()
            }
        };
        if crc32fast::hash(&payload) == self.payload_crc {
            Ok(self.with_payload(payload))
        } else {
            Err("the checksum of its payload is wrong".into())
        }
    }

    /// A record with everything but the payload: enough to find its index entries.
    pub(crate) fn without_payload(&self) -> Record {
        self.with_payload(Arc::from([]))
    }

    fn with_payload(&self, payload: Arc<[u8]>) -> Record {
        Record {
            revision: self.revision,
            owner: self.owner.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            payload,
        }
    }
}

fn field<const N: usize>(head: &[u8; HEAD], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&head[at..at + N]);
    field
}

fn parse_owner(bytes: &[u8]) -> Result<Option<Owner>, &'static str> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "its owner is not text")?;
    Owner::new(text).map(Some).map_err(|_| "its owner is not one")
}

/// The content of the slot that counts, and where the other one is.
fn choose(head: &[u8; HEAD], head_crc: u32) -> Result<((Timestamp, Timestamp), usize), &'static str> {
    let [first, second] = SLOTS.map(|at| parse_slot(field(head, at), head_crc));
    let (first, second) = (first?, second?);
    let counting = first.max(second).ok_or("it has no expiry")?;
    Ok((counting, if first == Some(counting) { SLOTS[1] } else { SLOTS[0] }))
}

/// `None` for a slot that was never written.
fn parse_slot(bytes: [u8; SLOT], head_crc: u32) -> Result<Option<(Timestamp, Timestamp)>, &'static str> {
    if bytes == [0; SLOT] {
        return Ok(None);
    }
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        Timestamp::from_millis(i64::from_le_bytes(number))
    };
    let (expires_at, indexed_at) = (number(0), number(8));
    if slot(head_crc, expires_at, indexed_at) == bytes {
        Ok(Some((expires_at, indexed_at)))
    } else {
        Err("the checksum of its expiry is wrong")
    }
}
