//! Renaming across the slots of a cluster, where no script reaches both keys.
//!
//! The steps, each one script on one server:
//!
//! 1. **Prepare** (new key): the record is written as *coming*, with the old key beside it. Nobody sees it yet.
//! 2. **Commit** (old key): if the old record is live at the expected revision, it is replaced by a *gone* that names
//!    the new key and the attempt. This is the moment of the rename.
//! 3. **Finish** (new key): what is coming becomes a plain record.
//! 4. **Forget** (old key): the gone is removed.
//!
//! Whoever meets a *coming* looks at the old key. If the gone there names this key and attempt, the rename has
//! happened: the reader finishes it, and looks again. If not, and the same is still coming at a second look, it has not
//! happened, and nothing is there. So the session is at exactly one key at every moment, wherever the client stops:
//!
//! | stopped after | the old key | the new key | and later |
//! |---|---|---|---|
//! | prepare | live | absent | the coming goes with its expiry |
//! | commit | absent | live, finished by the first who asks | the gone goes with its expiry |
//! | finish | absent | live | the gone goes with its expiry |
//!
//! A deleted session does not come back: after a delete of the old key the commit finds nothing; a delete of the new
//! key removes it, and what is late finds nothing to finish. A repeated rename goes on with the attempt whose traces it finds
//! (`[R6]`); where the new key holds none, it is another attempt, for which an old gone does not speak.

