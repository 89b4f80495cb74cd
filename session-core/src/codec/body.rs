//! A payload whose frame was checked, and whose entries are decoded when they are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::format::Format;
use super::{Damaged, RawEntry};
use crate::{Result, Value};

/// The entries of a session as they were stored. Shares the payload's bytes.
#[derive(Clone)]
pub(crate) struct Body {
    format: Format,
    /// Begins with the format's byte; empty for a session that holds nothing.
    payload: Arc<[u8]>,
    len: usize,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { format: Format::Bincode, payload: Arc::default(), len: 0 }
    }

    /// Checks that `payload` is a frame whose keys are text and strictly ascending.
    pub(super) fn open(format: Format, payload: Arc<[u8]>) -> Result<Self> {
        fetch(&payload);
        let frame = payload.get(1..).unwrap_or_default();
        let len = format.check(frame).map_err(Damaged::payload)?;
        Ok(Self { format, payload, len })
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Value>> {
        match self.find(key) {
            Some(raw) => self.format.read_value(raw).map(Some).map_err(|damaged| damaged.entry(key)),
            None => Ok(None),
        }
    }

    pub(crate) fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.entries().map(|(name, _)| name)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn to_map(&self) -> Result<BTreeMap<String, Value>> {
        let read = |(name, raw): RawEntry<'_>| match self.format.read_value(raw) {
            Ok(value) => Ok((name.into_owned(), value)),
            Err(damaged) => Err(damaged.entry(&name)),
        };
        self.entries().map(read).collect()
    }

    /// Gives `each` the entries of this body with `changes` laid over it, in order, in the format `to`.
    pub(super) fn merge<'a>(
        &'a self,
        to: Format,
        changes: &'a BTreeMap<String, Option<Value>>,
        mut each: impl FnMut(Cow<'a, str>, Cow<'a, [u8]>),
    ) -> Result<()> {
        let mut changes = changes.iter().peekable();
        for (name, raw) in self.entries() {
            while let Some((earlier, value)) = changes.next_if(|(changed, _)| changed.as_str() < &*name) {
                put(to, earlier, value.as_ref(), &mut each)?;
            }
            match changes.next_if(|(changed, _)| changed.as_str() == &*name) {
                Some((name, value)) => put(to, name, value.as_ref(), &mut each)?,
                None if self.format == to => each(name, Cow::Borrowed(raw)),
                None => {
                    let value = self.format.read_value(raw).map_err(|damaged| damaged.entry(&name))?;
                    let raw = to.write_value(&name, &value)?;
                    each(name, Cow::Owned(raw));
                }
            }
        }
        changes.try_for_each(|(name, value)| put(to, name, value.as_ref(), &mut each))
    }

    fn find(&self, key: &str) -> Option<&[u8]> {
        self.format.find(self.payload.get(1..)?, key)
    }

    /// The frame was checked when the body was made, so nothing can be wrong in it now.
    fn entries(&self) -> impl Iterator<Item = RawEntry<'_>> {
        let frame = self.payload.get(1..);
        let mut entries = frame.and_then(|frame| self.format.entries(frame).ok());
        std::iter::from_fn(move || entries.as_mut()?.next().ok().flatten())
    }
}

/// Reads a byte of each cache line of the payload. They come from memory side by side, where a walk over the entries
/// would wait for one after the other.
fn fetch(payload: &[u8]) {
    const LINE: usize = 64;
    let sum = payload.iter().step_by(LINE).fold(0, |sum: u8, byte| sum ^ byte);
    std::hint::black_box(sum);
}

fn put<'a>(
    to: Format,
    name: &'a str,
    value: Option<&Value>,
    each: &mut impl FnMut(Cow<'a, str>, Cow<'a, [u8]>),
) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    each(Cow::Borrowed(name), Cow::Owned(to.write_value(name, value)?));
    Ok(())
}

/// Shows the number of entries instead of what they hold.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("format", &self.format).field("entries", &self.len).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Codec, Codecs, SessionId, SessionKey};

    fn key() -> SessionKey {
        SessionId::generate().unwrap().key()
    }

    fn codecs() -> Vec<Codecs> {
        vec![
            Codecs::new(Codec::bincode()),
            #[cfg(feature = "json")]
            Codecs::new(Codec::json()),
            #[cfg(feature = "msgpack")]
            Codecs::new(Codec::msgpack()),
            #[cfg(feature = "seal")]
            Codecs::new(Codec::sealed(Codec::bincode(), crate::SealKeys::new([7; 32]))),
        ]
    }

    fn changes<const N: usize>(entries: [(&str, Option<i64>); N]) -> BTreeMap<String, Option<Value>> {
        entries.into_iter().map(|(name, value)| (name.to_owned(), value.map(Value::I64))).collect()
    }

    #[test]
    fn changes_are_laid_over_what_was_stored_in_the_order_of_the_keys() {
        for codecs in codecs() {
            let key = key();
            let first = changes([("b", Some(1)), ("d", Some(2)), ("f", Some(3))]);
            let first = codecs.encode(key, &Body::empty(), &first).unwrap();
            let body = codecs.decode(key, &first).unwrap();
            assert_eq!(body.keys().collect::<Vec<_>>(), ["b", "d", "f"]);

            let second = changes([
                ("a", Some(10)),
                ("b", None),
                ("c", None),
                ("d", Some(20)),
                ("e", Some(30)),
                ("g", None),
            ]);
            let second = codecs.encode(key, &body, &second).unwrap();
            let body = codecs.decode(key, &second).unwrap();
            assert_eq!(body.keys().collect::<Vec<_>>(), ["a", "d", "e", "f"]);
            assert_eq!(body.len(), 4);
            assert!(body.contains_key("e") && !body.contains_key("b"));
            for (name, value) in
                [("a", Some(10)), ("b", None), ("d", Some(20)), ("e", Some(30)), ("f", Some(3))]
            {
                assert_eq!(body.get(name).unwrap(), value.map(Value::I64), "{codecs:?} {name}");
            }
        }
    }

    #[test]
    fn an_empty_body_holds_nothing_and_is_written_in_every_format() {
        for codecs in codecs() {
            let key = key();
            let payload = codecs.encode(key, &Body::empty(), &BTreeMap::new()).unwrap();
            let body = codecs.decode(key, &payload).unwrap();
            assert_eq!((body.len(), body.keys().count(), body.get("n").unwrap()), (0, 0, None));
        }
        assert_eq!(Body::empty().get("n").unwrap(), None);
    }

    #[test]
    fn a_body_prints_without_what_it_holds() {
        let key = key();
        let payload =
            Codecs::default().encode(key, &Body::empty(), &changes([("secret", Some(77))])).unwrap();
        let shown = format!("{:?}", Codecs::default().decode(key, &payload).unwrap());
        assert_eq!(shown, "Body { format: Bincode, entries: 1 }");
    }
}
