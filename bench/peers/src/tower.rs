//! tower-sessions-sqlx-store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use session_core::SessionKey;
use time::OffsetDateTime;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::{ExpiredDeletion, SessionStore};
use tower_sessions_sqlx_store::{MySqlStore, PostgresStore, SqliteStore};

use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{self, key, mix};
use crate::{Operation, Pool};

pub(crate) async fn filled(pool: Pool, operation: Operation, sessions: u64) -> Result<Arc<dyn Contender>> {
    Ok(match pool {
        Pool::Memory => bail!("it is measured in the program of the benchmarks"),
        Pool::Sqlite(pool) => {
            let store = SqliteStore::new(pool);
            store.migrate().await?;
            Arc::new(Tower::filled(store, operation, sessions).await?)
        }
        Pool::Postgres(pool) => {
            let store = PostgresStore::new(pool);
            store.migrate().await?;
            Arc::new(Tower::filled(store, operation, sessions).await?)
        }
        Pool::MySql(pool) => {
            let store = MySqlStore::new(pool);
            store.migrate().await?;
            Arc::new(Tower::filled(store, operation, sessions).await?)
        }
    })
}

struct Tower<S> {
    store: S,
    operation: Operation,
    /// Each is of one task only.
    sessions: Vec<Mutex<SessionKey>>,
    created: AtomicU64,
}

fn record(key: SessionKey) -> Record {
    let expiry_date = OffsetDateTime::now_utc() + std::time::Duration::from_secs(86_400);
    Record { id: id(key), data: sample::session().into_iter().collect(), expiry_date }
}

fn id(key: SessionKey) -> Id {
    Id(key.as_uuid().as_u128() as i128)
}

impl<S: SessionStore + ExpiredDeletion> Tower<S> {
    async fn filled(store: S, operation: Operation, sessions: u64) -> Result<Self> {
        for n in 0..sessions {
            store.create(&mut record(key(n))).await?;
        }
        let sessions = (0..sessions).map(|n| Mutex::new(key(n))).collect();
        Ok(Self { store, operation, sessions, created: AtomicU64::new(0) })
    }

    fn at(&self, n: usize) -> SessionKey {
        *self.sessions[n].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> SessionKey {
        key(1 << 40 | self.created.fetch_add(1, Ordering::Relaxed))
    }
}

#[async_trait]
impl<S: SessionStore + ExpiredDeletion> Contender for Tower<S> {
    fn name(&self) -> &'static str {
        "tower-sessions-sqlx-store"
    }

    async fn reset(&self) -> Result<()> {
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let (sessions, offset) = (self.sessions.len(), (job.task as u64) << 32);
        let own: Vec<_> = (job.task..sessions).step_by(job.tasks).collect();
        let mut record = record(key(0));
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let key = self.at((mix(offset | n as u64) % sessions as u64) as usize);
                ensure!(self.store.load(&id(key)).await?.is_some());
            }),
            Operation::Save => repeat!(job, |n| {
                record.id = id(self.at(own[n % own.len()]));
                self.store.save(&record).await?;
            }),
            Operation::Create => repeat!(job, |_n| {
                record.id = id(self.fresh());
                self.store.create(&mut record).await?;
            }),
            // What its sessions do to change their id.
            Operation::ChangeId => repeat!(job, |n| {
                let (at, to) = (own[n % own.len()], self.fresh());
                self.store.delete(&id(self.at(at))).await?;
                record.id = id(to);
                self.store.create(&mut record).await?;
                *self.sessions[at].lock().unwrap_or_else(PoisonError::into_inner) = to;
            }),
            Operation::Touch => bail!("it has no touch"),
        }
    }
}
