//! What a commit tells of what it did.

use super::step::superseded;
use crate::{Error, ErrorKind, Result, Timestamp};

/// What a commit did. The cookie follows from it and from the session.
#[must_use = "changes may have been dropped: `into_result` makes that an error"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// What happened.
    pub outcome: Outcome,
    /// When the stored session ends unless it is used; `None` when nothing is stored.
    pub expires_at: Option<Timestamp>,
    /// Whether changes of this request were dropped, because others ended the session or changed its id.
    pub dropped_changes: bool,
}

impl Commit {
    /// What happened, if nothing was dropped: for `?`.
    ///
    /// # Errors
    /// [`ErrorKind::Ended`] or [`ErrorKind::Superseded`] when changes of this request were dropped.
    pub fn into_result(self) -> Result<Outcome> {
        match self.outcome {
            outcome if !self.dropped_changes => Ok(outcome),
            Outcome::Superseded => Err(superseded(
                "another request changed the session's id meanwhile: the changes of this one are dropped",
            )),
            _ => Err(Error::new(
                ErrorKind::Ended,
                "the session was ended meanwhile: the changes of this request are dropped",
            )
            .with_operation("commit")),
        }
    }
}

/// What happened to the stored session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing: nothing was changed, or nothing was put into a new session.
    Unchanged,
    /// Only its expiry was moved, or what the policy asks for was noted.
    Touched,
    /// It was stored for the first time, under a new key.
    Created,
    /// Its changes were stored.
    Saved,
    /// Its changes, if any, were stored, and its secret is a new one.
    Rotated,
    /// This request ended it: it was destroyed, or nothing was left in it.
    Destroyed,
    /// Others ended it meanwhile, or it expired. The changes of this request, if any, are dropped, and the session
    /// is empty: **sign-out wins**.
    Ended,
    /// Another request changed its id, by a sign-in or `rotate_id`, before this one could write. The changes of this
    /// request, if any, are dropped: old authority writes nothing into new authority (`[I5]`).
    Superseded,
}
