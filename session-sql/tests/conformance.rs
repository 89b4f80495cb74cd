//! Every rule of the contract, on an SQLite file.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use session_conformance::{Capability, Harness, Missing};
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, SqliteConnection};
use session_sql::{SqlConfig, SqlStore};
use tempfile::TempDir;

/// One file for all namespaces: each is a table of it, and all cases write to it at once.
struct Sqlite {
    directory: TempDir,
    tables: AtomicU32,
}

impl Sqlite {
    fn start() -> std::result::Result<Self, Missing> {
        let directory =
            TempDir::new().map_err(|error| Missing::new(format!("no temporary directory: {error}")))?;
        Ok(Self { directory, tables: AtomicU32::new(0) })
    }

    fn url(&self) -> String {
        format!("sqlite:{}/sessions.db", self.directory.path().display())
    }
}

#[async_trait::async_trait]
impl Harness for Sqlite {
    const BACKEND: &'static str = "sqlite";
    const CAPABILITIES: &'static [Capability] =
        &[Capability::Durable, Capability::Shared, Capability::OwnerIndex, Capability::Damage];
    /// A table. It goes with the directory.
    type Namespace = String;

    async fn namespace(&self) -> Result<String> {
        Ok(format!("sessions_{}", self.tables.fetch_add(1, Ordering::Relaxed)))
    }

    async fn open(&self, table: &String) -> Result<Arc<dyn SessionStore>> {
        let config = SqlConfig::default().with_table(table).with_max_connections(2);
        Ok(Arc::new(SqlStore::connect(&self.url(), config)?))
    }

    async fn damage(&self, table: &String, key: SessionKey) -> Result<()> {
        let failed =
            |error: sqlx::Error| Error::new(ErrorKind::Other, "cannot damage a row").with_source(error);
        let mut connection = SqliteConnection::connect(&self.url()).await.map_err(failed)?;
        let damage = AssertSqlSafe(format!("UPDATE {table} SET owner = '' WHERE session_key = $1"));
        let done = sqlx::query(damage).bind(*key.as_uuid()).execute(&mut connection).await.map_err(failed)?;
        assert_eq!(done.rows_affected(), 1, "no row to damage");
        Ok(())
    }
}

fn main() -> ExitCode {
    session_conformance::main(Sqlite::start)
}
