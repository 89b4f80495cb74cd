//! Brings what a request did to its session into the store, exactly once and never over somebody else's work.

use std::sync::Arc;

use tracing::{debug, info};

use super::conflict::note_over;
use super::step::{Progress, Step, log_upkeep};
use super::{Commit, EndReason, EventKind, Outcome, SessionManager, metrics};
use crate::session::reentry;
use crate::session::state::{Attempt, Leave, Left, Over, Write};
use crate::{Created, Error, ErrorKind, Result, Revision, Saved, Session, SessionKey, Timestamp, Touched};

enum Written {
    Yes,
    Conflict,
    Missing,
    /// The new key is taken; another one is needed.
    Occupied,
}

impl SessionManager {
    /// Stores what was done to the session since it was opened or last committed.
    ///
    /// Nothing changed: nothing, or one touch. Changed: one round trip, a change of id included. When another request was
    /// faster: one more load and save, with this request's changes replayed on the newer version, for as many attempts as
    /// the policy allows; other commits of this process on the same session wait for their turn meanwhile. A session that
    /// was ended meanwhile stays so ([`Outcome::Ended`]), and what was opened with an id that others changed since stores
    /// nothing ([`Outcome::Superseded`]); a request that signs somebody in begins a new session then.
    ///
    /// A touch that fails, and a renewal of the id by age, lose nothing that the caller was told: they are logged, and the
    /// commit succeeds.
    ///
    /// # Errors
    /// The store's errors; [`TooLarge`](ErrorKind::TooLarge) over the policy's limit;
    /// [`Contended`](ErrorKind::Contended) when the attempts ran out; [`Superseded`](ErrorKind::Superseded) for a
    /// `destroy` that could end nothing; [`TooLate`](ErrorKind::TooLate); the errors of replayed updates. The changes
    /// stay in the session, and a second commit tries again. After a lost answer that is safe too: the same save
    /// is sent again (`[S5]`), and a new session gets another key. Only when the answer was lost *and* another request wrote
    /// since, a session with updates fails with [`Contended`](ErrorKind::Contended) and takes the newest version: it
    /// cannot be known whether they are in it, and they are never applied twice.
    ///
    /// # Cancellation
    /// The store holds the old version or the new one. A later commit of the same session carries on.
    pub async fn commit(&self, session: &Session) -> Result<Commit> {
        if let Some(unchanged) = self.try_commit_now(session) {
            return Ok(unchanged);
        }
        let watch = metrics::Watch::start();
        let commit = self.commit_unwatched(session).await;
        watch.committed(&commit);
        commit
    }

    /// Commits without a call to the store if there is nothing to write: no changes, and no touch, renewal or measurement
    /// of the store's clock is due. `None` if [`commit`](Self::commit) has to be awaited; the session is then as before.
    ///
    /// For those who answer requests: most requests only read.
    #[must_use]
    pub fn try_commit_now(&self, session: &Session) -> Option<Commit> {
        let watch = metrics::Watch::start();
        let unchanged = {
            let state = session.lock();
            if !state.is_settled() {
                return None;
            }
            if state.stored.is_some() && !state.is_no_use {
                let now = self.clock.now_if_fresh()?;
                if self.due_touch(&state, now).is_some() || self.is_upkeep_due(&state, now) {
                    return None;
                }
            }
            let outcome = match state.over {
                None => Outcome::Unchanged,
                Some(Over::Ended) => Outcome::Ended,
                Some(Over::Superseded) => Outcome::Superseded,
            };
            Ok(Commit { outcome, expires_at: state.expires_at(), dropped_changes: false })
        };
        watch.committed(&unchanged);
        unchanged.ok()
    }

