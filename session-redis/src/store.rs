//! The store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Value, cmd};
use session_core::{
    Created, Cursor, Owner, Page, Record, Renamed, Result, Revision, Saved, SessionKey, SessionStore,
    Timestamp,
};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::error;
use crate::layout::{self, Layout};
use crate::listing::{Place, Windows};
use crate::router::{Request, Router};
use crate::script::{self, Answer, Script};

/// Sessions that are read in one go for a page of a listing.
const LARGEST_PAGE: usize = 256;
/// Between two looks at an owner's sessions that another client is about to end.
const PAUSE: Duration = Duration::from_millis(3);

/// Sessions in Redis or Valkey.
///
/// Clones share the connection. It is made by the first operation, by tokio, and belongs to that runtime.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) router: Router,
    pub(crate) layout: Layout,
    windows: Windows,
    max_payload: usize,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("router", &self.0.router).field("layout", &self.0.layout).finish()
    }
}

impl RedisStore {
    /// A store on the server that `config` names. Nothing is sent yet; [`prepare`](SessionStore::prepare) finds out
    /// whether the server is there and can be used.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when the URL is wrong.
    pub fn new(config: RedisConfig) -> Result<Self> {
        let made = Router::new(&config).map(|(router, layout)| {
            let windows = Windows::default();
            Self(Arc::new(Inner { router, layout, windows, max_payload: config.max_payload }))
        });
        made.map_err(|error| error.with_operation("configure"))
    }
}

