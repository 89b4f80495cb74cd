//! A store that holds the one session of one request: the cookie, seen as a store.

use async_trait::async_trait;
use session_core::{
    Clock, Created, Cursor, Error, ErrorKind, Owner, Page, Record, Result, Revision, Saved, SessionKey,
    SessionStore, Timestamp, Touched,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the request brought, and what it is to become.
///
/// The manager works on it as on any store, so that a client-side session has the same dictionary, policy and commit as
/// any other. It never waits and never fails.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    record: Option<(SessionKey, Record)>,
    written: bool,
    /// What is written can reach the client no more.
    closed: bool,
}

impl Slot {
    pub(super) fn empty(clock: &Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), clock: Arc::clone(clock) }
    }

    pub(super) fn of(key: SessionKey, record: Record, clock: &Arc<dyn Clock>) -> Self {
        let state = State { record: Some((key, record)), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), clock: Arc::clone(clock) }
    }

    /// The record, and whether it is another than the request brought.
    pub(super) fn content(&self) -> (Option<Record>, bool) {
        let state = self.lock();
        (state.record.as_ref().map(|(_, record)| record.clone()), state.written)
    }

    /// The response has left: every write is an error from now on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    fn to_write(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.closed { Err(too_late()) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn revision(&self, key: SessionKey) -> Option<Revision> {
        self.record.as_ref().filter(|(held, _)| *held == key).map(|(_, record)| record.revision)
    }

    fn put(&mut self, key: SessionKey, record: &Record) {
        self.written = true;
        // A record that has expired already is how a commit ends a session (`[E6]`).
        self.record = (record.expires_at > Timestamp::EPOCH).then(|| (key, record.clone()));
    }
}

#[async_trait]
impl SessionStore for Slot {
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        let mut state = self.to_write()?;
        if state.revision(key).is_some() {
            return Ok(Created::Occupied);
        }
        state.put(key, record);
        Ok(Created::Stored)
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let is_live =
            |(held, record): &&(SessionKey, Record)| *held == key && record.expires_at > self.clock.now();
        Ok(self.lock().record.as_ref().filter(is_live).map(|(_, record)| record.clone()))
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        let mut state = self.to_write()?;
        match state.revision(key) {
            None => Ok(Saved::Missing),
            Some(revision) if revision == expected || revision == record.revision => {
                state.put(key, record);
                Ok(Saved::Stored)
            }
            Some(_) => Ok(Saved::Conflict),
        }
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        let mut state = self.to_write()?;
        match state.revision(key) {
            None => return Ok(Touched::Missing),
            Some(revision) if revision != expected => return Ok(Touched::Conflict),
            Some(_) => {}
        }
        let State { record, written, .. } = &mut *state;
        if let Some((_, record)) = record
            && expires_at > record.expires_at
        {
            record.expires_at = expires_at;
            *written = true;
        }
        Ok(Touched::Stored)
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        let mut state = self.to_write()?;
        let held = state.revision(key).is_some();
        if held {
            state.record = None;
            state.written = true;
        }
        Ok(held)
    }

    async fn list(&self, _: Option<&Owner>, _: Option<&Cursor>, _: usize) -> Result<Page> {
        Err(unsupported())
    }

    async fn delete_owned(&self, _: &Owner, _: Option<SessionKey>) -> Result<u64> {
        Err(unsupported())
    }

    async fn delete_expired(&self, _: usize) -> Result<u64> {
        Ok(0)
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }
}

fn too_late() -> Error {
    Error::new(
        ErrorKind::TooLate,
        "the head of the response has left, and with it the cookie in which the session lies: save before it does",
    )
    .with_backend("client-side")
}

fn unsupported() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "client-side sessions are known to their clients only: to list or revoke sessions, keep them in a store",
    )
    .with_backend("client-side")
}
