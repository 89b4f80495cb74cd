//! Every rule of the contract, on PostgreSQL behind a PgBouncer that gives each statement to any of three connections.

mod support;

use std::process::ExitCode;

use session_conformance::Missing;
use session_conformance::servers::{PgBouncer, Postgres, Process};
use session_core::Result;
use session_sql::{SqlConfig, SqlStore};

struct Pooled {
    pooler: PgBouncer,
    server: Postgres,
}

impl support::Server for Pooled {
    fn url(&self) -> String {
        self.pooler.url()
    }

    fn direct_url(&self) -> String {
        self.server.url()
    }

    /// The pooler goes on and takes connections: what is behind it does not answer.
    fn process(&self) -> Option<&Process> {
        Some(self.server.process())
    }
}

struct BehindPgBouncer;

#[async_trait::async_trait]
impl support::Setup for BehindPgBouncer {
    const BACKEND: &'static str = "postgres";
    type Server = Pooled;

    fn start() -> std::result::Result<Pooled, Missing> {
        let server = Postgres::start(&[])?;
        let pooler = PgBouncer::start(&server, &[("default_pool_size", "3")])?;
        Ok(Pooled { pooler, server })
    }

    async fn store(url: &str, config: SqlConfig) -> Result<SqlStore> {
        SqlStore::connect(url, config.with_prepared_statements(false))
    }
}

fn main() -> ExitCode {
    support::main::<BehindPgBouncer>()
}
