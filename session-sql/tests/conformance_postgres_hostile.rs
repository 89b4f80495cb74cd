//! Every rule of the contract, on PostgreSQL with defaults that do harm: `SERIALIZABLE`, a session time zone with
//! summer time, bytes written the old way, a pool of somebody else's without prepared statements, tables in a schema.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use session_conformance::Missing;
use session_conformance::servers::Postgres;
use session_core::Result;
use session_sql::sqlx::postgres::PgPoolOptions;
use session_sql::sqlx::{self, Executor as _};
use session_sql::{SqlConfig, SqlStore};

struct Hostile;

#[async_trait::async_trait]
impl support::Setup for Hostile {
    const BACKEND: &'static str = "postgres";
    type Server = Postgres;

    fn start() -> std::result::Result<Postgres, Missing> {
        Postgres::start(&[
            ("default_transaction_isolation", "serializable"),
            // What a table without statistics is given: the planner may not count on an index.
            ("random_page_cost", "100"),
            // How bytes look in a text, and what a backslash means in one.
            ("bytea_output", "escape"),
            ("standard_conforming_strings", "off"),
        ])
    }

    fn table(name: String) -> String {
        format!("app.{}", name.replace("session", "Session"))
    }

    fn quoted(table: &str) -> String {
        format!("\"{}\"", table.replace('.', "\".\""))
    }

    async fn store(url: &str, config: SqlConfig) -> Result<SqlStore> {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(2))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // The driver asks for UTC when it connects.
                    connection.execute("SET TIME ZONE 'America/St_Johns'").await?;
                    connection.execute("SET search_path TO pg_catalog").await?;
                    Ok(())
                })
            })
            .connect(url)
            .await
            .map_err(support::other)?;
        // Raced by all cases, and creating a schema is not safe against that.
        let made = sqlx::raw_sql("SELECT pg_advisory_xact_lock(1); CREATE SCHEMA IF NOT EXISTS app");
        made.execute(&pool).await.map_err(support::other)?;
        SqlStore::with_postgres_pool(pool, config.with_prepared_statements(false))
    }
}

fn main() -> ExitCode {
    support::main::<Hostile>()
}
