//! The contract between sessions and storage.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Owner, Record, Result, Revision, SessionKey, Timestamp};

/// A storage for sessions.
///
/// # For users
///
/// Pick a backend crate, give its store to a [`SessionManager`](crate::SessionManager) and work with
/// [`Session`](crate::Session)s; you do not call these methods yourself. Every store is `Arc<dyn SessionStore>`.
///
/// # For implementors
///
/// The rules below are the whole contract; each has a letter and a number, which the conformance suite (package
/// `session-conformance`) cites when a store breaks it. The guide `docs/write-a-backend.md` builds a store step by
/// step. No method has a default body, so that none is forgotten.
///
/// A record is **live** while it is present and its `expires_at` is in the future. One clock judges that for all
/// clients of a storage: the server's where there is one, else the process's. Expected outcomes are values
/// ([`Created`], [`Saved`], [`Touched`]); `Err` is for what went wrong.
///
/// ## Create
/// - **C1** [`load`](Self::load) returns exactly what `create` stored: every field, the payload byte for byte.
/// - **C2** On a live key it changes nothing and returns [`Created::Occupied`].
/// - **C3** On a key whose record has expired it succeeds, swept or not.
/// - **C4** Of N concurrent creates of one key exactly one is [`Created::Stored`], and its record is the one that loads.
///
/// ## Load
/// - **L1** Absent is `Ok(None)`.
/// - **L2** Expired is `Ok(None)` from the millisecond on, swept or not.
/// - **L3** Never a torn record, nor a mix of two writes.
/// - **L4** A failing backend is `Err`, never `None`.
/// - **L5** Damaged bytes are an error of kind [`Corrupt`](crate::ErrorKind::Corrupt): no panic, nothing deleted,
///   other sessions unaffected.
///
/// ## Save
/// - **S1** At the current revision it replaces the whole record.
/// - **S2** At another it returns [`Saved::Conflict`] and changes nothing.
/// - **S3** On an absent or expired key it returns [`Saved::Missing`] and creates nothing: logout wins over every
///   late write.
/// - **S4** Of N concurrent saves from one revision exactly one is [`Saved::Stored`].
/// - **S5** Repeating a save that took effect (the stored revision is `record.revision`) returns [`Saved::Stored`]
///   again.
///
/// ## Touch
/// - **T1** At the current revision it moves the expiry later, never earlier, and returns [`Touched::Stored`]; revision
///   and payload stay.
/// - **T2** On an absent or expired key it returns [`Touched::Missing`] and revives nothing.
/// - **T3** At another revision it returns [`Touched::Conflict`] and changes nothing, so that a request whose id was
///   changed meanwhile keeps no session alive.
///
/// ## Delete
/// - **D1** Once it returns, `load` is `None` and save and touch find nothing.
/// - **D2** It returns whether a live record was removed; an absent key is `false`, not an error.
///
/// ## Owner
/// - **O1** [`list`](Self::list) of an owner yields that owner's live sessions and no others, in pages, none twice,
///   none missed that was live throughout.
/// - **O2** It follows save (owner set, changed, cleared), delete and expiry.
/// - **O3** [`delete_owned`](Self::delete_owned) removes all live sessions of the owner but `keep` and returns how many.
/// - **O4** When it returns, no session that the owner had before the call is live, whatever creates and saves
///   raced it.
/// - **O5** `list` without an owner pages through all live sessions in the same way.
///
/// ## Expiry
/// - **E1** [`delete_expired`](Self::delete_expired) removes expired records only, at most `limit`, and returns how many.
/// - **E2** Repeating it drains: once it returns less than `limit`, nothing that had expired before the call is left.
///   A storage that removes expired records itself returns 0.
/// - **E3** Concurrent sweeps neither fail, nor deadlock, nor count one record twice.
/// - **E4** A record touched or saved during the sweep survives.
/// - **E5** Its cost follows the number expired, not the number live.
/// - **E6** A record given with an `expires_at` that is not in the future is written like any other and is not live:
///   the outcome is the usual one, and nothing is there afterwards. A save of [`Timestamp::EPOCH`] is the
///   compare-and-set form of delete.
///
/// ## Bytes
/// - **B1** Payloads of 0 bytes to the configured limit (1 MiB by default), any bytes.
/// - **B2** Expiry from the next millisecond to [`Timestamp::MAX`], exact to the millisecond.
/// - **B3** Any legal owner: quotes, `%_*?[]{}`, emoji, trailing spaces, two that differ only in case.
/// - **B4** A payload over the limit is an error of kind [`TooLarge`](crate::ErrorKind::TooLarge) before anything is
///   written.
///
/// ## Handles
/// - **H1** Two handles on one storage see each other's writes at once.
/// - **H2** A durable store finds everything after reopening.
/// - **H3** Two namespaces (prefix, table, directory) on one backend never see each other.
/// - **H4** [`prepare`](Self::prepare) can be repeated and raced.
/// - **H5** [`now`](Self::now) is the time by the clock that judges expiry: the server's where there is one, else the
///   process's.
///
/// ## Faults
/// - **F1** An unreachable or hanging backend is an error of kind [`Unavailable`](crate::ErrorKind::Unavailable) or
///   [`Timeout`](crate::ErrorKind::Timeout) within the configured time.
/// - **F2** When it is back, the same handle works again.
/// - **F3** A dropped future leaves the old record or the new one, and a usable store.
///
/// ## Histories
/// - **Y1** Random concurrent histories over a few keys are linearizable.
/// - **Y2** Random sequences of operations agree with a reference model.
///
/// # Errors
///
/// Every method may fail with [`Unavailable`](crate::ErrorKind::Unavailable), [`Timeout`](crate::ErrorKind::Timeout)
/// or [`Other`](crate::ErrorKind::Other); methods that write a record with [`TooLarge`](crate::ErrorKind::TooLarge);
/// methods that read one with [`Corrupt`](crate::ErrorKind::Corrupt).
///
/// # Cancellation
///
/// Any returned future may be dropped at any point (`[F3]`): the operation then took effect wholly or not at all.
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Makes the storage ready: schema, directory; nothing where nothing is needed. Call it once at start-up;
    /// it may be repeated, and raced by other processes (`[H4]`).
    async fn prepare(&self) -> Result<()>;

    /// Stores a new record (`[C1]`..`[C4]`).
    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created>;

    /// The live record under `key` (`[L1]`..`[L5]`).
    async fn load(&self, key: SessionKey) -> Result<Option<Record>>;

    /// Replaces the record if it still has the revision `expected` (`[S1]`..`[S5]`).
    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved>;

    /// Moves the expiry of a live record that still has the revision `expected` to `expires_at`, if that is later
    /// (`[T1]`..`[T3]`).
    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched>;

    /// Removes the record; whether a live one was there (`[D1]`, `[D2]`).
    async fn delete(&self, key: SessionKey) -> Result<bool>;

    /// One page of the live sessions of `owner`, or of all, in an order of the store's choosing (`[O1]`, `[O2]`,
    /// `[O5]`). Start without a cursor, go on with [`Page::next`] until it is `None`. A page holds at most `limit`
    /// sessions (0 counts as 1) and may hold fewer, even none, before the end.
    ///
    /// Fails with [`InvalidInput`](crate::ErrorKind::InvalidInput) on a cursor that this method did not give out.
    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page>;

    /// Removes every session of `owner` except `keep`; how many live ones (`[O3]`, `[O4]`).
    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64>;

    /// Removes at most `limit` expired records; how many (`[E1]`..`[E5]`).
    async fn delete_expired(&self, limit: usize) -> Result<u64>;

    /// The time by the clock that judges expiry (`[H5]`). One cheap call: the manager asks now and then, and keeps the
    /// difference to its own clock. A store that judges by the clock of its host need not ask its storage.
    async fn now(&self) -> Result<Timestamp>;
}

