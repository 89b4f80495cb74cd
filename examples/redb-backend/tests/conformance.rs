//! Every rule of the contract.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use redb::{Database, TableDefinition};
use session_conformance::{Capability, Harness};
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_redb::RedbStore;

struct Redb;

/// A directory with a database file, and the database while a handle has it open.
struct Namespace {
    directory: tempfile::TempDir,
    open: Mutex<Weak<Database>>,
}

#[async_trait::async_trait]
impl Harness for Redb {
    const BACKEND: &'static str = "redb";
    const CAPABILITIES: &'static [Capability] =
        &[Capability::Durable, Capability::Shared, Capability::OwnerIndex, Capability::Damage];
    type Namespace = Namespace;

    async fn namespace(&self) -> Result<Namespace> {
        Ok(Namespace { directory: tempfile::tempdir().map_err(failed)?, open: Mutex::default() })
    }

    async fn open(&self, namespace: &Namespace) -> Result<Arc<dyn SessionStore>> {
        let mut open = namespace.open.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match open.upgrade() {
            Some(database) => database,
            None => {
                Arc::new(Database::create(namespace.directory.path().join("sessions.redb")).map_err(failed)?)
            }
        };
        *open = Arc::downgrade(&database);
        Ok(Arc::new(RedbStore::new(database)))
    }

    async fn damage(&self, namespace: &Namespace, key: SessionKey) -> Result<()> {
        let open = namespace.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = open.upgrade() else { return Ok(()) };
        let transaction = database.begin_write().map_err(failed)?;
        let sessions = TableDefinition::<u128, &[u8]>::new("sessions");
        let mut sessions = transaction.open_table(sessions).map_err(failed)?;
        sessions.insert(key.as_uuid().as_u128(), b"cut".as_slice()).map_err(failed)?;
        drop(sessions);
        transaction.commit().map_err(failed)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "no database in a temporary directory").with_source(error)
}

fn main() -> ExitCode {
    session_conformance::main(|| Ok(Redb))
}
