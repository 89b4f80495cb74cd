//! How many sessions an owner may have at a time.

use tracing::info;

use super::SessionManager;
use crate::policy::SessionLimit;
use crate::session::state::Attempt;
use crate::{Error, ErrorKind, Owner, Result, SessionKey, Timestamp};

impl SessionManager {
    /// Whether a limit applies to this write.
    pub(super) fn limits(&self, attempt: &Attempt) -> bool {
        self.policy.session_limit().is_some() && signs_in(attempt).is_some()
    }

    /// Before a sign-in is stored: refuses it when the owner's sessions are all taken.
    pub(super) async fn refuse_over_limit(&self, attempt: &Attempt) -> Result<()> {
        match (self.policy.session_limit(), signs_in(attempt)) {
            (Some(SessionLimit::Refuse(max)), Some(owner)) => {
                let others = self.oldest_first(owner, attempt.write.lies_at()).await?;
                if others.len() < max { Ok(()) } else { Err(too_many(max)) }
            }
            _ => Ok(()),
        }
    }

    /// After a sign-in was stored: ends what is over the limit, this session too when it lost a race.
    pub(super) async fn end_over_limit(&self, attempt: &Attempt) -> Result<()> {
        let (Some(limit), Some(owner)) = (self.policy.session_limit(), signs_in(attempt)) else {
            return Ok(());
        };
        let own = attempt.write.key();
        let mut sessions = self.oldest_first(owner, own).await?;
        match limit {
            SessionLimit::EndOldest(max) => {
                sessions.truncate((sessions.len() + 1).saturating_sub(max));
                for (_, key) in sessions {
                    self.store.delete(key).await?;
                    info!(target: "session", %key, "session ended: its owner signed in once more than allowed");
                }
                Ok(())
            }
            SessionLimit::Refuse(max) => {
                let place = (attempt.record.created_at, own);
                let earlier = sessions.iter().filter(|other| **other < place).count();
                if earlier < max {
                    return Ok(());
                }
                self.store.delete(own).await?;
                Err(too_many(max))
            }
        }
    }

    /// When each live session of the owner but `except` began, and its key.
    async fn oldest_first(&self, owner: &Owner, except: SessionKey) -> Result<Vec<(Timestamp, SessionKey)>> {
        let all = self.sessions_of(owner).await?;
        let others = all.iter().filter(|info| info.key() != except);
        let mut found: Vec<_> = others.map(|info| (info.created_at(), info.key())).collect();
        found.sort_unstable();
        Ok(found)
    }
}

/// The owner who signs in with this write.
fn signs_in(attempt: &Attempt) -> Option<&Owner> {
    attempt.record.owner.as_ref().filter(|_| attempt.changes.restart)
}

fn too_many(max: usize) -> Error {
    let message = format!("the owner has {max} sessions, which is the limit: end one of them first");
    Error::new(ErrorKind::TooManySessions, message).with_operation("commit")
}
