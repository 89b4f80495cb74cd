//! The store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::{Value, cmd};
use session_core::{
    Created, Cursor, Error, Owner, Page, Record, Renamed, Result, Revision, Saved, SessionKey, SessionStore,
    Timestamp,
};

use crate::config::RedisConfig;
use crate::error;
use crate::layout::{self, Layout};
use crate::listing::{Place, Windows};
use crate::router::{Request, Router};
use crate::script::{self, Answer};

/// Sessions that are read in one go for a page of a listing.
const LARGEST_PAGE: usize = 256;

/// Sessions in Redis or Valkey.
///
/// Clones share the connection. It is made by the first operation, by tokio, and belongs to that runtime.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    router: Router,
    layout: Layout,
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
        let made = Router::new(&config).map(|router| {
            let (layout, windows) = (Layout::new(&config.prefix), Windows::default());
            Self(Arc::new(Inner { router, layout, windows, max_payload: config.max_payload }))
        });
        made.map_err(|error| error.with_operation("configure"))
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
        named("delete_expired", self.0.router.run(&Request::read(cmd("PING")))).await.map(|_| 0)
    }
}

/// What the scripts that write a record are told about it.
struct Parts {
    record: Vec<u8>,
    key_expiry: String,
    expires_at: String,
    index: Option<String>,
}

impl Inner {
    async fn prepare(&self) -> Result<()> {
        let mut info = cmd("INFO");
        info.arg("server");
        let reply = self.router.run(&Request::read(info)).await?;
        check_server(&text(reply)?)
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        let parts = self.parts(record)?;
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
            match self.router.run(&request).await? {
                // The bare command answers with nothing when nothing was there.
                Value::Nil | Value::Int(1) => return Ok(Created::Stored),
                Value::BulkString(there) if self.is_over(&there).await? => {
                    // Its key goes with this millisecond.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Value::BulkString(_) => return Ok(Created::Occupied),
                _ => return Err(error::unexpected_reply()),
            }
        }
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        let mut get = cmd("GET");
        get.arg(self.layout.session(key));
        match self.router.run(&Request::read(get)).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) if self.is_over(&bytes).await? => Ok(None),
            Value::BulkString(bytes) => layout::decode(&bytes).map(Some),
            _ => Err(error::unexpected_reply()),
        }
    }

    /// Whether a record has expired although its key was there.
    async fn is_over(&self, bytes: &[u8]) -> Result<bool> {
        if !layout::is_brief(bytes) {
            return Ok(false);
        }
        let expires_at = layout::decode(bytes)?.expires_at;
        Ok(time(self.router.run(&Request::read(cmd("TIME"))).await?)? >= expires_at)
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        let parts = self.parts(record)?;
        let name = self.layout.session(key);
        let keys: Vec<&str> = [Some(name.as_str()), parts.index.as_deref()].into_iter().flatten().collect();
        let request = Request::script(
            &script::SAVE,
            &keys,
            &[
                &parts.record,
                parts.key_expiry.as_bytes(),
                parts.expires_at.as_bytes(),
                layout::member(&key),
                &layout::revision(expected),
                self.layout.index_base().as_bytes(),
            ],
        );
        match Answer::read(self.router.run(&request).await?)? {
            Answer::Stored => Ok(Saved::Stored),
            Answer::Conflict => Ok(Saved::Conflict),
            Answer::Missing => Ok(Saved::Missing),
            other => Err(other.into_error()),
        }
    }

    async fn rename(
        &self,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Renamed> {
        let parts = self.parts(record)?;
        let (old, new) = (self.layout.session(from), self.layout.session(to));
        let keys = [Some(old.as_str()), Some(&new), parts.index.as_deref()];
        let keys: Vec<&str> = keys.into_iter().flatten().collect();
        let request = Request::script(
            &script::RENAME,
            &keys,
            &[
                &parts.record,
                parts.key_expiry.as_bytes(),
                parts.expires_at.as_bytes(),
                layout::member(&from),
                layout::member(&to),
                &layout::revision(expected),
                self.layout.index_base().as_bytes(),
            ],
        );
        match Answer::read(self.router.run(&request).await?)? {
            Answer::Stored => Ok(Renamed::Stored),
            Answer::Conflict => Ok(Renamed::Conflict),
            Answer::Missing => Ok(Renamed::Missing),
            Answer::Occupied => Ok(Renamed::Occupied),
            other => Err(other.into_error()),
        }
    }

    async fn touch(&self, key: SessionKey, expires_at: Timestamp) -> Result<bool> {
        let name = self.layout.session(key);
        let bytes = layout::expires(expires_at);
        let (tag, key_expiry) = layout::keep_until(expires_at);
        let (key_expiry, score) = (key_expiry.to_string(), layout::score(expires_at).to_string());
        let base = self.layout.index_base();
        let member = layout::member(&key);
        let args = [&[tag][..], &bytes, key_expiry.as_bytes(), score.as_bytes(), member, base.as_bytes()];
        let mut answer = self.script(&script::TOUCH, &[&name], &args).await?;
        // Once more with the index declared, if it has to be. The owner may change between the two, so: twice.
        for _ in 0..2 {
            let Answer::NeedsIndex(owner) = &answer else { break };
            let index = self.layout.index(owner);
            answer = self.script(&script::TOUCH, &[&name, &index], &args).await?;
        }
        match answer {
            Answer::Stored => Ok(true),
            Answer::Missing => Ok(false),
            other => Err(other.into_error()),
        }
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        let (name, base) = (self.layout.session(key), self.layout.index_base());
        match self.script(&script::DELETE, &[&name], &[layout::member(&key), base.as_bytes()]).await? {
            Answer::Stored => Ok(true),
            Answer::Missing => Ok(false),
            other => Err(other.into_error()),
        }
    }

    /// The order is that of the keys: scores change while a listing goes on, keys do not.
    async fn list_owner(&self, owner: &Owner, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let after = match cursor {
            Some(cursor) => Some(cursor.as_str().parse::<SessionKey>().map_err(|_| error::foreign_cursor())?),
            None => None,
        };
        let mut range = cmd("ZRANGE");
        range.arg(self.layout.index(owner)).arg(0).arg(-1);
        let members = self.router.run(&Request::read(range)).await?;
        let mut keys = keys_of(members)?;
        keys.retain(|key| after.is_none_or(|after| *key > after));
        keys.sort_unstable();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).map(|last| Cursor::new(last.to_string()));
        let mut sessions = self.records(keys).await?;
        sessions.retain(|(_, record)| record.owner.as_ref() == Some(owner));
        Ok(Page { sessions, next })
    }

    async fn list_all(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let place = cursor.map(Place::parse).transpose()?;
        let page = self.windows.page(&self.router, &self.layout, place, limit).await?;
        Ok(Page { sessions: self.records(page.keys).await?, next: page.next })
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let index = self.layout.index(owner);
        let keep = keep.as_ref().map_or(&[][..], |key| layout::member(key));
        let request = Request::script(
            &script::DELETE_OWNED,
            &[&index],
            &[owner.as_str().as_bytes(), keep, self.layout.head().as_bytes()],
        );
        match self.router.run(&request).await? {
            Value::Int(removed) => u64::try_from(removed).map_err(|_| error::unexpected_reply()),
            _ => Err(error::unexpected_reply()),
        }
    }

    async fn script(&self, script: &'static script::Script, keys: &[&str], args: &[&[u8]]) -> Result<Answer> {
        Answer::read(self.router.run(&Request::script(script, keys, args)).await?)
    }

    /// The live ones of these sessions, read together.
    async fn records(&self, keys: Vec<SessionKey>) -> Result<Vec<(SessionKey, Record)>> {
        let loads = keys.into_iter().map(|key| async move { Ok::<_, Error>((key, self.load(key).await?)) });
        let loaded = try_join_all(loads).await?;
        Ok(loaded.into_iter().filter_map(|(key, record)| Some((key, record?))).collect())
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
            index: record.owner.as_ref().map(|owner| self.layout.index(owner)),
        })
    }
}

