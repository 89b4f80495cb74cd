//! What is in a record file: one face, or two while a session moves to another key.
//!
//! A face is a header, the owner and the payload. All but the two expiry slots is written once, before the file gets
//! its name, and is covered by checksums. Numbers are little-endian; offsets count from the start of the face.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `SESSFILE` |
//! | 8..10 | format version, 1 |
//! | 10 | length of the owner, 0 for none |
//! | 11 | 0 |
//! | 12..16 | length of the payload |
//! | 16..32 | key |
//! | 32..40 | revision |
//! | 40..48 | created at |
//! | 48..52 | CRC-32 of the payload |
//! | 52..56 | CRC-32 of bytes 0..52 and the owner |
//! | 56..76, 76..96 | two expiry slots: expires at, filed at, CRC-32 of both and of the header's CRC-32 |
//! | 96.. | owner, payload |
//!
//! A second face begins at the next multiple of 128, so that no slot crosses a page or a sector.
//!
//! `touch` writes the slot that does not count, in place. The slot that counts is the valid one with the later
//! expiry, and expiries only grow, so at every instant one slot is whole and a reader needs no lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use session_core::{Owner, Record, Revision, SessionKey, Timestamp};
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"SESSFILE";
const VERSION: u16 = 1;
const HEAD: usize = 96;
const SLOTS: [usize; 2] = [56, 76];
const SLOT: usize = 20;
const ALIGN: u64 = 128;
/// More than any write produces: two records under way between two keys of one shard.
const MAX_FACES: usize = 4;
/// What is read at once; most files are shorter.
const CHUNK: u64 = 16 * 1024;

/// One face of a file, without its payload.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    pub(crate) key: SessionKey,
    pub(crate) revision: Revision,
    pub(crate) owner: Option<Owner>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// The time under which the expiry index holds the record: never after `expires_at`.
    pub(crate) filed: Timestamp,
    head_crc: u32,
    payload_crc: u32,
    payload_at: u64,
    payload_len: u32,
    /// Where the slot that does not count lies in the file.
    spare_slot: u64,
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

/// Appends a face to `file`, which holds none or whole faces.
pub(crate) fn append(file: &mut Vec<u8>, key: SessionKey, record: &Record, filed: Timestamp) {
    let start = file.len().next_multiple_of(ALIGN as usize);
    file.resize(start, 0);
    let owner = record.owner.as_ref().map_or("", Owner::as_str).as_bytes();
    file.reserve_exact(HEAD + owner.len() + record.payload.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    // An owner has at most 255 bytes and a payload at most 1 GiB: the config sees to it.
    file.extend_from_slice(&[owner.len() as u8, 0]);
    file.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
    file.extend_from_slice(key.as_bytes());
    file.extend_from_slice(&record.revision.as_u64().to_le_bytes());
    file.extend_from_slice(&record.created_at.as_millis().to_le_bytes());
    file.extend_from_slice(&crc32fast::hash(&record.payload).to_le_bytes());
    let head_crc = head_crc(&file[start..start + 52], owner);
    file.extend_from_slice(&head_crc.to_le_bytes());
    file.extend_from_slice(&slot(head_crc, record.expires_at, filed));
    file.extend_from_slice(&[0; SLOT]);
    file.extend_from_slice(owner);
    file.extend_from_slice(&record.payload);
}

fn head_crc(head: &[u8], owner: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(owner);
    crc.finalize()
}

fn slot(head_crc: u32, expires_at: Timestamp, filed: Timestamp) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&expires_at.as_millis().to_le_bytes());
    slot[8..16].copy_from_slice(&filed.as_millis().to_le_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(head_crc);
    crc.update(&slot[..16]);
    slot[16..].copy_from_slice(&crc.finalize().to_le_bytes());
    slot
}

impl Face {
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at > now
    }

    /// Writes another expiry into the spare slot: nothing else of the file changes.
    pub(crate) fn set_slot(&self, file: &File, expires_at: Timestamp, filed: Timestamp) -> io::Result<()> {
        file.write_all_at(&slot(self.head_crc, expires_at, filed), self.spare_slot)
    }

    /// A record with everything but the payload: enough for a note.
    pub(crate) fn without_payload(&self) -> Record {
        self.with_payload(Arc::from([]))
    }

    pub(crate) fn with_payload(&self, payload: Arc<[u8]>) -> Record {
        Record {
            revision: self.revision,
            owner: self.owner.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            payload,
        }
    }

    fn end(&self) -> u64 {
        self.payload_at + u64::from(self.payload_len)
    }
}

