//! Brings what a request did to its session into the store, exactly once and never over somebody else's work.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info};

use super::step::{Progress, Step};
use super::{SessionManager, metrics};
use crate::session::state::{Attempt, Stored, Write};
use crate::{
    Created, Error, ErrorKind, Result, Revision, Saved, Session, SessionKey, Timestamp, Touched, random,
};

const LONGEST_BACKOFF_MILLIS: u64 = 64;

/// What a commit did. The cookie follows from it and from the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// What happened.
    pub outcome: Outcome,
    /// When the stored session ends unless it is used; `None` when nothing is stored.
    pub expires_at: Option<Timestamp>,
}

/// What happened to the stored session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing: nothing was changed, or nothing was put into a new session.
    Unchanged,
    /// Only its expiry was moved.
    Touched,
    /// It was stored for the first time, under a new id.
    Created,
    /// Its changes were stored.
    Saved,
    /// Its changes, if any, were stored, and its id is a new one.
    Rotated,
    /// This request ended it: it was destroyed, or nothing was left in it.
    Ended,
    /// Somebody else ended it meanwhile, or it expired. The changes of this request are dropped, and the session
    /// is empty: **logout wins**.
    Gone,
}

enum Written {
    Yes,
    Conflict,
    Missing,
    /// The new id is taken; another one is needed.
    Occupied,
}

impl SessionManager {
    /// Stores what was done to the session since it was opened or last committed.
    ///
    /// Nothing changed: nothing, or one touch. Changed: one round trip. When another request was faster: one more
    /// load and save, with this request's changes replayed on the newer version, for as many attempts as the
    /// policy allows; other commits of this process on the same session wait for their turn meanwhile. A session that
    /// was ended meanwhile stays so ([`Outcome::Gone`]).
    ///
    /// # Errors
    /// The store's errors; [`TooLarge`](ErrorKind::TooLarge) over the policy's limit;
    /// [`Contended`](ErrorKind::Contended) when the attempts ran out; the errors of replayed updates. The changes
    /// stay in the session, and a second commit tries again. After a lost answer that is safe too: the same record
    /// is sent again (`[S5]`, `[R6]`). Only when the answer was lost *and* another request wrote since, a session
    /// with updates fails with [`Contended`](ErrorKind::Contended) and takes the newest version: it cannot be known
    /// whether they are in it, and they are never applied twice.
    ///
    /// # Cancellation
    /// The store holds the old version or the new one. A later commit of the same session carries on.
    pub async fn commit(&self, session: &Session) -> Result<Commit> {
        if let Some(unchanged) = self.commit_at_once(session) {
            return Ok(unchanged);
        }
        let watch = metrics::Watch::start();
        let commit = self.commit_unwatched(session).await;
        watch.committed(&commit);
        commit
    }

    /// The commit of a session that needs none: nothing was changed, and neither a touch nor a new id can be due.
    /// `None` when [`commit`](Self::commit) has to look closer; nothing was done then.
    ///
    /// For those who answer requests: most requests only read, and this has nothing to wait for.
    #[must_use]
    pub fn commit_at_once(&self, session: &Session) -> Option<Commit> {
        let watch = metrics::Watch::start();
        let expires_at = {
            let state = session.lock();
            if !state.is_settled() || self.policy.renews() || self.due_touch(&state).is_some() {
                return None;
            }
            state.expires_at()
        };
        let unchanged = Ok(Commit { outcome: Outcome::Unchanged, expires_at });
        watch.committed(&unchanged);
        unchanged.ok()
    }

