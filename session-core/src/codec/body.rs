//! A payload whose frame was checked, and whose entries are decoded when they are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::format::Format;
use super::{Changed, Damaged, Entry, RawEntry, bincode};
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

    /// What an entry holds that is bytes. They are not copied where the format writes them as they are.
    pub(crate) fn bytes(&self, key: &str) -> Result<Option<Cow<'_, [u8]>>> {
        let Some(raw) = self.find(key) else { return Ok(None) };
        self.format.read_bytes(raw).map(Some).map_err(|damaged| damaged.entry(key))
    }

    pub(crate) fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.entries().map(|(name, _)| name)
    }

    pub(super) fn payload(&self) -> &Arc<[u8]> {
        &self.payload
    }

    pub(super) fn to_map(&self) -> Result<BTreeMap<String, Value>> {
        let read = |(name, raw): RawEntry<'_>| match self.format.read_value(raw) {
            Ok(value) => Ok((name.into_owned(), value)),
            Err(damaged) => Err(damaged.entry(&name)),
        };
        self.entries().map(read).collect()
    }

    /// This body with `changes` laid over it, in the format `to`. An entry that did not change is copied as it is when
    /// that is the format it has, else translated.
    pub(super) fn with(&self, changes: &[Changed<'_>], to: Format) -> Result<Self> {
        let (payload, len) = if self.format == to && to == Format::Bincode {
            let mut payload = Vec::with_capacity(self.payload.len() + changes.len() * 64 + 16);
            payload.push(to.tag());
            let frame = self.payload.get(1..).unwrap_or_default();
            let write = |out: &mut Vec<u8>, name: &str, value: &Value| to.write_value(out, name, value);
            let len = bincode::overlay(&mut payload, frame, changes, write)?;
            (payload, len)
        } else {
            let entries = self.merge(changes, to)?;
            (to.write(&entries)?, entries.len())
        };
        Ok(Self { format: to, payload: payload.into(), len })
    }

    fn merge<'a>(&'a self, changes: &[Changed<'a>], to: Format) -> Result<Vec<Entry<'a>>> {
        let mut merged = Vec::with_capacity(self.len + changes.len());
        let mut changes = changes.iter().copied().peekable();
        for (name, raw) in self.entries() {
            while let Some(earlier) = changes.next_if(|(changed, _)| *changed < &*name) {
                merged.extend(entry(earlier, to)?);
            }
            match changes.next_if(|(changed, _)| *changed == &*name) {
                Some(changed) => merged.extend(entry(changed, to)?),
                None if self.format == to => merged.push((name, Cow::Borrowed(raw))),
                None => {
                    let value = self.format.read_value(raw).map_err(|damaged| damaged.entry(&name))?;
                    let mut raw = Vec::new();
                    to.write_value(&mut raw, &name, &value)?;
                    merged.push((name, Cow::Owned(raw)));
                }
            }
        }
        for changed in changes {
            merged.extend(entry(changed, to)?);
        }
        Ok(merged)
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

/// What is written of a change, if anything is.
fn entry<'a>((name, value): Changed<'a>, to: Format) -> Result<Option<Entry<'a>>> {
    let Some(value) = value else { return Ok(None) };
    let mut raw = Vec::new();
    to.write_value(&mut raw, name, value)?;
    Ok(Some((Cow::Borrowed(name), Cow::Owned(raw))))
}

/// Shows the number of entries instead of what they hold.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("format", &self.format).field("entries", &self.len).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    type Entries<'a> = [(&'a str, Option<i64>)];

    /// The payload, after a look at the body that came with it: it is the one that the payload is decoded to.
    fn encode(codecs: &Codecs, key: SessionKey, base: &Body, entries: &Entries<'_>) -> Arc<[u8]> {
        let values: Vec<_> = entries.iter().map(|(_, value)| value.map(Value::I64)).collect();
        let changes: Vec<_> =
            entries.iter().zip(&values).map(|((name, _), value)| (*name, value.as_ref())).collect();
        let (payload, body) = codecs.encode(key, base, &changes).unwrap();
        let decoded = codecs.decode(key, Arc::clone(&payload)).unwrap();
        assert_eq!((body.format, &body.payload, body.len), (decoded.format, &decoded.payload, decoded.len));
        payload
    }

    #[test]
    fn changes_are_laid_over_what_was_stored_in_the_order_of_the_keys() {
        for codecs in codecs() {
            let key = key();
            let first = [("b", Some(1)), ("d", Some(2)), ("f", Some(3))];
            let first = encode(&codecs, key, &Body::empty(), &first);
            let body = codecs.decode(key, first).unwrap();
            assert_eq!(body.keys().collect::<Vec<_>>(), ["b", "d", "f"]);

            let second =
                [("a", Some(10)), ("b", None), ("c", None), ("d", Some(20)), ("e", Some(30)), ("g", None)];
            let second = encode(&codecs, key, &body, &second);
            let body = codecs.decode(key, second).unwrap();
            assert_eq!(body.keys().collect::<Vec<_>>(), ["a", "d", "e", "f"]);
            assert_eq!(body.len, 4);
            assert!(body.contains_key("e") && !body.contains_key("b"));
            for (name, value) in
                [("a", Some(10)), ("b", None), ("d", Some(20)), ("e", Some(30)), ("f", Some(3))]
            {
                assert_eq!(body.get(name).unwrap(), value.map(Value::I64), "{codecs:?} {name}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Keys and values on both sides of the longest length that takes one byte, and numbers of entries, too.
        #[test]
        fn what_is_copied_in_runs_is_what_is_written_entry_by_entry(
            stored in prop::collection::btree_map("[a-f]{1,3}|b{249,253}", 0_usize..260, 0..300),
            changed in prop::collection::btree_map("[a-f]{1,3}|b{249,253}", prop::option::of(0_usize..260), 0..300),
        ) {
            let text = |length: &usize| Value::Text("x".repeat(*length));
            let stored: BTreeMap<_, _> = stored.iter().map(|(name, length)| (name.as_str(), text(length))).collect();
            let changed: Vec<_> =
                changed.iter().map(|(name, length)| (name.as_str(), length.as_ref().map(text))).collect();
            let stored: Vec<Changed<'_>> = stored.iter().map(|(name, value)| (*name, Some(value))).collect();
            let changed: Vec<Changed<'_>> =
                changed.iter().map(|(name, value)| (*name, value.as_ref())).collect();
            let base = Body::empty().with(&stored, Format::Bincode).unwrap();
            prop_assert_eq!(base.len, stored.len());
            let in_runs = base.with(&changed, Format::Bincode).unwrap();
            let entries = base.merge(&changed, Format::Bincode).unwrap();
            prop_assert_eq!(in_runs.len, entries.len());
            prop_assert_eq!(&*in_runs.payload, Format::Bincode.write(&entries).unwrap());
        }
    }

    /// With names that begin alike, and names of no byte.
    #[test]
    fn each_entry_is_found_and_no_other() {
        let names = ["", "b", "ba", "bb", "bba", "d", "\u{e9}", "\u{e9}a"];
        for codecs in codecs() {
            for stored in 0..1_usize << names.len() {
                let is_stored = |at: usize| stored >> at & 1 == 1;
                let entries: Vec<_> = (0..names.len())
                    .filter(|at| is_stored(*at))
                    .map(|at| (names[at], i64::try_from(at).ok()))
                    .collect();
                let key = key();
                let payload = encode(&codecs, key, &Body::empty(), &entries);
                let body = codecs.decode(key, Arc::clone(&payload)).unwrap();
                for (at, name) in names.iter().enumerate() {
                    let wanted = i64::try_from(at).ok().filter(|_| is_stored(at)).map(Value::I64);
                    assert_eq!(body.get(name).unwrap(), wanted, "{codecs:?} {name:?} of {entries:?}");
                }
            }
        }
    }

    #[test]
    fn an_empty_body_holds_nothing_and_is_written_in_every_format() {
        for codecs in codecs() {
            let key = key();
            let payload = encode(&codecs, key, &Body::empty(), &[]);
            let body = codecs.decode(key, Arc::clone(&payload)).unwrap();
            assert_eq!((body.len, body.keys().count(), body.get("n").unwrap()), (0, 0, None));
        }
        assert_eq!(Body::empty().get("n").unwrap(), None);
    }

    #[test]
    fn a_body_prints_without_what_it_holds() {
        let key = key();
        let payload = encode(&Codecs::default(), key, &Body::empty(), &[("secret", Some(77))]);
        let shown = format!("{:?}", Codecs::default().decode(key, payload).unwrap());
        assert_eq!(shown, "Body { format: Bincode, entries: 1 }");
    }
}
