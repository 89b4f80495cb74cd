//! The store: what each operation is made of. The steps are in `steps.rs`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use session_core::{
    Created, Cursor, Owner, Page, Record, Result, Revision, Saved, SessionKey, SessionStore, Timestamp,
    Touched,
};
use sqlx::types::Uuid;

use crate::config::SqlConfig;
use crate::dialect::Dialect;
use crate::engine::{Connections, Driver};
use crate::error::Fault;
use crate::layout::{self, Arg};
use crate::steps::{Inner, WhenLost};

/// Sessions in a table of SQLite, PostgreSQL, MySQL or MariaDB.
///
/// A clone is another handle on the same connections (`[H1]`). Each operation is one statement that commits by
/// itself; a second one looks closer when the first changed nothing. Operations that come while two of their kind are
/// with the database wait for one of these, and are then sent together in one statement, each with an answer of its
/// own; what fails in company is done again alone. No operation leaves a transaction, a lock or a
/// setting behind on a connection, so a dropped future leaves the record as it was or as it should be (`[F3]`), and
/// a pooler between here and the server may do as it likes.
#[derive(Clone)]
pub struct SqlStore(Arc<Inner>);

/// The most sessions of one page.
const MAX_PAGE: usize = 256;

/// The most records that one statement of a sweep removes: what bounds how long it holds its locks.
const SWEEP_BATCH: usize = 1_000;

impl SqlStore {
    pub(crate) fn new<DB: Driver>(
        connections: Connections<DB>,
        config: SqlConfig,
        dialect: &'static Dialect,
    ) -> Result<Self> {
        Ok(Self(Arc::new(Inner::new(Arc::new(connections), config, dialect)?)))
    }

    /// The statements that make the tables and indexes, for those who run their own migrations.
    /// [`prepare`](SessionStore::prepare) runs the same. They can be repeated.
    #[must_use]
    pub fn schema_sql(&self) -> &str {
        &self.0.sql.schema
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("backend", &self.0.dialect.backend)
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

/// Each method says how many statements it takes. Common are the cases in which it does what it was asked for.
#[async_trait]
impl SessionStore for SqlStore {
    /// Looks for the table and reads the schema's version, and creates tables and indexes when the one is missing or the
    /// other is not the newest. A user that may not create tables can call this when the table is there.
    async fn prepare(&self) -> Result<()> {
        // Whoever makes a new database at the same time holds its locks for a moment.
        let steps = async |_| self.0.try_prepare().await.map_err(Fault::undone_if_locked);
        self.0.run("prepare", WhenLost::Again, steps).await
    }

    /// One `INSERT`. On PostgreSQL and SQLite it replaces an expired record, too; on MySQL and MariaDB a `DELETE`
    /// of that record and a second `INSERT` follow.
    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.0.write("create", record, |lost| self.0.try_create(key, record, lost)).await
    }

    /// One `SELECT`.
    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let steps = async |lost| self.0.load.run(key, lost).await.map(Some);
        let found = self.0.run("load", WhenLost::Again, steps).await?;
        found.map_err(|error| self.0.named("load", error))
    }

    /// One `UPDATE`. When it met no row, a `SELECT` tells why.
    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.0.write("save", record, |lost| self.0.try_save(key, expected, record, lost)).await
    }

    /// One `UPDATE`. When it met no row, a `SELECT` tells why.
    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        let steps = |lost| self.0.try_touch(key, expected, expires_at, lost);
        self.0.run("touch", WhenLost::Again, steps).await
    }

    /// One `DELETE` of the live record; an expired one is left to the sweep.
    async fn delete(&self, key: SessionKey) -> Result<bool> {
        let args = [layout::key(key)];
        let met = self.0.change("delete", WhenLost::Fail, &self.0.sql.delete, &args).await?;
        Ok(met > 0)
    }

    /// One `SELECT` a page, in the order of keys, beginning after the last key of the page before. A page holds at
    /// most 256 sessions. Damaged rows are left out, and logged.
    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let after = cursor.map_or(Ok(Uuid::nil()), |cursor| self.0.place(cursor))?;
        let limit = limit.clamp(1, MAX_PAGE);
        let (after, most) = (Arg::Key(after), layout::count(limit));
        let (sql, args) = match owner {
            None => (&self.0.sql.list, vec![after, most]),
            Some(owner) => (&self.0.sql.list_owned, vec![layout::owner(owner), after, most]),
        };
        let steps = async |_| self.0.engine.records(sql, &args).await.map(Some);
        let rows = self.0.run("list", WhenLost::Again, steps).await?;
        self.0.page(rows, limit)
    }

    /// One `DELETE`.
    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let args = [layout::owner(owner), keep.map_or(Arg::Key(Uuid::nil()), layout::key)];
        self.0.change("delete_owned", WhenLost::Fail, &self.0.sql.delete_owned, &args).await
    }

    /// One `DELETE` for each 1,000 records.
    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        let mut left = limit;
        let mut deleted = 0;
        while left > 0 {
            let batch = left.min(SWEEP_BATCH);
            let args = [layout::count(batch)];
            let met =
                self.0.change("delete_expired", WhenLost::Fail, &self.0.sql.delete_expired, &args).await?;
            deleted += met;
            let met = usize::try_from(met).unwrap_or(usize::MAX);
            if met < batch {
                break;
            }
            left = left.saturating_sub(met);
        }
        Ok(deleted)
    }

    /// One `SELECT` of the expression that every statement judges expiry by.
    async fn now(&self) -> Result<Timestamp> {
        let steps = async |_| self.0.engine.number(&self.0.sql.now, &[]).await;
        self.0.run("now", WhenLost::Again, steps).await.map(Timestamp::from_millis)
    }
}
