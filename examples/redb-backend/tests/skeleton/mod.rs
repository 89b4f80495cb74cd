//! The store of the guide's third step: it compiles, and does nothing yet.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use async_trait::async_trait;
use redb::Database;
use session_core::{
    Created, Cursor, Error, ErrorKind, Owner, Page, Record, Result, Revision, Saved, SessionKey,
    SessionStore, Timestamp, Touched,
};

/// Sessions in one redb file.
#[derive(Clone, Debug)]
pub struct RedbStore {
    database: Arc<Database>,
}

impl RedbStore {
    /// A store in a database that is open already.
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }
}

fn unwritten<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "not written yet"))
}

#[async_trait]
impl SessionStore for RedbStore {
    async fn prepare(&self) -> Result<()> {
        unwritten()
    }

    async fn create(&self, _key: SessionKey, _record: &Record) -> Result<Created> {
        unwritten()
    }

    async fn load(&self, _key: SessionKey) -> Result<Option<Record>> {
        unwritten()
    }

    async fn save(&self, _key: SessionKey, _expected: Revision, _record: &Record) -> Result<Saved> {
        unwritten()
    }

    async fn touch(&self, _key: SessionKey, _expected: Revision, _expires_at: Timestamp) -> Result<Touched> {
        unwritten()
    }

    async fn delete(&self, _key: SessionKey) -> Result<bool> {
        unwritten()
    }

    async fn list(&self, _owner: Option<&Owner>, _cursor: Option<&Cursor>, _limit: usize) -> Result<Page> {
        unwritten()
    }

    async fn delete_owned(&self, _owner: &Owner, _keep: Option<SessionKey>) -> Result<u64> {
        unwritten()
    }

    async fn delete_expired(&self, _limit: usize) -> Result<u64> {
        unwritten()
    }

    async fn now(&self) -> Result<Timestamp> {
        unwritten()
    }
}
