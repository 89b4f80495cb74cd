//! What a commit has to do next, found in one look at the session.

use std::sync::Arc;

use tracing::warn;

use super::queue::Turn;
use super::{Outcome, SessionManager};
use crate::session::changes::Changes;
use crate::session::state::{Attempt, Leave, Left, Over, SignIn, State, Write};
use crate::{Error, ErrorKind, Result, Revision, Session, SessionKey, Timestamp};

/// What a commit has to do next.
pub(super) enum Step {
    /// The request left a record behind.
    Leave(Left),
    /// An owner signed in: the owner's sessions have to be counted.
    Count(SignIn),
    /// Others are after the session, too.
    WaitForTurn(SessionKey),
    Write {
        attempt: Arc<Attempt>,
        resumed: bool,
    },
    Touch(SessionKey, Revision, Timestamp),
    /// Nothing. When the stored session ends.
    Done(Option<Timestamp>),
}

/// What a commit did until now.
#[derive(Default)]
pub(super) struct Progress<'m> {
    pub(super) outcome: Option<Outcome>,
    /// Changes of the request were dropped.
    pub(super) dropped: bool,
    pub(super) conflicts: u32,
    pub(super) turn: Option<Turn<'m>>,
}

impl SessionManager {
    pub(super) fn next_step(&self, session: &Session, progress: &mut Progress<'_>) -> Result<Step> {
        let mut state = session.lock();
        let state = &mut *state;
        if let Some(attempt) = state.attempt.take_if(|attempt| matches!(attempt.write, Write::Create { .. }))
        {
            // A key is created once: if the answer was lost, a revocation may have ended what it began (`[I1]`).
            state.left.push(Left { key: attempt.key, owner: None, how: Leave::Orphan });
            state.put_back(&attempt);
        }
        if let Some(step) = state.leaves(|how| how != Leave::Replace) {
            return Ok(step);
        }
        if std::mem::take(&mut state.destroy_is_refused) {
            return Err(superseded(
                "nothing was ended: the session has another id, which was changed before this request began",
            ));
        }
        if let Some(sign_in) = state.uncounted.clone() {
            if state.stands_on(sign_in.key) {
                return Ok(Step::Count(sign_in));
            }
            state.uncounted = None;
        }
        if let Some(attempt) = &state.attempt {
            return Ok(Step::Write { attempt: Arc::clone(attempt), resumed: true });
        }
        if let Some(over) = state.over {
            progress.drop_changes(over, !std::mem::take(&mut state.changes).is_empty());
        }
        if state.changes.is_empty() {
            return self.after_changes(state, progress);
        }
        match &state.stored {
            Some(stored) if progress.turn.is_none() && self.queues.is_busy(stored.key) => {
                return Ok(Step::WaitForTurn(stored.key));
            }
            _ => state.check_writable()?,
        }
        match self.plan(state).map_err(|error| error.with_operation("commit"))? {
            Some(attempt) => Ok(state.begin(attempt)),
            None => {
                state.changes = Changes::default();
                self.after_changes(state, progress)
            }
        }
    }

    /// What remains once the request's own changes are stored.
    fn after_changes(&self, state: &mut State, progress: &Progress<'_>) -> Result<Step> {
        if let Some(step) = state.leaves(|how| how == Leave::Replace) {
            return Ok(step);
        }
        // What was just written has its new expiry, and its id was looked after.
        if progress.outcome.is_none() && !state.is_no_use {
            let now = self.now();
            match (self.plan_upkeep(state, now), &state.stored) {
                (Ok(Some(attempt)), _) => return Ok(state.begin(attempt)),
                (Err(error), Some(stored)) => log_upkeep(stored.key, &error),
                _ => {}
            }
            if let Some(step) = self.due_touch(state, now) {
                return Ok(step);
            }
        }
        Ok(Step::Done(state.expires_at()))
    }

    /// The touch of a session that was only read, when it is due.
    pub(super) fn due_touch(&self, state: &State, now: Timestamp) -> Option<Step> {
        let stored = state.stored.as_ref()?;
        let lifetime = self.policy.lifetime(stored.identity.lifetime);
        let expires_at = self.policy.touch(lifetime, now, stored.created_at, stored.expires_at)?;
        Some(Step::Touch(stored.key, stored.revision, expires_at))
    }
}

impl Progress<'_> {
    /// What others did to the session makes the outcome.
    pub(super) fn drop_changes(&mut self, over: Over, dropped: bool) {
        if dropped || self.outcome.is_none() {
            self.outcome = Some(match over {
                Over::Ended => Outcome::Ended,
                Over::Superseded => Outcome::Superseded,
            });
        }
        self.dropped |= dropped;
    }
}

impl State {
    fn begin(&mut self, attempt: Arc<Attempt>) -> Step {
        self.attempt = Some(Arc::clone(&attempt));
        Step::Write { attempt, resumed: false }
    }

    fn leaves(&self, which: impl Fn(Leave) -> bool) -> Option<Step> {
        self.left.iter().find(|left| which(left.how)).cloned().map(Step::Leave)
    }
}

/// The page loses nothing that it claims: the session is as it was.
pub(super) fn log_upkeep(key: SessionKey, error: &Error) {
    let error: &dyn std::error::Error = error;
    warn!(target: "session", %key, error, "the session's expiry could not be moved, or its id renewed");
}

pub(super) fn superseded(message: &'static str) -> Error {
    Error::new(ErrorKind::Superseded, message).with_operation("commit")
}
