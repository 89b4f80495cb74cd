//! The steps of operations: which statements follow which answers, how often, and for how long.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Created, Cursor, Error, ErrorKind, Page, Record, Result, Revision, Saved, SessionKey, Timestamp, Touched,
};
use session_together::Timers;
use sqlx::types::Uuid;

use crate::batch::{Loading, Way, Writing};
use crate::config::SqlConfig;
use crate::dialect::Dialect;
use crate::engine::{Engine, Found};
use crate::error::{self, Fault};
use crate::layout::{self, Arg, Table};
use crate::statements::{Others, Sql, Statements};

/// What all handles on a store share.
pub(crate) struct Inner {
    pub(crate) engine: Arc<dyn Engine>,
    create: Writing,
    pub(crate) load: Loading,
    save: Writing,
    touch: Writing,
    pub(crate) sql: Others,
    pub(crate) dialect: &'static Dialect,
    table: Table,
    timers: Arc<Timers>,
    pub(crate) config: SqlConfig,
}

/// The version of the schema that this crate reads and writes.
const SCHEMA_VERSION: i64 = 1;

/// How often a statement is run that others undid, or between whose halves others changed the record. Each time
/// somebody else got further, so this many in a row is a storm.
const ATTEMPTS: u32 = 24;

/// What to do when the connection ends before the answer came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenLost {
    /// Once more: doing it twice is as good as once.
    Again,
    /// Say so: the answer would be wrong.
    Fail,
}

/// What an update met that expects a revision.
enum Met {
    /// The record at that revision: it was written.
    Expected,
    /// The record at this other one.
    Other(Revision),
    /// No live record.
    Nothing,
}

impl Inner {
    pub(crate) fn new(engine: Arc<dyn Engine>, config: SqlConfig, dialect: &'static Dialect) -> Result<Self> {
        let table = Table::parse(&config.table)?;
        let timers = Arc::<Timers>::default();
        let (timeout, waits) = (config.timeout, dialect.waits);
        let way = Way { engine: engine.clone(), timeout, timers: timers.clone(), waits };
        let sql = Statements::new(dialect, &table);
        Ok(Self {
            create: Writing::new(&way, sql.create),
            load: Loading::new(&way, sql.load, sql.load_many),
            save: Writing::new(&way, sql.save),
            touch: Writing::new(&way, sql.touch),
            engine,
            sql: sql.others,
            dialect,
            table,
            timers,
            config,
        })
    }

    /// Looks first: a user that may not create tables can use the one that is there.
    pub(crate) async fn try_prepare(&self) -> Result<Option<()>, Fault> {
        let exists = match self.engine.number(&self.sql.shape, &[]).await {
            Err(Fault::NoTable(_)) => false,
            found => found.map(|_| true)?,
        };
        let found = match self.engine.number(&self.sql.version, &[]).await {
            Err(Fault::NoTable(_) | Fault::Denied(_)) => 0,
            found => found?.unwrap_or_default(),
        };
        if found > SCHEMA_VERSION {
            return Err(Fault::Fatal(error::invalid_config(format!(
                "the table {} has the schema of a newer release: version {found}, while this one knows \
                 {SCHEMA_VERSION}",
                self.table
            ))));
        }
        if exists && found == SCHEMA_VERSION {
            return Ok(Some(()));
        }
        match self.engine.script(&self.sql.prepare).await {
            Err(Fault::Denied(error)) if exists => {
                // The indexes may be missing, too, and nobody here can see that or help it.
                tracing::warn!(table = %self.table, %error, "the session table is used as it is: its version is not known");
                Ok(Some(()))
            }
            Err(Fault::Denied(error)) => Err(Fault::Denied(error::not_created(error))),
            done => done.map(Some),
        }
    }

