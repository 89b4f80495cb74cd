//! From a type to a value.

use std::cell::Cell;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::error::ValueError;
use super::{OverBounds, Value, deeper, one_more};

type Result<T, E = ValueError> = std::result::Result<T, E>;

pub(super) fn to_value<T: Serialize + ?Sized>(typed: &T) -> Result<Value> {
    typed.serialize(ToValue { count: &Cell::new(0), depth: 0 })
}

/// Makes one value. All that work on one entry share the count.
#[derive(Clone, Copy)]
struct ToValue<'a> {
    count: &'a Cell<usize>,
    depth: usize,
}

impl<'a> ToValue<'a> {
    fn counted(self, value: Value) -> Result<Value> {
        let mut count = self.count.get();
        one_more(&mut count)?;
        self.count.set(count);
        Ok(value)
    }

    fn inside(self) -> Result<Self, OverBounds> {
        Ok(Self { depth: deeper(self.depth)?, ..self })
    }

    fn list(self, len: Option<usize>) -> Result<ToList<'a>> {
        self.counted(Value::Null)?;
        Ok(ToList { each: self.inside()?, items: Vec::with_capacity(sane(len)), variant: None })
    }

    fn map(self, len: Option<usize>) -> Result<ToMap<'a>> {
        self.counted(Value::Null)?;
        let pairs = Vec::with_capacity(sane(len));
        Ok(ToMap { each: self.inside()?, pairs, key: None, variant: None })
    }

    /// The content of a variant: what stands in the map of one that names it.
    fn variant(self, name: &'static str) -> Result<(Self, Variant)> {
        self.counted(Value::Null)?;
        let name = self.counted(Value::Text(name.to_owned()))?;
        Ok((self.inside()?, Variant(name)))
    }
}

/// The name of the variant that a value is the content of.
struct Variant(Value);

impl Variant {
    fn of(self, content: Value) -> Value {
        Value::Map(vec![(self.0, content)])
    }
}

/// A length that a type claims, as far as it is believed before anything has come.
fn sane(len: Option<usize>) -> usize {
    len.unwrap_or(0).min(1024)
}

fn wide_integer<T>(number: T) -> Result<Value>
where
    T: Copy + TryInto<i64> + TryInto<u64>,
{
    if let Ok(number) = number.try_into() {
        return Ok(Value::I64(number));
    }
    let number = number.try_into();
    number
        .map(Value::U64)
        .map_err(|_| ValueError::new("an integer that neither i64 nor u64 holds: keep it as text"))
}

impl<'a> Serializer for ToValue<'a> {
    type Ok = Value;
    type Error = ValueError;
    type SerializeSeq = ToList<'a>;
    type SerializeTuple = ToList<'a>;
    type SerializeTupleStruct = ToList<'a>;
    type SerializeTupleVariant = ToList<'a>;
    type SerializeMap = ToMap<'a>;
    type SerializeStruct = ToMap<'a>;
    type SerializeStructVariant = ToMap<'a>;

    fn serialize_bool(self, value: bool) -> Result<Value> {
        self.counted(Value::Bool(value))
    }

    fn serialize_i8(self, value: i8) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<Value> {
        self.counted(Value::I64(value))
    }

    fn serialize_i128(self, value: i128) -> Result<Value> {
        self.counted(wide_integer(value)?)
    }

    fn serialize_u8(self, value: u8) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<Value> {
        self.counted(Value::unsigned(value))
    }

    fn serialize_u128(self, value: u128) -> Result<Value> {
        self.counted(wide_integer(value)?)
    }

    fn serialize_f32(self, value: f32) -> Result<Value> {
        self.counted(Value::F64(widen(value)))
    }

    fn serialize_f64(self, value: f64) -> Result<Value> {
        self.counted(Value::F64(value))
    }

