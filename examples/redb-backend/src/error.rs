//! redb's errors, in one place.

use session_core::{Error, ErrorKind};

pub(crate) fn from_redb(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let (kind, message) = match &error {
        redb::Error::Corrupted(_) => (ErrorKind::Corrupt, "the database file is damaged"),
        redb::Error::TableDoesNotExist(_) => (ErrorKind::InvalidConfig, "no tables yet: call prepare first"),
        _ => (ErrorKind::Unavailable, "the database does not answer"),
    };
    Error::new(kind, message).with_source(error).with_backend("redb")
}

pub(crate) fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message).with_backend("redb")
}
