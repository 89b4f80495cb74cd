//! One prepared statement for each operation, with no look at expiry, on the tables of our store: through sqlx's pool
//! as it comes, or on a connection that each task holds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use session_sql::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use session_sql::sqlx::{self, Connection as _, MySql, Pool, Postgres, Row as _, Sqlite};
use session_sql::sqlx::{MySqlConnection, PgConnection, SqliteConnection};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use super::{PAYLOAD, Place, Sessions, record};
use crate::operation::Operation;
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{key, mix};

/// The most tasks of a contest.
const TASKS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    Held,
    Pool,
}

pub(crate) struct Bare {
    place: Arc<Place>,
    operation: Operation,
    sessions: u64,
    through: Through,
    ready: OnceCell<(Box<dyn Engine>, Sessions)>,
}

impl Bare {
    pub(crate) fn new(place: Arc<Place>, operation: Operation, sessions: u64, through: Through) -> Self {
        Self { place, operation, sessions, through, ready: OnceCell::new() }
    }

    async fn fill(&self) -> Result<(Box<dyn Engine>, Sessions)> {
        let url = self.place.database().await?;
        let sessions = Sessions::store(&url, self.sessions).await?;
        let engine: Box<dyn Engine> = match (url.split(':').next(), self.through) {
            (Some("sqlite"), through) => {
                let options: SqliteConnectOptions = url.parse()?;
                let options = options
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal)
                    .busy_timeout(Duration::from_secs(60));
                if through == Through::Pool {
                    Box::new(Pool::<Sqlite>::connect_with(options).await?)
                } else {
                    let mut held = Vec::new();
                    for _ in 0..TASKS {
                        held.push(Mutex::new(SqliteConnection::connect_with(&options).await?));
                    }
                    Box::new(Held(held))
                }
            }
            (Some("postgres"), Through::Pool) => Box::new(Pool::<Postgres>::connect(&url).await?),
            (Some("postgres"), Through::Held) => {
                let mut held = Vec::new();
                for _ in 0..TASKS {
                    held.push(Mutex::new(PgConnection::connect(&url).await?));
                }
                Box::new(Held(held))
            }
            (_, Through::Pool) => Box::new(Pool::<MySql>::connect(&url).await?),
            (_, Through::Held) => {
                let mut held = Vec::new();
                for _ in 0..TASKS {
                    held.push(Mutex::new(MySqlConnection::connect(&url).await?));
                }
                Box::new(Held(held))
            }
        };
        Ok((engine, sessions))
    }
}

#[async_trait]
impl Contender for Bare {
    fn name(&self) -> &'static str {
        match self.through {
            Through::Held => "held connections",
            Through::Pool => "sqlx pool",
        }
    }

    async fn reset(&self) -> Result<()> {
        self.ready.get_or_try_init(|| self.fill()).await?;
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let (engine, sessions) = self.ready.get().context("not reset")?;
        let (own, offset) = (sessions.own(job), (job.task as u64) << 32);
        let uuid = |n| *key(n).as_uuid();
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let (key, _) = *sessions.at((mix(offset | n as u64) % sessions.len()) as usize);
                ensure!(engine.load(job.task, *key.as_uuid()).await?);
            }),
            Operation::Save | Operation::ChangeId => repeat!(job, |n| {
                let (at, new) = (own[n % own.len()], sessions.fresh());
                let (key, revision) = *sessions.at(at);
                ensure!(engine.save(job.task, *key.as_uuid(), revision, new).await?);
                sessions.at(at).1 = new;
            }),
            Operation::Create => repeat!(job, |_n| {
                let new = sessions.fresh();
                ensure!(engine.create(job.task, uuid(new), new).await?);
            }),
            Operation::Touch => repeat!(job, |n| {
                let (key, _) = *sessions.at(own[n % own.len()]);
                ensure!(engine.touch(job.task, *key.as_uuid(), sessions.fresh()).await?);
            }),
            Operation::LoadAndSave => bail!("it is not measured"),
        }
    }
}

