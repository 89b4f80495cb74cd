//! The session: a dictionary that remembers what was done to it.

pub(crate) mod changes;
mod flash;
mod key;
pub(crate) mod state;
mod status;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use flash::Flash;
pub use key::Key;
pub use status::Status;

use crate::value::{from_value, to_value};
use crate::{Error, ErrorKind, Owner, Result, SessionId, SessionKey, Timestamp, Value};
use changes::Update;
use state::State;

/// Entries whose keys begin so belong to this crate.
pub(crate) const RESERVED: &str = "_session.";
const PERMANENT: &str = "_permanent";

/// One visitor's session: a dictionary of text keys and any `serde` values.
///
/// Opened and committed by a [`SessionManager`](crate::SessionManager). Nothing reaches the store before the commit.
///
/// **Handles.** A `Session` is a handle: clones are cheap and share one state, from any task or thread. No method
/// waits, and no lock is held while your code runs.
///
/// **What is read is a copy.** Changing a list that [`get`](Self::get) gave changes nothing in the session:
/// [`insert`](Self::insert) it again, or use [`update`](Self::update).
///
/// **Concurrent requests.** Changes are kept as operations. When the commit finds that another request was faster,
/// it applies them to the newer version: changes of different keys all stay, of two `insert`s of one key the later
/// commit wins, and the function of an `update` runs again, so that counters add up.
///
/// **Flags.** As in Flask: every use sets [`is_accessed`](Self::is_accessed); every operation that changes
/// something, and `insert`, `update` and `clear` always, set [`is_modified`](Self::is_modified); a failed one sets
/// neither it nor the entry.
///
/// Keys that begin with `_session.` belong to this crate; writing one is an error.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// One commit at a time.
    committing: tokio::sync::Mutex<()>,
}

impl Session {
    /// A new and empty session that is not stored: what a request without a cookie gets, and a handler's test.
    #[must_use]
    pub fn empty() -> Self {
        Self::from_state(State::fresh())
    }

    /// An empty session that can be read and not written: Flask's null session. `insert`, `update` and `flash` are errors
    /// that say `why`, and so is its commit after any other change.
    ///
    /// For interfaces that lack what they need to keep a session, such as a secret key.
    #[must_use]
    pub fn unwritable(why: &'static str) -> Self {
        Self::from_state(State { unwritable: Some(why), ..State::fresh() })
    }

    pub(crate) fn from_state(state: State) -> Self {
        Self(Arc::new(Inner { state: Mutex::new(state), committing: tokio::sync::Mutex::new(()) }))
    }