    pub(crate) async fn try_create(
        &self,
        key: SessionKey,
        record: &Record,
        lost: bool,
    ) -> Result<Option<Created>, Fault> {
        let [revision, owner, created_at, expires_at, payload] = layout::columns(record);
        let args = [revision, owner, created_at, expires_at, payload, layout::key(key)];
        match self.create.run(&args, lost).await {
            Ok(true) => return Ok(Some(Created::Stored)),
            Ok(false) if !lost => return Ok(Some(Created::Occupied)),
            Ok(false) => {}
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

    pub(crate) async fn try_save(
        &self,
        key: SessionKey,
        expected: Revision,
        record: &Record,
        lost: bool,
    ) -> Result<Option<Saved>, Fault> {
        let [revision, owner, created_at, expires_at, payload] = layout::columns(record);
        let expected_revision = layout::revision(expected);
        let args = [revision, owner, created_at, expires_at, payload, layout::key(key), expected_revision];
        Ok(self.update(&self.save, key, expected, &args, lost).await?.map(|met| match met {
            Met::Expected => Saved::Stored,
            // [S5]: this save took effect before. It is not done again: a touch may have come since.
            Met::Other(found) if found == record.revision => Saved::Stored,
            Met::Other(_) => Saved::Conflict,
            Met::Nothing => Saved::Missing,
        }))
    }

    pub(crate) async fn try_touch(
        &self,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
        lost: bool,
    ) -> Result<Option<Touched>, Fault> {
        let args = [layout::time(expires_at), layout::key(key), layout::revision(expected)];
        Ok(self.update(&self.touch, key, expected, &args, lost).await?.map(|met| match met {
            Met::Expected => Touched::Stored,
            Met::Other(_) => Touched::Conflict,
            Met::Nothing => Touched::Missing,
        }))
    }

    /// Writes to the record if it has the revision `expected`. It is sent with others first, where they may be, and
    /// by itself when its row was locked then.
    async fn update(
        &self,
        write: &Writing,
        key: SessionKey,
        expected: Revision,
        args: &[Arg<'_>],
        lost: bool,
    ) -> Result<Option<Met>, Fault> {
        let mut alone = lost;
        loop {
            if write.run(args, alone).await? {
                return Ok(Some(Met::Expected));
            }
            match self.look(key).await? {
                None => return Ok(Some(Met::Nothing)),
                Some(found) if found != expected => return Ok(Some(Met::Other(found))),
                // It came back between the two statements.
                Some(_) if alone => return Ok(None),
                Some(_) => alone = true,
            }
        }
    }

    /// Removes the record under `key` if it has expired; whether there was one.
    async fn clear(&self, key: SessionKey) -> Result<bool, Fault> {
        Ok(self.engine.change(&self.sql.clear, &[layout::key(key)]).await? > 0)
    }

    /// The revision of the live record under `key`.
    async fn look(&self, key: SessionKey) -> Result<Option<Revision>, Fault> {
        let found = self.engine.number(&self.sql.look, &[layout::key(key)]).await?;
        Ok(found.map(|revision| Revision::from_u64(revision.cast_unsigned())))
    }

    /// Runs the steps of an operation that writes a record.
    ///
    /// A server that is sent a longer statement than it takes says so and hangs up, and the end of the connection
    /// can overtake what it said. So when a connection was lost, its limit is asked for.
    pub(crate) async fn write<T, F: Future<Output = Result<Option<T>, Fault>>>(
        &self,
        operation: &'static str,
        record: &Record,
        steps: impl FnMut(bool) -> F,
    ) -> Result<T> {
        let size = record.payload.len();
        self.check_size(operation, size, self.config.max_payload, "the limit")?;
        let outcome = self.run(operation, WhenLost::Again, steps).await;
        match (&self.sql.largest, &outcome) {
            (Some(largest), Err(error)) if error.kind() == ErrorKind::Unavailable => {
                Box::pin(self.check_packet(operation, size, largest)).await?;
            }
            _ => {}
        }
        outcome
    }

    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) when the server says that it takes less in one statement.
    async fn check_packet(&self, operation: &'static str, size: usize, largest: &Sql) -> Result<()> {
        let limit = self.run(operation, WhenLost::Again, |_| self.engine.number(largest, &[])).await;
        let Ok(limit) = limit else { return Ok(()) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // A byte in a statement's text takes two digits.
        let (limit, name) = match self.config.prepared {
            true => (limit, "the database's max_allowed_packet"),
            false => (limit / 2, "half the database's max_allowed_packet"),
        };
        self.check_size(operation, size, limit, name)
    }

    /// Runs one statement that writes; how many rows it met.
    pub(crate) async fn change(
        &self,
        operation: &'static str,
        when_lost: WhenLost,
        sql: &Sql,
        args: &[Arg<'_>],
    ) -> Result<u64> {
        self.run(operation, when_lost, |_| async { self.engine.change(sql, args).await.map(Some) }).await
    }

    /// Runs the steps of an operation within the configured time, and again when others undid them, when they
    /// answer `None`, or when the connection was lost and `when_lost` allows it. The steps are told whether one was
    /// lost before.
    pub(crate) async fn run<T, F: Future<Output = Result<Option<T>, Fault>>>(
        &self,
        operation: &'static str,
        when_lost: WhenLost,
        mut steps: impl FnMut(bool) -> F,
    ) -> Result<T> {
        let attempts = pin!(async {
            match steps(false).await {
                Ok(Some(done)) => Ok(done),
                // Seldom, so there is no room for it in the future that all wait for.
                first => Box::pin(again(first, when_lost, steps)).await,
            }
        });
        let outcome = self.timers.within(self.config.timeout, attempts).await;
        outcome
            .unwrap_or_else(|| Err(error::timed_out(self.config.timeout)))
            .map_err(|error| self.named(operation, error))
    }

    pub(crate) fn named(&self, operation: &'static str, error: Error) -> Error {
        error.with_operation(operation).with_backend(self.dialect.backend)
    }

    pub(crate) fn check_size(
        &self,
        operation: &'static str,
        size: usize,
        limit: usize,
        name: &str,
    ) -> Result<()> {
        if size <= limit {
            return Ok(());
        }
        let message = format!("the session has {size} bytes, {name} is {limit}");
        Err(self.named(operation, Error::new(ErrorKind::TooLarge, message)))
    }

    /// What was found, without damaged rows. The next page begins after the last row, damaged or not.
    pub(crate) fn page(&self, rows: Vec<Found>, limit: usize) -> Result<Page> {
        let full = rows.len() >= limit;
        let place = rows.iter().rev().find_map(|row| row.place);
        let mut sessions = Vec::with_capacity(rows.len());
        for row in rows {
            match row.session {
                Ok(session) => sessions.push(session),
                // A page without any key has no place to go on from.
                Err(error) if full && place.is_none() => return Err(self.named("list", error)),
                Err(error) => {
                    tracing::warn!(table = %self.table, %error, "a listing leaves out a damaged row");
                }
            }
        }
        Ok(Page { sessions, next: place.filter(|_| full).map(|place| Cursor::new(place.to_string())) })
    }

    /// The place that a page ended with.
    pub(crate) fn place(&self, cursor: &Cursor) -> Result<Uuid> {
        Uuid::try_parse(cursor.as_str()).map_err(|source| {
            let message = "not a cursor that a listing of this store gave out";
            self.named("list", Error::new(ErrorKind::InvalidInput, message).with_source(source))
        })
    }
}

/// Runs steps again after a first attempt that gave no answer.
async fn again<T, F: Future<Output = Result<Option<T>, Fault>>>(
    mut outcome: Result<Option<T>, Fault>,
    when_lost: WhenLost,
    mut steps: impl FnMut(bool) -> F,
) -> Result<T> {
    let mut lost = false;
    let mut last = Error::new(ErrorKind::Contended, "others keep changing this session");
    for attempt in 1.. {
        match outcome {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            Err(Fault::Undone(error)) => last = error,
            Err(Fault::Lost(error)) if when_lost == WhenLost::Again && !lost => {
                lost = true;
                last = error;
            }
            Err(fault) => return Err(fault.into_error()),
        }
        if attempt == ATTEMPTS {
            break;
        }
        tokio::time::sleep(backoff(attempt)).await;
        outcome = steps(lost).await;
    }
    Err(last)
}

/// None at first, then 1, 2, 4 .. 64 ms.
fn backoff(attempt: u32) -> Duration {
    Duration::from_millis((1_u64 << attempt.min(7)) >> 1)
}
