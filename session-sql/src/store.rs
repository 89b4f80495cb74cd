//! The store: which statements an operation is made of, and what it makes of their answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use session_core::{
    Created, Cursor, Error, ErrorKind, Owner, Page, Record, Renamed, Result, Revision, Saved, SessionKey,
    SessionStore, Timestamp,
};
use sqlx::types::Uuid;

use crate::config::SqlConfig;
use crate::dialect::{Dialect, Sql, Statements};
use crate::engine::{Connections, Driver, Engine};
use crate::error::{self, Fault};
use crate::layout::{self, Arg, Table};

/// Sessions in a table of SQLite, PostgreSQL, MySQL or MariaDB.
///
/// A clone is another handle on the same connections (`[H1]`). Each operation is one statement that commits by
/// itself; a second one looks closer when the first changed nothing. No operation leaves a transaction, a lock or a
/// setting behind on a connection, so a dropped future leaves the record as it was or as it should be (`[F3]`), and
/// a pooler between here and the server may do as it likes.
#[derive(Clone)]
pub struct SqlStore(Arc<Inner>);

struct Inner {
    engine: Box<dyn Engine>,
    sql: Statements,
    dialect: &'static Dialect,
    table: Table,
    config: SqlConfig,
}

/// The version of the schema that this crate reads and writes.
const SCHEMA_VERSION: i64 = 1;

/// How often a statement is run that others undid, or between whose halves others changed the record. Each time
/// somebody else got further, so this many in a row is a storm.
const ATTEMPTS: u32 = 24;

/// The most sessions of one page.
const MAX_PAGE: usize = 256;

/// The most records that one statement of a sweep removes: what bounds how long it holds its locks.
const SWEEP_BATCH: usize = 1_000;

/// What to do when the connection ends before the answer came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenLost {
    /// Once more: doing it twice is as good as once.
    Again,
    /// Say so: the answer would be wrong.
    Fail,
}

impl SqlStore {
    pub(crate) fn new<DB: Driver>(
        connections: Connections<DB>,
        config: SqlConfig,
        dialect: &'static Dialect,
    ) -> Result<Self> {
        let table = Table::parse(&config.table)?;
        let sql = Statements::new(dialect, &table);
        Ok(Self(Arc::new(Inner { engine: Box::new(connections), sql, dialect, table, config })))
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
    /// Reads the schema's version, and creates tables and indexes when it is not the newest. A user that may not
    /// create tables can call this on a schema that is there.
    async fn prepare(&self) -> Result<()> {
        self.0.run("prepare", WhenLost::Again, |_| self.0.try_prepare()).await
    }

    /// One `INSERT`. On PostgreSQL and SQLite it replaces an expired record, too; on MySQL and MariaDB a `DELETE`
    /// of that record and a second `INSERT` follow.
    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.0.check_size("create", record)?;
        self.0.run("create", WhenLost::Again, |lost| self.0.try_create(key, record, lost)).await
    }

    /// One `SELECT`.
    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let args = [layout::key(key)];
        let rows = self
            .0
            .run("load", WhenLost::Again, |_| some(self.0.engine.records(&self.0.sql.load, &args)))
            .await?;
        let row = rows.into_iter().next().transpose();
        Ok(row.map_err(|error| self.0.named("load", error))?.map(|(_, record)| record))
    }

    /// One `UPDATE`. When it met no row, a `SELECT` tells why.
    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.0.check_size("save", record)?;
        self.0.run("save", WhenLost::Again, |_| self.0.try_save(key, expected, record)).await
    }

    /// One `UPDATE` of the key and everything else. When it met no row, or an expired record is in the way, a
    /// `DELETE` of that record and a `SELECT` follow.
    async fn rename(
        &self,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Renamed> {
        self.0.check_size("rename", record)?;
        self.0.run("rename", WhenLost::Again, |_| self.0.try_rename(from, expected, to, record)).await
    }

    /// One `UPDATE`.
    async fn touch(&self, key: SessionKey, expires_at: Timestamp) -> Result<bool> {
        let args = [layout::time(expires_at), layout::key(key)];
        let met = self.0.change("touch", WhenLost::Again, &self.0.sql.touch, &args).await?;
        Ok(met > 0)
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
        let after = match cursor {
            None => Uuid::nil(),
            Some(cursor) => {
                *cursor.as_str().parse::<SessionKey>().map_err(|e| self.0.named("list", e))?.as_uuid()
            }
        };
        let limit = limit.clamp(1, MAX_PAGE);
        let (after, most) = (Arg::Key(after), layout::count(limit));
        let (sql, args) = match owner {
            None => (&self.0.sql.list, vec![after, most]),
            Some(owner) => (&self.0.sql.list_owned, vec![layout::owner(owner), after, most]),
        };
        let rows = self.0.run("list", WhenLost::Again, |_| some(self.0.engine.records(sql, &args))).await?;
        self.0.page(rows, limit)
    }

    /// One `DELETE`. On MySQL and MariaDB a `SELECT` looks whether a rename moved a session past it, and the
    /// `DELETE` is repeated until there is none.
    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let inner = &*self.0;
        let args = [layout::owner(owner), keep.map_or(Arg::Key(Uuid::nil()), layout::key)];
        let mut deleted = 0;
        for _ in 0..ATTEMPTS {
            deleted += inner.change("delete_owned", WhenLost::Fail, &inner.sql.delete_owned, &args).await?;
            let Some(left) = &inner.sql.left_owned else { return Ok(deleted) };
            let left =
                inner.run("delete_owned", WhenLost::Again, |_| some(inner.engine.marks(left, &args))).await?;
            if left.is_empty() {
                return Ok(deleted);
            }
        }
        Err(inner
            .named("delete_owned", Error::new(ErrorKind::Contended, "this owner's sessions keep moving")))
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
}

