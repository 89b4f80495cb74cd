//! The operations on single sessions, each one exchange with the server that has it.
//!
//! What happens seldom is boxed: a future has room for all that it may wait for, and is moved as a whole. With room for
//! the usual case only, a load takes 3 % more instructions than the driver's bare `GET`, and 37 % without that.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use session_core::{
    Created, Cursor, Owner, Page, Record, Result, Revision, Saved, SessionKey, Timestamp, Touched,
};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::error;
use crate::layout::{self, Layout};
use crate::listing::{Place, Windows};
use crate::many::Many;
use crate::recent::Recent;
use crate::router::{Request, Router};
use crate::script::{self, Answer, Script};

/// What the clones of a store share.
pub(crate) struct Inner {
    pub(crate) router: Arc<Router>,
    pub(crate) layout: Arc<Layout>,
    windows: Windows,
    recent: OnceLock<Recent>,
    /// Where one command reaches all keys.
    pub(crate) many: Option<Many>,
    max_payload: usize,
}

/// What the scripts that write a record are told about it.
pub(crate) struct Parts {
    pub(crate) record: Vec<u8>,
    pub(crate) key_expiry: String,
    pub(crate) expires_at: String,
}

/// A script, and what it is given.
struct Call<'c> {
    key: SessionKey,
    script: &'static Script,
    keys: &'c [&'c str],
    args: &'c [&'c [u8]],
}

impl Inner {
    pub(crate) fn new(router: Router, layout: Layout, config: &RedisConfig) -> Self {
        let (router, layout) = (Arc::new(router), Arc::new(layout));
        let many = (!router.is_cluster()).then(|| Many::new(&router, &layout, config.places));
        Self {
            router,
            layout,
            windows: Windows::default(),
            recent: OnceLock::new(),
            many,
            max_payload: config.max_payload,
        }
    }

    pub(crate) async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        let deadline = self.router.deadline();
        let parts = self.parts(record)?;
        let name = self.layout.session(key);
        let index = self.index_of(key, record);
        let request = || match &index {
            // The bare command does it: what was there, or nothing.
            None => {
                let mut set = Cmd::with_capacity(7, 128 + parts.record.len());
                set.arg("SET")
                    .arg(&name)
                    .arg(&parts.record)
                    .arg("NX")
                    .arg("GET")
                    .arg("PXAT")
                    .arg(&parts.key_expiry);
                Request::write(set)
            }
            Some(index) => Request::script(
                &script::CREATE,
                &[&name, index],
                &[
                    &parts.record,
                    parts.key_expiry.as_bytes(),
                    parts.expires_at.as_bytes(),
                    layout::member(&key),
                ],
            ),
        };
        let many = self.many_for(&parts).filter(|_| index.is_none());
        loop {
            let there = match self.set(many, key, request, deadline).await? {
                // The bare command answers with nothing when nothing was there.
                Value::Nil | Value::Int(1) => return Ok(Created::Stored),
                Value::BulkString(there) => there,
                _ => return Err(error::unexpected_reply()),
            };
            if !self.is_over(key, &there, deadline).await? {
                return Ok(Created::Occupied);
            }
            // Its key goes with this millisecond.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let deadline = self.router.deadline();
        let Some(bytes) = self.bytes(key, deadline).await? else { return Ok(None) };
        let over = self.is_over(key, &bytes, deadline).await?;
        let record = if over { None } else { Some(layout::decode(&bytes)?) };
        self.remember(key, bytes);
        Ok(record)
    }

    /// Whether a record has expired although its key was there.
    async fn is_over(&self, key: SessionKey, bytes: &[u8], deadline: Instant) -> Result<bool> {
        if !layout::is_brief(bytes) {
            return Ok(false);
        }
        let expires_at = layout::decode(bytes)?.expires_at;
        Ok(Box::pin(self.time(self.layout.shard(key), deadline)).await? >= expires_at)
    }

    pub(crate) async fn now(&self) -> Result<Timestamp> {
        self.time(0, self.router.deadline()).await
    }

    /// The time of the server that judges the sessions of a shard.
    async fn time(&self, shard: usize, deadline: Instant) -> Result<Timestamp> {
        let time = self.router.run(shard, &Request::read(cmd("TIME")), deadline).await?;
        let (seconds, micros): (i64, i64) =
            redis::from_redis_value(time).map_err(|_| error::unexpected_reply())?;
        Ok(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
    }

    pub(crate) async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        let deadline = self.router.deadline();
        let parts = self.parts(record)?;
        if let Some(before) = self.recent.get().and_then(|recent| recent.take(key, expected, &parts.record))
            && Box::pin(self.replace(key, before, &parts, deadline)).await?
        {
            self.remember(key, parts.record);
            return Ok(Saved::Stored);
        }
        let expected = layout::revision(expected);
        let Some(place) = self.save_with_others(key, expected, &parts, deadline).await? else {
            return Ok(Saved::Stored);
        };
        let name = self.layout.session(key);
        let index = self.index_of(key, record);
        let args = [
            &parts.record[..],
            parts.key_expiry.as_bytes(),
            parts.expires_at.as_bytes(),
            layout::member(&key),
            &expected,
            self.layout.index_base(self.layout.shard(key)).as_bytes(),
        ];
        let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
        match self
            .script(place, &Call { key, script: &script::SAVE, keys: &keys, args: &args }, deadline)
            .await?
        {
            Answer::Stored => Ok(Saved::Stored),
            Answer::Conflict => Ok(Saved::Conflict),
            Answer::Missing => Ok(Saved::Missing),
            other => Err(other.into_error()),
        }
    }

