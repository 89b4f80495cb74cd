//! A store that holds the one session of one request: the cookie, seen as a store.

use async_trait::async_trait;
use session_core::{
    Created, Cursor, Error, ErrorKind, Owner, Page, Record, Renamed, Result, Revision, Saved, SessionKey,
    SessionStore, Timestamp,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the request brought, and what it is to become.
///
/// The manager works on it as on any store, so that a client-side session has the same dictionary, policy and commit as
/// any other. It never waits and never fails.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    record: Option<(SessionKey, Record)>,
    written: bool,
}

impl Slot {
    pub(super) fn of(key: SessionKey, record: Record) -> Self {
        Self(Arc::new(Mutex::new(State { record: Some((key, record)), written: false })))
    }

    /// The record, and whether it is another than the request brought.
    pub(super) fn content(&self) -> (Option<Record>, bool) {
        let state = self.lock();
        (state.record.as_ref().map(|(_, record)| record.clone()), state.written)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut state = self.lock();
        if state.revision(key).is_some() {
            return Ok(Created::Occupied);
        }
        state.put(key, record);
        Ok(Created::Stored)
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        Ok(self.lock().record.as_ref().filter(|(held, _)| *held == key).map(|(_, record)| record.clone()))
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        let mut state = self.lock();
        match state.revision(key) {
            None => Ok(Saved::Missing),
            Some(revision) if revision == expected || revision == record.revision => {
                state.put(key, record);
                Ok(Saved::Stored)
            }
            Some(_) => Ok(Saved::Conflict),
        }
    }

    async fn rename(
        &self,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Renamed> {
        let mut state = self.lock();
        match state.revision(from) {
            None if state.revision(to) == Some(record.revision) => Ok(Renamed::Stored),
            None => Ok(Renamed::Missing),
            Some(revision) if revision == expected => {
                state.put(to, record);
                Ok(Renamed::Stored)
            }
            Some(_) => Ok(Renamed::Conflict),
        }
    }

    async fn touch(&self, key: SessionKey, expires_at: Timestamp) -> Result<bool> {
        let mut state = self.lock();
        let State { record, written } = &mut *state;
        let Some((_, record)) = record.as_mut().filter(|(held, _)| *held == key) else { return Ok(false) };
        if expires_at > record.expires_at {
            record.expires_at = expires_at;
            *written = true;
        }
        Ok(true)
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        let mut state = self.lock();
        let held = state.revision(key).is_some();
        if held {
            *state = State { record: None, written: true };
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
}

fn unsupported() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "client-side sessions are known to their clients only: to list or revoke sessions, keep them in a store",
    )
    .with_backend("client-side")
}