impl Inner {
    async fn try_prepare(&self) -> Result<Option<()>, Fault> {
        let found = match self.engine.number(&self.sql.version).await {
            Err(Fault::NoTable(_)) => 0,
            found => found?,
        };
        if found > SCHEMA_VERSION {
            return Err(Fault::Fatal(error::invalid_config(format!(
                "the table {} has the schema of a newer release: version {found}, while this one knows \
                 {SCHEMA_VERSION}",
                self.table
            ))));
        }
        if found < SCHEMA_VERSION {
            self.engine.script(&self.sql.prepare).await?;
        }
        Ok(Some(()))
    }

    async fn try_create(
        &self,
        key: SessionKey,
        record: &Record,
        lost: bool,
    ) -> Result<Option<Created>, Fault> {
        let [revision, owner, created_at, expires_at, payload] = layout::columns(record);
        let args = [revision, owner, created_at, expires_at, payload, layout::key(key)];
        match self.engine.change(&self.sql.create, &args).await {
            Ok(1..) => return Ok(Some(Created::Stored)),
            Ok(0) if !lost => return Ok(Some(Created::Occupied)),
            Ok(0) => {}
            Err(Fault::Taken(_)) if self.clear(key).await? => return Ok(None),
            Err(Fault::Taken(_)) => {}
            Err(fault) => return Err(fault),
        }
        Ok(match self.look(key).await? {
            // The attempt whose answer was lost had succeeded.
            Some(found) if lost && found == record.revision => Some(Created::Stored),
            Some(_) => Some(Created::Occupied),
            None => None,
        })
    }

    async fn try_save(
        &self,
        key: SessionKey,
        expected: Revision,
        record: &Record,
    ) -> Result<Option<Saved>, Fault> {
        let [revision, owner, created_at, expires_at, payload] = layout::columns(record);
        let expected_revision = layout::revision(expected);
        let args = [revision, owner, created_at, expires_at, payload, layout::key(key), expected_revision];
        if self.engine.change(&self.sql.save, &args).await? > 0 {
            return Ok(Some(Saved::Stored));
        }
        Ok(match self.look(key).await? {
            None => Some(Saved::Missing),
            // [S5]: this save took effect before. It is not done again: a touch may have come since.
            Some(found) if found == record.revision => Some(Saved::Stored),
            // It came back between the two statements.
            Some(found) if found == expected => None,
            Some(_) => Some(Saved::Conflict),
        })
    }

