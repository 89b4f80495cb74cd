//! How many sessions an owner may have at a time.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::conflict::note_over;
use super::{EndReason, EventKind, SessionManager};
use crate::policy::SessionLimit;
use crate::session::state::{Attempt, Over, SignIn};
use crate::{Error, ErrorKind, Owner, Result, Session, SessionInfo, SessionKey, Timestamp};

/// Where a session stands among those of its owner: when it first was the owner's, then its key. Nothing moves it
/// afterwards, so that all who look agree (`[I7]`). A sign-in that begins after another one was stored comes after it, also
/// within the same millisecond; of two that do not see each other, the clocks and then the keys decide.
type Rank = (Timestamp, SessionKey);

/// The least by which one time can be later than another.
const MOMENT: Duration = Duration::from_millis(1);

impl SessionManager {
    /// Whether a limit applies to this write.
    pub(super) fn limits(&self, attempt: &Attempt) -> bool {
        self.policy.session_limit().is_some() && signs_in(attempt).is_some()
    }

    /// The sign-in after which the owner's sessions have to be counted, if this write is one.
    pub(super) fn to_be_counted(&self, attempt: &Attempt) -> Option<SignIn> {
        self.policy.session_limit()?;
        let owner = signs_in(attempt)?.clone();
        Some(SignIn { key: attempt.key, owner, is_first: attempt.is_owners_first })
    }

    /// Before a sign-in is stored: refuses it when the owner's sessions are all taken, or sees to it that it comes after
    /// those that are there, whatever the clocks of their servers said. Whether it can be stored; else it has to be planned
    /// anew.
    pub(super) async fn may_sign_in(
        &self,
        session: &Session,
        attempt: &Arc<Attempt>,
        resumed: bool,
    ) -> Result<bool> {
        let (Some(limit), Some(owner)) = (self.policy.session_limit(), signs_in(attempt)) else {
            return Ok(true);
        };
        let is_settled = resumed && matches!(limit, SessionLimit::EndOldest(_));
        if is_settled || !attempt.is_owners_first {
            return Ok(true);
        }
        let ranks = self.ranks(owner).await.inspect_err(|_| session.lock().withdraw(attempt))?;
        let mut others = ranks.into_iter().filter(|(_, key)| *key != attempt.key);
        match limit {
            SessionLimit::Refuse(max) if others.by_ref().count() >= max => {
                session.lock().refuse(attempt);
                Err(self.too_many(owner, attempt.key, max))
            }
            SessionLimit::Refuse(_) => Ok(true),
            SessionLimit::EndOldest(_) => match others.next_back() {
                Some((last, _)) if Some(last.saturating_add(MOMENT)) > attempt.identity.owned_since => {
                    let mut state = session.lock();
                    state.owned_from = Some(last.saturating_add(MOMENT));
                    state.withdraw(attempt);
                    Ok(false)
                }
                _ => Ok(true),
            },
        }
    }

    /// After a sign-in was stored: ends what is over the limit. Whether this session has ended.
    pub(super) async fn end_over_limit(&self, session: &Session, sign_in: &SignIn) -> Result<bool> {
        let Some(limit) = self.policy.session_limit() else { return Ok(false) };
        let SignIn { key: own, owner, is_first } = sign_in;
        let ranks = self.ranks(owner).await?;
        let is_there = ranks.iter().any(|(_, key)| key == own);
        let over = match limit {
            SessionLimit::EndOldest(max) => &ranks[..ranks.len().saturating_sub(max)],
            // Not by rank: another sign-in, which was told that it may stay, need not have seen this one. Of two that
            // meet, both may be refused.
            SessionLimit::Refuse(max) if is_there && *is_first && ranks.len() > max => {
                self.end_over(owner, *own).await?;
                let mut state = session.lock();
                state.uncounted = None;
                state.refuse_stored(*own);
                drop(state);
                return Err(self.too_many(owner, *own, max));
            }
            SessionLimit::Refuse(_) => &[],
        };
        for (_, key) in over {
            if self.end_over(owner, *key).await? {
                info!(target: "session", %key, "session ended: its owner signed in once more than allowed");
                self.tell(EventKind::Ended(EndReason::OverLimit), *key, Some(owner));
            }
        }
        session.lock().uncounted = None;
        let has_ended = !is_there || over.iter().any(|(_, key)| key == own);
        if has_ended {
            let _ = note_over(session, *own, Over::Ended);
        }
        Ok(has_ended)
    }

    /// Ends a session that is over the limit, unless somebody else signed in there since it was listed. Whoever writes to it
    /// all the time does not keep it.
    async fn end_over(&self, owner: &Owner, key: SessionKey) -> Result<bool> {
        match self.end_of(owner, key).await {
            Err(error) if error.kind() == ErrorKind::Contended => self.store.delete(key).await,
            ended => ended,
        }
    }

    /// The owner's live sessions, in their order.
    async fn ranks(&self, owner: &Owner) -> Result<Vec<Rank>> {
        let rank = |info: &SessionInfo| (info.owned_since(), info.key());
        let mut ranks: Vec<Rank> = self.sessions_of(owner).await?.iter().map(rank).collect();
        ranks.sort_unstable();
        Ok(ranks)
    }

    fn too_many(&self, owner: &Owner, key: SessionKey, max: usize) -> Error {
        self.tell(EventKind::Refused, key, Some(owner));
        let message = format!("the owner has {max} sessions, which is the limit: end one of them first");
        Error::new(ErrorKind::TooManySessions, message).with_operation("commit")
    }
}

/// The owner who signs in with this write.
fn signs_in(attempt: &Attempt) -> Option<&Owner> {
    attempt.record.owner.as_ref().filter(|_| attempt.changes.signs_in)
}
