//! Driver errors: what the store does about them, and what the caller is told.

use std::time::Duration;

use session_core::{Error, ErrorKind};
use sqlx::error::DatabaseError;

/// What a failed statement means for the operation.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The key that was to be written is taken.
    Taken(Error),
    /// The database undid the statement because of others: a deadlock, a serialization failure. Again.
    Undone(Error),
    /// The connection ended. Whether the statement took effect is not known.
    Lost(Error),
    /// The table is not there.
    NoTable(Error),
    /// This user may not do that.
    Denied(Error),
    /// Anything else.
    Fatal(Error),
}

impl Fault {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Taken(e) | Self::Undone(e) | Self::Lost(e) => e,
            Self::NoTable(e) | Self::Denied(e) | Self::Fatal(e) => e,
        }
    }

    /// For what can be tried again while others hold a lock. SQLite says at once that a new file is locked while
    /// another process gives it its write-ahead log, whatever the busy timeout.
    pub(crate) fn undone_if_locked(self) -> Self {
        match self {
            Self::Fatal(error) if error.kind() == ErrorKind::Timeout => Self::Undone(error),
            other => other,
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let (kind, message) = match &error {
            E::Database(refusal) => return refused(refusal.as_ref().into(), error),
            E::Io(_) => {
                return Self::Lost(unavailable("the connection to the database failed", error));
            }
            E::WorkerCrashed => return Self::Lost(unavailable("the thread of the connection ended", error)),
            // What is on the wire makes no sense: mostly an end in the middle of an answer.
            E::Protocol(_) => return Self::Lost(unavailable("the database's answer makes no sense", error)),
            E::Tls(_) => (ErrorKind::Unavailable, "no encrypted connection to the database"),
            E::PoolTimedOut => (
                ErrorKind::Unavailable,
                "no connection in time: the database is unreachable, or all are in use",
            ),
            E::PoolClosed => (ErrorKind::Unavailable, "the pool of connections has been closed"),
            E::Configuration(_) => (ErrorKind::InvalidConfig, "the database URL cannot be used"),
            E::ColumnDecode { .. }
            | E::Decode(_)
            | E::ColumnIndexOutOfBounds { .. }
            | E::ColumnNotFound(_) => (ErrorKind::Corrupt, "a row of the session table cannot be read"),
            _ => (ErrorKind::Other, "the database driver failed"),
        };
        Self::Fatal(Error::new(kind, message).with_source(error))
    }
}

fn unavailable(message: &'static str, source: sqlx::Error) -> Error {
    Error::new(ErrorKind::Unavailable, message).with_source(source)
}

pub(crate) fn timed_out(after: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("no answer from the database in {} ms", after.as_millis()))
}

pub(crate) fn invalid_config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

/// For a table that is missing and that this user may not create.
pub(crate) fn not_created(source: Error) -> Error {
    invalid_config(
        "the session table does not exist and this user cannot create it: have the statements of schema_sql run, and \
         its use granted",
    )
    .with_source(source)
}

pub(crate) fn corrupt(message: &'static str, source: Error) -> Error {
    Error::new(ErrorKind::Corrupt, message).with_source(source)
}

