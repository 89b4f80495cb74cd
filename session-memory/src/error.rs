//! The errors of this backend: there is no driver, so these are all.

use session_core::{Error, ErrorKind};

pub(crate) const BACKEND: &str = "memory";

fn error(kind: ErrorKind, message: String) -> Error {
    Error::new(kind, message).with_backend(BACKEND)
}

pub(crate) fn payload_too_large(len: usize, max: usize) -> Error {
    error(
        ErrorKind::TooLarge,
        format!(
            "the session takes {len} bytes; max_payload allows {max}: store less in it or raise the limit"
        ),
    )
}

pub(crate) fn larger_than_the_store(charge: u64, max: u64) -> Error {
    error(
        ErrorKind::TooLarge,
        format!("the session alone counts {charge} bytes; max_bytes of the whole store is {max}: raise it"),
    )
}

pub(crate) fn full(limit: &'static str, max: u64) -> Error {
    error(
        ErrorKind::Unavailable,
        format!("the store is full: {limit} is {max}; raise it, shorten the sessions' life or let it evict"),
    )
}

pub(crate) fn foreign_cursor(source: Error) -> Error {
    error(ErrorKind::InvalidInput, "not a cursor of this store: pass on what `next` held".to_owned())
        .with_source(source)
}
