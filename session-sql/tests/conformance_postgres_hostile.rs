//! Every rule of the contract, on PostgreSQL with defaults that do harm: `SERIALIZABLE`, a session time zone with
//! summer time, a pool of somebody else's without prepared statements, tables in a schema.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use session_conformance::Missing;
use session_conformance::servers::{Postgres, Process};
use session_core::{Result, SessionKey};
use session_sql::sqlx::postgres::PgPoolOptions;
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use session_sql::{SqlConfig, SqlStore};

struct Hostile(Postgres);

#[async_trait::async_trait]
impl support::Setup for Hostile {
    const BACKEND: &'static str = "postgres";

    fn start() -> std::result::Result<Self, Missing> {
        let server = Postgres::start(&[
            ("default_transaction_isolation", "serializable"),
            // What a table without statistics is given: the planner may not count on an index.
            ("random_page_cost", "100"),
        ])?;
        Ok(Self(server))
    }

    fn process(&self) -> &Process {
        self.0.process()
    }

    fn table(&self, number: u32) -> String {
        format!("app.Sessions_{number}")
    }

    async fn store(&self, config: SqlConfig) -> Result<SqlStore> {
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
            .connect(&self.0.url())
            .await
            .map_err(support::other)?;
        // Raced by all cases, and creating a schema is not safe against that.
        let made = sqlx::raw_sql("SELECT pg_advisory_xact_lock(1); CREATE SCHEMA IF NOT EXISTS app");
        made.execute(&pool).await.map_err(support::other)?;
        SqlStore::with_postgres_pool(pool, config.with_prepared_statements(false))
    }

    async fn run(&self, sql: String, key: SessionKey) -> sqlx::Result<u64> {
        let sql = sql.replace("app.Sessions", "app.\"Sessions").replace(" SET", "\" SET");
        let mut connection = PgConnection::connect(&self.0.url()).await?;
        let done = sqlx::query(AssertSqlSafe(sql)).bind(*key.as_uuid()).execute(&mut connection).await?;
        Ok(done.rows_affected())
    }
}

fn main() -> ExitCode {
    session_conformance::main(support::Server::<Hostile>::start)
}
