//! From the operating system's errors to [`session_core::Error`].

use std::io;

use session_core::{Error, ErrorKind, Result, SessionKey};

pub(crate) const BACKEND: &str = "file";

/// Says what was being done when the operating system refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: &str) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|error| refused(error.into(), what))
    }
}

pub(crate) fn refused(error: io::Error, what: &str) -> Error {
    let why = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the file system is full: free some space"
        }
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only: mount it writable",
        io::ErrorKind::PermissionDenied => {
            "permission denied: the directory and all in it must belong to the user of this process"
        }
        io::ErrorKind::NotFound => "a file or directory of the store is missing",
        _ => match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                "too many open files: raise the limit"
            }
            Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                "a symbolic link or a file stands where a directory of the store belongs: remove it"
            }
            _ => "the operating system refused",
        },
    };
    Error::new(ErrorKind::Unavailable, format!("could not {what}: {why}")).with_source(error)
}

/// The file of one session is not what this store wrote.
pub(crate) fn damaged(key: SessionKey, why: &'static str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the file of session {key} is damaged ({why}) and was left as it is"),
    )
}

pub(crate) fn too_large(len: usize, limit: usize) -> Error {
    let message =
        format!("the payload has {len} bytes, the limit is {limit}: store less or raise max_payload");
    Error::new(ErrorKind::TooLarge, message)
}

pub(crate) fn locked_too_long() -> Error {
    Error::new(
        ErrorKind::Timeout,
        "another task or process kept a part of the directory locked: is one of them stopped?",
    )
}

pub(crate) fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "the file system did not answer in the configured time")
}

pub(crate) fn no_runtime(error: tokio::runtime::TryCurrentError) -> Error {
    Error::new(ErrorKind::InvalidConfig, "called outside of a tokio runtime: call it from a task")
        .with_source(error)
}

pub(crate) fn not_run(error: tokio::task::JoinError) -> Error {
    let message = "the operation did not run to its end: the runtime is shutting down";
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}

pub(crate) fn invalid_config(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
