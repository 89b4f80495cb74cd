//! Values that one request gets, and no other.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use super::Session;
use crate::value::from_value;
use crate::{Result, Value};

/// A value on its way out of a session: it is this request's own once the session was committed.
///
/// For those who write a session interface; applications call
/// [`SessionManager::consume`](crate::SessionManager::consume), or `consume` of session-http.
#[must_use = "commit the session, then call `finish`"]
pub struct Consume<T> {
    key: String,
    /// What the entry held in the version that the commit replaced.
    taken: Arc<Mutex<Option<Value>>>,
    value: PhantomData<fn() -> T>,
}

impl Session {
    /// Takes `key` out of the session so that of N requests at once one gets its value: the one whose commit stores the
    /// removal. `None`, and nothing is changed, when it is not there.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn start_consume<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Consume<T>>> {
        if self.get::<Value>(key)?.is_none() {
            return Ok(None);
        }
        let taken = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&taken);
        // It runs again on each newer version, so that what it saw last is what the commit removed.
        self.apply(key, move |_, old| {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = old;
            Ok(None)
        })?;
        Ok(Some(Consume { key: key.to_owned(), taken, value: PhantomData }))
    }
}

impl<T: DeserializeOwned> Consume<T> {
    /// The value, after a commit that stored its removal. `None` when another request was faster. Do not ask after a
    /// commit that failed, or dropped its changes.
    ///
    /// # Errors
    /// As [`Session::get`]. The value is gone then.
    pub fn finish(self) -> Result<Option<T>> {
        let value = self.taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.map(|value| from_value(&self.key, value)).transpose()
    }
}

impl<T> fmt::Debug for Consume<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consume").field("key", &self.key).finish_non_exhaustive()
    }
}
