//! The stores for tower-sessions that keep files. They store a map of values, so what they store is a session of the
//! same size as JSON.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use session_core::SessionKey;
use tempfile::TempDir;
use tower_sessions::SessionStore;
use tower_sessions::cookie::time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions_file_based_store::FileStore;
use tower_sessions_file_store::FileSessionStorage;

use super::{Operation, fresh, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{self, key, mix};

/// Its saves truncate the file and write it again: a reader may see half.
pub(crate) fn file_store(operation: Operation, sessions: u64) -> Peer<FileSessionStorage> {
    let open = |directory: &Path| Ok(FileSessionStorage::new_in_folder(directory.to_owned()));
    Peer::new("tower-sessions-file-store (not atomic)", operation, sessions, open)
}

pub(crate) fn file_based_store(operation: Operation, sessions: u64) -> Peer<FileStore> {
    let open = |directory: &Path| Ok(FileStore::in_dir(directory)?);
    Peer::new("tower-sessions-file-based-store", operation, sessions, open)
}

type Open<S> = fn(&Path) -> Result<S>;

pub(crate) struct Peer<S> {
    name: &'static str,
    operation: Operation,
    sessions: u64,
    open: Open<S>,
    place: Mutex<Option<(Arc<TempDir>, S)>>,
}

fn record(key: SessionKey) -> Record {
    Record {
        id: id(key),
        data: sample::session_of_1_kb().into_iter().collect(),
        expiry_date: OffsetDateTime::now_utc() + std::time::Duration::from_secs(86_400),
    }
}

fn id(key: SessionKey) -> Id {
    Id(key.as_uuid().as_u128() as i128)
}

impl<S: Clone> Peer<S> {
    fn new(name: &'static str, operation: Operation, sessions: u64, open: Open<S>) -> Self {
        Self { name, operation, sessions, open, place: Mutex::default() }
    }

    fn store(&self) -> Option<S> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, store)| store.clone())
    }
}

#[async_trait]
impl<S: SessionStore + Clone> Contender for Peer<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn reset(&self) -> Result<()> {
        if self.operation == Operation::Load && self.store().is_some() {
            return Ok(());
        }
        let directory = TempDir::new()?;
        let store = (self.open)(directory.path())?;
        for n in 0..self.sessions {
            store.create(&mut record(key(n))).await?;
        }
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::new(directory), store));
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let store = self.store().context("not reset")?;
        let offset = (job.task as u64) << 32;
        let mut keys = share(job, self.sessions);
        let mut record = record(key(0));
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let found = store.load(&id(key(mix(offset | n as u64) % self.sessions))).await?;
                ensure!(found.is_some());
            }),
            Operation::Save => repeat!(job, |n| {
                record.id = id(keys[n % keys.len()]);
                store.save(&record).await?;
            }),
            Operation::Create => repeat!(job, |n| {
                record.id = id(fresh(job, n));
                store.create(&mut record).await?;
            }),
            // What its sessions do to change their id.
            Operation::Rename => repeat!(job, |n| {
                let (at, to) = (n % keys.len(), fresh(job, n));
                store.delete(&id(keys[at])).await?;
                record.id = id(to);
                store.create(&mut record).await?;
                keys[at] = to;
            }),
            Operation::Touch => anyhow::bail!("it has no touch"),
        }
    }
}
