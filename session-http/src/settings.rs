//! What the layer was told to do, and what it does when a session fails.

use std::fmt;
use std::sync::Arc;

use http::{Extensions, StatusCode};
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
        let logged: &dyn std::error::Error = &error;
        match stage {
            Stage::Open => tracing::error!(target: "session", error = logged, "session not opened"),
            Stage::Save if status.is_server_error() => {
                tracing::error!(target: "session", error = logged, "session not saved");
            }
            Stage::Save => tracing::warn!(target: "session", error = logged, "session not saved"),
        }
        (status, Failure { stage, error: Arc::new(error) })
    }

    /// Whether an answer of that status says that its handler ran to its end: a server error does not, nor does a layer's
    /// "request timeout".
    pub(crate) fn saves(&self, status: StatusCode) -> bool {
        self.save_on_server_error || !(status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT)
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

/// Why a response is an error of the session layer's: in the extensions of that response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// What was being done.
    pub stage: Stage,
    /// What went wrong.
    pub error: Arc<Error>,
}

/// Where a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It could not be opened; the handler did not run, or not to its end.
    Open,
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