    /// The value of `key`, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when the value is not a `T`, [`ErrorKind::Corrupt`] when its bytes are damaged. Both
    /// name the key.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.accessed().get(key)?;
        value.map(|value| from_value(key, value)).transpose()
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when the value has no exact form in a session, [`ErrorKind::InvalidInput`] when the key
    /// is reserved. Nothing is changed then.
    pub fn insert<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        check_key(key)?;
        let value = to_value(key, value)?;
        let mut state = self.accessed();
        state.check_writable()?;
        state.put(key, value);
        Ok(())
    }

    /// Removes `key`; whether it was there.
    pub fn remove(&self, key: &str) -> bool {
        !key.starts_with(RESERVED) && self.accessed().remove(key)
    }

    /// Removes `key` and returns its value: Python's `pop`.
    ///
    /// # Errors
    /// As [`get`](Self::get); nothing is removed then.
    pub fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.get(key)?;
        if value.is_some() {
            self.remove(key);
        }
        Ok(value)
    }

    /// The value of `key`, which is set to `default` if it is not there: Python's `setdefault`.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`insert`](Self::insert).
    pub fn get_or_insert<T: Serialize + DeserializeOwned>(&self, key: &str, default: T) -> Result<T> {
        match self.get(key)? {
            Some(value) => Ok(value),
            None => self.insert(key, &default).map(|()| default),
        }
    }

    /// Sets `key` to what `change` makes of its value, and returns the new value.
    ///
    /// `change` runs again, on the newer value, whenever another request committed first: **N concurrent
    /// increments add up to N**. So it must depend on nothing but its argument, and the value returned here may be
    /// older than the one that is stored in the end.
    ///
    /// ```
    /// # fn main() -> session_core::Result<()> {
    /// # let session = session_core::Session::empty();
    /// let visits: u64 = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
    /// assert_eq!(visits, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`insert`](Self::insert); also from the commit, when the newer value is no `T`.
    pub fn update<T, F>(&self, key: &str, change: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: Fn(Option<T>) -> T + Send + Sync + 'static,
    {
        let value = self.apply(key, move |key, old| {
            let old = old.map(|old| from_value(key, old)).transpose()?;
            to_value(key, &change(old)).map(Some)
        })?;
        match value {
            Some(value) => from_value(key, value),
            None => {
                Err(Error::new(ErrorKind::Other, format!("the update of session key {key:?} left no value")))
            }
        }
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.accessed().contains_key(key)
    }

    /// All keys, in ascending order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.accessed().keys().into_iter().collect()
    }

    /// How many entries there are, Flask's own (`_permanent`, `_flashes`) included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accessed().len()
    }

    /// Whether there is no entry. A session that was changed and is then empty, owner included, ends at the commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes every entry, and the owner: what a sign-out does in Flask.
    pub fn clear(&self) {
        self.accessed().clear();
    }

    /// Gives the session a new id at the commit; the old one dies with it, at once.
    ///
    /// Call it whenever privileges change (OWASP, ASVS 7.2.4). [`set_owner`](Self::set_owner) does so by itself.
    pub fn rotate_id(&self) {
        self.accessed().rotate();
    }

    /// Starts anew: no entries, no owner, and a new id at the commit.
    pub fn regenerate(&self) {
        let mut state = self.accessed();
        state.clear();
        state.changes.restart = true;
        state.rotate();
    }

    /// Ends the session: the commit deletes what is stored, whatever other requests wrote meanwhile.
    ///
    /// The handle is an empty session afterwards. What is put into it, such as a message of farewell, begins a new
    /// session under a new id.
    pub fn destroy(&self) {
        self.accessed().destroy();
    }

    /// The principal the session belongs to.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.accessed().owner().cloned()
    }

    /// Says to whom the session belongs, so that it can be listed and revoked with the owner's others.
    ///
    /// A new owner signs in: the id is rotated at the commit, because to keep one that was there before is session
    /// fixation (OWASP), and the absolute lifetime starts anew.
    pub fn set_owner(&self, owner: Option<Owner>) {
        self.accessed().set_owner(owner);
    }

    /// Whether the session outlives the browser: its cookie then has an expiry. Flask's `permanent`.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.lock().is_permanent()
    }

    /// Makes the session outlive the browser, or not. It is an entry (`_permanent`), as in Flask.
    pub fn set_permanent(&self, permanent: bool) {
        self.accessed().put(PERMANENT, Value::Bool(permanent));
    }

    /// Whether the session was not stored when it was opened.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.lock().new
    }

    /// Whether the session was used since it was opened. Asking for a flag or an id is no use.
    #[must_use]
    pub fn is_accessed(&self) -> bool {
        self.lock().accessed
    }

    /// Whether the session was changed since it was opened, committed or not.
    #[must_use]
    pub fn is_modified(&self) -> bool {
        self.lock().modified
    }

    /// The secret for the cookie. `None` until the session is stored, after it has ended, and when it was opened
    /// under an id that has just been renewed (the client gets the new one with another response).
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.lock().stored.as_ref().and_then(|stored| stored.id.clone())
    }

    /// The key under which the session is stored; safe to log. `None` until it is, and after it has ended.
    #[must_use]
    pub fn key(&self) -> Option<SessionKey> {
        self.lock().stored.as_ref().map(|stored| stored.key)
    }

    /// When the stored session began. `None` as for [`key`](Self::key).
    #[must_use]
    pub fn created_at(&self) -> Option<Timestamp> {
        self.lock().stored.as_ref().map(|stored| stored.created_at)
    }

    /// When the stored session ends unless it is used. `None` as for [`key`](Self::key).
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.lock().stored.as_ref().map(|stored| stored.expires_at)
    }

    /// Applies `change` now, and again at each replay.
    fn apply<F>(&self, key: &str, change: F) -> Result<Option<Value>>
    where
        F: Fn(&str, Option<Value>) -> Result<Option<Value>> + Send + Sync + 'static,
    {
        check_key(key)?;
        let update: Update = Arc::new(change);
        loop {
            let (old, version) = {
                let state = self.accessed();
                state.check_writable()?;
                (state.get(key)?, state.version)
            };
            let new = update(key, old)?;
            let mut state = self.lock();
            if state.version == version {
                state.update(key, update, new.clone());
                return Ok(new);
            }
        }
    }

    fn accessed(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.accessed = true;
        state
    }

    /// No code that can panic runs under the lock; should it, the state is still whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn lock_commit(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.committing.lock().await
    }
}

/// Shows neither the id nor any value.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Session")
            .field("key", &state.stored.as_ref().map(|stored| stored.key))
            .field("owner", &state.owner())
            .field("keys", &state.keys())
            .field("new", &state.new)
            .field("accessed", &state.accessed)
            .field("modified", &state.modified)
            .finish()
    }
}

fn check_key(key: &str) -> Result<()> {
    if !key.starts_with(RESERVED) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("session key {key:?} is reserved: choose one that does not begin with {RESERVED:?}"),
    ))
}
