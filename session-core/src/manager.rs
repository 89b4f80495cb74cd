//! Opens sessions from a store and commits them to it.

mod commit;
mod info;
mod limit;
mod metrics;
mod plan;
mod queue;
mod step;

use std::fmt;
use std::sync::Arc;

use tracing::{debug, info};

pub use commit::{Commit, Outcome};
pub use info::SessionInfo;
use queue::Queues;

use crate::codec::{Body, Codecs};
use crate::session::state::{State, Stored};
use crate::{
    Clock, Cursor, Owner, Policy, Record, Result, Session, SessionId, SessionKey, SessionStore, SystemClock,
    Timestamp,
};

const PAGE: usize = 256;

/// Opens sessions from a store and commits them to it.
///
/// Cheap to clone; one serves a whole application.
///
/// ```
/// # use session_core::{Outcome, Result, SessionManager, SessionStore};
/// # async fn example(store: std::sync::Arc<dyn SessionStore>) -> Result<()> {
/// let manager = SessionManager::new(store);
/// let session = manager.open(None).await?; // no cookie: a new, empty session
/// session.insert("user", "ada")?;
/// assert_eq!(manager.commit(&session).await?.outcome, Outcome::Created);
///
/// let cookie = session.id(); // the next request brings it back
/// let session = manager.open(cookie.as_ref()).await?;
/// assert_eq!(session.get::<String>("user")?.as_deref(), Some("ada"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SessionManager {
    store: Arc<dyn SessionStore>,
    codecs: Codecs,
    policy: Policy,
    clock: Arc<dyn Clock>,
    queues: Queues,
}

impl SessionManager {
    /// A manager over `store` with the default policy, the default codec (bincode) and the system's clock.
    pub fn new(store: impl SessionStore) -> Self {
        Self {
            store: Arc::new(store),
            codecs: Codecs::default(),
            policy: Policy::default(),
            clock: Arc::new(SystemClock),
            queues: Queues::default(),
        }
    }

    /// Sets how long sessions live and how large they may grow. [`prepare`](Self::prepare) checks it.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how sessions are encoded, and which other encodings are read.
    #[must_use]
    pub fn with_codecs(mut self, codecs: Codecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Sets the clock, for tests. The store judges expiry by its own.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same manager over another store: for tests, for moving between stores, and for sessions that come with each
    /// request.
    #[must_use]
    pub fn with_store(mut self, store: impl SessionStore) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        &self.store
    }

    /// Checks the policy and makes the store ready. Call it once at start-up.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) when the policy cannot work, and the store's errors.
    pub async fn prepare(&self) -> Result<()> {
        self.policy.check()?;
        self.store.prepare().await
    }

    /// Opens the session of a request: the stored one, or a new and empty one when there is no id, or the id is
    /// unknown or has expired. An id that this server did not issue is never adopted. Nothing is stored.
    ///
    /// One round trip to the store; none without an id.
    ///
    /// # Errors
    /// The store's errors, and [`Corrupt`](crate::ErrorKind::Corrupt) or [`Codec`](crate::ErrorKind::Codec) when
    /// what is stored cannot be read: a failing store is never an empty session.
    pub async fn open(&self, id: Option<&SessionId>) -> Result<Session> {
        let watch = metrics::Watch::start();
        let session = self.open_unwatched(id).await;
        watch.opened(&session, id.is_some());
        session
    }

    async fn open_unwatched(&self, id: Option<&SessionId>) -> Result<Session> {
        let Some(id) = id else { return Ok(Session::empty()) };
        match self.find(id.key(), Some(id)).await? {
            Some((stored, body)) => Ok(Session::from_state(State::loaded(stored, body))),
            None => {
                debug!(target: "session", key = %id.key(), "unknown or expired session id");
                Ok(Session::empty())
            }
        }
    }

    /// Brings the newest stored version into an open session; what this request changed and did not commit yet is
    /// applied on top. `false` when the session is no longer stored: it is then empty.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of replayed updates.
    pub async fn reload(&self, session: &Session) -> Result<bool> {
        let _one = session.lock_commit().await;
        self.refresh(session).await
    }

    /// The live sessions of `owner`, such as a user's devices, in no particular order.
    ///
    /// # Errors
    /// The store's errors; sessions that cannot be decoded are listed all the same.
    pub async fn sessions_of(&self, owner: &Owner) -> Result<Vec<SessionInfo>> {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let (mut page, next) = self.page(Some(owner), cursor.as_ref(), PAGE).await?;
            found.append(&mut page);
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// One page of all live sessions, for operators: start without a cursor, go on with the one returned.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn sessions(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<SessionInfo>, Option<Cursor>)> {
        self.page(None, cursor, limit).await
    }

    /// Ends one session, such as a device in a list. Whether it was live.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn revoke(&self, key: SessionKey) -> Result<bool> {
        let live = self.store.delete(key).await?;
        metrics::revoked(live.into());
        info!(target: "session", %key, live, "session revoked");
        Ok(live)
    }

    /// Ends all sessions of `owner`, or all but `keep` ("sign out everywhere else"). How many.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn revoke_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        let ended = self.store.delete_owned(owner, keep).await?;
        metrics::revoked(ended);
        info!(target: "session", %owner, ended, "sessions of an owner revoked");
        Ok(ended)
    }

    async fn page(
        &self,
        owner: Option<&Owner>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<SessionInfo>, Option<Cursor>)> {
        let page = self.store.list(owner, cursor, limit).await?;
        let sessions = page.sessions.into_iter().map(|(key, record)| self.info(key, record));
        Ok((sessions.collect(), page.next))
    }

    fn info(&self, key: SessionKey, record: Record) -> SessionInfo {
        let Record { owner, created_at, expires_at, payload, .. } = record;
        SessionInfo { key, owner, created_at, expires_at, body: self.codecs.decode(key, payload) }
    }

    /// The time by the manager's clock: what a cookie's `Max-Age` is counted from.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The stored session under `key`, or the one that it was moved to.
    async fn find(&self, key: SessionKey, id: Option<&SessionId>) -> Result<Option<(Stored, Body)>> {
        let Some(record) = self.store.load(key).await? else { return Ok(None) };
        if self.has_outlived(&record) {
            self.store.delete(key).await?;
            return Ok(None);
        }
        let Record { revision, owner, created_at, expires_at, payload } = record;
        let body = self.codecs.decode(key, payload)?;
        let id = id.cloned();
        Ok(Some((Stored { id, key, revision, owner, created_at, expires_at }, body)))
    }

    /// Whether the policy, which may have become stricter since, allows the session no longer.
    fn has_outlived(&self, record: &Record) -> bool {
        self.policy.is_stricter_than(record.expires_at, record.created_at)
            && self.policy.is_over(self.now(), record.created_at)
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("store", &self.store)
            .field("codecs", &self.codecs)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
