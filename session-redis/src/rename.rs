//! Renaming across the slots of a cluster, where no script reaches both keys.
//!
//! The steps, each one script on one server:
//!
//! 1. **Prepare** (new key): the record is written as *coming*, with the old key beside it. Nobody sees it yet.
//! 2. **Commit** (old key): if the old record is live at the expected revision, it is replaced by a *gone* that names
//!    the new key and revision. This is the moment of the rename.
//! 3. **Finish** (new key): what is coming becomes a plain record.
//! 4. **Forget** (old key): the gone is removed.
//!
//! Whoever meets a *coming* looks at the old key. If the gone there names this key and revision, the rename has
//! happened: the reader finishes it, and reads the record. If not, it has not happened, and nothing is there. So the
//! session is at exactly one key at every moment, wherever the client stops:
//!
//! | stopped after | the old key | the new key | and later |
//! |---|---|---|---|
//! | prepare | live | absent | the coming goes with its expiry |
//! | commit | absent | live, finished by the first who asks | the gone goes with its expiry |
//! | finish | absent | live | the gone goes with its expiry |
//!
//! A deleted session does not come back: after a delete of the old key the commit finds nothing; a delete of the new
//! key removes it, and what is repeated or late finds nothing to finish. A repeated rename finds its own traces (`[R6]`).

use redis::{Value, cmd};
use session_core::{Owner, Record, Renamed, Result, Revision, SessionKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::error;
use crate::layout::{self, Coming};
use crate::router::Request;
use crate::script::{self, Answer};
use crate::store::Inner;

/// Between two looks at something that another client is about to complete.
const PAUSE: Duration = Duration::from_millis(3);

/// A rename under way.
struct Move {
    from: SessionKey,
    to: SessionKey,
    expected: Revision,
    owner: Option<Owner>,
    coming: Vec<u8>,
    gone: Vec<u8>,
    key_expiry: String,
    expires_at: String,
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
        let parts = self.parts(to, record)?;
        let work = Move {
            from,
            to,
            expected,
            owner: record.owner.clone(),
            coming: layout::coming(from, &parts.record),
            gone: layout::gone(to, layout::revision(record.revision)),
            key_expiry: parts.key_expiry,
            expires_at: parts.expires_at,
        };
        let inner = Arc::clone(self);
        let deadline = self.router.deadline();
        let task = tokio::spawn(async move { inner.go_through(&work, deadline).await });
        task.await.map_err(|_| error::unexpected_reply())?
    }

    async fn go_through(&self, work: &Move, deadline: Instant) -> Result<Renamed> {
        match self.prepare_rename(work, deadline).await? {
            Answer::Stored => {}
            // The new key holds this very record: done before, if the old key is gone.
            Answer::Conflict => {
                let old = self.get(work.from, deadline).await?;
                let absent = old.is_none_or(|bytes| layout::read_gone(&bytes).is_some());
                return Ok(if absent { Renamed::Stored } else { Renamed::Occupied });
            }
            _ => return Ok(Renamed::Occupied),
        }
        let outcome = match self.commit_rename(work, deadline).await? {
            Answer::Stored => Renamed::Stored,
            Answer::Conflict => Renamed::Conflict,
            Answer::Missing => Renamed::Missing,
            other => {
                // Nothing was committed: whether what was prepared can be taken back does not change that.
                let _ = self.abandon_rename(work, deadline).await;
                return Err(other.into_error());
            }
        };
        if outcome == Renamed::Stored {
            // The session has moved; what is left to do, others do as well.
            let _ = self.complete(work.from, work.to, &work.coming, &work.gone, deadline).await;
        } else {
            let _ = self.abandon_rename(work, deadline).await;
        }
        Ok(outcome)
    }

    async fn prepare_rename(&self, work: &Move, deadline: Instant) -> Result<Answer> {
        let name = self.layout.session(work.to);
        let index = self.index_at(work.to, work.owner.as_ref());
        let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
        let args = [
            &work.coming[..],
            work.key_expiry.as_bytes(),
            work.expires_at.as_bytes(),
            layout::member(&work.to),
        ];
        loop {
            match self.script(work.to, &script::RENAME_PREPARE, &keys, &args, deadline).await? {
                Answer::Busy => self.settle(work.to, deadline).await?,
                answer => return Ok(answer),
            }
        }
    }

    async fn commit_rename(&self, work: &Move, deadline: Instant) -> Result<Answer> {
        let shard = self.layout.shard(work.from);
        let (name, base) = (self.layout.session(work.from), self.layout.index_base(shard));
        let expected = layout::revision(work.expected);
        let args = [
            &work.gone[..],
            work.key_expiry.as_bytes(),
            layout::member(&work.from),
            &expected,
            base.as_bytes(),
        ];
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

    async fn abandon_rename(&self, work: &Move, deadline: Instant) -> Result<()> {
        let name = self.layout.session(work.to);
        let index = self.index_at(work.to, work.owner.as_ref());
        let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
        let args = [layout::mark(&work.coming), layout::member(&work.to)];
        self.script(work.to, &script::RENAME_ABANDON, &keys, &args, deadline).await.map(drop)
    }

    /// Finishes and forgets a rename that has been committed.
    async fn complete(
        &self,
        from: SessionKey,
        to: SessionKey,
        coming: &[u8],
        gone: &[u8],
        deadline: Instant,
    ) -> Result<()> {
        let (old, new) = (self.layout.session(from), self.layout.session(to));
        self.script(to, &script::RENAME_FINISH, &[&new], &[layout::mark(coming)], deadline).await?;
        self.script(from, &script::RENAME_FORGET, &[&old], &[gone], deadline).await.map(drop)
    }

    /// Whether the rename whose traces lie under `to` has happened; then it is completed.
    pub(crate) async fn has_come(
        &self,
        to: SessionKey,
        coming: &Coming<'_>,
        deadline: Instant,
    ) -> Result<bool> {
        let gone = layout::gone(to, coming.revision);
        if self.get(coming.from, deadline).await?.as_deref() != Some(&gone) {
            return Ok(false);
        }
        self.complete(coming.from, to, coming.mark, &gone, deadline).await?;
        Ok(true)
    }

    /// For an operation on a session that may be about to come to `key`: whether it has come, so that the operation
    /// can be repeated. If not, nothing was there.
    pub(crate) async fn arrive(&self, key: SessionKey, deadline: Instant) -> Result<bool> {
        match self.get(key, deadline).await? {
            None => Ok(false),
            Some(bytes) => match layout::read_coming(&bytes) {
                Some(coming) => self.has_come(key, &coming, deadline).await,
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
                Some(coming) if layout::gone(to, coming.revision) == bytes => {
                    self.complete(key, to, coming.mark, &bytes, deadline).await?;
                }
                // Finished; only what is left behind is still there.
                _ => {
                    let name = self.layout.session(key);
                    self.script(key, &script::RENAME_FORGET, &[&name], &[&bytes], deadline).await?;
                }
            }
        } else if let Some(coming) = layout::read_coming(&bytes)
            && !self.has_come(key, &coming, deadline).await?
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
        let mut get = cmd("GET");
        get.arg(self.layout.session(key));
        match self.router.run(self.layout.shard(key), &Request::read(get), deadline).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Err(error::unexpected_reply()),
        }
    }

    pub(crate) fn index_at(&self, key: SessionKey, owner: Option<&Owner>) -> Option<String> {
        owner.map(|owner| self.layout.index(self.layout.shard(key), owner))
    }
}
