//! MariaDB, started with options and met as it then is.

use std::marker::PhantomData;

use session_conformance::Missing;
use session_conformance::servers::{MariaDb, Process};
use session_core::{Result, SessionKey};
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, MySqlConnection};
use session_sql::{SqlConfig, SqlStore};

use crate::support::Setup;

/// What the server is started with.
pub(crate) trait Options: Send + Sync + 'static {
    const OPTIONS: &'static [&'static str];
}

pub(crate) struct Started<O>(MariaDb, PhantomData<O>);

#[async_trait::async_trait]
impl<O: Options> Setup for Started<O> {
    const BACKEND: &'static str = "mysql";

    fn start() -> std::result::Result<Self, Missing> {
        MariaDb::start(O::OPTIONS).map(|server| Self(server, PhantomData))
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
