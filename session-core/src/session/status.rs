//! What a response has to tell of a session, in one look.

use super::Session;
use crate::{SessionId, SessionKey, Timestamp};

/// What [`Session::status`] found, all of it at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// As [`Session::id`].
    pub id: Option<SessionId>,
    /// Whether the id is another one than the session was opened with, so that the client does not know it yet: the
    /// session was created since, or its id was rotated or renewed.
    pub id_is_new: bool,
    /// As [`Session::key`].
    pub key: Option<SessionKey>,
    /// As [`Session::expires_at`].
    pub expires_at: Option<Timestamp>,
    /// As [`Session::is_new`].
    pub new: bool,
    /// As [`Session::is_accessed`].
    pub accessed: bool,
    /// As [`Session::is_modified`].
    pub modified: bool,
    /// As [`Session::is_permanent`].
    pub permanent: bool,
}

impl Session {
    /// Everything at once that decides what a response tells the client, for those who write a cookie. Asking is no use
    /// of the session.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.lock();
        let stored = state.stored.as_ref();
        Status {
            id: stored.and_then(|stored| stored.id.clone()),
            id_is_new: state.id_is_new,
            key: stored.map(|stored| stored.key),
            expires_at: stored.map(|stored| stored.expires_at),
            new: state.new,
            accessed: state.accessed,
            modified: state.modified,
            permanent: state.is_permanent(),
        }
    }
}
