//! From the entries of a session to the bytes of a record's payload, and back.

mod bincode;
mod body;
mod format;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "seal")]
mod seal;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind, Result, SessionKey, Value};

pub(crate) use body::Body;
use format::Format;
#[cfg(feature = "seal")]
pub use seal::SealKeys;

/// One way to write a session as bytes, and to read it.
///
/// A payload begins with one byte that names the codec and its version; `docs/format.md` gives every byte. What an
/// entry means is the same in each codec, so a fleet can change from one to another.
#[derive(Clone)]
pub struct Codec(Kind);

#[derive(Clone)]
enum Kind {
    Plain(Format),
    #[cfg(feature = "seal")]
    Sealed {
        inner: Box<Codec>,
        keys: SealKeys,
    },
}

/// The format of a payload's entries, and what was under its seal, if it has one.
type Opened = (Format, Option<Arc<[u8]>>);

impl Codec {
    /// bincode 2: the smallest and fastest.
    #[must_use]
    pub const fn bincode() -> Self {
        Self(Kind::Plain(Format::Bincode))
    }

    /// JSON text, for programs in other languages and for people.
    #[cfg(feature = "json")]
    #[must_use]
    pub const fn json() -> Self {
        Self(Kind::Plain(Format::Json))
    }

    /// MessagePack, for programs in other languages.
    #[cfg(feature = "msgpack")]
    #[must_use]
    pub const fn msgpack() -> Self {
        Self(Kind::Plain(Format::MessagePack))
    }

    /// `inner`, encrypted and authenticated with XChaCha20-Poly1305: who reads the storage reads no session, and who
    /// writes to it can neither make one up nor move one to another key.
    ///
    /// The first key seals, all open. The session's key is bound in, so sealed bytes are of use under it alone.
    #[cfg(feature = "seal")]
    #[must_use]
    pub fn sealed(inner: Self, keys: SealKeys) -> Self {
        Self(Kind::Sealed { inner: Box::new(inner), keys })
    }

    fn tag(&self) -> u8 {
        match &self.0 {
            Kind::Plain(format) => format.tag(),
            #[cfg(feature = "seal")]
            Kind::Sealed { .. } => seal::TAG,
        }
    }

    /// The format that the entries are written in, below any seal.
    fn format(&self) -> Format {
        match &self.0 {
            Kind::Plain(format) => *format,
            #[cfg(feature = "seal")]
            Kind::Sealed { inner, .. } => inner.format(),
        }
    }

    /// `None` when another codec wrote the payload.
    #[cfg_attr(not(feature = "seal"), allow(unused_variables))]
    fn open(&self, key: SessionKey, payload: &[u8]) -> Result<Option<Opened>> {
        if payload.first() != Some(&self.tag()) {
            return Ok(None);
        }
        match &self.0 {
            Kind::Plain(format) => Ok(Some((*format, None))),
            #[cfg(feature = "seal")]
            Kind::Sealed { inner, keys } => {
                let Some(opened) = keys.open(key, payload)? else { return Ok(None) };
                let inner = inner.open(key, &opened)?;
                Ok(inner.map(|(format, innermost)| (format, innermost.or(Some(opened)))))
            }
        }
    }

    /// What is stored in place of `encoded`; `None` for itself.
    #[cfg_attr(not(feature = "seal"), allow(unused_variables))]
    fn wrap(&self, key: SessionKey, encoded: &[u8]) -> Result<Option<Vec<u8>>> {
        match &self.0 {
            Kind::Plain(_) => Ok(None),
            #[cfg(feature = "seal")]
            Kind::Sealed { inner, keys } => {
                let inner = inner.wrap(key, encoded)?;
                keys.seal(key, inner.as_deref().unwrap_or(encoded)).map(Some)
            }
        }
    }
}

/// Names the codec; shows no key.
impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Plain(format) => f.write_str(format.name()),
            #[cfg(feature = "seal")]
            Kind::Sealed { inner, keys } => f.debug_tuple("sealed").field(inner).field(keys).finish(),
        }
    }
}

/// The codec that a program writes sessions with, and all that it reads.
///
/// What it does not name it does not read: a program that seals its sessions refuses bare ones, also when whoever
/// can write to the storage puts one there. To move a fleet to another codec without logging anyone out, deploy
/// twice: first with the new codec as a reader, then as the writer with the old one as a reader.
///
/// ```
/// # #[cfg(feature = "seal")] {
/// use session_core::{Codec, Codecs, SealKeys};
///
/// # let (new, old) = ([1; 32], [2; 32]);
/// let keys = SealKeys::new(new).with_older(old);
/// let codecs = Codecs::new(Codec::sealed(Codec::bincode(), keys)).also_reads(Codec::bincode());
/// # let _ = codecs;
/// # }
/// ```
#[derive(Clone)]
pub struct Codecs(Arc<Set>);

#[derive(Clone)]
struct Set {
    writer: Codec,
    readers: Vec<Codec>,
}

