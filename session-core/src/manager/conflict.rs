//! Others wrote first, or nobody knows who did: the newest version comes under what a request did.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::step::{Progress, log_upkeep};
use super::{Outcome, SessionManager, metrics};
use crate::codec::Body;
use crate::id::Secret;
use crate::session::identity::Fit;
use crate::session::reentry;
use crate::session::state::{Attempt, Authority, Over, Stored};
use crate::{Error, ErrorKind, Result, Session, SessionKey, random};

const LONGEST_BACKOFF_MILLIS: u64 = 64;

/// What a session stands on after a look into the store.
pub(super) enum Refreshed {
    /// The newest version, under the changes that are not stored yet.
    Newest,
    /// Nothing any more. Whether changes were dropped.
    Over(Over, bool),
    /// Nothing any more, but the request signs somebody in: a new session begins (`[I6]`).
    BeginsAnew,
}

impl SessionManager {
    /// Loads the newer version and puts this request's changes on top.
    pub(super) async fn meet_conflict(
        &self,
        session: &Session,
        attempt: &Arc<Attempt>,
        resumed: bool,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        if !resumed {
            session.lock().withdraw(attempt);
        }
        self.check_attempts(progress.conflicts)?;
        back_off(progress.conflicts).await?;
        if resumed {
            // Nobody but this request knows the secret, so nobody can have changed it since: if it does not open the
            // session, the write did not take effect.
            if let Some(secret) = attempt.write.new_secret() {
                if self.was_stored(session, attempt, secret).await? {
                    progress.outcome = Some(self.announce(attempt));
                    return Ok(());
                }
            } else if attempt.changes.has_updates() {
                return self.give_up_unknown(session, attempt, progress).await;
            }
        }
        session.lock().withdraw(attempt);
        metrics::replay();
        progress.note(self.refresh(session).await?);
        Ok(())
    }

    /// Whether a save whose answer was lost took effect before others wrote: the secret that it chose opens the session
    /// (`[I2]`).
    async fn was_stored(&self, session: &Session, attempt: &Arc<Attempt>, secret: &Secret) -> Result<bool> {
        let Some((stored, body)) = self.find(attempt.key).await? else { return Ok(false) };
        if !stored.identity.is_opened_by(secret) {
            return Ok(false);
        }
        {
            let mut state = session.lock();
            if !state.is_trying(attempt) {
                return Ok(true);
            }
            state.settle(attempt, self.to_be_counted(attempt));
            state.version += 1;
        }
        replay(session, Some(attempt.key), Some(stored), &body)?;
        Ok(true)
    }

    /// A touch, or a write that the request did not ask for, was not the first. The version that is there now has an
    /// expiry of its own, after which a touch may or may not be due.
    pub(super) async fn meet_upkeep_conflict(
        &self,
        session: &Session,
        key: SessionKey,
        progress: &mut Progress<'_>,
    ) {
        progress.conflicts += 1;
        match Box::pin(self.refresh(session)).await {
            Ok(refreshed) => progress.note(refreshed),
            Err(error) => {
                log_upkeep(key, &error);
                progress.outcome.get_or_insert(Outcome::Unchanged);
            }
        }
        if progress.conflicts >= self.policy.max_attempts() {
            progress.outcome.get_or_insert(Outcome::Unchanged);
        }
    }

    pub(super) fn check_attempts(&self, conflicts: u32) -> Result<()> {
        if conflicts < self.policy.max_attempts() {
            return Ok(());
        }
        let message =
            format!("gave up after {conflicts} attempts: other requests changed the session each time");
        Err(Error::new(ErrorKind::Contended, message).with_operation("commit"))
    }

    async fn give_up_unknown(
        &self,
        session: &Session,
        attempt: &Arc<Attempt>,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let refreshed = self.refresh(session).await?;
        session.lock().abandon(attempt);
        match refreshed {
            Refreshed::Newest => {
                let message = "the answer to an earlier write was lost and the session was changed since: \
                               its updates may or may not be stored, and were not applied again";
                Err(Error::new(ErrorKind::Contended, message).with_operation("commit"))
            }
            over => {
                progress.note(over);
                progress.dropped = true;
                Ok(())
            }
        }
    }

    /// Brings the newest stored version into the session, under the changes that are not stored yet.
    pub(super) async fn refresh(&self, session: &Session) -> Result<Refreshed> {
        let (key, authority) = {
            let state = session.lock();
            match &state.stored {
                Some(stored) => (stored.key, state.authority.clone()),
                None => return Ok(Refreshed::Over(state.over.unwrap_or(Over::Ended), false)),
            }
        };
        let Some((stored, body)) = self.find(key).await? else {
            return self.begin_anew_or(session, key, Over::Ended);
        };
        if stored.identity.is_tombstone() {
            return self.begin_anew_or(session, key, Over::Ended);
        }
        if let Authority::Secret(secret) = &authority
            && self.fit(&stored.identity, secret).await == Fit::No
        {
            return self.begin_anew_or(session, key, Over::Superseded);
        }
        if replay(session, Some(key), Some(stored), &body)? {
            Ok(Refreshed::Newest)
        } else {
            Ok(Refreshed::Over(Over::Ended, false))
        }
    }

    pub(super) fn begin_anew_or(&self, session: &Session, key: SessionKey, over: Over) -> Result<Refreshed> {
        let over = note_over(session, key, over);
        if matches!(over, Refreshed::BeginsAnew) {
            replay(session, None, None, &Body::empty())?;
        }
        Ok(over)
    }
}

impl Progress<'_> {
    pub(super) fn note(&mut self, refreshed: Refreshed) {
        if let Refreshed::Over(over, dropped) = refreshed {
            self.drop_changes(over, dropped);
        }
    }
}

/// Puts the session's changes on top of a version. `false` when the session does not stand on `key` any more.
fn replay(session: &Session, key: Option<SessionKey>, stored: Option<Stored>, body: &Body) -> Result<bool> {
    for _ in 0..reentry::MOST_RUNS {
        // Replaying runs the application's code, so it happens outside the lock.
        let (mut changes, version) = {
            let state = session.lock();
            (state.changes.clone(), state.version)
        };
        reentry::run(session, || changes.replay(body))?;
        let mut state = session.lock();
        if state.stored.as_ref().map(|stored| stored.key) != key {
            return Ok(false);
        }
        if state.version == version {
            state.changes = changes;
            if let Some(stored) = stored {
                state.stand_on(stored);
            }
            state.body = body.clone();
            state.version += 1;
            return Ok(true);
        }
    }
    Err(reentry::never_ends())
}

/// Drops what cannot be stored any more, unless the handle has moved on meanwhile.
pub(super) fn note_over(session: &Session, key: SessionKey, over: Over) -> Refreshed {
    let mut state = session.lock();
    if !state.stands_on(key) {
        return Refreshed::Over(over, false);
    }
    let dropped = state.end(over);
    let begins = state.over.is_none();
    drop(state);
    info!(target: "session", %key, ?over, dropped, "session is over for this request");
    if begins { Refreshed::BeginsAnew } else { Refreshed::Over(over, dropped) }
}

/// The first conflict is met at once; later ones wait a little longer each time, never in step with each other.
async fn back_off(conflicts: u32) -> Result<()> {
    if conflicts > 1 {
        let most = (1_u64 << conflicts.min(16)).min(LONGEST_BACKOFF_MILLIS);
        let [byte] = random::bytes::<1>()?;
        tokio::time::sleep(Duration::from_millis(u64::from(byte) * most / 255)).await;
    }
    Ok(())
}