    /// One step after the other, until there is none: a clone of the handle may change or destroy the session meanwhile.
    async fn commit_unwatched(&self, session: &Session) -> Result<Commit> {
        reentry::check(session)?;
        let _one = session.lock_commit().await;
        self.make_ready().await?;
        let mut progress = Progress::default();
        loop {
            // What happens seldom is boxed, so that the future of the common case is small.
            match self.next_step(session, &mut progress)? {
                Step::Leave(left) => Box::pin(self.leave(session, left, &mut progress)).await?,
                Step::Count(sign_in) => {
                    if Box::pin(self.end_over_limit(session, &sign_in)).await? {
                        progress.drop_changes(Over::Ended, true);
                    }
                }
                Step::WaitForTurn(key) => {
                    progress.turn = Some(self.queues.turn(key).await);
                    // Those who had their turn before have changed it.
                    metrics::replay();
                    progress.note(Box::pin(self.refresh(session)).await?);
                }
                Step::Write { attempt, resumed } => {
                    self.try_to_write(session, &attempt, resumed, &mut progress).await?;
                }
                Step::Touch(key, revision, expires_at) => {
                    self.touch(session, key, revision, expires_at, &mut progress).await?;
                }
                Step::Done(expires_at) => {
                    return Ok(Commit {
                        outcome: progress.outcome.unwrap_or(Outcome::Unchanged),
                        expires_at,
                        dropped_changes: progress.dropped,
                    });
                }
            }
        }
    }

