//! Opens sessions from a store and commits them to it.

mod clock;
mod commit;
mod conflict;
mod info;
mod limit;
mod metrics;
mod observe;
mod others;
mod outcome;
mod plan;
mod queue;
mod step;

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use clock::StoreClock;
use conflict::Refreshed;
pub use info::SessionInfo;
use observe::Events;
pub use observe::{EndReason, Event, EventKind, Observer};
pub use outcome::{Commit, Outcome};
use queue::Queues;

use crate::codec::{Body, Codecs};
use crate::id::Secret;
use crate::policy::Undecodable;
use crate::session::identity::{Fit, Identity};
use crate::session::reentry;
use crate::session::state::{Authority, State, Stored};
use crate::{
    Clock, Error, ErrorKind, Owner, Policy, Record, Result, Session, SessionId, SessionKey, SessionStore,
    SystemClock, Timestamp,
};

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
    clock: StoreClock,
    queues: Queues,
    events: Events,
}

impl SessionManager {
    /// A manager over `store` with the default policy, the default codec (bincode) and the system's clock.
    pub fn new(store: impl SessionStore) -> Self {
        Self {
            store: Arc::new(store),
            codecs: Codecs::default(),
            policy: Policy::default(),
            clock: StoreClock::new(Arc::new(SystemClock)),
            queues: Queues::default(),
            events: Events::default(),
        }
    }

