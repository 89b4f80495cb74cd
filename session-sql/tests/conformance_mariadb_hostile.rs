//! Every rule of the contract, on MariaDB with defaults that do harm: `READ COMMITTED`, under which a scan misses
//! rows that move, a session time zone of its own, a case-insensitive collation that ignores trailing spaces, a
//! pool of somebody else's without prepared statements and with modes and a character set in which texts mean something
//! else, tables named with their database.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use session_conformance::Missing;
use session_conformance::servers::MariaDb;
use session_core::Result;
use session_sql::sqlx::Executor as _;
use session_sql::sqlx::mysql::MySqlPoolOptions;
use session_sql::{SqlConfig, SqlStore};

struct Hostile;

/// What quotes, backslashes, empty texts and differences mean, and which letters a text has. The driver reads no other
/// character set than its own, so that of results stays.
const MEANINGS: &str = "SET sql_mode = CONCAT(@@sql_mode, \
                        ',ANSI_QUOTES,NO_BACKSLASH_ESCAPES,EMPTY_STRING_IS_NULL,NO_UNSIGNED_SUBTRACTION'), \
                        character_set_client = sjis, collation_connection = sjis_japanese_ci";

#[async_trait::async_trait]
impl support::Setup for Hostile {
    const BACKEND: &'static str = "mysql";
    type Server = MariaDb;

    fn start() -> std::result::Result<MariaDb, Missing> {
        MariaDb::start(&[
            "--transaction-isolation=READ-COMMITTED",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            "--default-time-zone=-03:30",
        ])
    }

    fn table(name: String) -> String {
        format!("test.{}", name.replace("session", "Session"))
    }

    async fn store(url: &str, config: SqlConfig) -> Result<SqlStore> {
        let pool = MySqlPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(2))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // The driver asks for UTC when it connects.
                    connection.execute("SET time_zone = '-03:30'").await?;
                    connection.execute(MEANINGS).await?;
                    Ok(())
                })
            })
            .connect(&url.replace("/test", "/mysql"))
            .await
            .map_err(support::other)?;
        SqlStore::with_mysql_pool(pool, config.with_prepared_statements(false))
    }
}

fn main() -> ExitCode {
    support::main::<Hostile>()
}
