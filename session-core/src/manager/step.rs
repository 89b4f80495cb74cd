//! What a commit has to do next, found in one look at the session.

use std::sync::Arc;

use super::plan::Plan;
use super::queue::Turn;
use super::{Outcome, SessionManager};
use crate::session::state::{Attempt, State};
use crate::{Result, Session, SessionKey, Timestamp};

/// What a commit has to do next.
pub(super) enum Step {
    /// It was destroyed.
    Delete(SessionKey),
    /// Others are after the session, too.
    WaitForTurn(SessionKey),
    Write {
        attempt: Arc<Attempt>,
        resumed: bool,
    },
    Touch(SessionKey, Timestamp),
    /// Nothing. When the stored session ends.
    Done(Option<Timestamp>),
}

/// What a commit did until now.
#[derive(Default)]
pub(super) struct Progress<'m> {
    pub(super) outcome: Option<Outcome>,
    pub(super) conflicts: u32,
    pub(super) turn: Option<Turn<'m>>,
}

impl SessionManager {
    pub(super) fn next_step(&self, session: &Session, progress: &Progress<'_>) -> Result<Step> {
        let mut state = session.lock();
        if let Some(key) = state.doomed.first() {
            return Ok(Step::Delete(*key));
        }
        if let Some(attempt) = &state.attempt {
            return Ok(Step::Write { attempt: Arc::clone(attempt), resumed: true });
        }
        if state.changes.is_empty() {
            // What was just written has its new expiry.
            let due = if progress.outcome.is_none() { self.due_touch(&state) } else { None };
            return Ok(due.unwrap_or_else(|| Step::Done(state.expires_at())));
        }
        match &state.stored {
            Some(stored) if progress.turn.is_none() && self.queues.is_busy(stored.key) => {
                return Ok(Step::WaitForTurn(stored.key));
            }
            _ => state.check_writable()?,
        }
        let changes = std::mem::take(&mut state.changes);
        match self.plan(&state, &changes) {
            Ok(Some(Plan { write, record, body, ends })) => {
                let attempt = Arc::new(Attempt { changes, write, record, body, ends });
                state.attempt = Some(Arc::clone(&attempt));
                Ok(Step::Write { attempt, resumed: false })
            }
            Ok(None) => Ok(Step::Done(None)),
            Err(error) => {
                state.changes = changes;
                Err(error.with_operation("commit"))
            }
        }
    }

    /// The touch of a session that was only read, when it is due.
    pub(super) fn due_touch(&self, state: &State) -> Option<Step> {
        let stored = state.stored.as_ref()?;
        let expires_at = self.policy.touch(self.now(), stored.created_at, stored.expires_at)?;
        Some(Step::Touch(stored.key, expires_at))
    }
}
