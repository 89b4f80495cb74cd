//! pavex_session_sqlx and pavex_session_memory_store.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use pavex_session::store::SessionRecordRef;
use pavex_session::{SessionId, SessionStore};
use pavex_session_memory_store::InMemorySessionStore;
use pavex_session_sqlx::{MySqlSessionStore, PostgresSessionStore, SqliteSessionStore};
use serde_json::Value;

use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{self, mix};
use crate::{Operation, Pool};

pub(crate) struct Pavex {
    store: SessionStore,
    operation: Operation,
    /// Each is of one task only.
    sessions: Vec<Mutex<SessionId>>,
    entries: HashMap<Cow<'static, str>, Value>,
}

impl Pavex {
    pub(crate) async fn filled(pool: Pool, operation: Operation, sessions: u64) -> Result<Self> {
        // As large as what the others store.
        let entries = match pool {
            Pool::Memory => sample::session_of_1_kb(),
            _ => sample::session(),
        };
        let store = match pool {
            Pool::Memory => SessionStore::new(InMemorySessionStore::new()),
            Pool::Sqlite(pool) => {
                let store = SqliteSessionStore::new(pool);
                store.migrate().await?;
                SessionStore::new(store)
            }
            Pool::Postgres(pool) => {
                let store = PostgresSessionStore::new(pool);
                store.migrate().await?;
                SessionStore::new(store)
            }
            Pool::MySql(pool) => {
                let store = MySqlSessionStore::new(pool);
                store.migrate().await?;
                SessionStore::new(store)
            }
        };
        let entries = entries.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let mut pavex = Self { store, operation, sessions: Vec::new(), entries };
        for _ in 0..sessions {
            let id = SessionId::random();
            pavex.store.create(&id, pavex.record()).await?;
            pavex.sessions.push(Mutex::new(id));
        }
        Ok(pavex)
    }

    fn record(&self) -> SessionRecordRef<'_> {
        SessionRecordRef { state: Cow::Borrowed(&self.entries), ttl: Duration::from_secs(86_400) }
    }

    fn at(&self, n: usize) -> SessionId {
        *self.sessions[n].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Contender for Pavex {
    fn name(&self) -> &'static str {
        "pavex_session_sqlx"
    }

    async fn reset(&self) -> Result<()> {
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let (sessions, offset) = (self.sessions.len(), (job.task as u64) << 32);
        let own: Vec<_> = (job.task..sessions).step_by(job.tasks).collect();
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let id = self.at((mix(offset | n as u64) % sessions as u64) as usize);
                ensure!(self.store.load(&id).await?.is_some());
            }),
            Operation::Save => repeat!(job, |n| {
                self.store.update(&self.at(own[n % own.len()]), self.record()).await?;
            }),
            Operation::Create => repeat!(job, |_n| {
                self.store.create(&SessionId::random(), self.record()).await?;
            }),
            // The id only: it writes the entries with another statement.
            Operation::ChangeId => repeat!(job, |n| {
                let (at, to) = (own[n % own.len()], SessionId::random());
                self.store.change_id(&self.at(at), &to).await?;
                *self.sessions[at].lock().unwrap_or_else(PoisonError::into_inner) = to;
            }),
            Operation::Touch => repeat!(job, |n| {
                let longer = Duration::from_secs(86_400 + n as u64);
                self.store.update_ttl(&self.at(own[n % own.len()]), longer).await?;
            }),
        }
    }
}
