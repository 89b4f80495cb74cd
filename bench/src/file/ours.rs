//! Our store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use session_core::{Created, Record, Revision, Saved, SessionStore, Timestamp, Touched};
use session_file::{Durability, FileConfig, FileStore};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::PAYLOAD;
use crate::operation::{Operation, fresh, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{key, mix};

pub(crate) struct Ours {
    name: &'static str,
    operation: Operation,
    sessions: u64,
    durability: Durability,
    place: Mutex<Option<Place>>,
}

#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) store: FileStore,
    _directory: Arc<TempDir>,
}

impl Place {
    /// A store with so many sessions.
    pub(crate) async fn filled(sessions: u64, durability: Durability) -> Result<Self> {
        const FILLERS: u64 = 8;
        let directory = TempDir::new()?;
        let path = directory.path().join("sessions");
        let fast = FileStore::new(FileConfig::new(&path))?;
        fast.prepare().await?;
        let mut fillers = JoinSet::new();
        for first in 0..FILLERS {
            let store = fast.clone();
            fillers.spawn(async move {
                for n in (first..sessions).step_by(FILLERS as usize) {
                    let _ = store.create(key(n), &record(n as usize)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = fillers.join_next().await {
            done??;
        }
        let store = FileStore::new(FileConfig::new(path).with_durability(durability))?;
        Ok(Self { store, _directory: Arc::new(directory) })
    }
}

impl Ours {
    pub(crate) fn new(
        name: &'static str,
        operation: Operation,
        sessions: u64,
        durability: Durability,
    ) -> Self {
        Self { name, operation, sessions, durability, place: Mutex::default() }
    }

    fn place(&self) -> Option<Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn record(revision: usize) -> Record {
    Record {
        revision: Revision::from_u64(revision as u64),
        owner: None,
        created_at: Timestamp::from_millis(1_800_000_000_000),
        // Spread as sessions of a fortnight are, and a little later with each save.
        expires_at: Timestamp::from_millis(4_000_000_000_000 + revision as i64 * 1_000),
        payload: vec![7; PAYLOAD].into(),
    }
}

#[async_trait]
impl Contender for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        if self.operation != Operation::Load || self.place().is_none() {
            let place = Place::filled(self.sessions, self.durability).await?;
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        }
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = self.place().context("not reset")?.store;
        work(&store, self.operation, self.sessions, job).await
    }
}

/// One task's operations on a store that was filled as above.
pub(crate) async fn work(store: &FileStore, operation: Operation, sessions: u64, job: Job) -> Result<Tally> {
    let offset = (job.task as u64) << 32;
    let mut own: Vec<_> = share(job, sessions).map(|n| (key(n), n as usize)).collect();
    let first = sessions as usize;
    match operation {
        Operation::Load => repeat!(job, |n| {
            let found = store.load(key(mix(offset | n as u64) % sessions)).await?;
            ensure!(found.is_some());
        }),
        Operation::Save | Operation::ChangeId => repeat!(job, |n| {
            let at = n % own.len();
            let (key, revision) = own[at];
            let saved = store.save(key, Revision::from_u64(revision as u64), &record(first + n)).await?;
            ensure!(saved == Saved::Stored);
            own[at].1 = first + n;
        }),
        Operation::Create => repeat!(job, |n| {
            let created = store.create(fresh(job, n), &record(first + n)).await?;
            ensure!(created == Created::Stored);
        }),
        Operation::Touch => repeat!(job, |n| {
            let later = record(first).expires_at.saturating_add(Duration::from_secs(n as u64));
            let (key, revision) = own[n % own.len()];
            let touched = store.touch(key, Revision::from_u64(revision as u64), later).await?;
            ensure!(touched == Touched::Stored);
        }),
        Operation::LoadAndSave => bail!("it is not measured"),
    }
}
