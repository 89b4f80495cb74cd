//! The data model of a session's entries.

mod de;
mod error;
mod ser;
mod text;

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Result;

/// How many lists and maps may stand inside one another in one entry.
pub(crate) const MAX_DEPTH: usize = 64;
/// How many values one entry may hold, the keys of maps included.
pub(crate) const MAX_VALUES: usize = 1 << 20;

/// What an entry of a session holds: any `serde` type goes in and comes out through it.
///
/// Sessions are stored as values, never as a program's own types, so a struct that gained a field still reads what
/// an older release wrote, and a wrong type is an error that names the entry. A `Value` in a session stands for
/// itself: it is not wrapped, and any entry can be read as one.
///
/// Integers have one form: [`I64`](Self::I64) for all that fit, [`U64`](Self::U64) for those above `i64::MAX`.
/// Equality is exact: floats are compared by their bits (`NaN` equals itself, `0.0` is not `-0.0`), maps with their
/// order. A map keeps its order and takes keys of any kind; a struct is a map with text keys.
///
/// ```
/// use session_core::Value;
///
/// let value = Value::from_typed(&("ada", [1_u8, 2], None::<u32>))?;
/// let list = |items: &[Value]| Value::List(items.to_vec());
/// assert_eq!(
///     value,
///     list(&[Value::Text("ada".into()), list(&[Value::I64(1), Value::I64(2)]), Value::Null])
/// );
/// assert_eq!(value.into_typed::<(String, [u8; 2], Option<u32>)>()?, ("ada".into(), [1, 2], None));
/// # Ok::<(), session_core::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: `()`, `None`, a unit struct.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer that fits.
    I64(i64),
    /// An integer above `i64::MAX`.
    U64(u64),
    /// A float, each bit of it; an `f32` is widened.
    F64(f64),
    /// Text; a `char` is text of one character.
    Text(String),
    /// Bytes, from types that `serde` knows as such (`serde_bytes`); a plain `Vec<u8>` is a list.
    Bytes(Vec<u8>),
    /// A sequence or tuple.
    List(Vec<Self>),
    /// A map or struct, in its order.
    Map(Vec<(Self, Self)>),
}

impl Value {
    /// The value of `typed`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) when the type cannot be kept exactly: an integer that neither `i64` nor `u64` holds, a
    /// `Some` around something that is itself nothing (`Some(None)`, `Some(())`), more than 64 lists and maps inside
    /// one another, more than 1,048,576 values, or when the type's own `Serialize` fails.
    pub fn from_typed<T: Serialize + ?Sized>(typed: &T) -> Result<Self> {
        ser::to_value(typed).map_err(|error| error.without_key())
    }

    /// The value as a `T`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) when this is not a `T`. The message names both types and never shows the value.
    pub fn into_typed<T: DeserializeOwned>(self) -> Result<T> {
        de::from_value(self).map_err(|error| error.without_key())
    }

    /// An integer in its one form.
    pub(crate) fn unsigned(number: u64) -> Self {
        i64::try_from(number).map_or(Self::U64(number), Self::I64)
    }

    /// Whether the value is within [`MAX_DEPTH`] and [`MAX_VALUES`]: only then can a reader take it.
    pub(crate) fn check_bounds(&self) -> Result<(), OverBounds> {
        self.count_within(0, &mut 0)
    }

    fn count_within(&self, depth: usize, count: &mut usize) -> Result<(), OverBounds> {
        one_more(count)?;
        match self {
            Self::List(items) => {
                let depth = deeper(depth)?;
                items.iter().try_for_each(|item| item.count_within(depth, count))
            }
            Self::Map(pairs) => {
                let depth = deeper(depth)?;
                pairs.iter().try_for_each(|(key, value)| {
                    key.count_within(depth, count)?;
                    value.count_within(depth, count)
                })
            }
            _ => Ok(()),
        }
    }
}

/// The value of `typed`, for the entry `key`.
pub(crate) fn to_value<T: Serialize + ?Sized>(key: &str, typed: &T) -> Result<Value> {
    ser::to_value(typed).map_err(|error| error.with_key(key))
}

/// The entry `key` as a `T`.
pub(crate) fn from_value<T: DeserializeOwned>(key: &str, value: Value) -> Result<T> {
    de::from_value(value).map_err(|error| error.with_key(key))
}

/// Which bound a value breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverBounds {
    Depth,
    Values,
}

impl OverBounds {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Depth => "more than 64 lists and maps inside one another",
            Self::Values => "more than 1048576 values in one entry",
        }
    }
}

/// The depth inside a list or map that stands at `depth`.
pub(crate) fn deeper(depth: usize) -> Result<usize, OverBounds> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(OverBounds::Depth) }
}

/// Counts one more value.
pub(crate) fn one_more(count: &mut usize) -> Result<(), OverBounds> {
    *count += 1;
    if *count <= MAX_VALUES { Ok(()) } else { Err(OverBounds::Values) }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::I64(left), Self::I64(right)) => left == right,
            (Self::U64(left), Self::U64(right)) => left == right,
            // A program may build the other form of a number by hand.
            (Self::I64(signed), Self::U64(unsigned)) | (Self::U64(unsigned), Self::I64(signed)) => {
                i64::try_from(*unsigned) == Ok(*signed)
            }
            (Self::F64(left), Self::F64(right)) => left.to_bits() == right.to_bits(),
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Bytes(left), Self::Bytes(right)) => left == right,
            (Self::List(left), Self::List(right)) => left == right,
            (Self::Map(left), Self::Map(right)) => left == right,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::I64(value) => serializer.serialize_i64(*value),
            Self::U64(value) => serializer.serialize_u64(*value),
            Self::F64(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                pairs.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::I64(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::F64(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(value.to_vec()))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(list.size_hint().unwrap_or(0).min(16));
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(0).min(16));
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Value::Map(pairs))
    }
}
