//! A router with sessions in memory, a browser's cookie jar, and a store that can fail and counts its calls.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

pub(crate) mod browser;
pub(crate) mod own;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::header::{COOKIE, SET_COOKIE, VARY};
use axum::http::{Request, Response};
use http_body_util::BodyExt as _;
use session_core::{
    Created, Cursor, Error, ErrorKind, ManualClock, Owner, Page, Record, Result, Revision, Saved, SessionKey,
    SessionManager, SessionStore, Timestamp, Touched,
};
use session_memory::{MemoryConfig, MemoryStore};
use tokio::sync::Notify;
use tower::ServiceExt as _;

pub(crate) const START: Timestamp = Timestamp::from_millis(784_111_777_000);

/// Sessions in memory, with a clock that the test turns, and a store that it can break.
pub(crate) struct Stage {
    pub(crate) manager: SessionManager,
    pub(crate) store: Watched,
    pub(crate) clock: Arc<ManualClock>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with_policy(session_core::Policy::default())
    }

    pub(crate) fn with_policy(policy: session_core::Policy) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let config = MemoryConfig::default().with_clock(clock.clone());
        let store = Watched::new(MemoryStore::new(config));
        let manager = SessionManager::new(store.clone()).with_policy(policy).with_clock(clock.clone());
        Self { manager, store, clock }
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

/// A store that counts the calls to it, and fails while it is told to.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    inner: MemoryStore,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: AtomicUsize,
    fails: AtomicBool,
    fails_writes: AtomicBool,
    /// Saves take a while.
    slow: AtomicBool,
    /// A slow save has begun.
    saving: Notify,
}

impl Watched {
    fn new(inner: MemoryStore) -> Self {
        Self { inner, state: Arc::default() }
    }

    pub(crate) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self, fails: bool) {
        self.state.fails.store(fails, Ordering::SeqCst);
    }

    pub(crate) fn fail_writes(&self, fails: bool) {
        self.state.fails_writes.store(fails, Ordering::SeqCst);
    }

    /// From now on saves take a while. Waits until one has begun.
    pub(crate) fn slow_writes(&self) -> impl Future<Output = ()> + use<> {
        self.state.slow.store(true, Ordering::SeqCst);
        let state = Arc::clone(&self.state);
        async move { state.saving.notified().await }
    }

    pub(crate) async fn live(&self) -> usize {
        self.inner.list(None, None, 1_000).await.unwrap().sessions.len()
    }

    fn note(&self, write: bool) -> Result<()> {
        self.state.calls.fetch_add(1, Ordering::SeqCst);
        let broken = self.state.fails.load(Ordering::SeqCst)
            || write && self.state.fails_writes.load(Ordering::SeqCst);
        if broken { Err(Error::new(ErrorKind::Unavailable, "switched off by the test")) } else { Ok(()) }
    }
}

#[async_trait]
impl SessionStore for Watched {
    async fn prepare(&self) -> Result<()> {
        self.inner.prepare().await
    }
    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.note(true)?;
        self.inner.create(key, record).await
    }
    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        self.note(false)?;
        self.inner.load(key).await
    }
    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.note(true)?;
        if self.state.slow.load(Ordering::SeqCst) {
            self.state.saving.notify_one();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.inner.save(key, expected, record).await
    }
    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        self.note(true)?;
        self.inner.touch(key, expected, expires_at).await
    }
    async fn delete(&self, key: SessionKey) -> Result<bool> {
        self.note(true)?;
        self.inner.delete(key).await
    }
    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.note(false)?;
        self.inner.list(owner, cursor, limit).await
    }
    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        self.note(true)?;
        self.inner.delete_owned(owner, keep).await
    }
    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        self.note(true)?;
        self.inner.delete_expired(limit).await
    }
    /// Not counted: the manager asks about once a minute.
    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) set_cookie: Vec<String>,
    pub(crate) vary: Vec<String>,
    pub(crate) headers: http::HeaderMap,
    pub(crate) extensions: http::Extensions,
    pub(crate) body: String,
}

impl Answer {
    /// The one session cookie that was set: its value, if it is not a removal.
    pub(crate) fn value(&self) -> Option<String> {
        let [line] = &self.set_cookie[..] else { panic!("not one Set-Cookie: {:?}", self.set_cookie) };
        let (_, rest) = line.split_once('=')?;
        rest.split(';').next().filter(|value| !value.is_empty()).map(str::to_owned)
    }

    pub(crate) fn attributes(&self) -> Vec<&str> {
        let [line] = &self.set_cookie[..] else { panic!("not one Set-Cookie: {:?}", self.set_cookie) };
        line.split("; ").skip(1).collect()
    }

    pub(crate) fn is_untouched(&self) -> bool {
        self.set_cookie.is_empty() && self.vary.is_empty()
    }
}

pub(crate) async fn get(app: &Router, path: &str, cookie: Option<&str>) -> Answer {
    let mut request = Request::get(path);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    send(app, request.body(Body::empty()).unwrap()).await
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response: Response<Body> = app.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let texts =
        |name| head.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    Answer {
        status: head.status.as_u16(),
        set_cookie: texts(SET_COOKIE),
        vary: texts(VARY),
        body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        extensions: head.extensions,
        headers: head.headers,
    }
}

/// A browser's side: the cookie that it would send with the next request.
pub(crate) fn cookie(name: &str, answer: &Answer) -> String {
    format!("{name}={}", answer.value().expect("the cookie was removed"))
}