impl Codecs {
    /// Writes and reads with `codec`, and reads nothing else.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self(Arc::new(Set { writer: codec, readers: Vec::new() }))
    }

    /// Also reads what `codec` wrote.
    #[must_use]
    pub fn also_reads(mut self, codec: Codec) -> Self {
        Arc::make_mut(&mut self.0).readers.push(codec);
        self
    }

    fn all(&self) -> impl Iterator<Item = &Codec> {
        std::iter::once(&self.0.writer).chain(&self.0.readers)
    }

    /// The entries of a session that is stored under `key`: for tools that look at payloads outside of a
    /// session, and for sessions that no store keeps.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when no codec here reads this payload; [`ErrorKind::Corrupt`] when it is damaged.
    pub fn decode_entries(&self, key: SessionKey, payload: &[u8]) -> Result<BTreeMap<String, Value>> {
        self.decode(key, Arc::from(payload))?.to_map()
    }

    /// The payload that holds `entries`, to be stored under `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when a value is nested more than 64 deep or holds more than 1,048,576 values;
    /// [`ErrorKind::Unavailable`] when a codec that seals gets no random bytes.
    pub fn encode_entries(&self, key: SessionKey, entries: &BTreeMap<String, Value>) -> Result<Arc<[u8]>> {
        let changes: Vec<_> = entries.iter().map(|(name, value)| (name.as_str(), Some(value))).collect();
        self.encode(key, &Body::empty(), &changes).map(|(payload, _)| payload)
    }

    /// Checks the frame and opens the seal; allocates nothing per entry.
    pub(crate) fn decode(&self, key: SessionKey, payload: Arc<[u8]>) -> Result<Body> {
        for codec in self.all() {
            if let Some((format, opened)) = codec.open(key, &payload)? {
                return Body::open(format, opened.unwrap_or(payload));
            }
        }
        Err(self.unreadable(&payload))
    }

    /// The payload that holds `base` with `changes` laid over it, and its entries.
    pub(crate) fn encode(
        &self,
        key: SessionKey,
        base: &Body,
        changes: &[Changed<'_>],
    ) -> Result<(Arc<[u8]>, Body)> {
        let writer = &self.0.writer;
        let body = base.with(changes, writer.format())?;
        let payload = match writer.wrap(key, body.payload())? {
            Some(wrapped) => Arc::from(wrapped),
            None => Arc::clone(body.payload()),
        };
        Ok((payload, body))
    }

    fn unreadable(&self, payload: &[u8]) -> Error {
        let Some(tag) = payload.first() else {
            return Error::new(ErrorKind::Corrupt, "the payload is empty, where its codec should be named");
        };
        let known = self.all().any(|codec| codec.tag() == *tag);
        let message = match (known, codec_of(*tag)) {
            (true, _) => format!(
                "the payload is sealed (byte 0x{tag:02x}), but with a key, or around a codec, that no reader has: add \
                 the key with SealKeys::with_older, or the codec with Codecs::also_reads"
            ),
            (false, Some(codec)) => format!(
                "the payload begins with byte 0x{tag:02x} ({codec}), which no reader knows: add it with \
                 Codecs::also_reads(Codec::{codec})"
            ),
            (false, None) => format!(
                "the payload begins with byte 0x{tag:02x}, which is no codec of this release: a newer release wrote \
                 it, or something else"
            ),
        };
        Error::new(ErrorKind::Codec, message)
    }
}

/// bincode.
impl Default for Codecs {
    fn default() -> Self {
        Self::new(Codec::bincode())
    }
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codecs").field("writer", &self.0.writer).field("readers", &self.0.readers).finish()
    }
}

/// The constructor of the codec that `tag` names, also when its feature is off.
fn codec_of(tag: u8) -> Option<&'static str> {
    match tag {
        format::BINCODE => Some("bincode()"),
        format::JSON => Some("json()"),
        format::MESSAGE_PACK => Some("msgpack()"),
        format::SEALED => Some("sealed(..)"),
        _ => None,
    }
}

/// A key and its new value, or none when it is removed. Several are in strictly ascending order of their keys.
pub(crate) type Changed<'a> = (&'a str, Option<&'a Value>);
/// A key and its encoded value, to be written.
type Entry<'a> = (Cow<'a, str>, Cow<'a, [u8]>);
/// A key and its encoded value, as read.
type RawEntry<'a> = (Cow<'a, str>, &'a [u8]);

/// What is wrong with bytes. It has no part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Damaged(&'static str);

impl Damaged {
    fn payload(self) -> Error {
        Error::new(ErrorKind::Corrupt, format!("the payload is damaged: {}", self.0))
    }

    fn entry(self, name: &str) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("session key {name:?}: the stored value is damaged: {}", self.0),
        )
    }
}

impl From<crate::value::OverBounds> for Damaged {
    fn from(bound: crate::value::OverBounds) -> Self {
        Self(bound.as_str())
    }
}

const UNSORTED: Damaged = Damaged("its keys are not in strictly ascending order");
const TOO_SHORT: Damaged = Damaged("it ends too early");
const NO_BYTES: Damaged = Damaged("it holds no bytes");

/// How many items of a list that claims many are given room before they have come. With 64 lists inside one
/// another that is at most 64 KiB.
const BELIEVED: usize = 8;