    /// Sets how long sessions live and how large they may grow. [`prepare`](Self::prepare), or the first use, checks it.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self.clock = self.clock.restarted();
        self
    }

    /// Sets how sessions are encoded, and which other encodings are read.
    #[must_use]
    pub fn with_codecs(mut self, codecs: Codecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Sets this process's clock, for tests. What counts is the store's (`[H5]`): the manager asks for it at first use and
    /// about once a minute, and adds the difference.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = StoreClock::new(clock);
        self
    }

    /// Tells `observer` what happens to sessions from now on, on a thread of its own.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer) -> Self {
        self.events = Events::to(observer);
        self
    }

    /// The same manager over another store: for tests, for moving between stores, and for sessions that come with each
    /// request.
    #[must_use]
    pub fn with_store(mut self, store: impl SessionStore) -> Self {
        self.store = Arc::new(store);
        self.clock = self.clock.restarted();
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

    /// Checks the policy and makes the store ready: schema, directory, clock. The first use of the manager does the same;
    /// call it at start-up so that what is wrong shows there.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) when the policy cannot work, and the store's errors.
    pub async fn prepare(&self) -> Result<()> {
        if self.clock.is_ready() {
            self.store.prepare().await?;
        }
        self.make_ready().await
    }

    /// Prepares the store at first use, and measures its time when that is due.
    async fn make_ready(&self) -> Result<()> {
        let prepare = async {
            self.policy.check()?;
            self.store.prepare().await
        };
        self.clock.make_ready(&*self.store, prepare).await
    }

    /// For what needs no time: prepares the store at first use.
    async fn make_prepared(&self) -> Result<()> {
        if self.clock.is_ready() { Ok(()) } else { Box::pin(self.make_ready()).await }
    }

    /// The time, where something ends by it: this host's clock may have been set since the last measurement.
    async fn certain_now(&self) -> Timestamp {
        // One that fails leaves the difference that was known before.
        let _ = Box::pin(self.make_ready()).await;
        self.now()
    }

    /// Opens the session of a request: the stored one, or a new and empty one when there is no id, or the id is
    /// unknown or has expired. An id that this server did not issue is never adopted. Nothing is stored.
    ///
    /// An id that another request changed a short time ago opens nothing and begins nothing
    /// ([`Session::is_superseded`]).
    ///
    /// One round trip to the store; none without an id.
    ///
    /// # Errors
    /// The store's errors, and [`Corrupt`](ErrorKind::Corrupt) or [`Codec`](ErrorKind::Codec) when what is stored cannot
    /// be read (but see [`Policy::with_undecodable`]): a failing store is never an empty session.
    pub async fn open(&self, id: Option<&SessionId>) -> Result<Session> {
        let watch = metrics::Watch::start();
        let session = self.open_unwatched(id).await;
        watch.opened(&session, id.is_some());
        session
    }

    async fn open_unwatched(&self, id: Option<&SessionId>) -> Result<Session> {
        let Some(id) = id else { return Ok(Session::empty()) };
        let key = id.key();
        self.make_prepared().await?;
        let found = match self.find(key).await {
            Err(error) if self.counts_as_ended(&error) => {
                metrics::undecodable();
                self.tell(EventKind::Undecodable, key, None);
                let error: &dyn std::error::Error = &error;
                warn!(target: "session", %key, error, "a stored session cannot be read; it counts as ended");
                return Ok(Session::from_state(State::undecodable(key)));
            }
            found => found?,
        };
        let Some((stored, body)) = found else {
            debug!(target: "session", %key, "unknown or expired session id");
            return Ok(Session::empty());
        };
        if self.fit(&stored.identity, id.secret()).await == Fit::No {
            return Ok(Box::pin(self.refuse(&stored)).await);
        }
        Ok(Session::from_state(State::loaded(stored, body, Authority::Secret(id.secret().clone()))))
    }

    /// The session of a request whose secret does not open the record that its key names.
    async fn refuse(&self, stored: &Stored) -> Session {
        let Stored { key, owner, identity, .. } = stored;
        let changed_at = identity.last_change(self.policy.renew_grace());
        let is_superseded =
            self.certain_now().await < changed_at.saturating_add(self.policy.superseded_for());
        let kind = if is_superseded { EventKind::SupersededSecret } else { EventKind::WrongSecret };
        metrics::refused(is_superseded);
        self.tell(kind, *key, owner.as_ref());
        warn!(target: "session", %key, ?kind, "a request's secret does not open its session");
        Session::from_state(State::refused(is_superseded))
    }

    fn counts_as_ended(&self, error: &Error) -> bool {
        self.policy.undecodable() == Undecodable::Ended
            && matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Codec)
    }

    /// Brings the newest stored version into an open session; what this request changed and did not commit yet is
    /// applied on top. `false` when there is none: it was never stored, or the session is over (others ended it, or changed
    /// its id), and then it is empty, and stays so.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of replayed updates.
    pub async fn reload(&self, session: &Session) -> Result<bool> {
        reentry::check(session)?;
        let _one = session.lock_commit().await;
        self.make_prepared().await?;
        Ok(matches!(self.refresh(session).await?, Refreshed::Newest))
    }

    /// Takes `key` out of the session and commits: of N requests that do so at once, one gets the value, the others `None`.
    /// For what may be used once, such as a nonce or a voucher.
    ///
    /// # Errors
    /// As [`commit`](Self::commit) and [`Session::get`].
    ///
    /// # Cancellation
    /// The value may be gone without anybody having got it.
    pub async fn consume<T: DeserializeOwned>(&self, session: &Session, key: &str) -> Result<Option<T>> {
        let Some(consume) = session.start_consume::<T>(key)? else { return Ok(None) };
        if self.commit(session).await?.dropped_changes { Ok(None) } else { consume.finish() }
    }

    /// The time by the clock that judges expiry: the store's.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The live session under `key`. A record without an identity is none of this manager's.
    async fn find(&self, key: SessionKey) -> Result<Option<(Stored, Body)>> {
        let Some(record) = self.store.load(key).await? else { return Ok(None) };
        let Record { revision, owner, created_at, expires_at, payload } = record;
        let body = self.codecs.decode(key, payload)?;
        let Some(identity) = Identity::of(&body)? else {
            debug!(target: "session", %key, "the record under this key is not of a session manager");
            return Ok(None);
        };
        let stored = Stored { key, revision, owner, created_at, expires_at, identity };
        if self.is_stricter_than(&stored) && self.has_outlived(&stored, self.certain_now().await) {
            self.store.delete(key).await?;
            self.tell(EventKind::Ended(EndReason::Outlived), key, stored.owner.as_ref());
            return Ok(None);
        }
        Ok(Some((stored, body)))
    }

    async fn fit(&self, identity: &Identity, secret: &Secret) -> Fit {
        let verifier = secret.verifier();
        if identity.is_timed(&verifier) {
            let _ = self.certain_now().await;
        }
        identity.fit(&verifier, || self.now(), self.policy.renew_grace())
    }

    /// Whether the policy allows less than the one by which the session was stored.
    fn is_stricter_than(&self, stored: &Stored) -> bool {
        let Stored { created_at, expires_at, identity, .. } = stored;
        let lifetime = self.policy.lifetime(identity.lifetime);
        !identity.is_tombstone()
            && (identity.idle > lifetime.idle_timeout
                || lifetime.end(*created_at).is_some_and(|end| end < *expires_at))
    }

    /// Whether a stricter policy allows the session no longer.
    fn has_outlived(&self, stored: &Stored, now: Timestamp) -> bool {
        let Stored { created_at, expires_at, identity, .. } = stored;
        let lifetime = self.policy.lifetime(identity.lifetime);
        lifetime.is_over(now, *created_at, expires_at.saturating_sub(identity.idle))
    }

    fn tell(&self, kind: EventKind, key: SessionKey, owner: Option<&Owner>) {
        self.events.tell(|| Event { kind, key: Some(key), owner: owner.cloned(), at: self.now() });
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
