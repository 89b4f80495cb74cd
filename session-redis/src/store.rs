//! The store.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use session_core::{
    Created, Cursor, Owner, Page, Record, Result, Revision, Saved, SessionKey, SessionStore, Timestamp,
    Touched,
};

use crate::address::{self, Place};
use crate::config::RedisConfig;
use crate::operations::Inner;
use crate::router::Router;

/// Sessions that are read in one go for a page of a listing.
const LARGEST_PAGE: usize = 256;

/// Sessions in Redis or Valkey.
///
/// Clones share the connection. It is made by the first operation, by tokio, and belongs to that runtime.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

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
        let place = address::place(&config).map_err(|error| error.with_operation("configure"))?;
        Self::at(place, &config)
    }

    /// A store on the server that a client of yours is for, with its credentials and certificates; the rest is taken
    /// from `config`, but for the URL. The store makes a connection of its own.
    ///
    /// # Errors
    /// [`InvalidConfig`](session_core::ErrorKind::InvalidConfig) when the client's server cannot be used.
    #[cfg(feature = "redis-1")]
    pub fn from_client(client: &redis::Client, config: RedisConfig) -> Result<Self> {
        Self::at(Place::One(Box::new(address::tuned(client.get_connection_info().clone()))), &config)
    }

    fn at(place: Place, config: &RedisConfig) -> Result<Self> {
        let made = Router::new(place, config)
            .map(|(router, layout)| Self(Arc::new(Inner::new(router, layout, config))));
        made.map_err(|error| error.with_operation("configure"))
    }
}

/// Names the operation in its error.
fn named<T>(operation: &'static str, result: Result<T>) -> Result<T> {
    result.map_err(|error| error.with_operation(operation))
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn prepare(&self) -> Result<()> {
        named("prepare", self.0.prepare().await)
    }

    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        named("create", self.0.create(key, record).await)
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        named("load", self.0.load(key).await)
    }

    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        named("save", self.0.save(key, expected, record).await)
    }

    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        named("touch", self.0.touch(key, expected, expires_at).await)
    }

    async fn delete(&self, key: SessionKey) -> Result<bool> {
        named("delete", self.0.delete(key).await)
    }

    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let limit = limit.clamp(1, LARGEST_PAGE);
        match owner {
            Some(owner) => named("list", self.0.list_owner(owner, cursor, limit).await),
            None => named("list", self.0.list_all(cursor, limit).await),
        }
    }

    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        named("delete_owned", self.0.delete_owned(owner, keep).await)
    }

    /// Always 0: the server removes what has expired. Asks the server whether it is there.
    async fn delete_expired(&self, _limit: usize) -> Result<u64> {
        named("delete_expired", self.0.delete_expired().await)
    }

    /// The clock of the server, or of the master that Sentinels name. On a cluster, where each master judges
    /// its own sessions, that of one of them, always the same while the slots stay: keep the clocks of all in
    /// step.
    async fn now(&self) -> Result<Timestamp> {
        named("now", self.0.now().await)
    }
}
