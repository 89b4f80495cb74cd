//! How many sessions an owner may have at a time.

use tracing::info;

use super::{EndReason, EventKind, SessionManager};
use crate::policy::SessionLimit;
use crate::session::state::Attempt;
use crate::{Error, ErrorKind, Owner, Result, SessionInfo, SessionKey, Timestamp};

/// Where a session stands among those of its owner: when it first was the owner's, then its key. A later sign-in moves
/// nothing, so that all who look agree (`[I7]`).
type Rank = (Timestamp, SessionKey);

impl SessionManager {
    /// Whether a limit applies to this write.
    pub(super) fn limits(&self, attempt: &Attempt) -> bool {
        self.policy.session_limit().is_some() && signs_in(attempt).is_some()
    }

    /// Before a sign-in is stored: refuses it when the owner's sessions are all taken.
    pub(super) async fn refuse_over_limit(&self, attempt: &Attempt) -> Result<()> {
        match (self.policy.session_limit(), signs_in(attempt)) {
            (Some(SessionLimit::Refuse(max)), Some(owner)) if is_first(attempt) => {
                let others = self.ranks(owner).await?.into_iter().filter(|(_, key)| *key != attempt.key);
                if others.count() < max { Ok(()) } else { Err(self.too_many(owner, attempt.key, max)) }
            }
            _ => Ok(()),
        }
    }

    /// After a sign-in was stored: ends what is over the limit. Whether this session is among that.
    pub(super) async fn end_over_limit(&self, attempt: &Attempt) -> Result<bool> {
        let (Some(limit), Some(owner)) = (self.policy.session_limit(), signs_in(attempt)) else {
            return Ok(false);
        };
        let ranks = self.ranks(owner).await?;
        match limit {
            SessionLimit::EndOldest(max) => {
                let over = &ranks[..ranks.len().saturating_sub(max)];
                for (_, key) in over {
                    if self.store.delete(*key).await? {
                        info!(target: "session", %key, "session ended: its owner signed in once more than allowed");
                        self.tell(EventKind::Ended(EndReason::OverLimit), *key, Some(owner));
                    }
                }
                Ok(over.iter().any(|(_, key)| *key == attempt.key))
            }
            SessionLimit::Refuse(max) => {
                if !ranks.iter().any(|(_, key)| *key == attempt.key) {
                    return Ok(true);
                }
                // Not by rank: another sign-in, which was told that it may stay, need not have seen this one. Of two that
                // meet, both may be refused.
                if ranks.len() <= max || !is_first(attempt) {
                    return Ok(false);
                }
                self.store.delete(attempt.key).await?;
                Err(self.too_many(owner, attempt.key, max))
            }
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

/// Whether the session becomes the owner's with this write. One that is already adds none.
fn is_first(attempt: &Attempt) -> bool {
    attempt.identity.owned_since == Some(attempt.identity.changed_at)
}
