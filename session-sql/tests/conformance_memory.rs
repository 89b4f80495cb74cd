//! Every rule of the contract, on an SQLite database in memory: a pool of one connection that is never replaced.

use std::process::ExitCode;
use std::sync::Arc;

use session_conformance::{Capability, Harness};
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_sql::sqlx::sqlite::SqlitePoolOptions;
use session_sql::sqlx::{self, SqlitePool};
use session_sql::{SqlConfig, SqlStore};

struct InMemory;

fn failed(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Other, "the harness failed").with_source(error)
}

#[async_trait::async_trait]
impl Harness for InMemory {
    const BACKEND: &'static str = "sqlite";
    const CAPABILITIES: &'static [Capability] =
        &[Capability::Shared, Capability::OwnerIndex, Capability::Damage];
    type Namespace = SqlitePool;

    async fn namespace(&self) -> Result<SqlitePool> {
        let options = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        options.connect("sqlite::memory:").await.map_err(failed)
    }

    async fn open(&self, pool: &SqlitePool) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(SqlStore::with_sqlite_pool(pool.clone(), SqlConfig::default())?))
    }

    async fn damage(&self, pool: &SqlitePool, key: SessionKey) -> Result<()> {
        let damage =
            sqlx::query("UPDATE sessions SET owner = '' WHERE session_key = $1").bind(*key.as_uuid());
        assert_eq!(damage.execute(pool).await.map_err(failed)?.rows_affected(), 1, "no row to damage");
        Ok(())
    }
}

fn main() -> ExitCode {
    session_conformance::main(|| Ok(InMemory))
}
