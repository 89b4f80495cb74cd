//! MessagePack: one map of text to values. Extension types are not used and not read.

use std::io::Error as IoError;

use rmp::Marker;
use rmp::encode::{self, ValueWriteError};

use super::{BELIEVED, Damaged, Entry, TOO_SHORT};
use crate::Value;
use crate::value::{deeper, one_more};

type Result<T, E = Damaged> = std::result::Result<T, E>;
type WriteError = ValueWriteError<IoError>;

pub(super) fn write_frame(out: &mut Vec<u8>, entries: &[Entry<'_>]) -> Result<(), WriteError> {
    encode::write_map_len(out, short(entries.len())?)?;
    entries.iter().try_for_each(|(name, value)| {
        write_text(out, name)?;
        out.extend_from_slice(value);
        Ok(())
    })
}

pub(super) fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), WriteError> {
    match value {
        Value::Null => encode::write_nil(out).map_err(ValueWriteError::InvalidMarkerWrite),
        Value::Bool(value) => encode::write_bool(out, *value).map_err(ValueWriteError::InvalidMarkerWrite),
        Value::I64(value) => encode::write_sint(out, *value).map(drop),
        Value::U64(value) => encode::write_uint(out, *value).map(drop),
        Value::F64(value) => encode::write_f64(out, *value),
        Value::Text(value) => write_text(out, value),
        Value::Bytes(value) => {
            encode::write_bin_len(out, short(value.len())?)?;
            out.extend_from_slice(value);
            Ok(())
        }
        Value::List(items) => {
            encode::write_array_len(out, short(items.len())?)?;
            items.iter().try_for_each(|item| write_value(out, item))
        }
        Value::Map(pairs) => {
            encode::write_map_len(out, short(pairs.len())?)?;
            pairs.iter().try_for_each(|(key, value)| {
                write_value(out, key)?;
                write_value(out, value)
            })
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), WriteError> {
    encode::write_str_len(out, short(text.len())?)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// MessagePack's lengths have 32 bits.
fn short(len: usize) -> Result<u32, WriteError> {
    u32::try_from(len).map_err(|error| ValueWriteError::InvalidDataWrite(IoError::other(error)))
}

/// The entries that are left.
pub(super) struct Frame<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Frame<'a> {
    pub(super) fn open(mut rest: &'a [u8]) -> Result<Self> {
        match Head::read(&mut rest)? {
            Head::Map(left) => Ok(Self { rest, left }),
            _ => Err(Damaged("it is not a map")),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<(&'a str, &'a [u8])>> {
        if self.left == 0 {
            return if self.rest.is_empty() { Ok(None) } else { Err(Damaged("bytes follow the last entry")) };
        }
        self.left -= 1;
        let Head::Text(name) = Head::read(&mut self.rest)? else { return Err(Damaged("a key is not text")) };
        let name = text(name)?;
        let start = self.rest;
        skip(&mut self.rest)?;
        let (value, _) = start.split_at_checked(start.len() - self.rest.len()).ok_or(TOO_SHORT)?;
        Ok(Some((name, value)))
    }
}

/// Steps over one value, whatever its depth, without recursion.
fn skip(rest: &mut &[u8]) -> Result<()> {
    let mut values = 1_usize;
    while values > 0 {
        values -= 1;
        let inside = match Head::read(rest)? {
            Head::List(len) => len,
            Head::Map(len) => len.saturating_mul(2),
            _ => 0,
        };
        values = values.saturating_add(inside);
    }
    Ok(())
}

/// A frame's entry holds one value and nothing else: that is how its end was found.
pub(super) fn read_value(mut raw: &[u8]) -> Result<Value> {
    Reader { rest: &mut raw, count: 0 }.value(0)
}

struct Reader<'r, 'a> {
    rest: &'r mut &'a [u8],
    count: usize,
}

impl Reader<'_, '_> {
    fn value(&mut self, depth: usize) -> Result<Value> {
        one_more(&mut self.count)?;
        Ok(match Head::read(self.rest)? {
            Head::Whole(value) => value,
            Head::Text(bytes) => Value::Text(text(bytes)?.to_owned()),
            Head::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Head::List(len) => Value::List(self.many(len, depth, |reader, depth| reader.value(depth))?),
            Head::Map(len) => {
                let pair = |reader: &mut Self, depth| Ok((reader.value(depth)?, reader.value(depth)?));
                Value::Map(self.many(len, depth, pair)?)
            }
        })
    }

    fn many<T>(
        &mut self,
        len: usize,
        depth: usize,
        each: impl Fn(&mut Self, usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        let depth = deeper(depth)?;
        let mut items = Vec::with_capacity(len.min(BELIEVED));
        for _ in 0..len {
            items.push(each(self, depth)?);
        }
        Ok(items)
    }
}

/// One value, or what comes before the items of a list or map.
enum Head<'a> {
    Whole(Value),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    List(usize),
    Map(usize),
}

impl<'a> Head<'a> {
    fn read(rest: &mut &'a [u8]) -> Result<Self> {
        let [marker] = take(rest)?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Self::Whole(Value::Null),
            Marker::True => Self::Whole(Value::Bool(true)),
            Marker::False => Self::Whole(Value::Bool(false)),
            Marker::FixPos(value) => Self::Whole(Value::I64(value.into())),
            Marker::FixNeg(value) => Self::Whole(Value::I64(value.into())),
            Marker::I8 => Self::Whole(Value::I64(i8::from_be_bytes(take(rest)?).into())),
            Marker::I16 => Self::Whole(Value::I64(i16::from_be_bytes(take(rest)?).into())),
            Marker::I32 => Self::Whole(Value::I64(i32::from_be_bytes(take(rest)?).into())),
            Marker::I64 => Self::Whole(Value::I64(i64::from_be_bytes(take(rest)?))),
            Marker::U64 => Self::Whole(Value::unsigned(u64::from_be_bytes(take(rest)?))),
            Marker::F32 => Self::Whole(Value::F64(f32::from_be_bytes(take(rest)?).into())),
            Marker::F64 => Self::Whole(Value::F64(f64::from_be_bytes(take(rest)?))),
            Marker::U8 => Self::Whole(Value::I64(u8::from_be_bytes(take(rest)?).into())),
            Marker::U16 => Self::Whole(Value::I64(u16::from_be_bytes(take(rest)?).into())),
            Marker::U32 => Self::Whole(Value::I64(u32::from_be_bytes(take(rest)?).into())),
            Marker::FixStr(len) => Self::Text(slice(rest, len.into())?),
            Marker::Str8 => Self::Text(sized::<1>(rest)?),
            Marker::Str16 => Self::Text(sized::<2>(rest)?),
            Marker::Str32 => Self::Text(sized::<4>(rest)?),
            Marker::Bin8 => Self::Bytes(sized::<1>(rest)?),
            Marker::Bin16 => Self::Bytes(sized::<2>(rest)?),
            Marker::Bin32 => Self::Bytes(sized::<4>(rest)?),
            Marker::FixArray(len) => Self::List(items(rest, len.into())?),
            Marker::Array16 => Self::List(length::<2>(rest)?),
            Marker::Array32 => Self::List(length::<4>(rest)?),
            Marker::FixMap(len) => Self::Map(items(rest, len.into())?),
            Marker::Map16 => Self::Map(length::<2>(rest)?),
            Marker::Map32 => Self::Map(length::<4>(rest)?),
            _ => return Err(Damaged("an extension type, or a byte that MessagePack does not use")),
        })
    }
}

fn sized<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = length::<N>(rest)?;
    slice(rest, len)
}

/// A length of `N` bytes.
fn length<const N: usize>(rest: &mut &[u8]) -> Result<usize> {
    let bytes: [u8; N] = take(rest)?;
    let len = bytes.iter().fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
    items(rest, len)
}

/// Each thing takes a byte at least, so more than the bytes that are left cannot be.
fn items(rest: &[u8], len: usize) -> Result<usize> {
    if len <= rest.len() { Ok(len) } else { Err(TOO_SHORT) }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk().ok_or(TOO_SHORT)?;
    *rest = after;
    Ok(*bytes)
}

fn slice<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (bytes, after) = rest.split_at_checked(len).ok_or(TOO_SHORT)?;
    *rest = after;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Damaged("text that is not UTF-8"))
}
