//! The operations on single sessions, each one exchange with the server that has it.
//!
//! What happens seldom is boxed: a future has room for all that it may wait for, and is moved as a whole. With room for
//! the usual case only, a load takes 3 % more instructions than the driver's bare `GET`, and 37 % without that.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use session_core::{Created, Cursor, Page, Record, Renamed, Result, Revision, Saved, SessionKey, Timestamp};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::error;
use crate::layout::{self, Layout};
use crate::listing::{Place, Windows};
use crate::many::{Called, Many};
use crate::recent::Recent;
use crate::router::{Request, Router};
use crate::script::{self, Answer, Script};

/// Between two looks at an owner's sessions that another client is about to end.
const PAUSE: Duration = Duration::from_millis(3);

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
        let index = self.index_at(key, record.owner.as_ref());
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
            if layout::is_trace(&there) {
                Box::pin(self.settle(key, deadline)).await?;
            } else if self.is_over(key, &there, deadline).await? {
                // Its key goes with this millisecond.
                tokio::time::sleep(Duration::from_millis(1)).await;
            } else {
                return Ok(Created::Occupied);
            }
        }
    }

    pub(crate) async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let deadline = self.router.deadline();
        loop {
            let Some(bytes) = self.look(key, deadline).await? else { return Ok(None) };
            if !layout::is_trace(&bytes) {
                let record = self.live(key, &bytes, deadline).await?;
                self.remember(key, bytes);
                return Ok(record);
            }
            match layout::read_coming(&bytes) {
                Some(coming) if Box::pin(self.look_again(key, &coming, deadline)).await? => {}
                _ => return Ok(None),
            }
        }
    }

    async fn live(&self, key: SessionKey, bytes: &[u8], deadline: Instant) -> Result<Option<Record>> {
        if self.is_over(key, bytes, deadline).await? { Ok(None) } else { layout::decode(bytes).map(Some) }
    }

    /// Whether a record has expired although its key was there.
    async fn is_over(&self, key: SessionKey, bytes: &[u8], deadline: Instant) -> Result<bool> {
        if !layout::is_brief(bytes) {
            return Ok(false);
        }
        let expires_at = layout::decode(bytes)?.expires_at;
        let ask = Request::read(cmd("TIME"));
        let now = Box::pin(self.router.run(self.layout.shard(key), &ask, deadline)).await?;
        Ok(time(now)? >= expires_at)
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
        let called =
            self.call(self.many_for(&parts), |many| &many.saves, (key, None), expected, &parts, deadline);
        let Called::Alone(mut place) = called.await? else { return Ok(Saved::Stored) };
        let name = self.layout.session(key);
        let index = self.index_at(key, record.owner.as_ref());
        let base = self.layout.index_base(self.layout.shard(key));
        let args = [
            &parts.record[..],
            parts.key_expiry.as_bytes(),
            parts.expires_at.as_bytes(),
            layout::member(&key),
            &expected,
            base.as_bytes(),
        ];
        let mut before = None;
        loop {
            let saved = {
                let keys = [Some(name.as_str()), index.as_deref(), before.as_deref()];
                let keys: Vec<&str> = keys.into_iter().flatten().collect();
                self.script_in(place.take(), key, &script::SAVE, &keys, &args, deadline)
            };
            return match saved.await? {
                Answer::Stored => Ok(Saved::Stored),
                Answer::Conflict => Ok(Saved::Conflict),
                Answer::Busy if Box::pin(self.arrive(key, deadline)).await? => continue,
                Answer::Busy | Answer::Missing => Ok(Saved::Missing),
                Answer::NeedsIndex(owner) if Instant::now() < deadline => {
                    before = self.index_at(key, Some(&owner));
                    continue;
                }
                other => Err(other.into_error()),
            };
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

    pub(crate) async fn rename(
        self: &Arc<Self>,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Renamed> {
        let shard = self.layout.shard(from);
        if shard != self.layout.shard(to) {
            return Box::pin(self.rename_across(from, expected, to, record)).await;
        }
        let deadline = self.router.deadline();
        let parts = self.parts(record)?;
        let expected = layout::revision(expected);
        let index = self.index_at(to, record.owner.as_ref());
        let many = self.many_for(&parts).filter(|_| index.is_none());
        let called = self.call(many, |many| &many.renames, (from, Some(to)), expected, &parts, deadline);
        let Called::Alone(mut place) = called.await? else { return Ok(Renamed::Stored) };
        let (old, new, base) =
            (self.layout.session(from), self.layout.session(to), self.layout.index_base(shard));
        let args = [
            &parts.record[..],
            parts.key_expiry.as_bytes(),
            parts.expires_at.as_bytes(),
            layout::member(&from),
            layout::member(&to),
            &expected,
            base.as_bytes(),
            if self.router.is_cluster() { b"1" } else { b"0" },
        ];
        let mut before = None;
        loop {
            let keys = [Some(old.as_str()), Some(&new), index.as_deref(), before.as_deref()];
            let keys: Vec<&str> = keys.into_iter().flatten().collect();
            return match self.script_in(place.take(), from, &script::RENAME, &keys, &args, deadline).await? {
                Answer::Stored => Ok(Renamed::Stored),
                Answer::Conflict => Ok(Renamed::Conflict),
                Answer::Missing => Ok(Renamed::Missing),
                Answer::Occupied => Ok(Renamed::Occupied),
                Answer::Busy => {
                    Box::pin(self.settle(from, deadline)).await?;
                    Box::pin(self.settle(to, deadline)).await?;
                    continue;
                }
                Answer::Fenced if Instant::now() + PAUSE < deadline => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Answer::NeedsIndex(owner) if Instant::now() < deadline => {
                    before = Some(self.layout.index(shard, &owner));
                    continue;
                }
                other => Err(other.into_error()),
            };
        }
    }

    pub(crate) async fn touch(&self, key: SessionKey, expires_at: Timestamp) -> Result<bool> {
        let deadline = self.router.deadline();
        let shard = self.layout.shard(key);
        let (name, base) = (self.layout.session(key), self.layout.index_base(shard));
        let bytes = layout::expires(expires_at);
        let (tag, key_expiry) = layout::keep_until(expires_at);
        let (key_expiry, score) = (key_expiry.to_string(), layout::score(expires_at).to_string());
        let member = layout::member(&key);
        let args = [&[tag][..], &bytes, key_expiry.as_bytes(), score.as_bytes(), member, base.as_bytes()];
        let mut index = None;
        loop {
            let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
            return match self.script(key, &script::TOUCH, &keys, &args, deadline).await? {
                Answer::Stored => Ok(true),
                Answer::Missing => Ok(false),
                Answer::Busy if Box::pin(self.arrive(key, deadline)).await? => continue,
                Answer::Busy => Ok(false),
                Answer::NeedsIndex(owner) if Instant::now() < deadline => {
                    index = Some(self.layout.index(shard, &owner));
                    continue;
                }
                other => Err(other.into_error()),
            };
        }
    }

    pub(crate) async fn delete(&self, key: SessionKey) -> Result<bool> {
        let deadline = self.router.deadline();
        let (name, base) = (self.layout.session(key), self.layout.index_base(self.layout.shard(key)));
        let args = [layout::member(&key), base.as_bytes()];
        let mut index = None;
        loop {
            let keys: Vec<&str> = [Some(name.as_str()), index.as_deref()].into_iter().flatten().collect();
            return match self.script(key, &script::DELETE, &keys, &args, deadline).await? {
                Answer::Stored => Ok(true),
                Answer::Busy if Box::pin(self.arrive(key, deadline)).await? => continue,
                Answer::Busy | Answer::Missing => Ok(false),
                Answer::NeedsIndex(owner) if Instant::now() < deadline => {
                    index = self.index_at(key, Some(&owner));
                    continue;
                }
                other => Err(other.into_error()),
            };
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

    /// Runs a script on the server that holds `key`.
    pub(crate) async fn script(
        &self,
        key: SessionKey,
        script: &'static Script,
        keys: &[&str],
        args: &[&[u8]],
        deadline: Instant,
    ) -> Result<Answer> {
        self.script_in((), key, script, keys, args, deadline).await
    }

    /// The same in a place, which is given up with the first answer. The request is made before the future is, which so
    /// holds neither keys nor arguments.
    fn script_in<P>(
        &self,
        place: P,
        key: SessionKey,
        script: &'static Script,
        keys: &[&str],
        args: &[&[u8]],
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer>> + use<'_, P> {
        let (request, shard) = (Request::script(script, keys, args), self.layout.shard(key));
        async move { Answer::read(self.router.run_in(place, shard, &request, deadline).await?) }
    }

    pub(crate) fn parts(&self, record: &Record) -> Result<Parts> {
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

fn time(value: Value) -> Result<Timestamp> {
    let (seconds, micros): (i64, i64) =
        redis::from_redis_value(value).map_err(|_| error::unexpected_reply())?;
    Ok(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
}
