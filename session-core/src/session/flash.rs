//! Messages for the next page.

use super::Session;
use crate::value::{from_value, to_value};
use crate::{Result, Value};

const FLASHES: &str = "_flashes";

/// A message that waits for the next page, as Flask's `flash`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flash {
    /// What kind of message it is, such as `"error"`; Flask's default is `"message"`.
    pub category: String,
    /// The text.
    pub message: String,
}

impl Session {
    /// Adds a message that [`take_flashes`](Self::take_flashes) gives once, in this request or a later one.
    ///
    /// # Errors
    /// As [`get`](Self::get), when the entry `_flashes` is not what this method wrote.
    pub fn flash(&self, category: &str, message: &str) -> Result<()> {
        let flash = to_value(FLASHES, &(category, message))?;
        self.apply(FLASHES, move |_, old| {
            let mut waiting = list(old)?;
            waiting.push(flash.clone());
            Ok(Some(Value::List(waiting)))
        })?;
        Ok(())
    }

    /// The waiting messages, oldest first; they are gone afterwards. Messages that another request adds meanwhile
    /// stay for the next call; in an answer that nobody sees, to `HEAD` or to a prefetch, all stay.
    ///
    /// # Errors
    /// As [`flash`](Self::flash).
    pub fn take_flashes(&self) -> Result<Vec<Flash>> {
        let taken = match self.get::<Value>(FLASHES)? {
            None => return Ok(Vec::new()),
            Some(value) => list(Some(value))?,
        };
        if !self.lock().is_speculative {
            self.remove_flashes(taken.clone())?;
        }
        taken
            .into_iter()
            .map(|flash| {
                from_value::<(String, String)>(FLASHES, flash)
                    .map(|(category, message)| Flash { category, message })
            })
            .collect()
    }

    fn remove_flashes(&self, gone: Vec<Value>) -> Result<()> {
        self.apply(FLASHES, move |_, old| {
            let mut waiting = list(old)?;
            for flash in &gone {
                if let Some(at) = waiting.iter().position(|other| other == flash) {
                    waiting.remove(at);
                }
            }
            Ok((!waiting.is_empty()).then_some(Value::List(waiting)))
        })
        .map(drop)
    }
}

fn list(value: Option<Value>) -> Result<Vec<Value>> {
    value.map_or_else(|| Ok(Vec::new()), |value| from_value(FLASHES, value))
}