/// What [`SessionStore::create`] did.
#[must_use = "a session that was not stored is lost"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Created {
    /// The record is stored.
    Stored,
    /// The key is taken by a live record; nothing was changed.
    Occupied,
}

/// What [`SessionStore::save`] did.
#[must_use = "a session that was not stored is lost"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Saved {
    /// The record is stored.
    Stored,
    /// The live record has another revision; nothing was changed.
    Conflict,
    /// There is no live record; nothing was created.
    Missing,
}

/// What [`SessionStore::touch`] did.
#[must_use = "a session that could not be touched may have ended"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    /// The record is live, has the expected revision, and ends no earlier than was asked for.
    Stored,
    /// The live record has another revision; nothing was changed.
    Conflict,
    /// There is no live record; nothing was revived.
    Missing,
}

/// One page of [`SessionStore::list`].
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Live sessions.
    pub sessions: Vec<(SessionKey, Record)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// A place in a listing. Only the store that made it can read it; it may be sent to a client and back, and holds
/// no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    /// For stores: a cursor from the store's own text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be kept and given to [`Cursor::new`] later.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A shared store is a store, so that code generic over `S: SessionStore` takes `Arc<dyn SessionStore>` too.
///
/// Written out, not by `async_trait`: each call hands on the inner future, where the macro would box it twice.
impl<S: SessionStore + ?Sized> SessionStore for Arc<S> {
    fn prepare<'a, 'f>(&'a self) -> Answer<'f, ()>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).prepare()
    }

    fn create<'a, 'b, 'f>(&'a self, key: SessionKey, record: &'b Record) -> Answer<'f, Created>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        (**self).create(key, record)
    }

    fn load<'a, 'f>(&'a self, key: SessionKey) -> Answer<'f, Option<Record>>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).load(key)
    }

    fn save<'a, 'b, 'f>(
        &'a self,
        key: SessionKey,
        expected: Revision,
        record: &'b Record,
    ) -> Answer<'f, Saved>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        (**self).save(key, expected, record)
    }

    fn touch<'a, 'f>(
        &'a self,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
    ) -> Answer<'f, Touched>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).touch(key, expected, expires_at)
    }

    fn delete<'a, 'f>(&'a self, key: SessionKey) -> Answer<'f, bool>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).delete(key)
    }

    fn list<'a, 'b, 'c, 'f>(
        &'a self,
        owner: Option<&'b Owner>,
        cursor: Option<&'c Cursor>,
        limit: usize,
    ) -> Answer<'f, Page>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        (**self).list(owner, cursor, limit)
    }

    fn delete_owned<'a, 'b, 'f>(&'a self, owner: &'b Owner, keep: Option<SessionKey>) -> Answer<'f, u64>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        (**self).delete_owned(owner, keep)
    }

    fn delete_expired<'a, 'f>(&'a self, limit: usize) -> Answer<'f, u64>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).delete_expired(limit)
    }

    fn now<'a, 'f>(&'a self) -> Answer<'f, Timestamp>
    where
        'a: 'f,
        Self: 'f,
    {
        (**self).now()
    }
}

type Answer<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'f>>;
