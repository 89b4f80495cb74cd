//! Brings what a request did to its session into the store, exactly once and never over somebody else's work.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::step::{Progress, Step, superseded};
use super::{EndReason, EventKind, SessionManager, metrics};
use crate::codec::Body;
use crate::id::Secret;
use crate::session::identity::Fit;
use crate::session::reentry::Running;
use crate::session::state::{Attempt, Authority, Leave, Over, Stored, Write};
use crate::{
    Created, Error, ErrorKind, Result, Revision, Saved, Session, SessionKey, Timestamp, Touched, random,
};

const LONGEST_BACKOFF_MILLIS: u64 = 64;

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

enum Written {
    Yes,
    Conflict,
    Missing,
    /// The new key is taken; another one is needed.
    Occupied,
}

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
        let _one = session.lock_commit().await;
        self.make_ready().await?;
        let mut progress = Progress::default();
        loop {
            // What happens seldom is boxed, so that the future of the common case is small.
            match self.next_step(session, &mut progress)? {
                Step::Leave(key, how) => Box::pin(self.leave(session, key, how, &mut progress)).await?,
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
        if self.limits(attempt)
            && let Err(refused) = Box::pin(self.refuse_over_limit(attempt)).await
        {
            session.lock().refuse(attempt, &refused);
            return Err(refused);
        }
        match self.write(attempt).await {
            Err(error) if matches!(attempt.write, Write::Upkeep { .. }) => {
                session.lock().withdraw(attempt);
                progress.outcome = Some(Outcome::Unchanged);
                log_upkeep(attempt.key, &error);
            }
            Err(error) => return Err(error),
            Ok(Written::Yes) => {
                progress.outcome = Some(self.settle(session, attempt));
                if self.limits(attempt) {
                    self.apply_limit(session, attempt, progress).await?;
                }
            }
            // There is nothing to end any more.
            Ok(Written::Missing) if matches!(attempt.write, Write::End { .. }) => {
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

    /// What a limit of sessions per owner means for a sign-in that was stored.
    async fn apply_limit(
        &self,
        session: &Session,
        attempt: &Attempt,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let ended = Box::pin(self.end_over_limit(attempt)).await;
        let refused = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::TooManySessions);
        if refused || matches!(ended, Ok(true)) {
            progress.note(note_over(session, attempt.key, Over::Ended));
            progress.dropped = true;
        }
        ended.map(drop)
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
            Ok(Touched::Conflict) => {
                progress.conflicts += 1;
                match Box::pin(self.refresh(session)).await {
                    // The newer version may be one that moved no expiry: whether a touch is due is asked again.
                    Ok(refreshed) if progress.conflicts < self.policy.max_attempts() => {
                        progress.note(refreshed)
                    }
                    Ok(refreshed) => {
                        progress.note(refreshed);
                        progress.outcome.get_or_insert(Outcome::Unchanged);
                    }
                    Err(error) => {
                        log_upkeep(key, &error);
                        progress.outcome = Some(Outcome::Unchanged);
                    }
                }
            }
            Err(error) => {
                log_upkeep(key, &error);
                progress.outcome = Some(Outcome::Unchanged);
            }
        }
        Ok(())
    }

    /// Deletes, or replaces by a tombstone, a record that the request left behind.
    async fn leave(
        &self,
        session: &Session,
        key: SessionKey,
        how: Leave,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let live = match how {
            Leave::Replace => self.replace(key).await?,
            Leave::Delete | Leave::Orphan => self.store.delete(key).await?,
        };
        let mut state = session.lock();
        state.left.retain(|left| *left != (key, how));
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
        info!(target: "session", %key, ?reason, "session ended");
        if live {
            self.tell(EventKind::Ended(reason), key, None);
        }
        Ok(())
    }

    /// Loads the newer version and puts this request's changes on top.
    async fn meet_conflict(
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
            if let Some(secret) = attempt.write.new_secret()
                && self.was_stored(session, attempt, secret).await?
            {
                progress.outcome = Some(Outcome::Rotated);
                return Ok(());
            }
            if attempt.changes.has_updates() {
                return self.give_up_unknown(session, progress).await;
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
            state.attempt = None;
            state.authority = Authority::Secret(secret.clone());
            state.id_is_new = true;
            state.version += 1;
        }
        replay(session, Some(attempt.key), Some(stored), &body)?;
        Ok(true)
    }

    fn check_attempts(&self, conflicts: u32) -> Result<()> {
        if conflicts < self.policy.max_attempts() {
            return Ok(());
        }
        let message =
            format!("gave up after {conflicts} attempts: other requests changed the session each time");
        Err(Error::new(ErrorKind::Contended, message).with_operation("commit"))
    }

    async fn give_up_unknown(&self, session: &Session, progress: &mut Progress<'_>) -> Result<()> {
        session.lock().attempt = None;
        match self.refresh(session).await? {
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
        if let Authority::Secret(secret) = &authority
            && self.fit(&stored.identity, secret) == Fit::No
        {
            let over = if stored.identity.is_tombstone() { Over::Ended } else { Over::Superseded };
            return self.begin_anew_or(session, key, over);
        }
        if replay(session, Some(key), Some(stored), &body)? {
            Ok(Refreshed::Newest)
        } else {
            Ok(Refreshed::Over(Over::Ended, false))
        }
    }

    fn begin_anew_or(&self, session: &Session, key: SessionKey, over: Over) -> Result<Refreshed> {
        let over = note_over(session, key, over);
        if matches!(over, Refreshed::BeginsAnew) {
            replay(session, None, None, &Body::empty())?;
        }
        Ok(over)
    }

    /// Makes what was written the state to stand on, unless the session was destroyed meanwhile.
    fn settle(&self, session: &Session, attempt: &Arc<Attempt>) -> Outcome {
        let key = attempt.key;
        let owner = attempt.record.owner.as_ref();
        let outcome = match &attempt.write {
            Write::Create { .. } => Outcome::Created,
            Write::Save { secret: Some(_), .. } | Write::Upkeep { renews: true, .. } => Outcome::Rotated,
            Write::Save { secret: None, .. } => Outcome::Saved,
            Write::Upkeep { renews: false, .. } => Outcome::Touched,
            Write::End { .. } => Outcome::Destroyed,
        };
        match outcome {
            Outcome::Created => info!(target: "session", %key, "session created"),
            Outcome::Rotated => info!(target: "session", %key, "session id changed"),
            _ => debug!(target: "session", %key, ?outcome, "session stored"),
        }
        match &attempt.write {
            Write::Create { .. } => self.tell(EventKind::Created, key, owner),
            Write::Save { secret: Some(_), .. } => self.tell(EventKind::IdChanged, key, owner),
            Write::Upkeep { renews: true, .. } => self.tell(EventKind::IdRenewed, key, owner),
            Write::End { .. } => self.tell(EventKind::Ended(EndReason::Emptied), key, owner),
            Write::Save { secret: None, .. } | Write::Upkeep { renews: false, .. } => {}
        }
        if attempt.changes.signs_in {
            info!(target: "session", %key, "session of an owner who signed in");
            self.tell(EventKind::SignedIn, key, owner);
        }
        let mut state = session.lock();
        if matches!(attempt.write, Write::End { .. }) {
            state.end_attempt(attempt, true);
        } else {
            state.settle(attempt);
        }
        outcome
    }
}

impl Progress<'_> {
    fn note(&mut self, refreshed: Refreshed) {
        if let Refreshed::Over(over, dropped) = refreshed {
            self.drop_changes(over, dropped);
        }
    }
}

/// Puts the session's changes on top of a version. `false` when the session does not stand on `key` any more.
fn replay(session: &Session, key: Option<SessionKey>, stored: Option<Stored>, body: &Body) -> Result<bool> {
    loop {
        // Replaying runs the application's code, so it happens outside the lock.
        let (mut changes, version) = {
            let state = session.lock();
            (state.changes.clone(), state.version)
        };
        {
            let _running = Running::of(session);
            changes.replay(body)?;
        }
        session.check_reentered()?;
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
}

/// Drops what cannot be stored any more, unless the handle has moved on meanwhile.
fn note_over(session: &Session, key: SessionKey, over: Over) -> Refreshed {
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

/// The page loses nothing that it claims: the session is as it was.
fn log_upkeep(key: SessionKey, error: &Error) {
    let error: &dyn std::error::Error = error;
    warn!(target: "session", %key, error, "the session's expiry could not be moved, or its id renewed");
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