/// The faces of an open file, and its first bytes.
#[derive(Debug)]
pub(crate) struct Faces {
    chunk: Vec<u8>,
    faces: Vec<Face>,
}

impl Faces {
    /// Reads the headers of a file of `len` bytes.
    pub(crate) fn read(file: &File, len: u64) -> Result<Self, Unreadable> {
        let mut chunk = vec![0; len.min(CHUNK) as usize];
        file.read_exact_at(&mut chunk, 0)?;
        let mut this = Self { chunk, faces: Vec::with_capacity(1) };
        let mut start = 0;
        loop {
            let face = this.face(file, start, len)?;
            let end = face.end();
            this.faces.push(face);
            start = end.next_multiple_of(ALIGN);
            match end.cmp(&len) {
                std::cmp::Ordering::Equal => return Ok(this),
                std::cmp::Ordering::Greater => return Err(Unreadable::Damaged("it is shorter than it says")),
                std::cmp::Ordering::Less if start >= len || this.faces.len() == MAX_FACES => {
                    return Err(Unreadable::Damaged("it is longer than it says"));
                }
                std::cmp::Ordering::Less => {}
            }
        }
    }

    /// The face that counts under the name `key`.
    pub(crate) fn of(&self, key: SessionKey) -> Result<&Face, Unreadable> {
        let face = self.faces.iter().find(|face| face.key == key);
        face.ok_or(Unreadable::Damaged("it belongs to another session"))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Face> {
        self.faces.iter()
    }

    pub(crate) fn payload(&self, file: &File, face: &Face) -> Result<Arc<[u8]>, Unreadable> {
        let bytes = self.bytes(file, face.payload_at, face.payload_len as usize)?;
        if crc32fast::hash(&bytes) == face.payload_crc {
            Ok(Arc::from(&*bytes))
        } else {
            Err(Unreadable::Damaged("the checksum of its payload is wrong"))
        }
    }

    fn face(&self, file: &File, start: u64, len: u64) -> Result<Face, Unreadable> {
        let available = (len - start).min((HEAD + Owner::MAX_LEN) as u64) as usize;
        let bytes = self.bytes(file, start, available)?;
        parse(&bytes, start).map_err(Unreadable::Damaged)
    }

    fn bytes(&self, file: &File, at: u64, len: usize) -> Result<std::borrow::Cow<'_, [u8]>, Unreadable> {
        let in_chunk = usize::try_from(at).ok().and_then(|at| self.chunk.get(at..at.checked_add(len)?));
        if let Some(bytes) = in_chunk {
            return Ok(bytes.into());
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes.into())
    }
}

fn parse(bytes: &[u8], start: u64) -> Result<Face, &'static str> {
    let head: &[u8; HEAD] = bytes.first_chunk().ok_or("it is too short for a header")?;
    if &head[..8] != MAGIC {
        return Err("it does not begin like a session");
    }
    if head[8..10] != VERSION.to_le_bytes() {
        return Err("its format version is unknown: did a newer release write it?");
    }
    let owner = bytes.get(HEAD..HEAD + usize::from(head[10])).ok_or("it is shorter than it says")?;
    let stored_crc = u32::from_le_bytes(field(head, 52));
    if head[11] != 0 || head_crc(&head[..52], owner) != stored_crc {
        return Err("the checksum of its header is wrong");
    }
    let (counting, spare) = choose(head, stored_crc)?;
    Ok(Face {
        key: Uuid::from_bytes(field(head, 16)).try_into().map_err(|_| "it names no session key")?,
        revision: Revision::from_u64(u64::from_le_bytes(field(head, 32))),
        owner: parse_owner(owner)?,
        created_at: Timestamp::from_millis(i64::from_le_bytes(field(head, 40))),
        expires_at: counting.0,
        filed: counting.1,
        head_crc: stored_crc,
        payload_crc: u32::from_le_bytes(field(head, 48)),
        payload_at: start + (HEAD + owner.len()) as u64,
        payload_len: u32::from_le_bytes(field(head, 12)),
        spare_slot: start + spare as u64,
    })
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
    let (expires_at, filed) = (number(0), number(8));
    if slot(head_crc, expires_at, filed) == bytes {
        Ok(Some((expires_at, filed)))
    } else {
        Err("the checksum of its expiry is wrong")
    }
}
