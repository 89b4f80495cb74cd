//! The store.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use session_core::{
    Created, Cursor, Error, ErrorKind, Owner, Page, Record, Result, Revision, Saved, SessionKey,
    SessionStore, Timestamp, Touched,
};
use session_memory::MemoryStore;

/// What happens to the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store is not reached.
    Refused,
    /// The call takes effect, its answer is lost.
    AnswerLost,
    /// The call takes effect, and its answer never comes: for futures that are dropped.
    Hangs,
    /// The call never reaches the store.
    Stuck,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    During,
}

type Hook = (When, &'static str, Box<dyn FnOnce() + Send>);

/// A memory store that is watched. `prepare` and `now` are left out of what is counted and of the faults, because only
/// tests about them want them; these look at [`setups`](Self::setups) and say [`break_now`](Self::break_now).
pub struct Watched {
    inner: MemoryStore,
    hooks: Mutex<Vec<Hook>>,
    calls: Mutex<Vec<&'static str>>,
    faults: Mutex<VecDeque<(Option<&'static str>, Fault)>>,
    later: Mutex<Option<(usize, Fault)>>,
    setups: Mutex<Vec<&'static str>>,
    written: Mutex<Vec<(SessionKey, Record)>>,
    now_fails: AtomicBool,
    is_picky: AtomicBool,
    is_prepared: AtomicBool,
}

impl Watched {
    pub fn new(inner: MemoryStore) -> Arc<Self> {
        Arc::new(Self {
            inner,
            hooks: Mutex::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            later: Mutex::default(),
            setups: Mutex::default(),
            written: Mutex::default(),
            now_fails: AtomicBool::new(false),
            is_picky: AtomicBool::new(false),
            is_prepared: AtomicBool::new(false),
        })
    }

    /// The calls since the last time, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// The calls of `prepare` and `now` since the last time, in order.
    pub fn setups(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.setups.lock().unwrap())
    }

    /// Every record that was sent to be written since the last time, in order.
    pub fn written(&self) -> Vec<(SessionKey, Record)> {
        std::mem::take(&mut *self.written.lock().unwrap())
    }

    pub fn fail_next(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back((None, fault));
    }

    /// The next call of that name fails.
    pub fn fail(&self, call: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push_back((Some(call), fault));
    }

    /// The call after the next `calls` fails.
    pub fn fail_after(&self, calls: usize, fault: Fault) {
        *self.later.lock().unwrap() = Some((calls, fault));
    }

    /// From now on the store cannot tell the time, or can again.
    pub fn break_now(&self, broken: bool) {
        self.now_fails.store(broken, Ordering::SeqCst);
    }

    /// From now on everything fails until the store is prepared.
    pub fn need_prepare(&self) {
        self.is_picky.store(true, Ordering::SeqCst);
        self.is_prepared.store(false, Ordering::SeqCst);
    }

    /// Runs `act` after the next `call` took effect and before its answer comes.
    pub fn during(&self, call: &'static str, act: impl FnOnce() + Send + 'static) {
        self.hooks.lock().unwrap().push((When::During, call, Box::new(act)));
    }

    /// Runs `act` right before the next `call` takes effect.
    pub fn before(&self, call: &'static str, act: impl FnOnce() + Send + 'static) {
        self.hooks.lock().unwrap().push((When::Before, call, Box::new(act)));
    }

    fn hook(&self, when: When, name: &'static str) {
        let hook = {
            let mut hooks = self.hooks.lock().unwrap();
            let at = hooks.iter().position(|(at, call, _)| *at == when && *call == name);
            at.map(|at| hooks.remove(at))
        };
        if let Some((_, _, act)) = hook {
            act();
        }
    }

    fn fault(&self, name: &'static str) -> Option<Fault> {
        let mut later = self.later.lock().unwrap();
        match &mut *later {
            Some((0, fault)) => {
                let fault = *fault;
                *later = None;
                return Some(fault);
            }
            Some((calls, _)) => *calls -= 1,
            None => {}
        }
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(call, _)| call.is_none_or(|call| call == name))?;
        faults.remove(at).map(|(_, fault)| fault)
    }

    async fn run<T>(&self, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.calls.lock().unwrap().push(name);
        if self.is_picky.load(Ordering::SeqCst) && !self.is_prepared.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Other, "no such table").with_operation(name));
        }
        let fault = self.fault(name);
        if fault == Some(Fault::Refused) {
            return Err(Error::new(ErrorKind::Unavailable, "connection refused").with_operation(name));
        }
        if fault == Some(Fault::Stuck) {
            std::future::pending::<()>().await;
        }
        self.hook(When::Before, name);
        let answer = call.await;
        self.hook(When::During, name);
        match fault {
            Some(Fault::AnswerLost) => {
                Err(Error::new(ErrorKind::Timeout, "no answer in time").with_operation(name))
            }
            Some(Fault::Hangs) => std::future::pending().await,
            _ => answer,
        }
    }

    fn note(&self, key: SessionKey, record: &Record) {
        self.written.lock().unwrap().push((key, record.clone()));
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
        self.setups.lock().unwrap().push("prepare");
        self.is_prepared.store(true, Ordering::SeqCst);
        self.inner.prepare().await
    }
    async fn create(&self, key: SessionKey, record: &Record) -> Result<Created> {
        self.note(key, record);
        self.run("create", self.inner.create(key, record)).await
    }
    async fn load(&self, key: SessionKey) -> Result<Option<Record>> {
        self.run("load", self.inner.load(key)).await
    }
    async fn save(&self, key: SessionKey, expected: Revision, record: &Record) -> Result<Saved> {
        self.note(key, record);
        self.run("save", self.inner.save(key, expected, record)).await
    }
    async fn touch(&self, key: SessionKey, expected: Revision, expires_at: Timestamp) -> Result<Touched> {
        self.run("touch", self.inner.touch(key, expected, expires_at)).await
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
    async fn now(&self) -> Result<Timestamp> {
        self.setups.lock().unwrap().push("now");
        if self.now_fails.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "no time").with_operation("now"));
        }
        self.inner.now().await
    }
}
