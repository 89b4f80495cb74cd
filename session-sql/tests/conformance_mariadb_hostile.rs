//! Every rule of the contract, on MariaDB with defaults that do harm: `READ COMMITTED`, under which a scan misses
//! rows that move, a session time zone of its own, a case-insensitive collation that ignores trailing spaces, a
//! pool of somebody else's without prepared statements, tables named with their database.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use session_conformance::Missing;
use session_conformance::servers::{MariaDb, Process};
use session_core::{Result, SessionKey};
use session_sql::sqlx::mysql::MySqlPoolOptions;
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};
use session_sql::{SqlConfig, SqlStore};

struct Hostile(MariaDb);

#[async_trait::async_trait]
impl support::Setup for Hostile {
    const BACKEND: &'static str = "mysql";

    fn start() -> std::result::Result<Self, Missing> {
        let server = MariaDb::start(&[
            "--transaction-isolation=READ-COMMITTED",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            "--default-time-zone=-03:30",
        ])?;
        Ok(Self(server))
    }

    fn process(&self) -> &Process {
        self.0.process()
    }

    fn table(&self, number: u32) -> String {
        format!("test.Sessions_{number}")
    }

    async fn store(&self, config: SqlConfig) -> Result<SqlStore> {
        let pool = MySqlPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(2))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // The driver asks for UTC when it connects.
                    connection.execute("SET time_zone = '-03:30'").await?;
                    Ok(())
                })
            })
            .connect(&self.0.url().replace("/test", "/mysql"))
            .await
            .map_err(support::other)?;
        SqlStore::with_mysql_pool(pool, config.with_prepared_statements(false))
    }

    async fn run(&self, sql: String, key: SessionKey) -> sqlx::Result<u64> {
        let mut connection = MySqlConnection::connect(&self.0.url()).await?;
        let done = sqlx::query(AssertSqlSafe(sql)).bind(*key.as_uuid()).execute(&mut connection).await?;
        Ok(done.rows_affected())
    }
}

fn main() -> ExitCode {
    session_conformance::main(support::Server::<Hostile>::start)
}
