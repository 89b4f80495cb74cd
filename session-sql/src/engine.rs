//! Running a statement: the same on every database, but for types that each driver has of its own.

#[cfg(any(feature = "sqlite", feature = "mysql"))]
use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use session_core::{Record, Result, SessionKey};
use sqlx::query::Query;
use sqlx::types::Uuid;
use sqlx::{Arguments as _, AssertSqlSafe, Database, Encode, IntoArguments, Row as _, Type};

use crate::error::Fault;
use crate::lanes::Lanes;
use crate::layout::{self, Arg, Row};
#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::literal;
use crate::statements::Sql;

/// A database, its kind forgotten.
#[async_trait]
pub(crate) trait Engine: Send + Sync {
    /// Runs a statement that writes; how many rows it met.
    async fn change(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<u64, Fault>;

    /// Runs a statement that writes several rows; the keys of those that it met.
    async fn changed(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<Uuid>, Fault>;

    /// Runs a statement that reads one record at most.
    async fn record(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Option<Result<Record>>, Fault>;

    /// Runs a statement that reads records and their keys. A damaged one does not hide the others.
    async fn records(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<Found>, Fault>;

    /// Runs a statement that reads one number at most.
    async fn number(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Option<i64>, Fault>;

    /// Runs several statements that bind nothing.
    async fn script(&self, sql: &Sql) -> Result<(), Fault>;
}

/// A row of a session, which may be damaged.
pub(crate) struct Found {
    /// Where it is in the order of keys, if that can be read.
    pub(crate) place: Option<Uuid>,
    pub(crate) session: Result<(SessionKey, Record)>,
}

/// What differs between the drivers of sqlx in types only; see [`driver!`].
pub(crate) trait Driver: Database {
    /// Whether the database is in this process, so that nothing can come between it and us.
    const LOCAL: bool;

    fn execute(
        connection: &mut Self::Connection,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// The first row.
    fn fetch_one(
        connection: &mut Self::Connection,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<Option<Self::Row>, sqlx::Error>> + Send;

    fn fetch(
        connection: &mut Self::Connection,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    fn script(
        connection: &mut Self::Connection,
        sql: &Sql,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    fn record(row: &Self::Row) -> Result<Row<'_>, sqlx::Error>;

    fn key(row: &Self::Row, index: usize) -> Result<Uuid, sqlx::Error>;

    fn number(row: &Self::Row) -> Result<i64, sqlx::Error>;
}

/// A statement with what is bound to it.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'s> {
    sql: &'s Sql,
    args: &'s [Arg<'s>],
    prepared: bool,
}

/// Connections for statements that read and for those that write, which may be the same.
pub(crate) struct Connections<DB: Driver> {
    pub(crate) readers: Arc<Lanes<DB>>,
    pub(crate) writers: Arc<Lanes<DB>>,
    pub(crate) prepared: bool,
}

impl<DB: Driver> Connections<DB> {
    /// The first row of what a statement reads.
    async fn first(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Option<DB::Row>, Fault> {
        let mut lane = self.readers.take().await?;
        let outcome =
            DB::fetch_one(lane.connection()?, Statement { sql, args, prepared: self.prepared }).await;
        lane.done(outcome)
    }

    async fn fetch(&self, lanes: &Lanes<DB>, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<DB::Row>, Fault> {
        let mut lane = lanes.take().await?;
        let outcome = DB::fetch(lane.connection()?, Statement { sql, args, prepared: self.prepared }).await;
        lane.done(outcome)
    }
}

#[async_trait]
impl<DB: Driver> Engine for Connections<DB> {
    async fn change(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<u64, Fault> {
        let mut lane = self.writers.take().await?;
        let outcome = DB::execute(lane.connection()?, Statement { sql, args, prepared: self.prepared }).await;
        lane.done(outcome)
    }

    async fn changed(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<Uuid>, Fault> {
        let rows = self.fetch(&self.writers, sql, args).await?;
        rows.iter().map(|row| DB::key(row, 0).map_err(Fault::from)).collect()
    }

    async fn record(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Option<Result<Record>>, Fault> {
        Ok(self.first(sql, args).await?.as_ref().map(read::<DB>))
    }

    async fn records(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Vec<Found>, Fault> {
        let rows = self.fetch(&self.readers, sql, args).await?;
        let found = |row| {
            let key = DB::key(row, layout::COLUMNS).map_err(|error| Fault::from(error).into_error());
            Found { place: key.as_ref().ok().copied(), session: key.and_then(|key| session::<DB>(key, row)) }
        };
        Ok(rows.iter().map(found).collect())
    }

    async fn number(&self, sql: &Sql, args: &[Arg<'_>]) -> Result<Option<i64>, Fault> {
        Ok(self.first(sql, args).await?.as_ref().map(DB::number).transpose()?)
    }

    async fn script(&self, sql: &Sql) -> Result<(), Fault> {
        let mut lane = self.writers.take().await?;
        let outcome = DB::script(lane.connection()?, sql).await;
        lane.done(outcome)
    }
}

fn session<DB: Driver>(key: Uuid, row: &DB::Row) -> Result<(SessionKey, Record)> {
    Ok((SessionKey::try_from(key)?, read::<DB>(row)?))
}

fn read<DB: Driver>(row: &DB::Row) -> Result<Record> {
    DB::record(row).map_err(|error| Fault::from(error).into_error())?.into_record()
}

/// The statement with its values. The text is ours, but for the name of the table, which was checked.
fn bind<'q, DB>(statement: Statement<'q>) -> Query<'q, DB, DB::Arguments>
where
    DB: Database,
    Uuid: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
    Option<&'q str>: Encode<'q, DB> + Type<DB>,
    &'q [u8]: Encode<'q, DB> + Type<DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let mut room = DB::Arguments::default();
    room.reserve(statement.args.len(), statement.args.iter().map(Arg::size).sum());
    let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), room);
    statement.args.iter().fold(query, |query, arg| match *arg {
        Arg::Key(key) => query.bind(key),
        Arg::Number(number) => query.bind(number),
        Arg::Owner(owner) => query.bind(owner),
        Arg::Payload(payload) => query.bind(&payload[..]),
    })
}

/// A column of bytes, or of text, whose bytes are the same.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn column<'r, R: sqlx::Row>(row: &'r R, index: usize) -> Result<Option<Cow<'r, [u8]>>, sqlx::Error>
where
    &'r [u8]: sqlx::Decode<'r, R::Database> + Type<R::Database>,
    usize: sqlx::ColumnIndex<R>,
{
    Ok(row.try_get_unchecked::<Option<&[u8]>, _>(index)?.map(Cow::Borrowed))
}

/// Says once, for a driver's types, how values go in and rows come out. With `unprepared`, a statement that is not to
/// be kept prepared is given to this function, and sent as the text that it makes.
macro_rules! driver {
    ($database:ty, local: $local:literal, column: $column:path $(, unprepared: $text:path)?) => {
        impl Driver for $database {
            const LOCAL: bool = $local;

            async fn execute(
                connection: &mut Self::Connection,
                statement: Statement<'_>,
            ) -> Result<u64, sqlx::Error> {
                $(if !statement.prepared {
                    let text = AssertSqlSafe($text(statement.sql, statement.args));
                    return Ok(sqlx::raw_sql(text).execute(connection).await?.rows_affected());
                })?
                let done = bind::<Self>(statement).persistent(statement.prepared).execute(connection).await?;
                Ok(done.rows_affected())
            }

            async fn fetch_one(
                connection: &mut Self::Connection,
                statement: Statement<'_>,
            ) -> Result<Option<Self::Row>, sqlx::Error> {
                $(if !statement.prepared {
                    let text = AssertSqlSafe($text(statement.sql, statement.args));
                    return sqlx::raw_sql(text).fetch_optional(connection).await;
                })?
                bind::<Self>(statement).persistent(statement.prepared).fetch_optional(connection).await
            }

            async fn fetch(
                connection: &mut Self::Connection,
                statement: Statement<'_>,
            ) -> Result<Vec<Self::Row>, sqlx::Error> {
                $(if !statement.prepared {
                    let text = AssertSqlSafe($text(statement.sql, statement.args));
                    return sqlx::raw_sql(text).fetch_all(connection).await;
                })?
                bind::<Self>(statement).persistent(statement.prepared).fetch_all(connection).await
            }

            async fn script(connection: &mut Self::Connection, sql: &Sql) -> Result<(), sqlx::Error> {
                sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(connection).await.map(drop)
            }

            fn record(row: &Self::Row) -> Result<Row<'_>, sqlx::Error> {
                Ok(Row {
                    revision: row.try_get(0)?,
                    owner: $column(row, 1)?,
                    created_at: row.try_get(2)?,
                    expires_at: row.try_get(3)?,
                    payload: $column(row, 4)?,
                })
            }

            fn key(row: &Self::Row, index: usize) -> Result<Uuid, sqlx::Error> {
                row.try_get(index)
            }

            fn number(row: &Self::Row) -> Result<i64, sqlx::Error> {
                row.try_get(0)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
driver!(sqlx::Sqlite, local: true, column: column);
#[cfg(feature = "postgres")]
driver!(sqlx::Postgres, local: false, column: literal::column, unprepared: literal::postgres);
#[cfg(feature = "mysql")]
driver!(sqlx::MySql, local: false, column: column, unprepared: literal::mysql);
