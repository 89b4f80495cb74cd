//! From a value to a type.

use serde::Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Value;
use super::error::ValueError;

type Result<T, E = ValueError> = std::result::Result<T, E>;

pub(super) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T> {
    T::deserialize(FromValue(value))
}

struct FromValue(Value);

impl FromValue {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::I64(value) => Unexpected::Signed(*value),
            Value::U64(value) => Unexpected::Unsigned(*value),
            Value::F64(value) => Unexpected::Float(*value),
            Value::Text(value) => Unexpected::Str(value),
            Value::Bytes(value) => Unexpected::Bytes(value),
            Value::List(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        }
    }

    fn wrong_type<T>(&self, expected: &dyn Expected) -> Result<T> {
        Err(ValueError::invalid_type(self.unexpected(), expected))
    }

    fn any<'de, V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            // As the JSON readers do it: visitors that know `u64` alone exist.
            Value::I64(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value),
            },
            Value::U64(value) => visitor.visit_u64(value),
            Value::F64(value) => visitor.visit_f64(value),
            Value::Text(value) => visitor.visit_string(value),
            Value::Bytes(value) => visitor.visit_byte_buf(value),
            Value::List(items) => visit_list(items, visitor),
            Value::Map(pairs) => visit_map(pairs, fields, visitor),
        }
    }
}

impl<'de> Deserializer<'de> for FromValue {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.any(&[], visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::F64(value) => match narrow(value) {
                Some(value) => visitor.visit_f32(value),
                None => visitor.visit_f64(value),
            },
            _ => self.any(&[], visitor),
        }
    }

    /// serde's `String` would take bytes that happen to be UTF-8.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Bytes(_) => self.wrong_type(&visitor),
            _ => self.any(&[], visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_string(visitor)
    }

    /// Byte buffers would take text.
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Text(_) => self.wrong_type(&visitor),
            _ => self.any(&[], visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.any(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.0 {
            Value::Text(_) => visitor.visit_enum(Enum { name: self.0, content: None, variants }),
            Value::Map(mut pairs) if pairs.len() == 1 => match pairs.pop() {
                Some((name @ Value::Text(_), content)) => {
                    visitor.visit_enum(Enum { name, content: Some(content), variants })
                }
                _ => Err(ValueError::invalid_type(Unexpected::Map, &"a variant's name as the key")),
            },
            _ => self.wrong_type(&visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f64 char unit unit_struct seq tuple tuple_struct map
        identifier
    }
}

/// An `f64` as the `f32` that it was widened from, if it was.
fn narrow(value: f64) -> Option<f32> {
    let bits = value.to_bits();
    if value.is_nan() {
        let (sign, fraction) = (bits >> 63 << 31, bits & ((1 << 52) - 1));
        let narrow = u32::try_from(sign | 0xff << 23 | fraction >> 29).map(f32::from_bits);
        return narrow.ok().filter(|narrow| fraction.trailing_zeros() >= 29 && narrow.is_nan());
    }
    let narrow = value as f32;
    (f64::from(narrow).to_bits() == bits).then_some(narrow)
}

fn visit_list<'de, V: Visitor<'de>>(items: Vec<Value>, visitor: V) -> Result<V::Value> {
    let total = items.len();
    let mut list = List { items: items.into_iter(), next: 0 };
    let value = visitor.visit_seq(&mut list)?;
    match list.items.len() {
        0 => Ok(value),
        left => Err(ValueError::invalid_length(total, &Shorter(total - left))),
    }
}

/// What a visitor that stopped early expected.
struct Shorter(usize);

impl Expected for Shorter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "length {}", self.0)
    }
}

struct List {
    items: std::vec::IntoIter<Value>,
    next: usize,
}

impl<'de> SeqAccess<'de> for &mut List {
    type Error = ValueError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(FromValue(item)).map(Some).map_err(|error| error.in_item(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

fn visit_map<'de, V>(
    pairs: Vec<(Value, Value)>,
    fields: &'static [&'static str],
    visitor: V,
) -> Result<V::Value>
where
    V: Visitor<'de>,
{
    let total = pairs.len();
    let mut map = Map { pairs: pairs.into_iter(), fields, field: None, value: None };
    let value = visitor.visit_map(&mut map)?;
    match map.pairs.len() {
        0 => Ok(value),
        left => Err(ValueError::invalid_length(total, &Shorter(total - left))),
    }
}

struct Map {
    pairs: std::vec::IntoIter<(Value, Value)>,
    /// The names that the struct declares; empty for a map, whose keys are data.
    fields: &'static [&'static str],
    field: Option<&'static str>,
    value: Option<Value>,
}

impl<'de> MapAccess<'de> for &mut Map {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((key, value)) = self.pairs.next() else { return Ok(None) };
        self.field = match &key {
            Value::Text(key) => self.fields.iter().find(|field| *field == key).copied(),
            _ => None,
        };
        self.value = Some(value);
        seed.deserialize(FromValue(key)).map(Some).map_err(ValueError::in_entry)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let value =
            self.value.take().ok_or_else(|| ValueError::new("the type asked for a value before its key"))?;
        seed.deserialize(FromValue(value)).map_err(|error| match self.field {
            Some(field) => error.in_field(field),
            None => error.in_entry(),
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.pairs.len())
    }
}

/// An externally tagged variant: its name alone, or with what it holds.
struct Enum {
    name: Value,
    content: Option<Value>,
    variants: &'static [&'static str],
}

impl<'de> EnumAccess<'de> for Enum {
    type Error = ValueError;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content)> {
        let name = match &self.name {
            Value::Text(name) => self.variants.iter().find(|variant| *variant == name).copied(),
            _ => None,
        };
        let variant = seed.deserialize(FromValue(self.name))?;
        Ok((variant, Content { name, content: self.content }))
    }
}

struct Content {
    name: Option<&'static str>,
    content: Option<Value>,
}

impl Content {
    fn read<T>(self, expected: &str, read: impl FnOnce(FromValue) -> Result<T>) -> Result<T> {
        let Some(content) = self.content else {
            return Err(ValueError::new(format!("expected {expected}, found a unit variant")));
        };
        read(FromValue(content)).map_err(|error| match self.name {
            Some(name) => error.in_field(name),
            None => error.in_entry(),
        })
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = ValueError;

    fn unit_variant(self) -> Result<()> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(ValueError::new("expected a unit variant, found one that holds something")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        self.read("a newtype variant", |content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.read("a tuple variant", |content| content.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.read("a struct variant", |content| content.any(fields, visitor))
    }
}
