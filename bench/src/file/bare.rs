//! `std::fs` on tokio's blocking threads: a file read, and a file written beside and renamed into place.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use session_core::SessionKey;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::PAYLOAD;
use crate::operation::{Operation, fresh, share};
use crate::rounds::{Contender, Job, Tally, repeat};
use crate::sample::{key, mix};

pub(crate) struct Bare {
    operation: Operation,
    sessions: u64,
    sync: bool,
    directory: Mutex<Option<Arc<TempDir>>>,
}

impl Bare {
    pub(crate) fn new(operation: Operation, sessions: u64, sync: bool) -> Self {
        Self { operation, sessions, sync, directory: Mutex::default() }
    }
}

/// Written beside under a name of its own, then renamed.
fn write(directory: &Path, key: SessionKey, temporary: &str, payload: &[u8], sync: bool) -> Result<()> {
    let temporary = directory.join(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(payload)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&temporary, directory.join(key.to_string()))?;
    if sync {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[async_trait]
impl Contender for Bare {
    fn name(&self) -> &'static str {
        if self.sync { "std::fs with fsync" } else { "std::fs" }
    }

    async fn reset(&self) -> Result<()> {
        let mut directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        if directory.is_some() && self.operation == Operation::Load {
            return Ok(());
        }
        let new = TempDir::new()?;
        for n in 0..self.sessions {
            write(new.path(), key(n), ".new", &[7; PAYLOAD], false)?;
        }
        *directory = Some(Arc::new(new));
        Ok(())
    }

    async fn run(&self, job: Job) -> Result<Tally> {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let directory: Arc<Path> = Arc::from(PathBuf::from(directory.context("not reset")?.path()));
        let (sync, offset) = (self.sync, (job.task as u64) << 32);
        let keys: Vec<_> = share(job, self.sessions).map(key).collect();
        let temporary: Arc<str> = Arc::from(format!(".new-{}", job.task));
        match self.operation {
            Operation::Load => repeat!(job, |n| {
                let path = directory.join(key(mix(offset | n as u64) % self.sessions).to_string());
                let read = spawn_blocking(move || fs::read(path)).await??;
                ensure!(read.len() == PAYLOAD);
            }),
            Operation::Save | Operation::ChangeId | Operation::Create => repeat!(job, |n| {
                let new = self.operation == Operation::Create;
                let key = if new { fresh(job, n) } else { keys[n % keys.len()] };
                let (directory, temporary) = (directory.clone(), temporary.clone());
                spawn_blocking(move || write(&directory, key, &temporary, &[7; PAYLOAD], sync)).await??;
            }),
            // The nearest that there is: the time of modification.
            Operation::Touch => repeat!(job, |n| {
                let path = directory.join(keys[n % keys.len()].to_string());
                spawn_blocking(move || File::open(path)?.set_modified(std::time::SystemTime::now()))
                    .await??;
            }),
            Operation::LoadAndSave => bail!("it is not measured"),
        }
    }
}
