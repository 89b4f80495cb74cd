//! The session as a whole: its entries, one value, a text.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::Session;
use crate::value::from_value;
use crate::{Result, Value};

impl Session {
    /// A copy of every entry, in ascending order of the keys, as JSON or a log of your own may want it.
    ///
    /// [`Value`] is `serde::Serialize`. The session's own entries (`_session.`) are not among them; `Debug` of a session
    /// never shows a value.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the bytes of one are damaged.
    pub fn entries(&self) -> Result<BTreeMap<String, Value>> {
        let state = self.accessed_or_err()?;
        let mut entries = BTreeMap::new();
        for key in state.keys() {
            if let Some(value) = state.get(&key)? {
                entries.insert(key, value);
            }
        }
        Ok(entries)
    }

    /// The whole session as one value of any `serde` type: a struct with a field for each entry, a map.
    ///
    /// ```
    /// # fn main() -> session_core::Result<()> {
    /// # let session = session_core::Session::empty();
    /// session.insert("user", "ada")?;
    /// session.insert("visits", 3)?;
    /// let (user, visits): (String, u64) = {
    ///     let whole: std::collections::BTreeMap<String, session_core::Value> = session.to_typed()?;
    ///     (whole["user"].clone().into_typed()?, whole["visits"].clone().into_typed()?)
    /// };
    /// assert_eq!((user.as_str(), visits), ("ada", 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`entries`](Self::entries), and [`ErrorKind::Codec`](crate::ErrorKind::Codec) when the session is no `T`.
    pub fn to_typed<T: DeserializeOwned>(&self) -> Result<T> {
        let pairs = self.entries()?.into_iter().map(|(key, value)| (Value::Text(key), value));
        from_value("the whole session", Value::Map(pairs.collect()))
    }

    /// The whole session as text, as Python shows a dictionary: `{'user': 'ada', 'visits': 3}`. What Flask's
    /// `str(session)` shows between its brackets, but in the order of the keys.
    ///
    /// It shows every value: for a page or a log of your own, never for one that others read.
    ///
    /// # Errors
    /// As [`entries`](Self::entries).
    pub fn to_text(&self) -> Result<String> {
        let pairs = self.entries()?.into_iter().map(|(key, value)| (Value::Text(key), value));
        Ok(Value::Map(pairs.collect()).to_string())
    }
}
