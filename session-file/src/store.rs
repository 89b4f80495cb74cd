//! The store: each operation is one blocking call, off the async threads.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use session_core::{
    Created, Cursor, Owner, Page, Record, Result, Revision, Saved, SessionKey, SessionStore, Timestamp,
    Touched,
};
use tokio::runtime::Handle;

use crate::config::FileConfig;
use crate::engine::Engine;
use crate::error;

/// Sessions in a directory, one file each.
///
/// Any number of stores, in any number of processes of one machine, work on one directory (`[H1]`); two directories
/// share nothing (`[H3]`). A clone is another handle. Call [`prepare`](SessionStore::prepare) once at start-up.
///
/// Every operation is one call on tokio's blocking threads. When the future is dropped or times out, the call goes
/// on to its end, so nothing is left half done (`[F3]`). The runtime must have its time driver enabled.
///
/// ```
/// # use session_core::{Error, Result};
/// use session_core::SessionStore;
/// use session_file::{FileConfig, FileStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let parent = tempfile::tempdir().map_err(|e| Error::new(session_core::ErrorKind::Other, "tempdir").with_source(e))?;
/// # let directory = parent.path().join("sessions");
/// let store = FileStore::new(FileConfig::new(directory))?;
/// store.prepare().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FileStore(Arc<Engine>);

impl FileStore {
    /// A store on the configured directory. Nothing is read or written yet.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when the path is empty, or the payload limit is over 1 GiB.
    pub fn new(config: FileConfig) -> Result<Self> {
        match Engine::new(config) {
            Ok(engine) => Ok(Self(Arc::new(engine))),
            Err(error) => Err(error.with_backend(error::BACKEND)),
        }
    }

    /// One session: within the configured time.
    async fn timed<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let answer = tokio::time::timeout(self.0.config.timeout, self.run(operation, work)).await;
        answer.unwrap_or_else(|_| Err(named(error::no_answer(), operation)))
    }

    /// Many sessions: as long as it takes. Only the waiting for locks has an end.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let runtime = Handle::try_current().map_err(|error| named(error::no_runtime(error), operation))?;
        let engine = Arc::clone(&self.0);
        let done = runtime.spawn_blocking(move || work(&engine)).await;
        done.unwrap_or_else(|error| Err(error::not_run(error))).map_err(|error| named(error, operation))
    }
}

fn named(error: session_core::Error, operation: &'static str) -> session_core::Error {
    error.with_backend(error::BACKEND).with_operation(operation)
}

/// Shows how the store is configured, and no session.
impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for FileStore {
    async fn prepare(&self) -> Result<()> {
        self.run("prepare", Engine::prepare).await
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        let record = record.clone();
        self.timed("create", move |engine| engine.create(key, &record)).await
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        self.timed("load", move |engine| engine.load(key)).await
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        let record = record.clone();
        self.timed("save", move |engine| engine.save(key, expected, &record)).await
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        self.timed("touch", move |engine| engine.touch(key, expected, expires_at)).await
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        self.timed("delete", move |engine| engine.delete(key)).await
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let (owner, cursor) = (owner.cloned(), cursor.cloned());
        self.run("list", move |engine| engine.list(owner.as_ref(), cursor.as_ref(), limit)).await
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let owner = owner.clone();
        self.run("delete_owned", move |engine| engine.delete_owned(&owner, keep)).await
    }

    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        self.run("delete_expired", move |engine| engine.delete_expired(limit)).await
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.0.now())
    }
}
