//! The session: a dictionary that remembers what was done to it.

pub(crate) mod changes;
mod consume;
mod flash;
pub(crate) mod identity;
mod key;
pub(crate) mod reentry;
pub(crate) mod state;
mod status;
mod whole;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use consume::Consume;
pub use flash::Flash;
pub use key::Key;
pub use status::Status;

use crate::policy::Lifetime;
use crate::value::{from_value, to_value};
use crate::{Error, ErrorKind, Owner, Result, SessionId, SessionKey, Timestamp, Value};
use changes::Update;
use state::{Over, State};

/// Entries whose keys begin so belong to this crate.
pub(crate) const RESERVED: &str = "_session.";
const PERMANENT: &str = "_permanent";
/// The secret of session-http's tokens against forged requests.
const CSRF: &str = "_csrf";

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
    pub fn read_only(why: &'static str) -> Self {
        Self::from_state(State { read_only: Some(why), ..State::fresh() })
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
        let state = self.accessed_or_err()?;
        let value = if key.starts_with(RESERVED) { None } else { state.get(key)? };
        drop(state);
        value.map(|value| from_value(key, value)).transpose()
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when the value has no exact form in a session, [`ErrorKind::InvalidInput`] when the key
    /// is reserved. Nothing is changed then.
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<()> {
        check_key(key)?;
        let value = to_value(key, &value)?;
        let mut state = self.accessed_or_err()?;
        state.check_writable()?;
        state.put(key, value);
        Ok(())
    }

    /// Removes `key`; whether it was there.
    pub fn remove(&self, key: &str) -> bool {
        !key.starts_with(RESERVED) && self.change(|state| state.remove(key))
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
    /// When several requests find it missing at once, the value of the one whose commit is first is what stays; the
    /// others were given their own `default` here. Ask again after a commit to have the one that stayed.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`insert`](Self::insert).
    pub fn get_or_insert<T: Serialize + DeserializeOwned>(&self, key: &str, default: T) -> Result<T> {
        if let Some(value) = self.get(key)? {
            return Ok(value);
        }
        let default = to_value(key, &default)?;
        let value = self.apply(key, move |_, old| Ok(Some(old.unwrap_or_else(|| default.clone()))))?;
        from_value(key, value.unwrap_or(Value::Null))
    }

    /// Sets `key` to what `change` makes of its value, and returns the new value.
    ///
    /// `change` runs again, on the newer value, whenever another request committed first: **N concurrent
    /// increments add up to N**. So it must depend on nothing but its argument, and the value returned here may be
    /// older than the one that is stored in the end. It must not use this session: that is an error.
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

    /// Changes the value of `key` in place, beginning with `T::default()` if it is not there. As [`update`](Self::update),
    /// `change` runs again when another request committed first.
    ///
    /// ```
    /// # fn main() -> session_core::Result<()> {
    /// # let session = session_core::Session::empty();
    /// session.modify("basket", |basket: &mut Vec<u64>| basket.push(7))?;
    /// assert_eq!(session.get::<Vec<u64>>("basket")?, Some(vec![7]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn modify<T, F>(&self, key: &str, change: F) -> Result<()>
    where
        T: Serialize + DeserializeOwned + Default,
        F: Fn(&mut T) + Send + Sync + 'static,
    {
        let in_place = move |old: Option<T>| {
            let mut value = old.unwrap_or_default();
            change(&mut value);
            value
        };
        self.update(key, in_place).map(drop)
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.accessed().contains_key(key) && !key.starts_with(RESERVED)
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

    /// Removes every entry, and the owner: what a sign-out does in Flask. A session that is empty at the commit ends; one that
    /// is nobody's any more has a new secret. What others do to the id meanwhile comes first, so a sign-out that must not
    /// fail is [`sign_out`](Self::sign_out).
    pub fn clear(&self) {
        self.change(State::clear);
    }

    /// Somebody signs in: from the commit on the session is `owner`'s, can be listed and revoked with the owner's others,
    /// has a new secret, and its absolute lifetime starts anew.
    ///
    /// - An anonymous session keeps its entries, such as a basket, but for the CSRF secret, which an attacker could have
    ///   planted (session fixation, OWASP).
    /// - On the owner's own session it is a sign-in again: entries and key stay.
    /// - Of another owner's session nothing is kept: `owner` gets a session of its own under a new key, and the other one
    ///   ends (`[I7]`). So put in what is the new owner's after this call, or after [`clear`](Self::clear).
    /// - When the session ended meanwhile, or another request changed its id, a new one begins (`[I6]`).
    pub fn sign_in(&self, owner: Owner) {
        self.change(|state| state.sign_in(owner));
    }

    /// Ends the session at the server, for everybody who has its id: the same as [`destroy`](Self::destroy), by the name of
    /// what an application does.
    pub fn sign_out(&self) {
        self.destroy();
    }

    /// Gives the session a new secret at the commit; the old one dies with it, at once. Its key stays.
    ///
    /// Call it whenever privileges change (OWASP, ASVS 7.2.4). [`sign_in`](Self::sign_in) does so by itself.
    pub fn rotate_id(&self) {
        self.change(State::rotate);
    }

    /// Starts anew: no entries, no owner, and a new secret at the commit.
    pub fn regenerate(&self) {
        self.change(|state| {
            state.clear();
            state.changes.restart = true;
            state.rotate();
        });
    }

    /// Ends the session: the commit deletes what is stored, whatever other requests wrote meanwhile, also when they changed
    /// its id since this request began (`[I4]`).
    ///
    /// The handle is an empty session afterwards. What is put into it, such as a message of farewell, begins a new
    /// session under a new key. In a request whose id names a session that it does not open, because others had changed
    /// that *before* it began, the commit fails with [`ErrorKind::Superseded`]: it has ended nothing.
    pub fn destroy(&self) {
        self.change(State::destroy);
    }

    /// The principal the session belongs to.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.accessed().owner().cloned()
    }

    /// How long this session lives in place of what the policy says, within the policy's bounds
    /// ([`Policy::with_longest_lifetime`](crate::Policy::with_longest_lifetime)): "remember me". `None`: the policy's again.
    ///
    /// It is kept in the record, so every process knows it. A change gives the session a new secret, because a cookie's
    /// expiry changes only with it (`[I8]`): set it where somebody signs in. For a cookie that outlives the browser, call
    /// [`set_permanent`](Self::set_permanent), too.
    pub fn set_lifetime(&self, lifetime: Option<Lifetime>) {
        self.change(|state| state.set_lifetime(lifetime));
    }

    /// Whether this request counts as use of the session. One that does not, such as a page that polls, moves no expiry.
    /// Default: it does.
    pub fn set_counts_as_use(&self, counts: bool) {
        self.lock().is_no_use = !counts;
    }

    /// Whether the session outlives the browser: its cookie then has an expiry. Flask's `permanent`.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.lock().is_permanent()
    }

    /// Makes the session outlive the browser, or not. It is an entry (`_permanent`), as in Flask. A change gives the session
    /// a new secret, because a cookie's expiry changes only with it (`[I8]`).
    pub fn set_permanent(&self, permanent: bool) {
        self.change(|state| state.set_permanent(permanent));
    }

    /// Whether the session was not stored when it was opened.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.lock().new
    }

    /// Whether the session was used since it was opened. Reading a flag or the id does not mark it as accessed.
    #[must_use]
    pub fn is_accessed(&self) -> bool {
        self.lock().accessed
    }

    /// Whether the session was changed since it was opened, committed or not.
    #[must_use]
    pub fn is_modified(&self) -> bool {
        self.lock().modified
    }

    /// Whether others ended the session, or changed its id, since this handle was opened. Nothing is stored any more then,
    /// until [`destroy`](Self::destroy) or a sign-in of this very request begins anew (`[I5]`, `[I6]`).
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lock().over.is_some()
    }

    /// Whether another request changed its id, before this one was opened or since: it is empty, and nothing can be stored
    /// (`[I5]`).
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.lock().over == Some(Over::Superseded)
    }

    /// The id for the cookie. `None` until the session is stored, after it has ended, and when it was opened under an id
    /// whose successor the client has shown already.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.lock().id()
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

    /// For session interfaces: the response's head has left, so that no new id can reach the client. A commit that needs
    /// one fails with [`ErrorKind::TooLate`] from now on; one that ends the session does not.
    pub fn fix_id(&self) {
        self.lock().id_is_fixed = true;
    }

    /// For session interfaces: whether the request is one that a browser may send without its user (a prefetch) or whose
    /// answer's body nobody sees (`HEAD`). Flashed messages then stay for a later page.
    pub fn set_speculative(&self, speculative: bool) {
        self.lock().is_speculative = speculative;
    }

    /// Applies `change` now, and again at each replay.
    pub(crate) fn apply<F>(&self, key: &str, change: F) -> Result<Option<Value>>
    where
        F: Fn(&str, Option<Value>) -> Result<Option<Value>> + Send + Sync + 'static,
    {
        check_key(key)?;
        let update: Update = Arc::new(change);
        for _ in 0..reentry::MOST_RUNS {
            let (old, version) = {
                let state = self.accessed_or_err()?;
                state.check_writable()?;
                (state.get(key)?, state.version)
            };
            let new = reentry::run(self, || update(key, old))?;
            let mut state = self.lock();
            if state.version == version {
                state.update(key, update, new.clone());
                return Ok(new);
            }
        }
        Err(reentry::never_ends())
    }

    /// An error in a function of an update of this session.
    fn accessed_or_err(&self) -> Result<MutexGuard<'_, State>> {
        reentry::check(self)?;
        let mut state = self.lock();
        state.accessed = true;
        Ok(state)
    }

    /// For those who cannot say what is wrong. In a function of an update, the update fails all the same.
    fn accessed(&self) -> MutexGuard<'_, State> {
        self.accessed_or_err().unwrap_or_else(|_| self.lock())
    }

    /// Changes the state; not from within a function of an update.
    fn change<T: Default>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.accessed_or_err().map_or_else(|_| T::default(), |mut state| change(&mut state))
    }

    /// Names this session among those that live.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
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
