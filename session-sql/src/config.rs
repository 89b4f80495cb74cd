//! What can be chosen about a [`SqlStore`](crate::SqlStore).

use std::time::Duration;

/// How a [`SqlStore`](crate::SqlStore) behaves, whichever database is behind it.
///
/// ```
/// use std::time::Duration;
/// use session_sql::SqlConfig;
///
/// let config = SqlConfig::default()
///     .with_table("accounts.web_sessions")
///     .with_timeout(Duration::from_secs(2))
///     .with_max_connections(20);
/// ```
#[derive(Clone, Debug)]
pub struct SqlConfig {
    pub(crate) table: String,
    pub(crate) timeout: Duration,
    pub(crate) max_payload: usize,
    pub(crate) max_connections: u32,
    pub(crate) prepared: bool,
    pub(crate) durability: Durability,
}

impl Default for SqlConfig {
    fn default() -> Self {
        Self {
            table: "sessions".to_owned(),
            timeout: Duration::from_secs(5),
            max_payload: 1024 * 1024,
            max_connections: 10,
            prepared: true,
            durability: Durability::default(),
        }
    }
}

impl SqlConfig {
    /// The table: `sessions` by default, `schema.table` where the database has schemas. Letters of ASCII, digits
    /// and underscores, at most 48 characters each. It is quoted, so upper and lower case differ where the database
    /// lets them. Two stores with two tables share nothing (`[H3]`).
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// The longest time that one operation takes: waiting for a connection, opening one, the statement and its
    /// repetitions together (`[F1]`). 5 seconds by default. A sweep and
    /// [`delete_owned`](session_core::SessionStore::delete_owned) take that time for each of their statements.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The longest payload of one session, in bytes; 1 MiB by default (`[B1]`, `[B4]`). MySQL and MariaDB also have
    /// `max_allowed_packet`, 16 MiB and more by default.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// How many connections [`SqlStore::connect`](crate::SqlStore::connect) opens at most; 10 by default, at least
    /// 1. On SQLite this many read, and one more writes. A pool that you hand in has a limit of its own.
    #[must_use]
    pub fn with_max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// Whether a connection keeps its statements prepared, which is faster; on by default.
    ///
    /// Turn it off behind a pooler that gives each statement to another connection of its own, such as `PgBouncer`
    /// in transaction mode, unless that keeps track of prepared statements (`PgBouncer` from 1.21 on, with
    /// `max_prepared_statements`). The values then stand in the statement's text, as hexadecimal digits: what is parsed
    /// and what is bound would reach different connections of PostgreSQL, and take several exchanges with MySQL and
    /// MariaDB. A database that logs its statements then logs payloads, and `max_allowed_packet` of MySQL and MariaDB
    /// has to be twice the longest payload.
    #[must_use]
    pub fn with_prepared_statements(mut self, prepared: bool) -> Self {
        self.prepared = prepared;
        self
    }

    /// What an answered write survives on SQLite. The other databases have settings of their own for that.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

/// What an answered write to an SQLite file survives (`PRAGMA synchronous`, with a write-ahead log).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The end of the process, however it comes. A loss of power may undo the last writes, and never damages the
    /// file. A session that is lost this way means that somebody signs in again; that is rarely worth a flush of
    /// the disk for each request.
    #[default]
    ProcessDeath,
    /// A loss of power, too: each write waits for the disk.
    PowerLoss,
}
