//! An error of a session as a handler's answer.

use std::fmt;

use session_core::Error;

#[cfg(feature = "axum")]
use crate::settings::{Failure, Stage};

/// An error of a session that a handler can return with `?`.
///
/// As a response of axum it is 503 when trying again may help, 409 when others ended the session or changed its id, else
/// 500, without a word about the storage; it is logged. The layer saves nothing of a handler that gave up so, and the
/// [`Failure`](crate::Failure) is in the response's extensions.
#[derive(Debug)]
pub struct SessionError(Error);

impl SessionError {
    /// What went wrong.
    #[must_use]
    pub fn get_ref(&self) -> &Error {
        &self.0
    }
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for SessionError {
    fn into_response(self) -> axum_core::response::Response {
        let status = crate::settings::status_of(&self.0);
        let mut response = status.into_response();
        response.extensions_mut().insert(Failure::new(Stage::Handler, status, self.0));
        response
    }
}