/// What a database said no to, whatever the database.
enum Refusal {
    Taken,
    Undone,
    Lost,
    NoTable,
    Denied,
    Because(ErrorKind, &'static str),
}

const READ_ONLY: Refusal = Refusal::Because(ErrorKind::Unavailable, "the database is read-only");
const FULL: Refusal = Refusal::Because(ErrorKind::Unavailable, "the database's disk or memory is full");
const LOCKED: Refusal = Refusal::Because(
    ErrorKind::Timeout,
    "the database gave up the statement: a lock is held too long, or its own timeout is short",
);
#[cfg(any(feature = "postgres", feature = "mysql"))]
const CROWDED: Refusal = Refusal::Because(ErrorKind::Unavailable, "the database takes no more connections");
const OTHER_TABLE: Refusal = Refusal::Because(
    ErrorKind::InvalidConfig,
    "the session table lacks a column: it is another application's, or was changed; see with_table",
);
#[cfg(feature = "postgres")]
const MIXED_UP: Refusal = Refusal::Because(
    ErrorKind::InvalidConfig,
    "a pooler mixes up prepared statements: turn them off, see with_prepared_statements",
);
const BROKEN: Refusal = Refusal::Because(ErrorKind::Corrupt, "the database's files are damaged");
const TOO_BIG: Refusal = Refusal::Because(
    ErrorKind::TooLarge,
    "the database takes no row of this size: see max_allowed_packet, or lower the limit on payloads",
);
const OTHER: Refusal = Refusal::Because(ErrorKind::Other, "the database refused the statement");

fn refused(refusal: Refusal, error: sqlx::Error) -> Fault {
    let (kind, message) = match refusal {
        Refusal::Taken => (ErrorKind::Other, "the key is taken"),
        Refusal::Undone => (ErrorKind::Contended, "the database undid the operation again and again"),
        Refusal::Lost => (ErrorKind::Unavailable, "the database is shutting down or starting up"),
        Refusal::NoTable => {
            (ErrorKind::InvalidConfig, "the session table does not exist: call prepare first")
        }
        Refusal::Denied => (
            ErrorKind::InvalidConfig,
            "the database refuses this user: check name, password, database and grants",
        ),
        Refusal::Because(kind, message) => (kind, message),
    };
    let error = Error::new(kind, message).with_source(error);
    match refusal {
        Refusal::Taken => Fault::Taken(error),
        Refusal::Undone => Fault::Undone(error),
        Refusal::Lost => Fault::Lost(error),
        Refusal::NoTable => Fault::NoTable(error),
        Refusal::Denied => Fault::Denied(error),
        Refusal::Because(..) => Fault::Fatal(error),
    }
}

impl From<&dyn DatabaseError> for Refusal {
    fn from(error: &dyn DatabaseError) -> Self {
        if error.is_unique_violation() {
            return Self::Taken;
        }
        #[cfg(feature = "sqlite")]
        if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return sqlite(error);
        }
        #[cfg(feature = "postgres")]
        if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            return postgres(&error.code().unwrap_or_default());
        }
        #[cfg(feature = "mysql")]
        if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            return mysql(error.number());
        }
        OTHER
    }
}

/// By SQLite's result codes; the low byte is the primary one.
#[cfg(feature = "sqlite")]
fn sqlite(error: &dyn DatabaseError) -> Refusal {
    let code = error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
    match code & 0xff {
        // Recovering the log, a snapshot that is too old, a table that the shared cache locks: soon over.
        _ if matches!(code, 261 | 517 | 6 | 262) => Refusal::Undone,
        3 | 23 => Refusal::Denied,
        5 => LOCKED,
        7 | 13 => FULL,
        8 => READ_ONLY,
        10 => Refusal::Because(ErrorKind::Unavailable, "the database file cannot be read or written"),
        11 | 26 => BROKEN,
        14 => Refusal::Because(
            ErrorKind::Unavailable,
            "the database file cannot be opened: check that its directory exists and may be written",
        ),
        18 => TOO_BIG,
        1 | 17 if error.message().starts_with("no such table") => Refusal::NoTable,
        1 if error.message().starts_with("no such column") => OTHER_TABLE,
        // Somebody changed the schema while the statement was made ready.
        17 => Refusal::Undone,
        _ => OTHER,
    }
}

/// By SQLSTATE.
#[cfg(feature = "postgres")]
fn postgres(state: &str) -> Refusal {
    match state {
        "40001" | "40P01" => Refusal::Undone,
        "42P01" => Refusal::NoTable,
        "25006" => READ_ONLY,
        "53300" => CROWDED,
        "55P03" | "57014" => LOCKED,
        "42501" | "3D000" | "3F000" => Refusal::Denied,
        "42703" => OTHER_TABLE,
        "54000" => TOO_BIG,
        "26000" | "42P05" => MIXED_UP,
        "XX001" | "XX002" => BROKEN,
        _ => match state.get(..2).unwrap_or_default() {
            "08" | "57" => Refusal::Lost,
            "28" => Refusal::Denied,
            "53" | "58" => FULL,
            _ => OTHER,
        },
    }
}

/// By error number, which MySQL and MariaDB share for these.
#[cfg(feature = "mysql")]
fn mysql(number: u16) -> Refusal {
    match number {
        1213 | 1020 => Refusal::Undone,
        1053 | 1077 | 1079 | 1080 | 1927 | 3169 => Refusal::Lost,
        1146 => Refusal::NoTable,
        1021 | 1028 | 1037 | 1038 | 1041 | 1114 | 1135 => FULL,
        1036 | 1290 | 1792 | 1836 => READ_ONLY,
        1040 | 1203 | 1226 => CROWDED,
        1205 | 1317 | 1969 | 3024 => LOCKED,
        1044 | 1045 | 1049 | 1142 | 1143 | 1698 => Refusal::Denied,
        1054 => OTHER_TABLE,
        1118 | 1153 => TOO_BIG,
        1033..=1035 | 1194 | 1712 => BROKEN,
        _ => OTHER,
    }
}
