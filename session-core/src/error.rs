//! The one error type of the family.

use std::borrow::Cow;
use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, in words a program can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The storage could not be reached, refused the operation or is full.
    Unavailable,
    /// The storage did not answer in the configured time. A write may or may not have taken effect:
    /// repeat it with the same record to find out (`[S5]`).
    Timeout,
    /// The stored bytes are damaged. Nothing was changed (`[L5]`).
    Corrupt,
    /// The payload is over the configured limit. Nothing was written (`[B4]`).
    TooLarge,
    /// The configuration cannot work; the message says what to change.
    InvalidConfig,
    /// An argument is outside what the contract allows, such as an owner of 300 bytes or a foreign cursor.
    InvalidInput,
    /// The store does not offer this operation.
    Unsupported,
    /// A value could not be turned into bytes, or bytes into the wanted type.
    Codec,
    /// Other writers changed the session each time this one tried, until the attempts ran out.
    Contended,
    /// The owner has as many sessions as the policy allows.
    TooManySessions,
    /// Others ended the session meanwhile: nothing was stored, and nothing of it comes back (`[I4]`).
    Ended,
    /// Another request changed the session's id: what this one did with the old id was dropped (`[I5]`).
    Superseded,
    /// The head of the response has left, so that no new id can reach the client. Nothing was stored.
    TooLate,
    /// Anything else; see the source.
    Other,
}

impl ErrorKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "storage unavailable",
            Self::Timeout => "storage timed out",
            Self::Corrupt => "stored session is damaged",
            Self::TooLarge => "session too large",
            Self::InvalidConfig => "invalid configuration",
            Self::InvalidInput => "invalid input",
            Self::Unsupported => "unsupported operation",
            Self::Codec => "session value could not be converted",
            Self::Contended => "too many concurrent changes",
            Self::TooManySessions => "too many sessions of one owner",
            Self::Ended => "session has ended",
            Self::Superseded => "session id was changed",
            Self::TooLate => "response has left",
            Self::Other => "session error",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of a session operation.
///
/// `Display` gives one line: backend and operation if known, then the message. The source is not repeated in
/// it: print the chain with [`std::error::Error::source`]. No error holds or shows a session id.
///
/// ```
/// use session_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unavailable, "no answer from 127.0.0.1:6379")
///     .with_backend("redis")
///     .with_operation("load");
/// assert_eq!(error.to_string(), "redis load: no answer from 127.0.0.1:6379");
/// assert!(error.is_retryable());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Option<&'static str>,
    backend: Option<&'static str>,
    message: Cow<'static, str>,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind`. The message is lower case, without a full stop, says what was wrong and what to do,
    /// and never holds a session id or a password.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, operation: None, backend: None, message: message.into(), source: None }))
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Names the operation, such as `"save"`. The first name given stands: it is the one nearest to the cause.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the backend, such as `"redis"`. The first name given stands.
    #[must_use]
    pub fn with_backend(mut self, backend: &'static str) -> Self {
        self.0.backend.get_or_insert(backend);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed, if it is known.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The backend that failed, if one did.
    #[must_use]
    pub fn backend(&self) -> Option<&'static str> {
        self.0.backend
    }

    /// Whether the same call may succeed later without anyone changing anything: `true` for
    /// [`Unavailable`](ErrorKind::Unavailable), [`Timeout`](ErrorKind::Timeout) and
    /// [`Contended`](ErrorKind::Contended).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Contended)
    }

    /// The same error once more, without its source.
    pub(crate) fn restate(&self) -> Self {
        let Inner { kind, operation, backend, ref message, .. } = *self.0;
        Self(Box::new(Inner { kind, operation, backend, message: message.clone(), source: None }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.backend, self.0.operation) {
            (Some(backend), Some(operation)) => write!(f, "{backend} {operation}: ")?,
            (Some(name), None) | (None, Some(name)) => write!(f, "{name}: ")?,
            (None, None) => {}
        }
        if self.0.message.is_empty() {
            fmt::Display::fmt(&self.0.kind, f)
        } else {
            f.write_str(&self.0.message)
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("backend", &self.0.backend)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_nearest_to_the_cause_stands_and_the_source_is_not_repeated() {
        let error = Error::new(ErrorKind::Timeout, "no answer in 2 s")
            .with_source(std::io::Error::other("socket closed"))
            .with_operation("save")
            .with_operation("commit");
        assert_eq!(error.to_string(), "save: no answer in 2 s");
        assert_eq!(error.operation(), Some("save"));
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("socket closed"));
    }

    #[test]
    fn an_empty_message_falls_back_to_the_kind() {
        assert_eq!(Error::new(ErrorKind::Corrupt, "").to_string(), "stored session is damaged");
    }
}
