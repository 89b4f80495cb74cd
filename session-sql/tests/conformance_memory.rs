//! Every rule of the contract, on an SQLite database in memory, whose one connection is the database.

use std::process::ExitCode;
use std::sync::Arc;

use session_conformance::{Capability, Harness};
use session_core::{Result, SessionStore};
use session_sql::{SqlConfig, SqlStore};

struct InMemory;

#[async_trait::async_trait]
impl Harness for InMemory {
    const BACKEND: &'static str = "sqlite";
    const CAPABILITIES: &'static [Capability] = &[Capability::Shared, Capability::OwnerIndex];
    type Namespace = SqlStore;

    async fn namespace(&self) -> Result<SqlStore> {
        SqlStore::connect("sqlite::memory:", SqlConfig::default())
    }

    async fn open(&self, namespace: &SqlStore) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(namespace.clone()))
    }
}

fn main() -> ExitCode {
    session_conformance::main(|| Ok(InMemory))
}