    /// Brings an attempt into the store, or what was learned on the way into the session.
    async fn try_to_write<'m>(
        &'m self,
        session: &Session,
        attempt: &Arc<Attempt>,
        resumed: bool,
        progress: &mut Progress<'m>,
    ) -> Result<()> {
        if self.limits(attempt) && !Box::pin(self.may_sign_in(session, attempt, resumed)).await? {
            return Ok(());
        }
        match self.write(attempt).await {
            Err(error) if matches!(attempt.write, Write::Upkeep { .. }) => {
                session.lock().withdraw(attempt);
                progress.outcome = Some(Outcome::Unchanged);
                log_upkeep(attempt.key, &error);
            }
            Err(error) => {
                if was_refused(&error) {
                    session.lock().withdraw(attempt);
                }
                return Err(error);
            }
            Ok(Written::Yes) => progress.outcome = Some(self.settle(session, attempt)),
            // There is nothing to end any more. An update that emptied it saw what another request may have taken out.
            Ok(Written::Missing)
                if matches!(attempt.write, Write::End { .. }) && !attempt.changes.has_updates() =>
            {
                session.lock().end_attempt(attempt, false);
                progress.outcome = Some(Outcome::Destroyed);
            }
            Ok(Written::Missing) => {
                session.lock().withdraw(attempt);
                progress.note(self.begin_anew_or(session, attempt.key, Over::Ended)?);
            }
            Ok(Written::Occupied) => {
                progress.conflicts += 1;
                session.lock().withdraw(attempt);
                self.check_attempts(progress.conflicts)?;
            }
            Ok(Written::Conflict) if matches!(attempt.write, Write::Upkeep { .. }) => {
                session.lock().withdraw(attempt);
                self.meet_upkeep_conflict(session, attempt.key, progress).await;
            }
            Ok(Written::Conflict) => {
                progress.conflicts += 1;
                metrics::conflict();
                if progress.turn.is_none() {
                    progress.turn = Some(self.queues.turn(attempt.key).await);
                }
                Box::pin(self.meet_conflict(session, attempt, resumed, progress)).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, attempt: &Attempt) -> Result<Written> {
        let Attempt { key, record, .. } = attempt;
        let expected = match &attempt.write {
            Write::Create { .. } => {
                return Ok(match self.store.create(*key, record).await? {
                    Created::Stored => Written::Yes,
                    Created::Occupied => Written::Occupied,
                });
            }
            Write::Save { expected, .. } | Write::Upkeep { expected, .. } | Write::End { expected } => {
                *expected
            }
        };
        Ok(match self.store.save(*key, expected, record).await? {
            Saved::Stored => Written::Yes,
            Saved::Conflict => Written::Conflict,
            Saved::Missing => Written::Missing,
        })
    }

    async fn touch(
        &self,
        session: &Session,
        key: SessionKey,
        revision: Revision,
        expires_at: Timestamp,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        match self.store.touch(key, revision, expires_at).await {
            Ok(Touched::Stored) => {
                if let Some(stored) = &mut session.lock().stored {
                    stored.expires_at = expires_at;
                }
                progress.outcome = Some(Outcome::Touched);
            }
            Ok(Touched::Missing) => progress.note(note_over(session, key, Over::Ended)),
            Ok(Touched::Conflict) => self.meet_upkeep_conflict(session, key, progress).await,
            Err(error) => {
                log_upkeep(key, &error);
                progress.outcome = Some(Outcome::Unchanged);
            }
        }
        Ok(())
    }

    /// Deletes, or replaces by a tombstone, a record that the request left behind.
    async fn leave(&self, session: &Session, left: Left, progress: &mut Progress<'_>) -> Result<()> {
        let Left { key, how, .. } = left;
        let live = match how {
            Leave::Replace => self.replace(key).await?,
            Leave::Delete | Leave::Orphan => self.store.delete(key).await?,
        };
        let mut state = session.lock();
        state.has_left(&left);
        if how == Leave::Delete {
            state.ended_here |= live;
            progress.outcome = Some(Outcome::Destroyed);
        }
        drop(state);
        let reason = match how {
            Leave::Delete => EndReason::Destroyed,
            Leave::Replace => EndReason::Replaced,
            Leave::Orphan => return Ok(()),
        };
        info!(target: "session", %key, ?reason, live, "session ended");
        if live {
            self.tell(EventKind::Ended(reason), key, left.owner.as_ref());
        }
        Ok(())
    }

    /// Makes what was written the state to stand on, unless the session was destroyed meanwhile.
    fn settle(&self, session: &Session, attempt: &Arc<Attempt>) -> Outcome {
        let outcome = self.announce(attempt);
        let mut state = session.lock();
        if matches!(attempt.write, Write::End { .. }) {
            state.end_attempt(attempt, true);
        } else {
            state.settle(attempt, self.to_be_counted(attempt));
        }
        outcome
    }

    /// What a stored attempt did, after telling of it.
    pub(super) fn announce(&self, attempt: &Attempt) -> Outcome {
        let (key, owner) = (attempt.key, attempt.record.owner.as_ref());
        let (outcome, event) = match &attempt.write {
            Write::Create { .. } => (Outcome::Created, Some(EventKind::Created)),
            Write::Save { secret: Some(_), .. } => (Outcome::Rotated, Some(EventKind::IdChanged)),
            Write::Save { renews: true, .. } | Write::Upkeep { renews: true, .. } => {
                (Outcome::Rotated, Some(EventKind::IdRenewed))
            }
            Write::Save { .. } => (Outcome::Saved, None),
            Write::Upkeep { .. } => (Outcome::Touched, None),
            Write::End { .. } => (Outcome::Destroyed, Some(EventKind::Ended(EndReason::Emptied))),
        };
        match outcome {
            Outcome::Created => info!(target: "session", %key, "session created"),
            Outcome::Rotated => info!(target: "session", %key, "session id changed"),
            _ => debug!(target: "session", %key, ?outcome, "session stored"),
        }
        if let Some(event) = event {
            self.tell(event, key, owner);
        }
        if attempt.changes.signs_in {
            info!(target: "session", %key, "session of an owner who signed in");
            self.tell(EventKind::SignedIn, key, owner);
        }
        outcome
    }
}

/// Whether the store refused a write before it wrote anything, so that the same one needs no second try.
fn was_refused(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::TooLarge | ErrorKind::InvalidInput | ErrorKind::InvalidConfig | ErrorKind::Unsupported
    )
}