use redis::{Cmd, Value};
use session_core::{Owner, Record, Renamed, Result, Revision, SessionKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::error;
use crate::layout::{self, Attempt, Coming};
use crate::operations::Inner;
use crate::router::Request;
use crate::script::{self, Answer};

/// Between two looks at something that another client is about to complete.
const PAUSE: Duration = Duration::from_millis(3);

/// A rename under way.
struct Move {
    from: SessionKey,
    to: SessionKey,
    expected: Revision,
    owner: Option<Owner>,
    record: Vec<u8>,
    key_expiry: String,
    expires_at: String,
}

enum Prepared {
    /// The record is coming, in this attempt or an earlier one.
    Attempt(Attempt),
    /// The new key holds a live record; whether it is this very one.
    Taken { by_this: bool },
}

enum Begun {
    Prepared(Attempt),
    Not(Renamed),
}

impl Inner {
    /// Renames across slots. Runs on when the caller is gone: a rename half done costs others a look at two keys.
    pub(crate) async fn rename_across(
        self: &Arc<Self>,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Renamed> {
        let parts = self.parts(record)?;
        let work = Move {
            from,
            to,
            expected,
            owner: record.owner.clone(),
            record: parts.record,
            key_expiry: parts.key_expiry,
            expires_at: parts.expires_at,
        };
        let inner = Arc::clone(self);
        let deadline = self.router.deadline();
        let task = tokio::spawn(async move { inner.go_through(&work, deadline).await });
        task.await.map_err(|_| error::unexpected_reply())?
    }

    async fn go_through(&self, work: &Move, deadline: Instant) -> Result<Renamed> {
        let attempt = match self.begin(work, deadline).await? {
            Begun::Prepared(attempt) => attempt,
            Begun::Not(outcome) => return Ok(outcome),
        };
        match self.commit_rename(work, attempt, deadline).await? {
            Answer::Stored => {
                // The session has moved; what is left to do, others do as well.
                let _ = self.complete(work.from, work.to, attempt, deadline).await;
                Ok(Renamed::Stored)
            }
            answer => {
                // Nothing was moved: whether what was prepared can be taken back does not change that.
                let _ = self.abandon_rename(work, attempt, deadline).await;
                match answer {
                    Answer::Conflict => Ok(Renamed::Conflict),
                    Answer::Missing => Ok(Renamed::Missing),
                    other => Err(other.into_error()),
                }
            }
        }
    }

    /// Prepares, or says why not. The old key has the first word: an answer that speaks of both keys needs the old
    /// one to be the same before and after the look at the new one.
    async fn begin(&self, work: &Move, deadline: Instant) -> Result<Begun> {
        let mut before = None;
        loop {
            let done = match self.prepare_rename(work, deadline).await? {
                Prepared::Attempt(attempt) => return Ok(Begun::Prepared(attempt)),
                Prepared::Taken { by_this } => by_this,
            };
            let after = match self.load(work.from).await?.map(|record| record.revision) {
                None if done => Renamed::Stored,
                None => Renamed::Missing,
                Some(revision) if revision == work.expected => Renamed::Occupied,
                Some(_) => Renamed::Conflict,
            };
            let alone = matches!(after, Renamed::Missing | Renamed::Conflict);
            if alone || before == Some(after) {
                return Ok(Begun::Not(after));
            }
            if Instant::now() >= deadline {
                return Err(error::under_way());
            }
            before = Some(after);
        }
    }

    async fn prepare_rename(&self, work: &Move, deadline: Instant) -> Result<Prepared> {
        let shard = self.layout.shard(work.to);
        let name = self.layout.session(work.to);
        let index = self.index_at(work.to, work.owner.as_ref());
        let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
        let attempt = layout::revision(Revision::generate()?);
        let coming = layout::coming(work.from, attempt, &work.record);
        let args =
            [&coming[..], work.key_expiry.as_bytes(), work.expires_at.as_bytes(), layout::member(&work.to)];
        let request = Request::script(&script::RENAME_PREPARE, &keys, &args);
        loop {
            let answer = match self.router.run(shard, &request, deadline).await? {
                Value::BulkString(earlier) => {
                    let earlier = earlier.try_into().map_err(|_| error::unexpected_reply())?;
                    return Ok(Prepared::Attempt(earlier));
                }
                value => Answer::read(value)?,
            };
            match answer {
                Answer::Stored => return Ok(Prepared::Attempt(attempt)),
                Answer::Conflict => return Ok(Prepared::Taken { by_this: true }),
                Answer::Occupied => return Ok(Prepared::Taken { by_this: false }),
                Answer::Busy => self.settle(work.to, deadline).await?,
                other => return Err(other.into_error()),
            }
        }
    }

    async fn commit_rename(&self, work: &Move, attempt: Attempt, deadline: Instant) -> Result<Answer> {
        let shard = self.layout.shard(work.from);
        let (name, base) = (self.layout.session(work.from), self.layout.index_base(shard));
        let (gone, expected) = (layout::gone(work.to, attempt), layout::revision(work.expected));
        let args =
            [&gone[..], work.key_expiry.as_bytes(), layout::member(&work.from), &expected, base.as_bytes()];
        let mut index = None;
        loop {
            let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
            match self.script(work.from, &script::RENAME_COMMIT, &keys, &args, deadline).await? {
                Answer::Busy => {
                    if !self.arrive(work.from, deadline).await? {
                        return Ok(Answer::Missing);
                    }
                }
                Answer::Fenced if Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
                Answer::NeedsIndex(owner) if Instant::now() < deadline => {
                    index = Some(self.layout.index(shard, &owner));
                }
                answer => return Ok(answer),
            }
        }
    }

    async fn abandon_rename(&self, work: &Move, attempt: Attempt, deadline: Instant) -> Result<()> {
        let name = self.layout.session(work.to);
        let index = self.index_at(work.to, work.owner.as_ref());
        let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
        let mark = layout::mark(work.from, attempt);
        let args = [&mark[..], layout::member(&work.to)];
        self.script(work.to, &script::RENAME_ABANDON, &keys, &args, deadline).await.map(drop)
    }

    /// Finishes and forgets a rename that has been committed.
    async fn complete(
        &self,
        from: SessionKey,
        to: SessionKey,
        attempt: Attempt,
        deadline: Instant,
    ) -> Result<()> {
        let (old, new) = (self.layout.session(from), self.layout.session(to));
        let (mark, gone) = (layout::mark(from, attempt), layout::gone(to, attempt));
        self.script(to, &script::RENAME_FINISH, &[&new], &[&mark], deadline).await?;
        self.script(from, &script::RENAME_FORGET, &[&old], &[&gone], deadline).await.map(drop)
    }

    /// For who has met what is coming to `to`: whether to look again, since the rename has happened (and is now
    /// completed) or `to` holds something else by now. If not, the rename had not happened, and nothing was there.
    pub(crate) async fn look_again(
        &self,
        to: SessionKey,
        coming: &Coming,
        deadline: Instant,
    ) -> Result<bool> {
        if self.get(coming.from, deadline).await? == Some(layout::gone(to, coming.attempt)) {
            self.complete(coming.from, to, coming.attempt, deadline).await?;
            return Ok(true);
        }
        // The gone may have come and been forgotten between the two looks. It is forgotten last: while the record is
        // still coming, there was none.
        let there = self.get(to, deadline).await?.unwrap_or_default();
        let mark = layout::mark(coming.from, coming.attempt);
        Ok(!there.starts_with(&mark))
    }

    /// For an operation on a session that may be about to come to `key`: whether it has come, so that the operation
    /// can be repeated. If not, nothing was there.
    pub(crate) async fn arrive(&self, key: SessionKey, deadline: Instant) -> Result<bool> {
        match self.get(key, deadline).await? {
            None => Ok(false),
            Some(bytes) => match layout::read_coming(&bytes) {
                Some(coming) => self.look_again(key, &coming, deadline).await,
                // Come meanwhile.
                None => Ok(layout::read_gone(&bytes).is_none()),
            },
        }
    }

    /// Waits until `key` takes no part in a rename, as far as a look now can tell: completes what has happened, and
    /// gives the client that has not committed yet some time.
    pub(crate) async fn settle(&self, key: SessionKey, deadline: Instant) -> Result<()> {
        let Some(bytes) = self.get(key, deadline).await? else { return Ok(()) };
        if let Some(to) = layout::read_gone(&bytes) {
            let there = self.get(to, deadline).await?.unwrap_or_default();
            match layout::read_coming(&there) {
                Some(coming) if layout::gone(to, coming.attempt) == bytes => {
                    self.complete(key, to, coming.attempt, deadline).await?;
                }
                // Finished; only what is left behind is still there.
                _ => {
                    let name = self.layout.session(key);
                    self.script(key, &script::RENAME_FORGET, &[&name], &[&bytes], deadline).await?;
                }
            }
        } else if let Some(coming) = layout::read_coming(&bytes)
            && !self.look_again(key, &coming, deadline).await?
        {
            if Instant::now() + PAUSE >= deadline {
                return Err(error::under_way());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The bytes under a session's key.
    pub(crate) async fn get(&self, key: SessionKey, deadline: Instant) -> Result<Option<Vec<u8>>> {
        self.get_in((), key, deadline).await
    }

    /// The same in a place, which is given up with the first answer.
    pub(crate) async fn get_in<P>(
        &self,
        place: P,
        key: SessionKey,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>> {
        let name = self.layout.session(key);
        let mut get = Cmd::with_capacity(2, 3 + name.len());
        get.arg("GET").arg(name);
        match self.router.run_in(place, self.layout.shard(key), &Request::read(get), deadline).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Err(error::unexpected_reply()),
        }
    }

    pub(crate) fn index_at(&self, key: SessionKey, owner: Option<&Owner>) -> Option<String> {
        owner.map(|owner| self.layout.index(self.layout.shard(key), owner))
    }
}

#[cfg(test)]
mod tests;