    fn serialize_char(self, value: char) -> Result<Value> {
        self.counted(Value::Text(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Result<Value> {
        self.counted(Value::Text(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value> {
        self.counted(Value::Bytes(value.to_vec()))
    }

    fn serialize_none(self) -> Result<Value> {
        self.counted(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value> {
        match value.serialize(self)? {
            Value::Null => Err(ValueError::new(
                "Some(None) or Some(()) would read back as None: use an enum that names the three cases",
            )),
            value => Ok(value),
        }
    }

    fn serialize_unit(self) -> Result<Value> {
        self.counted(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Value> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<Value> {
        let (content, variant) = self.variant(name)?;
        value.serialize(content).map(|content| variant.of(content)).map_err(|error| error.in_field(name))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<ToList<'a>> {
        self.list(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<ToList<'a>> {
        self.list(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<ToList<'a>> {
        self.list(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        len: usize,
    ) -> Result<ToList<'a>> {
        let (content, variant) = self.variant(name)?;
        Ok(ToList { variant: Some(variant), ..content.list(Some(len))? })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<ToMap<'a>> {
        self.map(len)
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<ToMap<'a>> {
        self.map(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        len: usize,
    ) -> Result<ToMap<'a>> {
        let (content, variant) = self.variant(name)?;
        Ok(ToMap { variant: Some(variant), ..content.map(Some(len))? })
    }
}

/// An `f32` as an `f64`, each bit of a NaN included: a cast may set the quiet bit.
fn widen(value: f32) -> f64 {
    if !value.is_nan() {
        return value.into();
    }
    let bits = u64::from(value.to_bits());
    f64::from_bits((bits >> 31) << 63 | 0x7ff << 52 | (bits & 0x7f_ffff) << 29)
}

/// A list, tuple, or the content of a tuple variant.
struct ToList<'a> {
    each: ToValue<'a>,
    items: Vec<Value>,
    variant: Option<Variant>,
}

impl ToList<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let item = value.serialize(self.each).map_err(|error| error.in_item(self.items.len()))?;
        self.items.push(item);
        Ok(())
    }

    fn finish(self) -> Value {
        let list = Value::List(self.items);
        match self.variant {
            Some(variant) => variant.of(list),
            None => list,
        }
    }
}

/// A map, struct, or the content of a struct variant.
struct ToMap<'a> {
    each: ToValue<'a>,
    pairs: Vec<(Value, Value)>,
    key: Option<Value>,
    variant: Option<Variant>,
}

impl ToMap<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        let key = self.each.serialize_str(name)?;
        let value = value.serialize(self.each).map_err(|error| error.in_field(name))?;
        self.pairs.push((key, value));
        Ok(())
    }

    fn finish(self) -> Value {
        let map = Value::Map(self.pairs);
        match self.variant {
            Some(variant) => variant.of(map),
            None => map,
        }
    }
}

impl SerializeMap for ToMap<'_> {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = Some(key.serialize(self.each).map_err(ValueError::in_entry)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let value = value.serialize(self.each).map_err(ValueError::in_entry)?;
        let key = self.key.take().ok_or_else(|| ValueError::new("a map gave a value without a key"))?;
        self.pairs.push((key, value));
        Ok(())
    }

    fn end(self) -> Result<Value> {
        Ok(self.finish())
    }
}

macro_rules! list {
    ($trait:ident, $method:ident) => {
        impl $trait for ToList<'_> {
            type Ok = Value;
            type Error = ValueError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.push(value)
            }

            fn end(self) -> Result<Value> {
                Ok(self.finish())
            }
        }
    };
}

list!(SerializeSeq, serialize_element);
list!(SerializeTuple, serialize_element);
list!(SerializeTupleStruct, serialize_field);
list!(SerializeTupleVariant, serialize_field);

macro_rules! fields {
    ($trait:ident) => {
        impl $trait for ToMap<'_> {
            type Ok = Value;
            type Error = ValueError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<()> {
                self.field(name, value)
            }

            fn end(self) -> Result<Value> {
                Ok(self.finish())
            }
        }
    };
}

fields!(SerializeStruct);
fields!(SerializeStructVariant);
