//! The formats that entries are written in.

use std::borrow::Cow;

#[cfg(feature = "json")]
use super::json;
#[cfg(feature = "msgpack")]
use super::msgpack;
use super::{Damaged, Entry, RawEntry, bincode};
use crate::{Error, ErrorKind, Result, Value};

// A payload's first byte: the codec in the high half, its version in the low one.
pub(super) const BINCODE: u8 = 0x11;
pub(super) const JSON: u8 = 0x21;
pub(super) const MESSAGE_PACK: u8 = 0x31;
pub(super) const SEALED: u8 = 0x41;

/// Why a length does not fit a format.
type Unwritable = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Bincode,
    #[cfg(feature = "json")]
    Json,
    #[cfg(feature = "msgpack")]
    MessagePack,
}

pub(super) fn unwritable(source: impl Into<Unwritable>) -> Error {
    Error::new(ErrorKind::Codec, "the session cannot be encoded").with_source(source)
}

impl Format {
    pub(super) fn tag(self) -> u8 {
        match self {
            Self::Bincode => BINCODE,
            #[cfg(feature = "json")]
            Self::Json => JSON,
            #[cfg(feature = "msgpack")]
            Self::MessagePack => MESSAGE_PACK,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
            #[cfg(feature = "json")]
            Self::Json => "json",
            #[cfg(feature = "msgpack")]
            Self::MessagePack => "msgpack",
        }
    }

    /// The payload that holds `entries`, which are in the order of their keys.
    pub(super) fn write(self, entries: &[Entry<'_>]) -> Result<Vec<u8>> {
        let size: usize = entries.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
        let mut out = Vec::with_capacity(size + 10);
        out.push(self.tag());
        self.put_frame(&mut out, entries).map_err(unwritable)?;
        Ok(out)
    }

    fn put_frame(self, out: &mut Vec<u8>, entries: &[Entry<'_>]) -> Result<(), Unwritable> {
        match self {
            Self::Bincode => bincode::write_frame(out, entries)?,
            #[cfg(feature = "json")]
            Self::Json => json::write_frame(out, entries),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::write_frame(out, entries)?,
        }
        Ok(())
    }

    /// Appends the bytes of the entry `name`.
    pub(super) fn write_value(self, out: &mut Vec<u8>, name: &str, value: &Value) -> Result<()> {
        let failed = |reason: &str| Error::new(ErrorKind::Codec, format!("session key {name:?}: {reason}"));
        value.check_bounds().map_err(|bound| failed(bound.as_str()))?;
        self.put_value(out, value).map_err(|error| failed("the value cannot be encoded").with_source(error))
    }

    fn put_value(self, out: &mut Vec<u8>, value: &Value) -> Result<(), Unwritable> {
        match self {
            Self::Bincode => bincode::write_value(out, value)?,
            #[cfg(feature = "json")]
            Self::Json => json::write_value(out, value),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::write_value(out, value)?,
        }
        Ok(())
    }

    pub(super) fn read_value(self, raw: &[u8]) -> Result<Value, Damaged> {
        match self {
            Self::Bincode => bincode::read_value(raw),
            #[cfg(feature = "json")]
            Self::Json => json::read_value(raw),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::read_value(raw),
        }
    }

    pub(super) fn read_bytes(self, raw: &[u8]) -> Result<Cow<'_, [u8]>, Damaged> {
        if self == Self::Bincode {
            return bincode::read_bytes(raw).map(Cow::Borrowed);
        }
        match self.read_value(raw)? {
            Value::Bytes(bytes) => Ok(Cow::Owned(bytes)),
            _ => Err(super::NO_BYTES),
        }
    }

    /// Checks that what follows the first byte is a frame whose keys are text and strictly ascending; how many
    /// entries it has.
    pub(super) fn check(self, frame: &[u8]) -> Result<usize, Damaged> {
        if self == Self::Bincode {
            return bincode::check(frame);
        }
        let mut entries = self.entries(frame)?;
        let mut len = 0;
        let mut last: Option<Cow<'_, str>> = None;
        while let Some((name, _)) = entries.next()? {
            if last.is_some_and(|last| last >= name) {
                return Err(super::UNSORTED);
            }
            last = Some(name);
            len += 1;
        }
        Ok(len)
    }

    /// The entry `key` of a frame that was checked.
    pub(super) fn find<'a>(self, frame: &'a [u8], key: &str) -> Option<&'a [u8]> {
        if self == Self::Bincode {
            return bincode::find(frame, key);
        }
        let mut entries = self.entries(frame).ok()?;
        while let Ok(Some((name, raw))) = entries.next() {
            if *name >= *key {
                return (name == key).then_some(raw);
            }
        }
        None
    }

    /// The entries of what follows the first byte.
    pub(super) fn entries(self, frame: &[u8]) -> Result<Entries<'_>, Damaged> {
        match self {
            Self::Bincode => bincode::Frame::open(frame).map(Entries::Bincode),
            #[cfg(feature = "json")]
            Self::Json => json::Frame::open(frame).map(Entries::Json),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::Frame::open(frame).map(Entries::MessagePack),
        }
    }
}

/// Walks over a frame: each entry's key, and its value still encoded. The last answer says whether the frame
/// ended as it should.
pub(super) enum Entries<'a> {
    Bincode(bincode::Frame<'a>),
    #[cfg(feature = "json")]
    Json(json::Frame<'a>),
    #[cfg(feature = "msgpack")]
    MessagePack(msgpack::Frame<'a>),
}

impl<'a> Entries<'a> {
    pub(super) fn next(&mut self) -> Result<Option<RawEntry<'a>>, Damaged> {
        match self {
            Self::Bincode(frame) => {
                frame.next().map(|entry| entry.map(|(name, raw)| (Cow::Borrowed(name), raw)))
            }
            #[cfg(feature = "json")]
            Self::Json(frame) => frame.next(),
            #[cfg(feature = "msgpack")]
            Self::MessagePack(frame) => {
                frame.next().map(|entry| entry.map(|(name, raw)| (Cow::Borrowed(name), raw)))
            }
        }
    }
}
