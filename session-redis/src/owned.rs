//! The sessions of an owner: listing them, and ending them all.
//!
//! On one server one script ends them all. On a cluster an owner's sessions lie in many slots, and a session could be
//! renamed out of a slot that is still to be cleared into one that has been (`[O4]`). So a *fence* is put into every
//! index of the owner first: while it stands no session of the owner can be renamed, since the commit of a rename looks
//! for it in the same step. Once all fences stand, the sessions are ended slot by slot, then the fences are taken
//! away. A fence left by a client that stopped falls by itself; until then renames of that owner's sessions wait, and
//! fail if that takes too long. A client that is too slow to be sure that its fences still stand says so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::{Value, cmd};
use session_core::{Cursor, Error, Owner, Page, Record, Result, Revision, SessionKey};
use tokio::time::Instant;

use crate::error;
use crate::layout;
use crate::operations::Inner;
use crate::router::Request;
use crate::script::{self, Answer, Script};

impl Inner {
    /// The order is that of the keys: scores change while a listing goes on, keys do not.
    pub(crate) async fn list_owner(
        &self,
        owner: &Owner,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let after = cursor.map(|cursor| cursor.as_str().parse::<SessionKey>());
        let after = after.transpose().map_err(|_| error::foreign_cursor())?;
        let mut keys = self.owned(owner, self.router.deadline()).await?;
        keys.retain(|key| after.is_none_or(|after| *key > after));
        keys.sort_unstable();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).map(|last| Cursor::new(last.to_string()));
        let mut sessions = self.records(keys).await?;
        sessions.retain(|(_, record)| record.owner.as_ref() == Some(owner));
        Ok(Page { sessions, next })
    }

    /// The live ones of these sessions, read together.
    pub(crate) async fn records(&self, keys: Vec<SessionKey>) -> Result<Vec<(SessionKey, Record)>> {
        let loads = keys.into_iter().map(|key| async move { Ok::<_, Error>((key, self.load(key).await?)) });
        let loaded = try_join_all(loads).await?;
        Ok(loaded.into_iter().filter_map(|(key, record)| Some((key, record?))).collect())
    }

    /// What the owner's indexes hold.
    async fn owned(&self, owner: &Owner, deadline: Instant) -> Result<Vec<SessionKey>> {
        let parts = try_join_all((0..self.layout.shards()).map(|shard| async move {
            let mut range = cmd("ZRANGE");
            range.arg(self.layout.index(shard, owner)).arg(0).arg("+inf").arg("BYSCORE");
            keys_of(self.router.run(shard, &Request::read(range), deadline).await?)
        }));
        Ok(parts.await?.concat())
    }

    pub(crate) async fn delete_owned(
        self: &Arc<Self>,
        owner: &Owner,
        keep: Option<SessionKey>,
    ) -> Result<u64> {
        if self.router.is_cluster() {
            return self.delete_owned_across(owner, keep).await;
        }
        let index = self.layout.index(0, owner);
        let keep = keep.as_ref().map_or(&[][..], layout::member);
        let args = [owner.as_str().as_bytes(), keep, self.layout.head(0).as_bytes()];
        let request = Request::script(&script::DELETE_OWNED, &[&index], &args);
        match self.router.run(0, &request, self.router.deadline()).await? {
            Value::Int(removed) => u64::try_from(removed).map_err(|_| error::unexpected_reply()),
            _ => Err(error::unexpected_reply()),
        }
    }

    async fn delete_owned_across(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let fence = format!("fence{}", Revision::generate()?);
        let deadline = self.router.deadline();
        let lasts = self.router.timeout() * 3;
        let (standing, lasts_text) =
            (Instant::now() + lasts, (lasts + Duration::from_secs(1)).as_millis().to_string());
        self.at_each_index(owner, &script::FENCE, &[fence.as_bytes(), lasts_text.as_bytes()], deadline)
            .await?;
        let removed = self.delete_each(owner, keep, deadline).await;
        // Fences that stay where they are fall in a few seconds.
        let _ =
            self.at_each_index(owner, &script::UNFENCE, &[fence.as_bytes()], self.router.deadline()).await;
        let removed = removed?;
        if Instant::now() >= standing {
            return Err(error::under_way());
        }
        Ok(removed)
    }

    async fn at_each_index(
        &self,
        owner: &Owner,
        script: &'static Script,
        args: &[&[u8]],
        deadline: Instant,
    ) -> Result<()> {
        let work = (0..self.layout.shards()).map(|shard| async move {
            let request = Request::script(script, &[&self.layout.index(shard, owner)], args);
            self.router.run(shard, &request, deadline).await
        });
        try_join_all(work).await.map(drop)
    }

    async fn delete_each(&self, owner: &Owner, keep: Option<SessionKey>, deadline: Instant) -> Result<u64> {
        let mut keys = self.owned(owner, deadline).await?;
        keys.retain(|key| Some(*key) != keep);
        let work = keys.into_iter().map(|key| self.delete_if_owned(key, owner, deadline));
        Ok(try_join_all(work).await?.into_iter().map(u64::from).sum())
    }

    async fn delete_if_owned(&self, key: SessionKey, owner: &Owner, deadline: Instant) -> Result<bool> {
        let (name, base) = (self.layout.session(key), self.layout.index_base(self.layout.shard(key)));
        let args = [owner.as_str().as_bytes(), layout::member(&key), base.as_bytes()];
        let mut index = None;
        loop {
            let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
            match self.script(key, &script::DELETE_IF_OWNED, &keys, &args, deadline).await? {
                Answer::Stored => return Ok(true),
                Answer::Busy if self.arrive(key, deadline).await? => {}
                Answer::NeedsIndex(_) if Instant::now() < deadline => index = self.index_at(key, Some(owner)),
                // A rename that has not happened: from another owner's session, or it will find its own ended.
                Answer::Busy | Answer::Missing | Answer::Conflict => return Ok(false),
                other => return Err(other.into_error()),
            }
        }
    }
}

fn keys_of(members: Value) -> Result<Vec<SessionKey>> {
    let Value::Array(members) = members else { return Err(error::unexpected_reply()) };
    let keys = members.into_iter().map(|member| match member {
        Value::BulkString(bytes) => {
            let uuid = uuid::Uuid::from_slice(&bytes).map_err(|_| error::unexpected_reply())?;
            SessionKey::try_from(uuid)
        }
        _ => Err(error::unexpected_reply()),
    });
    keys.collect()
}
