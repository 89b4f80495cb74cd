//! From the driver's errors to ours, in one place.

use std::time::Duration;

use redis::{ErrorKind as Driver, RedisError};
use session_core::{Error, ErrorKind};

pub(crate) const BACKEND: &str = "redis";

fn error(kind: ErrorKind, message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(kind, message).with_backend(BACKEND)
}

/// What became of a command that got no usable answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It was never sent: it certainly did nothing.
    NotSent(Error),
    /// It was sent and no answer came: it may have done everything or nothing.
    Lost(Error),
    /// The server answered with an error.
    Refused(RedisError),
}

impl Fault {
    pub(crate) fn into_error(self, server: &str) -> Error {
        match self {
            Self::NotSent(error) | Self::Lost(error) => error,
            Self::Refused(source) => refused(source, server),
        }
    }
}

/// The server's own error.
pub(crate) fn refused(source: RedisError, server: &str) -> Error {
    let (kind, message) = match source.code() {
        Some("WRONGTYPE") => (ErrorKind::Corrupt, format!("{server} keeps something else under the key")),
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => (
            ErrorKind::InvalidConfig,
            format!("{server} does not let us in: check user, password and rights"),
        ),
        Some("OOM") => (ErrorKind::Unavailable, format!("{server} is out of memory: raise its maxmemory")),
        Some("ERR") => (ErrorKind::Other, format!("{server} answered with an error")),
        _ => (ErrorKind::Unavailable, format!("{server} refused the operation")),
    };
    error(kind, message).with_source(source)
}

/// No connection could be made.
pub(crate) fn unreachable(source: RedisError, server: &str) -> Error {
    let configured = matches!(
        source.kind(),
        Driver::AuthenticationFailed | Driver::InvalidClientConfig | Driver::RESP3NotSupported
    ) || matches!(source.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    if configured {
        let message = format!("{server} does not let us in: check user, password, database and version");
        return error(ErrorKind::InvalidConfig, message).with_source(source);
    }
    error(ErrorKind::Unavailable, format!("no connection to {server}")).with_source(source)
}

/// The connection broke between question and answer.
pub(crate) fn lost(source: RedisError, server: &str) -> Error {
    error(ErrorKind::Unavailable, format!("the connection to {server} broke")).with_source(source)
}

/// Somebody else's attempt to connect has just failed.
pub(crate) fn still_unreachable(server: &str) -> Error {
    error(ErrorKind::Unavailable, format!("no connection to {server}: the attempt under way failed"))
}

pub(crate) fn connect_timed_out(server: &str, after: Duration) -> Error {
    error(ErrorKind::Unavailable, format!("no connection to {server} within {after:?}"))
}

pub(crate) fn timed_out(server: &str) -> Error {
    error(ErrorKind::Timeout, format!("{server} did not answer in time"))
}

/// It was sent with others, and no answer came.
pub(crate) fn lost_with_others() -> Error {
    error(ErrorKind::Unavailable, "the connection broke with this operation and others on it")
}

/// Others were before it until its time was over, or it was sent with others and no answer came.
pub(crate) fn waited_in_vain() -> Error {
    error(ErrorKind::Timeout, "the server did not come to it in time")
}

pub(crate) fn corrupt(what: &'static str) -> Error {
    error(ErrorKind::Corrupt, format!("the stored session is damaged: {what}"))
}

pub(crate) fn index_out_of_reach() -> Error {
    error(
        ErrorKind::Unavailable,
        "the owner of the session changes again and again, or its slot is being moved",
    )
}

pub(crate) fn being_resharded() -> Error {
    error(ErrorKind::Unavailable, "the cluster moves sessions between servers: list them when it is done")
}

pub(crate) fn no_owner() -> Error {
    error(ErrorKind::Unavailable, "no server of the cluster answers for the session's slot")
}

pub(crate) fn not_a_cluster() -> Error {
    error(
        ErrorKind::InvalidConfig,
        "the server knows no cluster: use a redis:// url, or form the cluster first",
    )
}

pub(crate) fn no_master(name: &str) -> Error {
    error(ErrorKind::Unavailable, format!("no sentinel knows a master called {name:?}"))
}

pub(crate) fn unexpected_reply() -> Error {
    error(ErrorKind::Other, "the server answered something that the command cannot answer")
}

pub(crate) fn too_large(len: usize, max: usize) -> Error {
    error(
        ErrorKind::TooLarge,
        format!("the session takes {len} bytes; max_payload allows {max}: store less or raise the limit"),
    )
}

pub(crate) fn foreign_cursor() -> Error {
    error(ErrorKind::InvalidInput, "not a cursor of this store: pass on what `next` held")
}

pub(crate) fn invalid_config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    error(ErrorKind::InvalidConfig, message)
}

pub(crate) fn not_replicated(wanted: usize, got: i64) -> Error {
    error(
        ErrorKind::Unavailable,
        format!("{got} of {wanted} replicas confirmed the write in time: a failover may lose it"),
    )
}
