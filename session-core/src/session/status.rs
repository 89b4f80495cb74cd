//! What a response has to tell of a session, in one look.

use super::Session;
use crate::policy::Lifetime;
use crate::{SessionId, SessionKey, Timestamp};

/// What [`Session::status`] found, all of it at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// As [`Session::id`].
    pub id: Option<SessionId>,
    /// Whether the client has to be given the id, because it is another one than it showed: the session was created since,
    /// or its secret changed (`[I8]`).
    pub id_is_new: bool,
    /// Whether this request ended the session, so that the client has to forget its id.
    pub ended_here: bool,
    /// As [`Session::key`].
    pub key: Option<SessionKey>,
    /// As [`Session::expires_at`].
    pub expires_at: Option<Timestamp>,
    /// As [`Session::created_at`].
    pub created_at: Option<Timestamp>,
    /// As [`Session::set_lifetime`].
    pub lifetime: Option<Lifetime>,
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
    /// Everything at once that decides what a response tells the client, for those who write a cookie. Reading it does not
    /// mark the session as accessed.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.lock();
        let stored = state.stored.as_ref();
        Status {
            id: state.id(),
            ended_here: state.ended_here,
            id_is_new: state.id_is_new,
            key: stored.map(|stored| stored.key),
            expires_at: stored.map(|stored| stored.expires_at),
            created_at: stored.map(|stored| stored.created_at),
            lifetime: stored.and_then(|stored| stored.identity.lifetime),
            new: state.new,
            accessed: state.accessed,
            modified: state.modified,
            permanent: state.is_permanent(),
        }
    }
}
