//! From a URL or a pool to a [`SqlStore`].

use std::str::FromStr;
use std::sync::Arc;

use session_core::Result;
use session_together::MOST;

use crate::config::{Durability, SqlConfig};
use crate::dialect::{self, Dialect};
use crate::engine::{Connections, Driver};
use crate::error::{self, Fault};
use crate::lanes::{Lanes, Source};
use crate::store::SqlStore;

impl SqlStore {
    /// A store at a URL: `sqlite:sessions.db`, `sqlite::memory:`, `postgres://user:password@host/database`,
    /// `mysql://user:password@host/database` (also for MariaDB). The crate's feature of that name must be on.
    ///
    /// Nothing is opened yet: the first operation does that, so an application can start before its database. An
    /// SQLite file is created if it is not there, unless the URL has a `mode` of its own, and gets a write-ahead
    /// log. A store at `sqlite::memory:` has a database of its own, which ends with the store.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when the URL or the table's name cannot be used.
    pub fn connect(url: &str, config: SqlConfig) -> Result<Self> {
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "sqlite")]
            "sqlite" => sqlite(url, config),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let options: sqlx::postgres::PgConnectOptions = parse(url)?;
                own::<sqlx::Postgres>(options, config, &dialect::POSTGRES)
            }
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => {
                let options: sqlx::mysql::MySqlConnectOptions = parse(url)?;
                own::<sqlx::MySql>(options, config, &dialect::MYSQL)
            }
            // Not with the URL, which may hold a password.
            _ => Err(error::invalid_config(
                "the database URL must begin with sqlite:, postgres: or mysql:, and that feature of session-sql \
                 must be on",
            )),
        }
    }

    /// A store on your SQLite pool. One statement of the store writes at a time, so that writers take turns instead
    /// of waiting for the file's lock; the pool's settings stay as they are.
    ///
    /// Give the pool a write-ahead log (`journal_mode`). Without one, readers and the writer keep each other out of the
    /// file: each waits for as long as the pool's `busy_timeout` says, and fails with
    /// [`Timeout`](session_core::ErrorKind::Timeout) after that.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when the table's name cannot be used.
    #[cfg(feature = "sqlite")]
    pub fn with_sqlite_pool(pool: sqlx::SqlitePool, config: SqlConfig) -> Result<Self> {
        let readers = pool.options().get_max_connections();
        let connections = Connections {
            readers: Arc::new(Lanes::new(Source::Pool(pool.clone()), readers)),
            writers: Arc::new(Lanes::new(Source::Pool(pool), 1)),
            prepared: config.prepared,
        };
        Self::new(connections, config, &dialect::SQLITE)
    }

    /// A store on your PostgreSQL pool. It borrows a connection for one statement at a time, and leaves nothing
    /// behind on it.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when the table's name cannot be used.
    #[cfg(feature = "postgres")]
    pub fn with_postgres_pool(pool: sqlx::PgPool, config: SqlConfig) -> Result<Self> {
        pooled(pool, config, &dialect::POSTGRES)
    }

    /// A store on your MySQL or MariaDB pool. It borrows a connection for one statement at a time, and leaves
    /// nothing behind on it.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when the table's name cannot be used.
    #[cfg(feature = "mysql")]
    pub fn with_mysql_pool(pool: sqlx::MySqlPool, config: SqlConfig) -> Result<Self> {
        pooled(pool, config, &dialect::MYSQL)
    }
}

fn parse<O: FromStr<Err = sqlx::Error>>(url: &str) -> Result<O> {
    url.parse().map_err(|error| Fault::from(error).into_error())
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn own<DB: Driver>(
    options: <DB::Connection as sqlx::Connection>::Options,
    config: SqlConfig,
    dialect: &'static Dialect,
) -> Result<SqlStore> {
    let options = Box::new(sqlx::ConnectOptions::disable_statement_logging(options));
    let lanes = Arc::new(Lanes::<DB>::new(Source::Own(options), config.max_connections));
    both_ways(lanes, config, dialect)
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn pooled<DB: Driver>(
    pool: sqlx::Pool<DB>,
    config: SqlConfig,
    dialect: &'static Dialect,
) -> Result<SqlStore> {
    let most = pool.options().get_max_connections();
    both_ways(Arc::new(Lanes::new(Source::Pool(pool), most)), config, dialect)
}

/// Reads and writes share connections.
fn both_ways<DB: Driver>(
    lanes: Arc<Lanes<DB>>,
    config: SqlConfig,
    dialect: &'static Dialect,
) -> Result<SqlStore> {
    let connections = Connections { readers: lanes.clone(), writers: lanes, prepared: config.prepared };
    SqlStore::new(connections, config, dialect)
}

/// One connection writes: ten would wait for the file's lock by sleeping, and that is slower and less fair than a
/// queue. Readers do not wait for it, since the log keeps what they began to read.
#[cfg(feature = "sqlite")]
fn sqlite(url: &str, config: SqlConfig) -> Result<SqlStore> {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

    let options: SqliteConnectOptions = parse(url)?;
    let synchronous = match config.durability {
        Durability::ProcessDeath => SqliteSynchronous::Normal,
        Durability::PowerLoss => SqliteSynchronous::Full,
    };
    let options = sqlx::ConnectOptions::disable_statement_logging(options)
        .busy_timeout(config.timeout)
        .synchronous(synchronous)
        // Rows of a statement for many wait here and not in the file's lock.
        .row_buffer_size(2 * MOST);
    if url.contains(":memory:") || url.contains("mode=memory") {
        // Each connection would have a database of its own, or share one and lock it table by table.
        let lanes = Lanes::<sqlx::Sqlite>::new(Source::Own(Box::new(options)), 1);
        return both_ways(Arc::new(lanes), config, &dialect::SQLITE);
    }
    let options = options.create_if_missing(!url.contains("mode=")).journal_mode(SqliteJournalMode::Wal);
    let lanes = |count| Arc::new(Lanes::<sqlx::Sqlite>::new(Source::Own(Box::new(options.clone())), count));
    let connections =
        Connections { readers: lanes(config.max_connections), writers: lanes(1), prepared: config.prepared };
    SqlStore::new(connections, config, &dialect::SQLITE)
}