    /// One step after the other, until there is none: a clone of the handle may change or destroy the session meanwhile.
    async fn commit_unwatched(&self, session: &Session) -> Result<Commit> {
        let _one = session.lock_commit().await;
        let mut progress = Progress::default();
        loop {
            // What happens seldom is boxed, so that the future of the common case is small.
            match self.next_step(session, &progress)? {
                Step::Delete(key) => {
                    self.store.delete(key).await?;
                    session.lock().doomed.retain(|doomed| *doomed != key);
                    info!(target: "session", %key, "session destroyed");
                    progress.outcome = Some(Outcome::Ended);
                }
                Step::WaitForTurn(key) => {
                    progress.turn = Some(self.queues.turn(key).await);
                    // Those who had their turn before have changed it.
                    metrics::replay();
                    if !Box::pin(self.refresh(session)).await? {
                        progress.outcome = Some(Outcome::Gone);
                    }
                }
                Step::Write { attempt, resumed } => {
                    self.try_to_write(session, &attempt, resumed, &mut progress).await?;
                }
                Step::Touch(key, expires_at) => {
                    progress.outcome = Some(self.touch(session, key, expires_at).await?);
                }
                Step::Done(expires_at) => {
                    return Ok(Commit {
                        outcome: progress.outcome.unwrap_or(Outcome::Unchanged),
                        expires_at,
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
        if self.limits(attempt)
            && let Err(refused) = Box::pin(self.refuse_over_limit(attempt)).await
        {
            session.lock().withdraw(attempt);
            return Err(refused);
        }
        match self.write(attempt, resumed).await? {
            Written::Yes => {
                progress.outcome = Some(settle(session, attempt));
                if self.limits(attempt) {
                    Box::pin(self.end_over_limit(attempt)).await?;
                }
            }
            Written::Missing if attempt.ends => progress.outcome = Some(settle(session, attempt)),
            Written::Missing => progress.outcome = Some(note_gone(session, attempt.write.lies_at())),
            Written::Occupied => {
                progress.conflicts += 1;
                session.lock().withdraw(attempt);
                self.check_attempts(progress.conflicts)?;
            }
            Written::Conflict => {
                progress.conflicts += 1;
                metrics::conflict();
                if progress.turn.is_none() {
                    progress.turn = Some(self.queues.turn(attempt.write.lies_at()).await);
                }
                let met = self.meet_conflict(session, attempt, resumed, progress.conflicts);
                progress.outcome = Box::pin(met).await?.or(progress.outcome);
            }
        }
        Ok(())
    }

    async fn write(&self, attempt: &Attempt, resumed: bool) -> Result<Written> {
        let record = &attempt.record;
        Ok(match &attempt.write {
            Write::Create { id } => match self.store.create(id.key(), record).await? {
                Created::Stored => Written::Yes,
                Created::Occupied if resumed && self.holds(id.key(), record.revision).await? => Written::Yes,
                Created::Occupied => Written::Occupied,
            },
            Write::Save { key, expected, .. } => match self.store.save(*key, *expected, record).await? {
                Saved::Stored => Written::Yes,
                Saved::Conflict => Written::Conflict,
                Saved::Missing => Written::Missing,
            },
        })
    }

    /// Whether a create whose answer was lost took effect.
    async fn holds(&self, key: SessionKey, revision: Revision) -> Result<bool> {
        Ok(self.store.load(key).await?.is_some_and(|record| record.revision == revision))
    }

    async fn touch(&self, session: &Session, key: SessionKey, expires_at: Timestamp) -> Result<Outcome> {
        let revision = session.lock().stored.as_ref().map(|stored| stored.revision);
        let Some(revision) = revision else { return Ok(Outcome::Unchanged) };
        if self.store.touch(key, revision, expires_at).await? == Touched::Missing {
            return Ok(note_gone(session, key));
        }
        if let Some(stored) = &mut session.lock().stored {
            stored.expires_at = expires_at;
        }
        Ok(Outcome::Touched)
    }

    /// Loads the newer version and puts this request's changes on top.
    async fn meet_conflict(
        &self,
        session: &Session,
        attempt: &Arc<Attempt>,
        resumed: bool,
        conflicts: u32,
    ) -> Result<Option<Outcome>> {
        if !resumed {
            session.lock().withdraw(attempt);
        }
        self.check_attempts(conflicts)?;
        back_off(conflicts).await?;
        if resumed && attempt.changes.has_updates() {
            return self.give_up_unknown(session).await;
        }
        session.lock().withdraw(attempt);
        metrics::replay();
        if self.refresh(session).await? { Ok(None) } else { Ok(Some(Outcome::Gone)) }
    }

    fn check_attempts(&self, conflicts: u32) -> Result<()> {
        if conflicts < self.policy.max_attempts() {
            return Ok(());
        }
        let message =
            format!("gave up after {conflicts} attempts: other requests changed the session each time");
        Err(Error::new(ErrorKind::Contended, message).with_operation("commit"))
    }

    async fn give_up_unknown(&self, session: &Session) -> Result<Option<Outcome>> {
        session.lock().attempt = None;
        if !self.refresh(session).await? {
            return Ok(Some(Outcome::Gone));
        }
        let message = "the answer to an earlier write was lost and the session was changed since: \
                       its updates may or may not be stored, and were not applied again";
        Err(Error::new(ErrorKind::Contended, message).with_operation("commit"))
    }

    /// Brings the newest stored version into the session, under the changes that are not stored yet.
    pub(super) async fn refresh(&self, session: &Session) -> Result<bool> {
        let (key, id) = {
            let state = session.lock();
            match &state.stored {
                Some(stored) => (stored.key, stored.id.clone()),
                None => return Ok(false),
            }
        };
        let Some((stored, body)) = self.find(key, id.as_ref()).await? else {
            note_gone(session, key);
            return Ok(false);
        };
        loop {
            // Replaying runs the application's code, so it happens outside the lock.
            let (mut changes, version) = {
                let state = session.lock();
                (state.changes.clone(), state.version)
            };
            changes.replay(&body)?;
            let mut state = session.lock();
            if !state.stands_on(key) {
                return Ok(false);
            }
            if state.version == version {
                state.changes = changes;
                state.stored = Some(stored);
                state.body = body;
                state.version += 1;
                return Ok(true);
            }
        }
    }
}

/// Makes what was written the state to stand on, unless the session was destroyed meanwhile.
fn settle(session: &Session, attempt: &Arc<Attempt>) -> Outcome {
    let (id, key, outcome) = match &attempt.write {
        _ if attempt.ends => (None, attempt.write.key(), Outcome::Ended),
        Write::Create { id } => (Some(id.clone()), id.key(), Outcome::Created),
        Write::Save { id, key, .. } => (id.clone(), *key, Outcome::Saved),
    };
    match &attempt.write {
        _ if attempt.ends => info!(target: "session", %key, "session ended: nothing was left in it"),
        Write::Create { .. } => info!(target: "session", %key, "session created"),
        Write::Save { .. } => debug!(target: "session", %key, "session saved"),
    }
    let mut state = session.lock();
    if state.is_trying(attempt) {
        state.attempt = None;
        state.stored = (!attempt.ends).then(|| Stored::new(id, key, &attempt.record));
        state.id_is_new |= !matches!(attempt.write, Write::Save { .. });
        state.body = attempt.body.clone();
    }
    outcome
}

/// Drops what cannot be stored any more, unless the handle has moved on meanwhile.
fn note_gone(session: &Session, key: SessionKey) -> Outcome {
    info!(target: "session", %key, "session had ended meanwhile; its late changes are dropped");
    let mut state = session.lock();
    if state.stands_on(key) {
        state.forget();
    }
    Outcome::Gone
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
