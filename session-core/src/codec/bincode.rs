//! bincode 2 in its standard configuration.
//!
//! The frame is what bincode writes for a `Vec<(String, Vec<u8>)>`, each value what it writes for the [`Value`] enum
//! were its encoding derived. Only numbers are read by bincode itself: lists, maps, text and bytes are walked here,
//! so that depth, number and allocation are bounded by the bytes that are really there.

use ::bincode::config::{self, Configuration};
use ::bincode::error::EncodeError;
use ::bincode::{Decode, Encode};

use super::format::unwritable;
use super::{Changed, Damaged, Entry};
use crate::Value;
use crate::value::{deeper, one_more};

type Result<T, E = Damaged> = std::result::Result<T, E>;

const CONFIG: Configuration = config::standard();
const MORE: Damaged = Damaged("bytes follow the value");

mod variant {
    pub(super) const NULL: u32 = 0;
    pub(super) const BOOL: u32 = 1;
    pub(super) const I64: u32 = 2;
    pub(super) const U64: u32 = 3;
    pub(super) const F64: u32 = 4;
    pub(super) const TEXT: u32 = 5;
    pub(super) const BYTES: u32 = 6;
    pub(super) const LIST: u32 = 7;
    pub(super) const MAP: u32 = 8;
}

pub(super) fn write_frame(out: &mut Vec<u8>, entries: &[Entry<'_>]) -> Result<(), EncodeError> {
    put(out, entries.len())?;
    entries.iter().try_for_each(|(name, value)| {
        put_bytes(out, name.as_bytes())?;
        put_bytes(out, value)
    })
}

/// The length, which nearly always takes one byte, and the bytes.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    match u8::try_from(bytes.len()) {
        Ok(len @ 0..251) => out.push(len),
        _ => put(out, bytes.len())?,
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// Writes a frame that was checked, with `changes` laid over it; how many entries there are then. What lies between two
/// changes is copied in one piece.
pub(super) fn overlay(
    out: &mut Vec<u8>,
    frame: &[u8],
    changes: &[Changed<'_>],
    mut write: impl FnMut(&mut Vec<u8>, &str, &Value) -> crate::Result<()>,
) -> crate::Result<usize> {
    let mut entries = Frame::open(frame).unwrap_or(Frame { rest: &[], left: 0 });
    let mut changes = changes.iter().peekable();
    let (counted, mut len) = (out.len(), 0);
    out.push(0);
    let mut kept = entries.rest;
    while changes.peek().is_some() {
        let here = entries.rest;
        let name = entries.next_raw().ok().flatten().map(|(name, _)| name);
        let mut replaced = false;
        while let Some((changed, value)) =
            changes.next_if(|(changed, _)| name.is_none_or(|name| !ascends(name, changed.as_bytes())))
        {
            out.extend_from_slice(&kept[..kept.len() - here.len()]);
            kept = here;
            replaced = name == Some(changed.as_bytes());
            if let Some(value) = value {
                put_bytes(out, changed.as_bytes()).map_err(unwritable)?;
                let measured = out.len();
                out.push(0);
                write(out, changed, value)?;
                set_length(out, measured, out.len() - measured - 1).map_err(unwritable)?;
                len += 1;
            }
        }
        match name {
            Some(_) if replaced => kept = entries.rest,
            Some(_) => len += 1,
            None => break,
        }
    }
    len += entries.left;
    out.extend_from_slice(kept);
    set_length(out, counted, len).map_err(unwritable)?;
    Ok(len)
}

/// Puts a length where one byte was left for it.
fn set_length(out: &mut Vec<u8>, at: usize, length: usize) -> Result<(), EncodeError> {
    if let Ok(short @ 0..251) = u8::try_from(length) {
        out[at] = short;
        return Ok(());
    }
    let mut long = Vec::new();
    put(&mut long, length)?;
    out.splice(at..=at, long);
    Ok(())
}

pub(super) fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::Null => put(out, variant::NULL),
        Value::Bool(value) => put(out, (variant::BOOL, value)),
        Value::I64(value) => put(out, (variant::I64, value)),
        Value::U64(value) => match Value::unsigned(*value) {
            Value::I64(value) => put(out, (variant::I64, value)),
            _ => put(out, (variant::U64, value)),
        },
        Value::F64(value) => put(out, (variant::F64, value)),
        Value::Text(value) => put(out, (variant::TEXT, value)),
        Value::Bytes(value) => put(out, (variant::BYTES, value)),
        Value::List(items) => {
            put(out, (variant::LIST, items.len()))?;
            items.iter().try_for_each(|item| write_value(out, item))
        }
        Value::Map(pairs) => {
            put(out, (variant::MAP, pairs.len()))?;
            pairs.iter().try_for_each(|(key, value)| {
                write_value(out, key)?;
                write_value(out, value)
            })
        }
    }
}

fn put(out: &mut Vec<u8>, value: impl Encode) -> Result<(), EncodeError> {
    ::bincode::encode_into_std_write(value, out, CONFIG).map(drop)
}

