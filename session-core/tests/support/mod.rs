//! A real store whose calls are counted and whose answers can get lost, and a manager over it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, unused_imports)] // each test target uses a part of it

mod watched;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use session_core::{
    Commit, ManualClock, Outcome, Owner, Policy, Session, SessionId, SessionKey, SessionManager,
    SessionStore as _, Timestamp,
};
use session_memory::{MemoryConfig, MemoryStore};
pub use watched::{Fault, Watched};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(60 * 60);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where every clock of a test begins.
pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A manager over a watched memory store.
pub struct Bench {
    pub manager: SessionManager,
    pub store: Arc<Watched>,
    /// The store's clock, which stands still. The manager's host has the same one, unless the test says otherwise.
    pub clock: Arc<ManualClock>,
    host: Arc<ManualClock>,
}

pub fn bench() -> Bench {
    let clock = Arc::new(ManualClock::new(START));
    Bench::on(clock.clone(), clock)
}

/// As [`bench`], with ten idle minutes, an hour in all, and what `change` makes of that.
pub fn bench_with(change: impl FnOnce(Policy) -> Policy) -> Bench {
    let mut bench = bench();
    let short = Policy::default().with_idle_timeout(10 * MINUTE).with_absolute_lifetime(Some(HOUR));
    bench.manager = bench.manager.with_policy(change(short));
    bench
}

pub fn ada() -> Owner {
    Owner::new("ada").unwrap()
}

pub fn bob() -> Owner {
    Owner::new("bob").unwrap()
}

impl Bench {
    /// With a clock for the store and another one for the host.
    pub fn on(clock: Arc<ManualClock>, host: Arc<ManualClock>) -> Self {
        let store = Watched::new(MemoryStore::new(MemoryConfig::default().with_clock(clock.clone())));
        let manager = SessionManager::new(store.clone()).with_clock(host.clone());
        Self { manager, store, clock, host }
    }

    /// The manager of another process of the same application.
    pub fn other(&self) -> SessionManager {
        SessionManager::new(self.store.clone())
            .with_clock(self.host.clone())
            .with_policy(self.manager.policy().clone())
    }

    /// A stored session with one entry `n` = 1.
    pub async fn stored(&self) -> SessionId {
        let session = self.manager.open(None).await.unwrap();
        session.insert("n", 1).unwrap();
        assert_eq!(self.commit(&session).await, Outcome::Created);
        self.store.calls();
        session.id().unwrap()
    }

    /// A stored session of `owner` with one entry `n` = 1.
    pub async fn signed_in(&self, owner: Owner) -> SessionId {
        let session = self.manager.open(None).await.unwrap();
        session.insert("n", 1).unwrap();
        session.sign_in(owner);
        assert_eq!(self.commit(&session).await, Outcome::Created);
        self.store.calls();
        session.id().unwrap()
    }

    pub async fn open(&self, id: &SessionId) -> Session {
        self.manager.open(Some(id)).await.unwrap()
    }

    pub async fn commit(&self, session: &Session) -> Outcome {
        self.try_commit(session).await.outcome
    }

    pub async fn try_commit(&self, session: &Session) -> Commit {
        self.manager.commit(session).await.unwrap()
    }

    /// One request that does `act`: its session, and what its commit said.
    pub async fn request(&self, id: &SessionId, act: impl FnOnce(&Session)) -> (Session, Outcome) {
        let session = self.open(id).await;
        act(&session);
        let outcome = self.commit(&session).await;
        (session, outcome)
    }

    /// The value of `n` as stored now, seen by a request with `id`.
    pub async fn n(&self, id: &SessionId) -> Option<i64> {
        let value = self.open(id).await.get("n").unwrap();
        self.store.calls();
        value
    }

    /// Whether `id` opens a live session.
    pub async fn opens(&self, id: &SessionId) -> bool {
        let session = self.open(id).await;
        self.store.calls();
        !session.is_new()
    }

    /// What the commit of a request that changed something says when nothing of it was stored.
    pub async fn dropped(&self, session: &Session) -> Outcome {
        let commit = self.try_commit(session).await;
        assert!(commit.dropped_changes, "{commit:?}");
        commit.outcome
    }

    /// How many sessions are live.
    pub async fn live(&self) -> usize {
        let live = self.manager.sessions(None, 1_000).await.unwrap().0.len();
        self.store.calls();
        live
    }

    /// How many records there are, tombstones included.
    pub async fn records(&self) -> usize {
        let records = self.store.list(None, None, 1_000).await.unwrap().sessions.len();
        self.store.calls();
        records
    }

    /// The record under `key`.
    pub async fn record(&self, key: SessionKey) -> Option<session_core::Record> {
        let record = self.store.load(key).await.unwrap();
        self.store.calls();
        record
    }

    /// A request to another process, run to its end during this one's next `call`: after it took effect, before its answer comes.
    pub fn during<F>(&self, call: &'static str, request: F)
    where
        F: AsyncFnOnce(SessionManager) + Send + 'static,
    {
        let manager = self.other();
        self.store.during(call, move || run(request(manager)));
    }

    /// A request to another process, run to its end right before this one's next `call` reaches the store.
    pub fn before<F>(&self, call: &'static str, request: F)
    where
        F: AsyncFnOnce(SessionManager) + Send + 'static,
    {
        let manager = self.other();
        self.store.before(call, move || run(request(manager)));
    }
}

/// The secret part of an id, which the store must never see.
pub fn secret(id: &SessionId) -> Vec<u8> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&id.expose()[22..]).unwrap()
}

/// The id that names the session of one and has the secret of the other.
pub fn mixed(named: &SessionId, opening: &SessionId) -> SessionId {
    format!("{}{}", &named.expose()[..22], &opening.expose()[22..]).parse().unwrap()
}

/// Runs a future to its end although the caller is within a runtime, whose thread waits.
pub fn run(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    // The memory store never waits, so nothing here does but a back-off, which needs the runtime's timer.
    let mut polls = 0;
    while future.as_mut().poll(&mut context).is_pending() {
        polls += 1;
        assert!(polls < 10_000, "a request in a hook waits for something");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a future gives when it is polled once, as far as it gets, whatever the test did before.
pub async fn polled<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = tokio::task::unconstrained(future) => Some(output),
        () = std::future::ready(()) => None,
    }
}
