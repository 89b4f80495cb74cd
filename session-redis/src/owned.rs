//! The sessions of an owner: listing them, and ending them all.
//!
//! On one server one script ends them all. On a cluster an owner's sessions lie in many slots: its indexes
//! are read, and each session is ended by itself if it is still that owner's. A session stays in its slot, so
//! none that the owner had when this began escapes (`[O4]`).

use futures_util::future::try_join_all;
use redis::{Value, cmd};
use session_core::{Cursor, ErrorKind, Owner, Page, Record, Result, SessionKey};
use tokio::time::Instant;

use crate::error;
use crate::layout;
use crate::operations::Inner;
use crate::router::Request;
use crate::script;

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

    /// The live ones of these sessions, read together. A damaged one is left out, so that it does not hide
    /// the others.
    pub(crate) async fn records(&self, keys: Vec<SessionKey>) -> Result<Vec<(SessionKey, Record)>> {
        let loads = keys.into_iter().map(|key| async move {
            match self.load(key).await {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(%key, %error, "a listing leaves out a damaged session");
                    Ok(None)
                }
                found => found.map(|record| record.map(|record| (key, record))),
            }
        });
        Ok(try_join_all(loads).await?.into_iter().flatten().collect())
    }

    /// What the owner's indexes hold.
    async fn owned(&self, owner: &Owner, deadline: Instant) -> Result<Vec<SessionKey>> {
        let parts = try_join_all((0..self.layout.shards()).map(|shard| async move {
            let mut range = cmd("ZRANGE");
            range.arg(self.layout.index(shard, owner)).arg(0).arg(-1);
            keys_of(self.router.run(shard, &Request::read(range), deadline).await?)
        }));
        Ok(parts.await?.concat())
    }

    pub(crate) async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let deadline = self.router.deadline();
        if self.router.is_cluster() {
            let mut keys = self.owned(owner, deadline).await?;
            keys.retain(|key| Some(*key) != keep);
            let ends = keys.into_iter().map(|key| self.end(key, Some(owner), deadline));
            return Ok(try_join_all(ends).await?.into_iter().map(u64::from).sum());
        }
        let index = self.layout.index(0, owner);
        let keep = keep.as_ref().map_or(&[][..], layout::member);
        let args = [owner.as_str().as_bytes(), keep, self.layout.head(0).as_bytes()];
        let request = Request::script(&script::DELETE_OWNED, &[&index], &args);
        match self.router.run(0, &request, deadline).await? {
            Value::Int(removed) => u64::try_from(removed).map_err(|_| error::unexpected_reply()),
            _ => Err(error::unexpected_reply()),
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
