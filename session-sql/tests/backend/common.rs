//! Records, stores and servers for the tests.

use std::collections::HashSet;
use std::time::Duration;

use session_conformance::Missing;
use session_conformance::servers::{MariaDb, Postgres};
use session_core::{Record, Revision, SessionId, SessionKey, Timestamp};
use session_sql::sqlx::{
    self, AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection,
};
use session_sql::{SqlConfig, SqlStore};
use tempfile::TempDir;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn key() -> SessionKey {
    SessionId::generate().unwrap().key()
}

pub(crate) fn record(payload: &[u8]) -> Record {
    expiring(payload, HOUR)
}

pub(crate) fn expiring(payload: &[u8], after: Duration) -> Record {
    let now = Timestamp::now();
    Record {
        revision: Revision::generate().unwrap(),
        owner: Some("ann".parse().unwrap()),
        created_at: now,
        expires_at: now.saturating_add(after),
        payload: payload.into(),
    }
}

/// A server, unless it is not installed and need not be.
pub(crate) fn installed<S>(backend: &str, server: Result<S, Missing>) -> Option<S> {
    let required = std::env::var("SESSION_REQUIRE").unwrap_or_default();
    match server {
        Ok(server) => Some(server),
        Err(missing) if required.split(',').any(|name| name == "all" || name == backend) => {
            panic!("{missing}")
        }
        Err(missing) => {
            eprintln!("ignored: {missing}");
            None
        }
    }
}

pub(crate) fn postgres(settings: &[(&str, &str)]) -> Option<Postgres> {
    installed("postgres", Postgres::start(settings))
}

pub(crate) fn mariadb(options: &[&str]) -> Option<MariaDb> {
    installed("mysql", MariaDb::start(options))
}

/// A directory with the URL of an SQLite file in it.
pub(crate) fn sqlite() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let url = format!("sqlite:{}/sessions.db", directory.path().display());
    (directory, url)
}

pub(crate) fn open(url: &str) -> SqlStore {
    open_with(url, SqlConfig::default())
}

pub(crate) fn open_with(url: &str, config: SqlConfig) -> SqlStore {
    SqlStore::connect(url, config).unwrap()
}

/// Runs statements on a connection of their own, whatever the database.
pub(crate) async fn run(url: &str, sql: &str) -> sqlx::Result<()> {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    match url.split(':').next() {
        Some("sqlite") => {
            let options: sqlx::sqlite::SqliteConnectOptions = url.parse()?;
            let mut connection = SqliteConnection::connect_with(&options.create_if_missing(true)).await?;
            sql.execute(&mut connection).await?;
        }
        Some("postgres") => {
            sql.execute(&mut PgConnection::connect(url).await?).await?;
        }
        _ => {
            sql.execute(&mut MySqlConnection::connect(url).await?).await?;
        }
    }
    Ok(())
}

/// The number that a query gives.
pub(crate) async fn number(url: &str, sql: &str) -> i64 {
    let sql = AssertSqlSafe(sql.to_owned());
    match url.split(':').next() {
        Some("sqlite") => sqlx::query_scalar(sql)
            .fetch_one(&mut SqliteConnection::connect(url).await.unwrap())
            .await
            .unwrap(),
        Some("postgres") => {
            sqlx::query_scalar(sql).fetch_one(&mut PgConnection::connect(url).await.unwrap()).await.unwrap()
        }
        _ => sqlx::query_scalar(sql)
            .fetch_one(&mut MySqlConnection::connect(url).await.unwrap())
            .await
            .unwrap(),
    }
}

/// The words of a text that stand between two others.
pub(crate) fn between<'t>(text: &'t str, from: &str, to: &str) -> HashSet<&'t str> {
    text.split(from).skip(1).filter_map(|rest| rest.split(to).next()).collect()
}