    /// Saves by the server's own compare-and-set, if it still has one. Whether that was done; if not, nothing was.
    async fn replace(
        &self,
        key: SessionKey,
        before: Vec<u8>,
        parts: &Parts,
        deadline: Instant,
    ) -> Result<bool> {
        let name = self.layout.session(key);
        let request = || {
            let mut set = Cmd::with_capacity(7, 128 + parts.record.len() + before.len());
            set.arg("SET").arg(&name).arg(&parts.record).arg("IFEQ").arg(&before);
            set.arg("PXAT").arg(&parts.key_expiry);
            Request::compare_and_set(set)
        };
        Ok(self.set(self.many_for(parts), key, request, deadline).await? == Value::Okay)
    }

    /// Keeps the bytes of a session where they may save a script call later.
    fn remember(&self, key: SessionKey, bytes: Vec<u8>) {
        if self.router.compares() {
            self.recent.get_or_init(Recent::default).remember(key, bytes);
        }
    }

    pub(crate) async fn touch(
        &self,
        key: SessionKey,
        expected: Revision,
        expires_at: Timestamp,
    ) -> Result<Touched> {
        let deadline = self.router.deadline();
        let (tag, key_expiry) = layout::keep_until(expires_at);
        let (key_expiry, score) = (key_expiry.to_string(), layout::score(expires_at).to_string());
        let args = [
            &[tag][..],
            &layout::expires(expires_at),
            key_expiry.as_bytes(),
            score.as_bytes(),
            layout::member(&key),
            &layout::revision(expected),
            self.layout.index_base(self.layout.shard(key)).as_bytes(),
        ];
        let name = self.layout.session(key);
        match self
            .script((), &Call { key, script: &script::TOUCH, keys: &[&name], args: &args }, deadline)
            .await?
        {
            Answer::Stored => Ok(Touched::Stored),
            Answer::Conflict => Ok(Touched::Conflict),
            Answer::Missing => Ok(Touched::Missing),
            other => Err(other.into_error()),
        }
    }

    pub(crate) async fn delete(&self, key: SessionKey) -> Result<bool> {
        self.end(key, None, self.router.deadline()).await
    }

    /// Ends a session, or only one of this owner; whether a live one was there.
    pub(crate) async fn end(
        &self,
        key: SessionKey,
        owner: Option<&Owner>,
        deadline: Instant,
    ) -> Result<bool> {
        let (name, base) = (self.layout.session(key), self.layout.index_base(self.layout.shard(key)));
        let args = [layout::member(&key), base.as_bytes(), owner.map_or("", Owner::as_str).as_bytes()];
        let args = &args[..2 + usize::from(owner.is_some())];
        match self.script((), &Call { key, script: &script::DELETE, keys: &[&name], args }, deadline).await? {
            Answer::Stored => Ok(true),
            Answer::Missing | Answer::Conflict => Ok(false),
            // Whose a damaged session is cannot be told; nobody can open it.
            Answer::Corrupt if owner.is_some() => Ok(false),
            other => Err(other.into_error()),
        }
    }

    pub(crate) async fn list_all(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let place = cursor.map(Place::parse).transpose()?;
        let page = self.windows.page(&self.router, &self.layout, place, limit).await?;
        Ok(Page { sessions: self.records(page.keys).await?, next: page.next })
    }

    pub(crate) async fn delete_expired(&self) -> Result<u64> {
        let deadline = self.router.deadline();
        for link in self.router.masters(deadline).await? {
            link.one(&cmd("PING"), deadline).await.map_err(|fault| fault.into_error(link.name()))?;
        }
        Ok(0)
    }

    /// Runs a script on the server that holds the session, in a place that is given up with the first answer.
    /// When the index of the session's owner was out of reach, it is among the keys the next time.
    fn script<'c, P>(
        &'c self,
        place: P,
        call: &'c Call<'c>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer>> + use<'c, P> {
        let shard = self.layout.shard(call.key);
        let request = Request::script(call.script, call.keys, call.args);
        // Not an `async fn`, whose future would have room for the arguments twice.
        async move {
            let mut answer = Answer::read(self.router.run_in(place, shard, &request, deadline).await?)?;
            while let Answer::NeedsIndex(owner) = &answer
                && Instant::now() < deadline
            {
                let index = self.layout.index(shard, owner);
                let request = Request::script(call.script, &[call.keys, &[&index]].concat(), call.args);
                answer = Answer::read(Box::pin(self.router.run(shard, &request, deadline)).await?)?;
            }
            Ok(answer)
        }
    }

    /// The index of the record's owner that the session stands in.
    fn index_of(&self, key: SessionKey, record: &Record) -> Option<String> {
        let shard = self.layout.shard(key);
        record.owner.as_ref().map(|owner| self.layout.index(shard, owner))
    }

    fn parts(&self, record: &Record) -> Result<Parts> {
        if record.payload.len() > self.max_payload {
            return Err(error::too_large(record.payload.len(), self.max_payload));
        }
        let (tag, key_expiry) = layout::keep_until(record.expires_at);
        Ok(Parts {
            record: layout::encode(record, tag),
            key_expiry: key_expiry.to_string(),
            expires_at: layout::score(record.expires_at).to_string(),
        })
    }
}