fn time(value: Value) -> Result<Timestamp> {
    let (seconds, micros): (i64, i64) =
        redis::from_redis_value(value).map_err(|_| error::unexpected_reply())?;
    Ok(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
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

fn text(value: Value) -> Result<String> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Ok(text),
        _ => Err(error::unexpected_reply()),
    }
}

/// Whether the server has what the scripts need: Redis 7.0, or any Valkey (which began after it).
fn check_server(info: &str) -> Result<()> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let major =
        field("redis_version").and_then(|version| version.split('.').next()?.trim().parse::<u32>().ok());
    if major.is_some_and(|major| major < 7) {
        return Err(error::invalid_config("the server is older than Redis 7.0: use a newer one, or Valkey"));
    }
    if field("redis_mode").map(str::trim) == Some("cluster") {
        return Err(error::invalid_config(
            "the server is a node of a cluster: a url of one server cannot use it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_and_nodes_of_a_cluster_are_refused() {
        assert!(check_server("redis_version:7.0.15\r\nredis_mode:standalone\r\n").is_ok());
        assert!(check_server("").is_ok(), "a server that hides its version is given a chance");
        assert!(check_server("redis_version:6.2.1\r\n").is_err());
        assert!(check_server("redis_version:7.2.4\r\nredis_mode:cluster\r\n").is_err());
    }
}
