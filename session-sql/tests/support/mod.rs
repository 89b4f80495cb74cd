//! The harness of the databases that are servers: one server for a test target, a table for each namespace.
#![allow(dead_code, reason = "each test target uses its part")]
#![allow(clippy::unwrap_used, reason = "clippy does not take the helpers of a test for tests")]

mod table;

use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use session_conformance::servers::{self, MariaDb, Postgres, Process};
use session_conformance::{Capability, Harness, Missing};
use session_core::{Error, ErrorKind, Result, SessionKey, SessionStore};
use session_sql::{SqlConfig, SqlStore};

pub(crate) use table::{Table, execute};

/// Busy machines were seen to stand still for three seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than a server far away takes to answer.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// A way in which a database is met.
#[async_trait::async_trait]
pub(crate) trait Setup: Send + Sync + 'static {
    /// As the store names it.
    const BACKEND: &'static str;

    type Server: Server;

    fn start() -> std::result::Result<Self::Server, Missing>;

    /// The name of a table, as this setup wants it.
    fn table(name: String) -> String {
        name
    }

    /// The same as it stands in a statement.
    fn quoted(table: &str) -> String {
        table.to_owned()
    }

    async fn store(url: &str, config: SqlConfig) -> Result<SqlStore> {
        SqlStore::connect(url, config)
    }
}

/// A running server.
pub(crate) trait Server: Send + Sync + 'static {
    /// What the suite may do with it.
    const CAPABILITIES: &'static [Capability] = &[
        Capability::Durable,
        Capability::Shared,
        Capability::OwnerIndex,
        Capability::Pause,
        Capability::Damage,
    ];

    /// Where stores connect.
    fn url(&self) -> String;

    /// Where the harness connects.
    fn direct_url(&self) -> String {
        self.url()
    }

    /// The database's process, if it is ours to stop.
    fn process(&self) -> Option<&Process>;
}

impl Server for MariaDb {
    fn url(&self) -> String {
        self.url()
    }

    fn process(&self) -> Option<&Process> {
        Some(self.process())
    }
}

impl Server for Postgres {
    fn url(&self) -> String {
        self.url()
    }

    fn process(&self) -> Option<&Process> {
        Some(self.process())
    }
}

/// A server that was there before us, and serves others: its tables are removed one by one, and it is not stopped.
pub(crate) struct Given(pub(crate) String);

impl Server for Given {
    const CAPABILITIES: &'static [Capability] =
        &[Capability::Durable, Capability::Shared, Capability::OwnerIndex, Capability::Damage];

    fn url(&self) -> String {
        self.0.clone()
    }

    fn process(&self) -> Option<&Process> {
        None
    }
}

/// The suite's harness on a server, met as `S` says.
pub(crate) struct Met<S, V> {
    server: V,
    setup: PhantomData<S>,
}

impl<S: Setup, V: Server> Met<S, V> {
    pub(crate) fn on(server: V) -> Self {
        Self { server, setup: PhantomData }
    }
}

/// Runs the suite on a server of its own.
pub(crate) fn main<S: Setup>() -> ExitCode {
    session_conformance::main(|| S::start().map(Met::<S, S::Server>::on))
}

/// Runs the suite on the server that the environment names, else on one of its own.
pub(crate) fn main_or_given<S: Setup>() -> ExitCode {
    match servers::given(S::BACKEND) {
        Some(url) => session_conformance::main(|| {
            if let Err(error) = reach(&url) {
                // Once, and not in every case; listing the cases needs no server.
                eprintln!(
                    "the server that SESSION_{}_URL names cannot be used: {error}",
                    S::BACKEND.to_uppercase()
                );
                std::process::exit(1);
            }
            Ok(Met::<S, Given>::on(Given(url)))
        }),
        None => main::<S>(),
    }
}

fn reach(url: &str) -> sqlx::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked =
        async { tokio::time::timeout(REACHED_WITHIN, execute(url, "SELECT 1".to_owned(), None)).await };
    runtime.block_on(asked).map_err(std::io::Error::from)?.map(drop)
}

#[async_trait::async_trait]
impl<S: Setup, V: Server> Harness for Met<S, V> {
    const BACKEND: &'static str = S::BACKEND;
    const CAPABILITIES: &'static [Capability] = V::CAPABILITIES;
    type Namespace = Table;

    async fn namespace(&self) -> Result<Table> {
        let table = Table::random(S::table)?;
        // A server of ours takes its tables with it.
        Ok(if self.server.process().is_some() { table } else { table.dropped_at(self.server.direct_url()) })
    }

    async fn open(&self, table: &Table) -> Result<Arc<dyn SessionStore>> {
        let config =
            SqlConfig::default().with_table(&table.name).with_max_connections(4).with_timeout(TIMEOUT);
        Ok(Arc::new(S::store(&self.server.url(), config).await?))
    }

    fn patience(&self) -> Duration {
        TIMEOUT + Duration::from_secs(3)
    }

    async fn pause(&self, _: &Table) -> Result<()> {
        self.server.process().map_or(Ok(()), |process| process.pause().map_err(other))
    }

    async fn resume(&self, _: &Table) -> Result<()> {
        self.server.process().map_or(Ok(()), |process| process.resume().map_err(other))
    }

    async fn damage(&self, table: &Table, key: SessionKey) -> Result<()> {
        let parameter = if S::BACKEND == "mysql" { "?" } else { "$1" };
        let table = S::quoted(&table.name);
        let sql = format!("UPDATE {table} SET owner = '' WHERE session_key = {parameter}");
        let met = execute(&self.server.direct_url(), sql, Some(key)).await.map_err(other)?;
        assert_eq!(met, 1, "no row to damage");
        Ok(())
    }
}

/// An error of the harness itself.
pub(crate) fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Other, "the harness failed").with_source(error)
}
