//! Every rule of the contract, on MariaDB as it comes.

mod support;

use std::process::ExitCode;

use session_conformance::Missing;
use session_conformance::servers::{MariaDb, Process};
use session_core::{Result, SessionKey};
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, MySqlConnection};
use session_sql::{SqlConfig, SqlStore};

struct AsItComes(MariaDb);

#[async_trait::async_trait]
impl support::Setup for AsItComes {
    const BACKEND: &'static str = "mysql";

    fn start() -> std::result::Result<Self, Missing> {
        MariaDb::start(&[]).map(Self)
    }

    fn process(&self) -> &Process {
        self.0.process()
    }

    async fn store(&self, config: SqlConfig) -> Result<SqlStore> {
        SqlStore::connect(&self.0.url(), config)
    }

    async fn run(&self, sql: String, key: SessionKey) -> sqlx::Result<u64> {
        let mut connection = MySqlConnection::connect(&self.0.url()).await?;
        let done = sqlx::query(AssertSqlSafe(sql)).bind(*key.as_uuid()).execute(&mut connection).await?;
        Ok(done.rows_affected())
    }
}

fn main() -> ExitCode {
    session_conformance::main(support::Server::<AsItComes>::start)
}
