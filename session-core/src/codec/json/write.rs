//! Values as JSON text.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{BYTES, F64, MAP, RESERVED};
use crate::Value;
use crate::codec::Entry;

pub(in crate::codec) fn write_frame(out: &mut Vec<u8>, entries: &[Entry<'_>]) {
    separated(out, b"{}", entries, |out, (name, value)| {
        text(out, name);
        out.push(b':');
        out.extend_from_slice(value);
    });
}

pub(in crate::codec) fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::I64(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::U64(value) => out.extend_from_slice(value.to_string().as_bytes()),
        // The shortest digits that read back as the same float, always with a point or an exponent.
        Value::F64(value) if value.is_finite() => out.extend_from_slice(format!("{value:?}").as_bytes()),
        Value::F64(value) => tagged(out, F64, |out| text(out, &format!("{:016x}", value.to_bits()))),
        Value::Text(value) => text(out, value),
        Value::Bytes(value) => tagged(out, BYTES, |out| text(out, &STANDARD.encode(value))),
        Value::List(items) => separated(out, b"[]", items, write_value),
        Value::Map(pairs) => match plain_names(pairs) {
            Some(members) => separated(out, b"{}", &members, |out, (name, value)| {
                text(out, name);
                out.push(b':');
                write_value(out, value);
            }),
            None => tagged(out, MAP, |out| {
                separated(out, b"[]", pairs, |out, (key, value)| {
                    out.push(b'[');
                    write_value(out, key);
                    out.push(b',');
                    write_value(out, value);
                    out.push(b']');
                });
            }),
        },
    }
}

/// The members of a map that an object can hold: its keys are text, none reserved, none there twice.
fn plain_names(pairs: &[(Value, Value)]) -> Option<Vec<(&str, &Value)>> {
    let mut seen = HashSet::with_capacity(pairs.len());
    let members = pairs.iter().map(|(key, value)| match key {
        Value::Text(name) if !name.starts_with(RESERVED) && seen.insert(name) => Some((name.as_str(), value)),
        _ => None,
    });
    members.collect()
}

fn tagged(out: &mut Vec<u8>, tag: &str, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'{');
    text(out, tag);
    out.push(b':');
    content(out);
    out.push(b'}');
}

fn separated<T>(out: &mut Vec<u8>, around: &[u8; 2], items: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(around[0]);
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(around[1]);
}

/// Escapes what JSON demands and no more: quotes, backslashes and control characters.
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