    async fn try_rename(
        &self,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Option<Renamed>, Fault> {
        let [revision, owner, created_at, expires_at, payload] = layout::columns(record);
        let args = [
            layout::key(to),
            revision,
            owner,
            created_at,
            expires_at,
            payload,
            layout::key(from),
            layout::revision(expected),
        ];
        match self.engine.change(&self.sql.rename, &args).await {
            Ok(1..) => return Ok(Some(Renamed::Stored)),
            Ok(0) => {}
            Err(Fault::Taken(_)) if self.clear(to).await? => return Ok(None),
            Err(Fault::Taken(_)) => {}
            Err(fault) => return Err(fault),
        }
        let live = self.engine.marks(&self.sql.look, &[layout::key(from), layout::key(to)]).await?;
        Ok(match (revision_of(&live, from), revision_of(&live, to)) {
            // [R6]: this rename took effect before.
            (None, Some(there)) if there == record.revision => Some(Renamed::Stored),
            (None, _) => Some(Renamed::Missing),
            (Some(here), _) if here != expected => Some(Renamed::Conflict),
            (Some(_), Some(_)) => Some(Renamed::Occupied),
            // What was in the way is gone, or what was missing is back.
            (Some(_), None) => None,
        })
    }

    /// Removes the record under `key` if it has expired; whether there was one.
    async fn clear(&self, key: SessionKey) -> Result<bool, Fault> {
        Ok(self.engine.change(&self.sql.clear, &[layout::key(key)]).await? > 0)
    }

    /// The revision of the live record under `key`.
    async fn look(&self, key: SessionKey) -> Result<Option<Revision>, Fault> {
        let live = self.engine.marks(&self.sql.look, &[layout::key(key), layout::key(key)]).await?;
        Ok(revision_of(&live, key))
    }

    /// Runs one statement that writes; how many rows it met.
    async fn change(
        &self,
        operation: &'static str,
        when_lost: WhenLost,
        sql: &Sql,
        args: &[Arg<'_>],
    ) -> Result<u64> {
        self.run(operation, when_lost, |_| some(self.engine.change(sql, args))).await
    }

    /// Runs the steps of an operation within the configured time, and again when others undid them, when they
    /// answer `None`, or when the connection was lost and `when_lost` allows it. The steps are told whether one was
    /// lost before.
    async fn run<T, F: Future<Output = Result<Option<T>, Fault>>>(
        &self,
        operation: &'static str,
        when_lost: WhenLost,
        mut steps: impl FnMut(bool) -> F,
    ) -> Result<T> {
        let attempts = async {
            let mut lost = false;
            let mut last = Error::new(ErrorKind::Contended, "others keep changing this session");
            for attempt in 0..ATTEMPTS {
                if attempt > 0 {
                    tokio::time::sleep(backoff(attempt)).await;
                }
                match steps(lost).await {
                    Ok(Some(done)) => return Ok(done),
                    Ok(None) => {}
                    Err(Fault::Undone(error)) => last = error,
                    Err(Fault::Lost(error)) if when_lost == WhenLost::Again && !lost => {
                        lost = true;
                        last = error;
                    }
                    Err(fault) => return Err(fault.into_error()),
                }
            }
            Err(last)
        };
        let outcome = tokio::time::timeout(self.config.timeout, attempts).await;
        outcome
            .unwrap_or_else(|_| Err(error::timed_out(self.config.timeout)))
            .map_err(|error| self.named(operation, error))
    }

    fn named(&self, operation: &'static str, error: Error) -> Error {
        error.with_operation(operation).with_backend(self.dialect.backend)
    }

    fn check_size(&self, operation: &'static str, record: &Record) -> Result<()> {
        let (size, limit) = (record.payload.len(), self.config.max_payload);
        if size <= limit {
            return Ok(());
        }
        let message = format!("the session has {size} bytes, the limit is {limit}");
        Err(self.named(operation, Error::new(ErrorKind::TooLarge, message)))
    }

    fn page(&self, rows: Vec<Result<(SessionKey, Record)>>, limit: usize) -> Result<Page> {
        let full = rows.len() >= limit;
        let mut sessions = Vec::with_capacity(rows.len());
        let mut rows = rows.into_iter();
        while let Some(row) = rows.next() {
            match row {
                Ok(session) => sessions.push(session),
                // A page of nothing else has no place to go on from.
                Err(error) if full && sessions.is_empty() && rows.len() == 0 => {
                    return Err(self.named("list", error));
                }
                Err(error) => {
                    tracing::warn!(table = %self.table, %error, "a listing leaves out a damaged row");
                }
            }
        }
        let next = sessions.last().filter(|_| full).map(|(key, _)| Cursor::new(key.to_string()));
        Ok(Page { sessions, next })
    }
}

/// For steps that have an answer whenever they do not fail.
async fn some<T>(step: impl Future<Output = Result<T, Fault>>) -> Result<Option<T>, Fault> {
    step.await.map(Some)
}

fn revision_of(live: &[(Uuid, i64)], key: SessionKey) -> Option<Revision> {
    let mark = live.iter().find(|(found, _)| found == key.as_uuid());
    mark.map(|(_, revision)| Revision::from_u64(revision.cast_unsigned()))
}

/// None at first, then 1, 2, 4 .. 64 ms.
fn backoff(attempt: u32) -> Duration {
    Duration::from_millis((1_u64 << attempt.min(7)) >> 1)
}