#[cfg(test)]
impl RedisStore {
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

/// Names the operation in its error.
async fn named<T>(operation: &'static str, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    work.await.map_err(|error| error.with_operation(operation))
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn prepare(&self) -> Result<()> {
        named("prepare", self.0.prepare()).await
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        named("create", self.0.create(key, record)).await
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        named("load", self.0.load(key)).await
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        named("save", self.0.save(key, expected, record)).await
    }

    async fn rename(
        &self,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Renamed> {
        named("rename", self.0.rename(from, expected, to, record)).await
    }

    async fn touch(&self, key: SessionKey, expires_at: Timestamp) -> Result<bool> {
        named("touch", self.0.touch(key, expires_at)).await
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        named("delete", self.0.delete(key)).await
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let limit = limit.clamp(1, LARGEST_PAGE);
        match owner {
            Some(owner) => named("list", self.0.list_owner(owner, cursor, limit)).await,
            None => named("list", self.0.list_all(cursor, limit)).await,
        }
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        named("delete_owned", self.0.delete_owned(owner, keep)).await
    }

    /// Always 0: the server removes what has expired. Asks the server whether it is there.
    async fn delete_expired(&self, _limit: usize) -> Result<u64> {
        named("delete_expired", self.0.delete_expired()).await
    }
}

/// What the scripts that write a record are told about it.
pub(crate) struct Parts {
    pub(crate) record: Vec<u8>,
    pub(crate) key_expiry: String,
    pub(crate) expires_at: String,
    pub(crate) index: Option<String>,
}

impl Inner {
    async fn prepare(&self) -> Result<()> {
        let deadline = self.router.deadline();
        for link in self.router.masters(deadline).await? {
            let mut info = cmd("INFO");
            info.arg("server");
            let reply = link.one(&info, deadline).await.map_err(|fault| fault.into_error(link.name()))?;
            check_server(&text(reply)?, self.router.is_cluster())?;
        }
        Ok(())
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        let deadline = self.router.deadline();
        let parts = self.parts(key, record)?;
        let name = self.layout.session(key);
        let request = match &parts.index {
            // The bare command does it: what was there, or nothing.
            None => {
                let mut set = cmd("SET");
                set.arg(&name).arg(&parts.record).arg("NX").arg("GET").arg("PXAT").arg(&parts.key_expiry);
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
        loop {
            let there = match self.router.run(self.layout.shard(key), &request, deadline).await? {
                // The bare command answers with nothing when nothing was there.
                Value::Nil | Value::Int(1) => return Ok(Created::Stored),
                Value::BulkString(there) => there,
                _ => return Err(error::unexpected_reply()),
            };
            if layout::is_trace(&there) {
                self.settle(key, deadline).await?;
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
        let Some(bytes) = self.get(key, deadline).await? else { return Ok(None) };
        if layout::is_trace(&bytes) {
            return match layout::read_coming(&bytes) {
                Some(coming) if self.has_come(key, &coming, deadline).await? => {
                    self.live(key, coming.record, deadline).await
                }
                _ => Ok(None),
            };
        }
        self.live(key, &bytes, deadline).await
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
        let now = self.router.run(self.layout.shard(key), &Request::read(cmd("TIME")), deadline).await?;
        Ok(time(now)? >= expires_at)
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        let deadline = self.router.deadline();
        let parts = self.parts(key, record)?;
        let (name, base) = (self.layout.session(key), self.layout.index_base(self.layout.shard(key)));
        let keys: Vec<&str> = [Some(name.as_str()), parts.index.as_deref()].into_iter().flatten().collect();
        let expected = layout::revision(expected);
        let args = [
            &parts.record[..],
            parts.key_expiry.as_bytes(),
            parts.expires_at.as_bytes(),
            layout::member(&key),
            &expected,
            base.as_bytes(),
        ];
        loop {
            return match self.script(key, &script::SAVE, &keys, &args, deadline).await? {
                Answer::Stored => Ok(Saved::Stored),
                Answer::Conflict => Ok(Saved::Conflict),
                Answer::Busy if self.arrive(key, deadline).await? => continue,
                Answer::Busy | Answer::Missing => Ok(Saved::Missing),
                other => Err(other.into_error()),
            };
        }
    }

    async fn rename(
        self: &Arc<Self>,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Renamed> {
        let shard = self.layout.shard(from);
        if shard != self.layout.shard(to) {
            return self.rename_across(from, expected, to, record).await;
        }
        let deadline = self.router.deadline();
        let parts = self.parts(to, record)?;
        let (old, new, base) =
            (self.layout.session(from), self.layout.session(to), self.layout.index_base(shard));
        let expected = layout::revision(expected);
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
        let mut index = None;
        loop {
            let keys = [Some(old.as_str()), Some(&new), parts.index.as_deref(), index.as_deref()];
            let keys: Vec<&str> = keys.into_iter().flatten().collect();
            return match self.script(from, &script::RENAME, &keys, &args, deadline).await? {
                Answer::Stored => Ok(Renamed::Stored),
                Answer::Conflict => Ok(Renamed::Conflict),
                Answer::Missing => Ok(Renamed::Missing),
                Answer::Occupied => Ok(Renamed::Occupied),
                Answer::Busy => {
                    self.settle(from, deadline).await?;
                    self.settle(to, deadline).await?;
                    continue;
                }
                Answer::Fenced if Instant::now() + PAUSE < deadline => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Answer::NeedsIndex(owner) if Instant::now() < deadline => {
                    index = Some(self.layout.index(shard, &owner));
                    continue;
                }
                other => Err(other.into_error()),
            };
        }
    }

    async fn touch(&self, key: SessionKey, expires_at: Timestamp) -> Result<bool> {
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
                Answer::Busy if self.arrive(key, deadline).await? => continue,
                Answer::Busy => Ok(false),
                Answer::NeedsIndex(owner) if Instant::now() < deadline => {
                    index = Some(self.layout.index(shard, &owner));
                    continue;
                }
                other => Err(other.into_error()),
            };
        }
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        let deadline = self.router.deadline();
        let (name, base) = (self.layout.session(key), self.layout.index_base(self.layout.shard(key)));
        let args = [layout::member(&key), base.as_bytes()];
        loop {
            return match self.script(key, &script::DELETE, &[&name], &args, deadline).await? {
                Answer::Stored => Ok(true),
                Answer::Busy if self.arrive(key, deadline).await? => continue,
                Answer::Busy | Answer::Missing => Ok(false),
                other => Err(other.into_error()),
            };
        }
    }

    async fn list_all(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let place = cursor.map(Place::parse).transpose()?;
        let page = self.windows.page(&self.router, &self.layout, place, limit).await?;
        Ok(Page { sessions: self.records(page.keys).await?, next: page.next })
    }

    async fn delete_expired(&self) -> Result<u64> {
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
        let request = Request::script(script, keys, args);
        Answer::read(self.router.run(self.layout.shard(key), &request, deadline).await?)
    }

    pub(crate) fn parts(&self, key: SessionKey, record: &Record) -> Result<Parts> {
        if record.payload.len() > self.max_payload {
            return Err(error::too_large(record.payload.len(), self.max_payload));
        }
        let (tag, key_expiry) = layout::keep_until(record.expires_at);
        Ok(Parts {
            record: layout::encode(record, tag),
            key_expiry: key_expiry.to_string(),
            expires_at: layout::score(record.expires_at).to_string(),
            index: self.index_at(key, record.owner.as_ref()),
        })
    }
}

fn time(value: Value) -> Result<Timestamp> {
    let (seconds, micros): (i64, i64) =
        redis::from_redis_value(value).map_err(|_| error::unexpected_reply())?;
    Ok(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
}

fn text(value: Value) -> Result<String> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Ok(text),
        _ => Err(error::unexpected_reply()),
    }
}

/// Whether the server has what the scripts need: Redis 7.0, or any Valkey (which began after it).
fn check_server(info: &str, cluster: bool) -> Result<()> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let major =
        field("redis_version").and_then(|version| version.split('.').next()?.trim().parse::<u32>().ok());
    if major.is_some_and(|major| major < 7) {
        return Err(error::invalid_config("the server is older than Redis 7.0: use a newer one, or Valkey"));
    }
    if !cluster && field("redis_mode").map(str::trim) == Some("cluster") {
        return Err(error::invalid_config("the server is a node of a cluster: use a redis+cluster:// url"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_and_nodes_of_a_cluster_are_refused() {
        assert!(check_server("redis_version:7.0.15\r\nredis_mode:standalone\r\n", false).is_ok());
        assert!(check_server("redis_version:7.2.4\r\nredis_mode:cluster\r\n", true).is_ok());
        assert!(check_server("", false).is_ok(), "a server that hides its version is given a chance");
        assert!(check_server("redis_version:6.2.1\r\n", true).is_err());
        assert!(check_server("redis_version:7.2.4\r\nredis_mode:cluster\r\n", false).is_err());
    }
}
