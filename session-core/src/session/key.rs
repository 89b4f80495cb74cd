//! Keys that know the type of their value.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Session;
use crate::Result;

/// A key with the type of its value, written down once.
///
/// ```
/// use session_core::{Key, Session};
///
/// const VISITS: Key<u64> = Key::new("visits");
///
/// # fn main() -> session_core::Result<()> {
/// # let session = Session::empty();
/// VISITS.insert(&session, 1)?;
/// VISITS.update(&session, |visits| visits.unwrap_or(0) + 1)?;
/// assert_eq!(VISITS.get(&session)?, Some(2));
/// # Ok(())
/// # }
/// ```
pub struct Key<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// A key of that name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// See [`Session::remove`].
    pub fn remove(&self, session: &Session) -> bool {
        session.remove(self.name)
    }
}

impl<T: Serialize> Key<T> {
    /// See [`Session::insert`].
    ///
    /// # Errors
    /// As [`Session::insert`].
    pub fn insert(&self, session: &Session, value: impl Borrow<T>) -> Result<()> {
        session.insert(self.name, value.borrow())
    }
}

impl<T: DeserializeOwned> Key<T> {
    /// See [`Session::get`].
    ///
    /// # Errors
    /// As [`Session::get`].
    pub fn get(&self, session: &Session) -> Result<Option<T>> {
        session.get(self.name)
    }

    /// See [`Session::take`].
    ///
    /// # Errors
    /// As [`Session::take`].
    pub fn take(&self, session: &Session) -> Result<Option<T>> {
        session.take(self.name)
    }
}

impl<T: Serialize + DeserializeOwned> Key<T> {
    /// See [`Session::get_or_insert`].
    ///
    /// # Errors
    /// As [`Session::get_or_insert`].
    pub fn get_or_insert(&self, session: &Session, default: T) -> Result<T> {
        session.get_or_insert(self.name, default)
    }

    /// See [`Session::update`].
    ///
    /// # Errors
    /// As [`Session::update`].
    pub fn update<F>(&self, session: &Session, change: F) -> Result<T>
    where
        F: Fn(Option<T>) -> T + Send + Sync + 'static,
    {
        session.update(self.name, change)
    }
}

impl<T: Serialize + DeserializeOwned + Default> Key<T> {
    /// See [`Session::modify`].
    ///
    /// # Errors
    /// As [`Session::modify`].
    pub fn modify<F>(&self, session: &Session, change: F) -> Result<()>
    where
        F: Fn(&mut T) + Send + Sync + 'static,
    {
        session.modify(self.name, change)
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.name)
    }
}
