//! Where the databases are.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use session_conformance::servers::{MariaDb, Postgres};
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
    /// Each commit waits for the disk.
    PostgresFsync,
    MySql,
}

pub(crate) struct Place {
    database: Database,
    at: At,
    made: AtomicU64,
}

enum At {
    Directory(TempDir),
    Postgres(Postgres),
    MariaDb(MariaDb),
}

impl Place {
    /// Starts a server, where one is needed.
    pub(crate) fn start(database: Database) -> Result<Self> {
        let missing = |missing| anyhow::anyhow!("{missing}");
        let settings: &[(&str, &str)] = &[("shared_buffers", "256MB"), ("max_wal_size", "4GB")];
        let at = match database {
            Database::Sqlite => At::Directory(TempDir::new()?),
            Database::Postgres => At::Postgres(Postgres::start(settings).map_err(missing)?),
            Database::PostgresFsync => {
                let settings = [settings, &[("fsync", "on")]].concat();
                At::Postgres(Postgres::start(&settings).map_err(missing)?)
            }
            Database::MySql => At::MariaDb(MariaDb::start(&[]).map_err(missing)?),
        };
        Ok(Self { database, at, made: AtomicU64::new(0) })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.database {
            Database::Sqlite => "SQLite",
            Database::Postgres => "PostgreSQL",
            Database::PostgresFsync => "PostgreSQL with fsync",
            Database::MySql => "MariaDB",
        }
    }

    /// Whether each commit waits for the disk.
    pub(crate) fn flushes(&self) -> bool {
        self.database == Database::PostgresFsync
    }

    /// A new, empty database.
    pub(crate) async fn database(&self) -> Result<String> {
        let name = format!("bench_{}", self.made.fetch_add(1, Ordering::Relaxed));
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        match &self.at {
            At::Directory(directory) => Ok(format!("sqlite:{}/{name}.db", directory.path().display())),
            At::Postgres(server) => {
                let url = server.url();
                sqlx::raw_sql(create).execute(&mut PgConnection::connect(&url).await?).await?;
                Ok(url.replace("/postgres", &format!("/{name}")))
            }
            At::MariaDb(server) => {
                let url = server.url();
                sqlx::raw_sql(create).execute(&mut MySqlConnection::connect(&url).await?).await?;
                Ok(url.replace("/test", &format!("/{name}")))
            }
        }
    }
}