/// Whether each met its row.
#[async_trait]
trait Engine: Send + Sync {
    async fn load(&self, task: usize, key: Uuid) -> Result<bool>;
    async fn save(&self, task: usize, key: Uuid, expected: u64, new: u64) -> Result<bool>;
    async fn create(&self, task: usize, key: Uuid, new: u64) -> Result<bool>;
    async fn touch(&self, task: usize, key: Uuid, new: u64) -> Result<bool>;
}

/// A connection for each task.
struct Held<C>(Vec<Mutex<C>>);

/// `$executor` is what runs a statement, for `$this` and `$task`; `$sql` turns `$1` into the database's parameters.
macro_rules! engine {
    ($what:ty, $text:ident, |$this:ident, $task:ident| $executor:expr) => {
        #[async_trait]
        impl Engine for $what {
            async fn load(&self, $task: usize, key: Uuid) -> Result<bool> {
                let $this = self;
                let row = sqlx::query($text!(
                    "SELECT revision, owner, created_at, expires_at, payload \
                                             FROM sessions WHERE session_key = $1"
                ))
                .bind(key)
                .fetch_one($executor)
                .await?;
                let payload: &[u8] = row.try_get(4)?;
                Ok(payload.len() == PAYLOAD && row.try_get::<i64, _>(3)? > 0)
            }

            async fn save(&self, $task: usize, key: Uuid, expected: u64, new: u64) -> Result<bool> {
                let ($this, record) = (self, record(new));
                let done = sqlx::query($text!(
                    "UPDATE sessions SET revision = $1, owner = $2, created_at = $3, \
                                              expires_at = $4, payload = $5 \
                                              WHERE session_key = $6 AND revision = $7"
                ))
                .bind(new as i64)
                .bind(None::<&str>)
                .bind(record.created_at.as_millis())
                .bind(record.expires_at.as_millis())
                .bind(&record.payload[..])
                .bind(key)
                .bind(expected as i64)
                .execute($executor)
                .await?;
                Ok(done.rows_affected() == 1)
            }

            async fn create(&self, $task: usize, key: Uuid, new: u64) -> Result<bool> {
                let ($this, record) = (self, record(new));
                let done = sqlx::query($text!(
                    "INSERT INTO sessions (revision, owner, created_at, expires_at, \
                                              payload, session_key) VALUES ($1, $2, $3, $4, $5, $6)"
                ))
                .bind(new as i64)
                .bind(None::<&str>)
                .bind(record.created_at.as_millis())
                .bind(record.expires_at.as_millis())
                .bind(&record.payload[..])
                .bind(key)
                .execute($executor)
                .await?;
                Ok(done.rows_affected() == 1)
            }

            async fn touch(&self, $task: usize, key: Uuid, new: u64) -> Result<bool> {
                let ($this, record) = (self, record(new));
                let done = sqlx::query($text!("UPDATE sessions SET expires_at = $1 WHERE session_key = $2"))
                    .bind(record.expires_at.as_millis())
                    .bind(key)
                    .execute($executor)
                    .await?;
                Ok(done.rows_affected() == 1)
            }
        }
    };
}

macro_rules! numbered {
    ($sql:literal) => {
        $sql
    };
}

/// MySQL's parameters have no numbers. Each text is made once.
macro_rules! question_marks {
    ($sql:literal) => {{
        static TEXT: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| {
            (1..9).fold($sql.to_owned(), |sql, n| sql.replace(&format!("${n}"), "?")).into()
        });
        sqlx::AssertSqlSafe(TEXT.clone())
    }};
}

engine!(Held<SqliteConnection>, numbered, |this, task| &mut *this.0[task].lock().await);
engine!(Held<PgConnection>, numbered, |this, task| &mut *this.0[task].lock().await);
engine!(Held<MySqlConnection>, question_marks, |this, task| &mut *this.0[task].lock().await);
engine!(Pool<Sqlite>, numbered, |this, _task| this);
engine!(Pool<Postgres>, numbered, |this, _task| this);
engine!(Pool<MySql>, question_marks, |this, _task| this);
