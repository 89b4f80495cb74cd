//! What the layer was told to do, and what it does when a session fails.

use std::fmt;
use std::sync::Arc;

use http::{Extensions, Response, StatusCode};
use session_core::{Commit, Error, ErrorKind, Result};

use crate::{SessionHandle, SessionInterface};

type Status = Arc<dyn Fn(&Error) -> StatusCode + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) interface: Arc<dyn SessionInterface>,
    /// Puts the handle where extractors find it.
    pub(crate) attach: fn(&mut Extensions, SessionHandle),
    pub(crate) eager: bool,
    pub(crate) save_on_server_error: bool,
    pub(crate) keep_unsaved: bool,
    pub(crate) refuse_dropped_changes: bool,
    pub(crate) status: Status,
}

impl Settings {
    pub(crate) fn new(interface: impl SessionInterface) -> Self {
        Self {
            interface: Arc::new(interface),
            attach: SessionHandle::attach,
            eager: false,
            save_on_server_error: false,
            keep_unsaved: false,
            refuse_dropped_changes: true,
            status: Arc::new(status_of),
        }
    }

    /// Logs a failure and gives its status.
    pub(crate) fn fail(&self, stage: Stage, error: Error) -> (StatusCode, Failure) {
        let status = (self.status)(&error);
        (status, Failure::new(stage, status, error))
    }

    /// Whether a response says that its handler ran to its end: a server error does not, nor do a layer's "request
    /// timeout" and a [`SessionError`](crate::SessionError).
    pub(crate) fn saves<B>(&self, response: &Response<B>) -> bool {
        let status = response.status();
        let gave_up = || matches!(response.extensions().get(), Some(Failure { stage: Stage::Handler, .. }));
        let is_cut_off = || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT || gave_up();
        self.save_on_server_error || !is_cut_off()
    }

    /// What becomes of a commit whose changes were dropped: an error where the answer may claim them (`[I5]`).
    pub(crate) fn check(&self, commit: Option<Commit>, is_safe: bool) -> Result<()> {
        let Some(Err(dropped)) = commit.map(Commit::into_result) else { return Ok(()) };
        if self.refuse_dropped_changes && !is_safe {
            return Err(dropped);
        }
        let error: &dyn std::error::Error = &dropped;
        tracing::warn!(target: "session", error, "the changes of a request were dropped");
        Ok(())
    }
}

/// The status of an error of the session: what it says of the request, or of the server.
pub(crate) fn status_of(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::Ended | ErrorKind::Superseded | ErrorKind::TooManySessions => StatusCode::CONFLICT,
        _ if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Why a response is an error of the session's: in the extensions of that response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// What was being done.
    pub stage: Stage,
    /// What went wrong.
    pub error: Arc<Error>,
}

impl Failure {
    /// Logs it, too.
    pub(crate) fn new(stage: Stage, status: StatusCode, error: Error) -> Self {
        let logged: &dyn std::error::Error = &error;
        let what = match stage {
            Stage::Open => "session not opened",
            Stage::Handler => "a handler gave up on its session",
            Stage::Save => "session not saved",
        };
        if status.is_server_error() {
            tracing::error!(target: "session", error = logged, %status, "{what}");
        } else {
            tracing::warn!(target: "session", error = logged, %status, "{what}");
        }
        Self { stage, error: Arc::new(error) }
    }
}

/// Where a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// It could not be opened; the handler did not run, or not to its end.
    Open,
    /// The handler met an error of its session and returned it: a [`SessionError`](crate::SessionError).
    Handler,
    /// It could not be saved; the handler's response was dropped.
    Save,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("interface", &self.interface)
            .field("eager", &self.eager)
            .field("save_on_server_error", &self.save_on_server_error)
            .field("keep_unsaved", &self.keep_unsaved)
            .field("refuse_dropped_changes", &self.refuse_dropped_changes)
            .finish_non_exhaustive()
    }
}
