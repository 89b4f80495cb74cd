//! A real store whose calls are counted and whose answers can get lost.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)] // each test target uses a part of it

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use session_core::{
    Created, Cursor, Error, ErrorKind, ManualClock, Owner, Page, Record, Renamed, Result, Revision, Saved,
    SessionKey, SessionManager, SessionStore, Timestamp,
};
use session_memory::{MemoryConfig, MemoryStore};

/// What happens to the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store is not reached.
    Refused,
    /// The call takes effect, its answer is lost.
    AnswerLost,
    /// The call takes effect, and its answer never comes: for futures that are dropped.
    Hangs,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

pub struct Watched {
    inner: MemoryStore,
    meanwhile: Mutex<Option<(&'static str, Meanwhile)>>,
    calls: Mutex<Vec<&'static str>>,
    faults: Mutex<VecDeque<Fault>>,
}

impl Watched {
    pub fn new(inner: MemoryStore) -> Arc<Self> {
        Arc::new(Self {
            inner,
            meanwhile: Mutex::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
        })
    }

    /// The calls since the last time, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    pub fn fail_next(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    /// Runs `act` after the next `call` took effect and before its answer comes.
    pub fn during(&self, call: &'static str, act: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some((call, Box::new(act)));
    }

    async fn run<T>(&self, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.calls.lock().unwrap().push(name);
        let fault = self.faults.lock().unwrap().pop_front();
        if fault == Some(Fault::Refused) {
            return Err(Error::new(ErrorKind::Unavailable, "connection refused").with_operation(name));
        }
        let answer = call.await;
        let act = self.meanwhile.lock().unwrap().take_if(|(awaited, _)| *awaited == name);
        if let Some((_, act)) = act {
            act();
        }
        match fault {
            Some(Fault::AnswerLost) => {
                Err(Error::new(ErrorKind::Timeout, "no answer in time").with_operation(name))
            }
            Some(Fault::Hangs) => std::future::pending().await,
            _ => answer,
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl SessionStore for Watched {
    async fn prepare(&self) -> Result<()> {
        self.run("prepare", self.inner.prepare()).await
    }
    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.run("create", self.inner.create(key, record)).await
    }
    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        self.run("load", self.inner.load(key)).await
    }
    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.run("save", self.inner.save(key, expected, record)).await
    }
    async fn rename(
        &self,
        from: SessionKey,
        expected: Revision,
        to: SessionKey,
        record: &Record,
    ) -> Result<Renamed> {
        self.run("rename", self.inner.rename(from, expected, to, record)).await
    }
    async fn touch(&self, key: SessionKey, expires_at: Timestamp) -> Result<bool> {
        self.run("touch", self.inner.touch(key, expires_at)).await
    }
    async fn delete(&self, key: SessionKey) -> Result<bool> {
        self.run("delete", self.inner.delete(key)).await
    }
    async fn list(&self, owner: Option<&Owner>, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.run("list", self.inner.list(owner, cursor, limit)).await
    }
    async fn delete_owned(&self, owner: &Owner, keep: Option<SessionKey>) -> Result<u64> {
        self.run("delete_owned", self.inner.delete_owned(owner, keep)).await
    }
    async fn delete_expired(&self, limit: usize) -> Result<u64> {
        self.run("delete_expired", self.inner.delete_expired(limit)).await
    }
}

/// A manager over a watched memory store, both on a clock that stands still.
pub struct Bench {
    pub manager: SessionManager,
    pub store: Arc<Watched>,
    pub clock: Arc<ManualClock>,
}

pub fn bench() -> Bench {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let store = Watched::new(MemoryStore::new(MemoryConfig::default().with_clock(clock.clone())));
    let manager = SessionManager::new(store.clone()).with_clock(clock.clone());
    Bench { manager, store, clock }
}

impl Bench {
    /// A stored session with one entry `n` = 1.
    pub async fn stored(&self) -> session_core::SessionId {
        let session = self.manager.open(None).await.unwrap();
        session.insert("n", &1).unwrap();
        let _ = self.manager.commit(&session).await.unwrap();
        self.store.calls();
        session.id().unwrap()
    }

    /// The value of `n` as stored now.
    pub async fn n(&self, id: &session_core::SessionId) -> Option<i64> {
        let value = self.manager.open(Some(id)).await.unwrap().get("n").unwrap();
        self.store.calls();
        value
    }

    /// How many records are live.
    pub async fn live(&self) -> usize {
        let live = self.store.list(None, None, 1_000).await.unwrap().sessions.len();
        self.store.calls();
        live
    }
}
