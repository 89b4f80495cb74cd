//! What the codec tests share.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use session_core::{Codec, Codecs, SessionKey, Value};

pub(crate) type Entries = BTreeMap<String, Value>;

pub(crate) fn key() -> SessionKey {
    "be45cb26-05bf-86be-bde6-84841a28f0fd".parse().unwrap()
}

/// Every codec that is compiled in and does not seal.
pub(crate) fn plain() -> Vec<Codec> {
    vec![
        Codec::bincode(),
        #[cfg(feature = "json")]
        Codec::json(),
        #[cfg(feature = "msgpack")]
        Codec::msgpack(),
    ]
}

/// Every codec that is compiled in.
pub(crate) fn all() -> Vec<Codecs> {
    #[allow(unused_mut)]
    let mut all: Vec<Codecs> = plain().into_iter().map(Codecs::new).collect();
    #[cfg(feature = "seal")]
    all.extend(plain().into_iter().map(|codec| Codecs::new(sealed(codec))));
    all
}

#[cfg(feature = "seal")]
pub(crate) fn sealed(codec: Codec) -> Codec {
    Codec::sealed(codec, session_core::SealKeys::new([0x5e; 32]))
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(crate) fn list<const N: usize>(items: [Value; N]) -> Value {
    Value::List(items.into())
}

pub(crate) fn map<const N: usize>(pairs: [(Value, Value); N]) -> Value {
    Value::Map(pairs.into())
}

pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (text(name), value)).collect())
}

pub(crate) fn one(value: Value) -> Entries {
    Entries::from([("n".to_owned(), value)])
}

/// Hexadecimal digits, white space and comments after `#`.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let digits: Vec<u32> = lines.flat_map(str::chars).filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
