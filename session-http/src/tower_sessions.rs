//! Every store of the family for applications that are on tower-sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use session_core::{Codecs, Created, Record, Revision, Saved, SessionKey, SessionStore, Timestamp, Value};
use time::OffsetDateTime;
use tower_sessions_core::session;
use tower_sessions_core::session_store::{self, Error};

/// tower-sessions counts expiry in nanoseconds, a store of this family in milliseconds: the rest is an entry.
const NANOS: &str = "_tower_sessions.nanos";
const ATTEMPTS: usize = 32;

/// Any store of this family as a store of tower-sessions (0.15), so that an application changes one line.
///
/// What it gains: ids are hashed before they reach the storage, and **a session that was ended stays ended**: a save
/// that comes late stores nothing, where other stores of tower-sessions bring the session back. What stays as it was: of two requests at
/// once the later save wins as a whole, because tower-sessions saves whole sessions. Its own layer sets the cookie.
///
/// Sessions are kept as this family keeps them: [`SessionManager`](session_core::SessionManager) lists, revokes and expires the
/// same ones, and opens none of them, since their ids have no secret of its kind.
///
/// ```
/// use session_http::TowerSessionsStore;
/// use session_memory::MemoryStore;
///
/// let store = TowerSessionsStore::new(MemoryStore::default());
/// // tower_sessions::SessionManagerLayer::new(store)
/// # let _: &dyn tower_sessions_core::SessionStore = &store;
/// ```
#[derive(Clone, Debug)]
pub struct TowerSessionsStore {
    store: Arc<dyn SessionStore>,
    codecs: Codecs,
}

impl TowerSessionsStore {
    /// Serves `store`. Call its [`prepare`](SessionStore::prepare) before.
    pub fn new(store: impl SessionStore) -> Self {
        Self { store: Arc::new(store), codecs: Codecs::default() }
    }

    /// Sets how sessions are encoded, and which other encodings are read.
    #[must_use]
    pub fn with_codecs(mut self, codecs: Codecs) -> Self {
        self.codecs = codecs;
        self
    }

    fn encode(&self, key: SessionKey, record: &session::Record) -> session_store::Result<Record> {
        let mut entries = BTreeMap::new();
        for (name, value) in &record.data {
            entries.insert(name.clone(), Value::from_typed(value).map_err(encoding)?);
        }
        let nanos = record.expiry_date.unix_timestamp_nanos();
        entries.insert(NANOS.to_owned(), Value::I64(narrow(nanos.rem_euclid(1_000_000))));
        Ok(Record {
            revision: Revision::generate().map_err(backend)?,
            owner: None,
            created_at: Timestamp::now(),
            expires_at: Timestamp::from_millis(narrow(nanos.div_euclid(1_000_000))),
            payload: self.codecs.encode_entries(key, &entries).map_err(encoding)?,
        })
    }

    fn decode(
        &self,
        id: session::Id,
        key: SessionKey,
        record: &Record,
    ) -> session_store::Result<session::Record> {
        let mut entries = self.codecs.decode_entries(key, &record.payload).map_err(decoding)?;
        let rest = match entries.remove(NANOS) {
            Some(Value::I64(rest)) => rest,
            _ => 0,
        };
        let nanos = i128::from(record.expires_at.as_millis()) * 1_000_000 + i128::from(rest);
        let mut data = HashMap::with_capacity(entries.len());
        for (name, value) in entries {
            data.insert(name, value.into_typed().map_err(decoding)?);
        }
        let expiry_date = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .map_err(|error| Error::Decode(error.to_string()))?;
        Ok(session::Record { id, data, expiry_date })
    }
}

#[async_trait]
impl tower_sessions_core::SessionStore for TowerSessionsStore {
    async fn create(&self, session: &mut session::Record) -> session_store::Result<()> {
        loop {
            let key = key(session.id);
            let record = self.encode(key, session)?;
            match self.store.create(key, &record).await.map_err(backend)? {
                Created::Stored => return Ok(()),
                // Somebody has this id: never write over a session that is live.
                Created::Occupied => session.id = session::Id::default(),
            }
        }
    }

    async fn save(&self, session: &session::Record) -> session_store::Result<()> {
        let key = key(session.id);
        let mut record = self.encode(key, session)?;
        for _ in 0..ATTEMPTS {
            let stored = self.store.load(key).await.map_err(backend)?;
            let Some(stored) = stored else {
                tracing::debug!(target: "session", %key, "the session had ended; a late save was dropped");
                return Ok(());
            };
            record.created_at = stored.created_at;
            record.owner = stored.owner;
            if self.store.save(key, stored.revision, &record).await.map_err(backend)? == Saved::Stored {
                return Ok(());
            }
        }
        Err(Error::Backend("the session was changed by other requests each time".to_owned()))
    }

    async fn load(&self, id: &session::Id) -> session_store::Result<Option<session::Record>> {
        let key = key(*id);
        let record = self.store.load(key).await.map_err(backend)?;
        record.map(|record| self.decode(*id, key, &record)).transpose()
    }

    async fn delete(&self, id: &session::Id) -> session_store::Result<()> {
        self.store.delete(key(*id)).await.map_err(backend).map(drop)
    }
}

#[async_trait]
impl session_store::ExpiredDeletion for TowerSessionsStore {
    async fn delete_expired(&self) -> session_store::Result<()> {
        const BATCH: usize = 1_000;
        while self.store.delete_expired(BATCH).await.map_err(backend)? >= BATCH as u64 {}
        Ok(())
    }
}

/// Ids of tower-sessions have one part, so that the storage sees a hash of it.
fn key(id: session::Id) -> SessionKey {
    SessionKey::hashed(&id.0.to_le_bytes())
}

fn narrow(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn backend(error: session_core::Error) -> Error {
    Error::Backend(chain(&error))
}

fn encoding(error: session_core::Error) -> Error {
    Error::Encode(chain(&error))
}

fn decoding(error: session_core::Error) -> Error {
    Error::Decode(chain(&error))
}

/// tower-sessions keeps errors as text only.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