/// The entries that are left.
pub(super) struct Frame<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Frame<'a> {
    pub(super) fn open(mut rest: &'a [u8]) -> Result<Self> {
        let left = length(&mut rest)?;
        Ok(Self { rest, left })
    }

    pub(super) fn next(&mut self) -> Result<Option<(&'a str, &'a [u8])>> {
        let Some((name, value)) = self.next_raw()? else { return Ok(None) };
        Ok(Some((utf8(name)?, value)))
    }

    /// The next entry, whose name is not known to be text. In place, it takes half the instructions.
    #[inline(always)]
    fn next_raw(&mut self) -> Result<Option<(&'a [u8], &'a [u8])>> {
        if self.left == 0 {
            return if self.rest.is_empty() { Ok(None) } else { Err(Damaged("bytes follow the last entry")) };
        }
        self.left -= 1;
        if let Some(entry) = self.next_short() {
            return Ok(Some(entry));
        }
        let name = bytes(&mut self.rest)?;
        let value = bytes(&mut self.rest)?;
        Ok(Some((name, value)))
    }

    /// An entry whose lengths take one byte each, as nearly all do.
    #[inline]
    fn next_short(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (name, rest) = short(self.rest)?;
        let (value, rest) = short(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

#[inline]
fn short(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    match rest.split_first() {
        Some((&len @ 0..251, rest)) => rest.split_at_checked(len.into()),
        _ => None,
    }
}

/// Checks a whole frame, once and for all; how many entries it has. Each request does this, and most names are
/// short and ASCII, so it does not turn them into text.
pub(super) fn check(frame: &[u8]) -> Result<usize> {
    let mut entries = Frame::open(frame)?;
    let mut last: Option<&[u8]> = None;
    let mut len = 0;
    while let Some((name, _)) = entries.next_raw()? {
        if !name.is_ascii() {
            utf8(name)?;
        }
        if last.is_some_and(|last| !ascends(last, name)) {
            return Err(super::UNSORTED);
        }
        last = Some(name);
        len += 1;
    }
    Ok(len)
}

/// Whether `name` comes after `last`. Most often the first bytes tell.
#[inline]
fn ascends(last: &[u8], name: &[u8]) -> bool {
    match (last.first(), name.first()) {
        (Some(a), Some(b)) if a != b => a < b,
        _ => last < name,
    }
}

/// The value of `key` in a frame that was checked.
pub(super) fn find<'a>(frame: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut entries = Frame::open(frame).ok()?;
    while let Ok(Some((name, value))) = entries.next_raw() {
        if name == key.as_bytes() {
            return Some(value);
        }
        // The names ascend, so it does not come any more. To look at the first byte alone costs nothing.
        if name.first() > key.as_bytes().first() {
            return None;
        }
    }
    None
}

pub(super) fn read_value(mut raw: &[u8]) -> Result<Value> {
    let value = Reader { rest: &mut raw, count: 0 }.value(0)?;
    if raw.is_empty() { Ok(value) } else { Err(MORE) }
}

pub(super) fn read_bytes(mut raw: &[u8]) -> Result<&[u8]> {
    if number::<u32>(&mut raw)? != variant::BYTES {
        return Err(super::NO_BYTES);
    }
    let bytes = bytes(&mut raw)?;
    if raw.is_empty() { Ok(bytes) } else { Err(MORE) }
}

struct Reader<'r, 'a> {
    rest: &'r mut &'a [u8],
    count: usize,
}

impl Reader<'_, '_> {
    fn value(&mut self, depth: usize) -> Result<Value> {
        one_more(&mut self.count)?;
        Ok(match number(self.rest)? {
            variant::NULL => Value::Null,
            variant::BOOL => Value::Bool(number(self.rest)?),
            variant::I64 => Value::I64(number(self.rest)?),
            variant::U64 => Value::unsigned(number(self.rest)?),
            variant::F64 => Value::F64(number(self.rest)?),
            variant::TEXT => Value::Text(text(self.rest)?.to_owned()),
            variant::BYTES => Value::Bytes(bytes(self.rest)?.to_vec()),
            variant::LIST => Value::List(self.many(depth, |reader, depth| reader.value(depth))?),
            variant::MAP => Value::Map(
                self.many(depth, |reader, depth| Ok((reader.value(depth)?, reader.value(depth)?)))?,
            ),
            _ => return Err(Damaged("a kind of value that does not exist")),
        })
    }

    fn many<T>(&mut self, depth: usize, each: impl Fn(&mut Self, usize) -> Result<T>) -> Result<Vec<T>> {
        let depth = deeper(depth)?;
        let len = length(self.rest)?;
        let mut items = Vec::with_capacity(len.min(super::BELIEVED));
        for _ in 0..len {
            items.push(each(self, depth)?);
        }
        Ok(items)
    }
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str> {
    utf8(bytes(rest)?)
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Damaged("text that is not UTF-8"))
}

#[inline]
fn bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = length(rest)?;
    let (bytes, after) = rest.split_at_checked(len).ok_or(super::TOO_SHORT)?;
    *rest = after;
    Ok(bytes)
}

/// A length or number of things. Each takes a byte at least, so more than the bytes that are left cannot be.
#[inline]
fn length(rest: &mut &[u8]) -> Result<usize> {
    // The common case, in place: a length of one byte.
    if let Some((&len @ 0..251, after)) = rest.split_first() {
        *rest = after;
        return if usize::from(len) <= after.len() { Ok(len.into()) } else { Err(super::TOO_SHORT) };
    }
    let len = usize::try_from(number::<u64>(rest)?).map_err(|_| super::TOO_SHORT)?;
    if len <= rest.len() { Ok(len) } else { Err(super::TOO_SHORT) }
}

fn number<T: Decode<()>>(rest: &mut &[u8]) -> Result<T> {
    let (value, used) = ::bincode::decode_from_slice(rest, CONFIG)
        .map_err(|_| Damaged("a number is cut off or out of range"))?;
    *rest = rest.get(used..).unwrap_or_default();
    Ok(value)
}
