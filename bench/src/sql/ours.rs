//! Our store.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use session_core::{Created, Revision, Saved, SessionStore as _, Touched};
use session_sql::{SqlConfig, SqlStore};
use tokio::sync::OnceCell;

use super::{Place, Sessions, record};
use crate::operation::Operation;
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{key, mix};

pub(crate) struct Ours {
    place: Arc<Place>,
    operation: Operation,
    sessions: u64,
    ready: OnceCell<(SqlStore, Sessions)>,
}

impl Ours {
    pub(crate) fn new(place: Arc<Place>, operation: Operation, sessions: u64) -> Self {
        Self { place, operation, sessions, ready: OnceCell::new() }
    }
}

#[async_trait]
impl Contender for Ours {
    fn name(&self) -> &'static str {
        "session-sql"
    }

    async fn reset(&self) -> Result<()> {
        let fill = async || {
            let url = self.place.database().await?;
            let sessions = Sessions::store(&url, self.sessions).await?;
            anyhow::Ok((SqlStore::connect(&url, SqlConfig::default())?, sessions))
        };
        self.ready.get_or_try_init(fill).await?;
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let (store, sessions) = self.ready.get().context("not reset")?;
        let (own, offset) = (sessions.own(job), (job.task as u64) << 32);
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let (key, _) = *sessions.at((mix(offset | n as u64) % sessions.len()) as usize);
                ensure!(store.load(key).await?.is_some());
            }),
            Operation::Save | Operation::ChangeId => repeat!(job, |n| {
                let (at, new) = (own[n % own.len()], sessions.fresh());
                let (key, revision) = *sessions.at(at);
                let saved = store.save(key, Revision::from_u64(revision), &record(new)).await?;
                ensure!(saved == Saved::Stored);
                sessions.at(at).1 = new;
            }),
            Operation::Create => repeat!(job, |_n| {
                let new = sessions.fresh();
                ensure!(store.create(key(new), &record(new)).await? == Created::Stored);
            }),
            Operation::Touch => repeat!(job, |n| {
                let later = record(sessions.fresh()).expires_at.saturating_add(Duration::from_secs(1));
                let (key, revision) = *sessions.at(own[n % own.len()]);
                let touched = store.touch(key, Revision::from_u64(revision), later).await?;
                ensure!(touched == Touched::Stored);
            }),
            Operation::LoadAndSave => bail!("it is not measured"),
        }
    }
}
