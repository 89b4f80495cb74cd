//! The harness of the databases that are servers: one server for a test target, a table for each namespace.
#![allow(dead_code, reason = "each test target uses its part")]
#![allow(clippy::unwrap_used, reason = "clippy does not take the helpers of a test for tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use session_conformance::servers::Process;
use session_conformance::{Capability, Harness, Missing};
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_sql::{SqlConfig, SqlStore, sqlx};

/// A database to run the suite on, set up in one way.
#[async_trait::async_trait]
pub(crate) trait Setup: Send + Sync + Sized + 'static {
    /// As the store names it.
    const BACKEND: &'static str;

    /// Starts the server.
    fn start() -> std::result::Result<Self, Missing>;

    /// The server's process.
    fn process(&self) -> &Process;

    /// The name of a table, as this setup wants it.
    fn table(&self, number: u32) -> String {
        format!("sessions_{number}")
    }

    /// Opens a store.
    async fn store(&self, config: SqlConfig) -> Result<SqlStore>;

    /// Runs `sql`, which binds a key, on a connection of its own.
    async fn run(&self, sql: String, key: SessionKey) -> sqlx::Result<u64>;
}

/// The suite's harness on a [`Setup`].
pub(crate) struct Server<S> {
    setup: S,
    tables: AtomicU32,
}

impl<S: Setup> Server<S> {
    /// Starts the server.
    pub(crate) fn start() -> std::result::Result<Self, Missing> {
        Ok(Self { setup: S::start()?, tables: AtomicU32::new(0) })
    }
}

#[async_trait::async_trait]
impl<S: Setup> Harness for Server<S> {
    const BACKEND: &'static str = S::BACKEND;
    const CAPABILITIES: &'static [Capability] = &[
        Capability::Durable,
        Capability::Shared,
        Capability::OwnerIndex,
        Capability::Pause,
        Capability::Damage,
    ];
    /// A table. It goes with the server.
    type Namespace = String;

    async fn namespace(&self) -> Result<String> {
        Ok(self.setup.table(self.tables.fetch_add(1, Ordering::Relaxed)))
    }

    async fn open(&self, table: &String) -> Result<Arc<dyn SessionStore>> {
        let config = SqlConfig::default()
            .with_table(table)
            .with_max_connections(4)
            .with_timeout(Duration::from_secs(3));
        Ok(Arc::new(self.setup.store(config).await?))
    }

    async fn pause(&self, _: &String) -> Result<()> {
        self.setup.process().pause().map_err(other)
    }

    async fn resume(&self, _: &String) -> Result<()> {
        self.setup.process().resume().map_err(other)
    }

    async fn damage(&self, table: &String, key: SessionKey) -> Result<()> {
        let parameter = if S::BACKEND == "mysql" { "?" } else { "$1" };
        let sql = format!("UPDATE {table} SET owner = '' WHERE session_key = {parameter}");
        assert_eq!(self.setup.run(sql, key).await.map_err(other)?, 1, "no row to damage");
        Ok(())
    }
}

/// An error of the harness itself.
pub(crate) fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Other, "the harness failed").with_source(error)
}
